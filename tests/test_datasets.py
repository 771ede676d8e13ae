"""Data sets of folders and tables: samples in order, labels by the rule, read as a run reads; nothing outside."""

from __future__ import annotations

import os
import pickle

import data_sets
import numpy as np
import pytest

from evsim import api
from evsim.datasets import open_dataset
from evsim.errors import OptionError, RecordingError


def labels_of(data):
    """Return the label of each sample by its name."""
    return {sample.name: sample.label for sample in data.samples}


def classes(root, *names, each=2):
    """Write a folder of classes of recordings."""
    for place, name in enumerate(names):
        for number in range(each):
            data_sets.write_npz(root / name / f"{number}.npz", 10 * place + number)
    return root


def table(path, text, files=()):
    """Write a table, and recordings beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    for seed, name in enumerate(files):
        data_sets.write_bin(path.parent / name, seed)
    return path


def test_folders_without_other_knowledge_are_classes_by_position(tmp_path):
    """Names that are no numbers are classes by their position among all names sorted, and a note says which."""
    data = open_dataset(classes(tmp_path, "cat", "ant", "bee"))
    assert [sample.name for sample in data.samples] == [
        "ant/0.npz", "ant/1.npz", "bee/0.npz", "bee/1.npz", "cat/0.npz", "cat/1.npz",
    ]  # fmt: skip
    assert [sample.label for sample in data.samples] == [0, 0, 1, 1, 2, 2]
    assert data.classes == ("ant", "bee", "cat")
    assert any("ant = 0, bee = 1, cat = 2" in note for note in data.notes)


def test_a_name_among_the_models_goes_first(tmp_path):
    """Names of the model's classes are these classes, even where they look like other numbers."""
    data = open_dataset(classes(tmp_path, "cat", "ant"), ("cat", "dog", "ant"))
    assert labels_of(data) == {"ant/0.npz": 2, "ant/1.npz": 2, "cat/0.npz": 0, "cat/1.npz": 0}
    assert data.classes == ("cat", "dog", "ant")
    assert data.notes == ()
    numbers = open_dataset(classes(tmp_path / "n", "1", "2", each=1), ("2", "1"))
    assert labels_of(numbers) == {"1/0.npz": 1, "2/0.npz": 0}


def test_whole_numbers_are_class_indices(tmp_path):
    """An integer is the class index itself, leading zeros or not, not the position among the names."""
    data = open_dataset(classes(tmp_path, "10", "2", "07", each=1))
    assert labels_of(data) == {"07/0.npz": 7, "10/0.npz": 10, "2/0.npz": 2}
    assert data.classes == tuple(map(str, range(11)))


def test_each_name_goes_through_the_rule_by_itself(tmp_path):
    """A name that is neither among the model's nor a number takes its position among all names, beside others."""
    data = open_dataset(classes(tmp_path, "0", "1", "zebra", each=1))
    assert labels_of(data) == {"0/0.npz": 0, "1/0.npz": 1, "zebra/0.npz": 2}
    assert any("zebra = 2" in note for note in data.notes)


def test_two_names_of_one_class_are_said(tmp_path):
    """A position that another label stands for too is what the rule says; a person is told that both are one class."""
    data = open_dataset(classes(tmp_path, "cat", "ant"), ("cat", "dog"))
    assert set(labels_of(data).values()) == {0}
    assert any("'ant', by its position, and 'cat' are both class 0" in note for note in data.notes)


def test_a_model_with_two_classes_of_one_name_is_refused(tmp_path):
    """Which of two equal names a folder stands for nobody can tell."""
    with pytest.raises(OptionError, match="several classes named 'crane'"):
        open_dataset(classes(tmp_path, "crane"), ("crane", "owl", "crane"))


@pytest.mark.parametrize(("name", "number", "said"), [
    ("-1", None, "count from 0"), ("3", 3, "none of the model's 3 classes"), ("999999999", None, "no class index"),
])  # fmt: skip
def test_numbers_that_are_no_class_are_refused(tmp_path, name, number, said):
    """A label below 0, beyond the model's classes, or beyond all reason is one line."""
    with pytest.raises(RecordingError, match=said):
        open_dataset(classes(tmp_path, name), classes=number)


def test_an_empty_folder_keeps_its_place_among_the_names(tmp_path):
    """Positions are those of the whole data set, whichever classes have samples here."""
    classes(tmp_path, "ant", "cat", each=1)
    (tmp_path / "bee").mkdir()
    data = open_dataset(tmp_path)
    assert labels_of(data) == {"ant/0.npz": 0, "cat/0.npz": 2}
    assert any("1 classes have no sample: bee" in note for note in data.notes)


def test_files_below_classes_are_found_and_others_passed_over(tmp_path):
    """Nested folders belong to the class, hidden files to nobody, and files of no known format are said."""
    data_sets.write_npz(tmp_path / "a" / "deep" / "1.npz", 1)
    data_sets.write_npz(tmp_path / "a" / "0.npz", 0)
    data_sets.write_npz(tmp_path / "a" / ".hidden.npz", 2)
    data_sets.write_npz(tmp_path / ".git" / "3.npz", 3)
    (tmp_path / "a" / "README.md").write_text("what this is")
    data = open_dataset(tmp_path)
    assert [sample.name for sample in data.samples] == ["a/0.npz", "a/deep/1.npz"]
    assert any("passed over 1 files" in note and "README.md" in note for note in data.notes)


def test_links_are_followed_and_circles_end(tmp_path):
    """A linked class and a linked file are read; a folder that leads back into itself is gone through once."""
    classes(tmp_path / "real", "a", each=1)
    root = tmp_path / "data"
    root.mkdir()
    (root / "a").symlink_to(tmp_path / "real" / "a")
    (tmp_path / "real" / "a" / "again").symlink_to(root)
    (root / "b").mkdir()
    (root / "b" / "x.npz").symlink_to(tmp_path / "real" / "a" / "0.npz")
    data = open_dataset(root)
    assert "a/0.npz" in labels_of(data)
    assert "b/x.npz" in labels_of(data)
    assert data.read(len(data) - 1, data_sets.network()).events == 40


def test_parts_of_a_data_set_are_not_classes(tmp_path):
    """Of train and test the held-out part is taken and said; `part` takes another."""
    classes(tmp_path / "train", "0", "1", each=3)
    classes(tmp_path / "test", "0", "1", each=1)
    data = open_dataset(tmp_path)
    assert len(data) == 2
    assert any("test is taken" in note for note in data.notes)
    assert len(open_dataset(tmp_path, part="train")) == 6
    with pytest.raises(OptionError, match="`part=val` is none"):
        open_dataset(tmp_path, part="val")
    with pytest.raises(OptionError, match="no parts"):
        open_dataset(tmp_path / "test", part="test")


def test_one_folder_called_as_a_part_is_a_class(tmp_path):
    """A train is a vehicle, too: beside other classes it is one; beside another part, others are passed over."""
    assert labels_of(open_dataset(classes(tmp_path / "a", "train", "car", each=1))) == {
        "car/0.npz": 0,
        "train/0.npz": 1,
    }
    data = open_dataset(classes(tmp_path / "b", "train/0", "test/0", "scripts", each=1))
    assert labels_of(data) == {"0/0.npz": 0}
    assert any("scripts" in note for note in data.notes)


def test_positions_among_fewer_names_than_classes_are_said(tmp_path):
    """Names of a part of the classes do not tell their places among all: a note says so."""
    root = classes(tmp_path, "ant", "bee", each=1)
    assert not any("trained on" in note for note in open_dataset(root, classes=2).notes)
    assert any("2 names of classes, the model 3 classes" in note for note in open_dataset(root, classes=3).notes)


def test_files_without_folders_have_no_labels(tmp_path):
    """A folder of recordings alone is a data set without labels, and says so."""
    for seed in range(3):
        data_sets.write_npz(tmp_path / f"{seed}.npz", seed)
    data = open_dataset(tmp_path)
    assert [sample.label for sample in data.samples] == [None] * 3
    assert any("3 of 3 samples have no label" in note for note in data.notes)


@pytest.mark.parametrize("content", [
    "file,label\nb.bin,1\na.bin,0\n", "label;path\n1;b.bin\n0;a.bin\n",
    "events_file_path\tclass\nb.bin\t1\na.bin\t0\n", "\ufeffother,Class_Index,FILE\r\n,1,b.bin\r\n,0,a.bin\r\n",
    "b.bin 1\na.bin 0\n",
    "#sample #class\r\nb\t1\r\na\t0\r\n",
])  # fmt: skip
def test_a_table_names_files_and_labels(tmp_path, content):
    """Columns are told by their names, or by their order where there are two without; rows keep their order."""
    path = table(tmp_path / "list.csv", content, ["a.bin", "b.bin"])
    data = open_dataset(path)
    assert [(sample.name, sample.label) for sample in data.samples] == [("b.bin", 1), ("a.bin", 0)]
    sample, alone = data.read(0, data_sets.network()), api.read(tmp_path / "b.bin", data_sets.network())
    assert np.array_equal(sample.values, alone.values)
    assert (sample.path, sample.notes, sample.events) == (alone.path, alone.notes, 40)


def test_a_pattern_says_how_files_are_called(tmp_path):
    """Holes of a pattern are columns; `{id}` is the one of ids, whatever its name."""
    path = table(tmp_path / "test.txt", "#sample #class\n7\t3\n8\t1\n", ["x7.bs2", "x8.bs2"])
    assert labels_of(open_dataset(path, pattern="x{id}.bs2")) == {"x7.bs2": 3, "x8.bs2": 1}
    two = table(tmp_path / "two.csv", "user,take,class\n1,a,2\n", ["u1/a.bin"])
    assert labels_of(open_dataset(two, pattern="u{user}/{take}.bin")) == {"u1/a.bin": 2}
    with pytest.raises(OptionError, match="no column nobody"):
        open_dataset(two, pattern="{nobody}.bin")
    with pytest.raises(OptionError, match="names no column"):
        open_dataset(two, pattern="x.bin")


def test_a_folder_finds_its_one_table(tmp_path):
    """A flat folder takes the table in it; of several, one must be named, or several are read in turn."""
    table(tmp_path / "one.csv", "file,label\na.bin,cat\n", ["a.bin", "b.bin"])
    assert labels_of(open_dataset(tmp_path, ("dog", "cat"))) == {"a.bin": 1}
    table(tmp_path / "two.csv", "file,label\nb.bin,dog\n")
    with pytest.raises(OptionError, match=r"several tables of labels \(one.csv, two.csv\)"):
        open_dataset(tmp_path)
    both = open_dataset(tmp_path, ("dog", "cat"), tables=("one.csv", str(tmp_path / "two.csv")))
    assert labels_of(both) == {"a.bin": 1, "b.bin": 0}


def test_imagenets_table_of_validation(tmp_path):
    """LOC_val_solution.csv lies above the folder `val`; the first word of its PredictionString is the class."""
    text = "ImageId,PredictionString\nI_002,n02 1 2 3 4 n02 5 6 7 8\nI_001,n01 1 2 3 4\n"
    root = tmp_path / "imagenet"
    table(root / "LOC_val_solution.csv", text)
    val = root / "ILSVRC" / "Data" / "CLS-LOC" / "val"
    val.mkdir(parents=True)
    for number in (1, 2):
        (val / f"I_00{number}.JPEG").write_bytes(data_sets.picture(number)[1])
    assert labels_of(open_dataset(val)) == {"I_002.JPEG": 1, "I_001.JPEG": 0}
    where = "ILSVRC/Data/CLS-LOC/val"
    for place in (root, root / "LOC_val_solution.csv"):
        data = open_dataset(place)
        assert labels_of(data) == {f"{where}/I_002.JPEG": 1, f"{where}/I_001.JPEG": 0}
        assert data.read(0, data_sets.network("image", 3)).values.shape == (3, 6, 6)


@pytest.mark.parametrize("header", ["file,label", "ImageId,label", "path,class"])
def test_a_table_beside_val_names_what_lies_in_it(tmp_path, header):
    """The csv of labels lies beside ImageNet's folder `val`, and names files as they are called there."""
    val = tmp_path / "val"
    val.mkdir()
    for number in (1, 2):
        (val / f"I_{number}.JPEG").write_bytes(data_sets.picture(number)[1])
    suffix = "" if header.startswith("ImageId") else ".JPEG"
    csv = table(tmp_path / "val.csv", f"{header}\nI_2{suffix},1\nI_1{suffix},0\n")
    for place in (tmp_path, csv):
        data = open_dataset(place)
        assert labels_of(data) == {"val/I_2.JPEG": 1, "val/I_1.JPEG": 0}
        assert any("val" in note for note in data.notes)
    assert labels_of(open_dataset(val, tables=[str(csv)])) == {"I_2.JPEG": 1, "I_1.JPEG": 0}


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/passwd", "a/../../secret.bin", "..", ""])
def test_a_table_names_nothing_outside_its_folder(tmp_path, name):
    """A stranger's table cannot have other files read, unless a person says that it may."""
    table(tmp_path / "secret.bin", "", ["secret.bin"])
    path = table(tmp_path / "data" / "list.csv", f"file,label\n{name},0\n")
    with pytest.raises(RecordingError, match=r"outside|names no file"):
        open_dataset(path)
    if name.startswith("../"):
        data = open_dataset(path, outside=True)
        assert data.read(0, data_sets.network()).events == 40


def test_a_pattern_cannot_be_led_outside(tmp_path):
    """A cell that fills a pattern's hole may not climb out either."""
    path = table(tmp_path / "data" / "list.csv", "id,label\n../../x,0\n")
    with pytest.raises(RecordingError, match="lies outside"):
        open_dataset(path, pattern="files/{id}.bin")


def test_an_absolute_path_within_is_taken_for_the_file(tmp_path):
    """A table written with whole paths on this machine is a table of these files."""
    path = table(tmp_path / "list.csv", f"file,label\n{tmp_path / 'a.bin'},1\n", ["a.bin"])
    assert labels_of(open_dataset(path)) == {"a.bin": 1}


def test_rows_without_a_file_are_told_and_all_of_them_refused(tmp_path):
    """A missing file is the sample's own failure; a table of which no file is there is refused at once."""
    path = table(tmp_path / "list.csv", "file,label\na.bin,1\ngone.bin,0\n", ["a.bin"])
    data = open_dataset(path)
    assert any("1 of the 2 files are not there" in note for note in data.notes)
    with pytest.raises(RecordingError, match=r"gone.bin does not exist"):
        data.read(1, data_sets.network())
    with pytest.raises(RecordingError, match="of which none is in"):
        open_dataset(table(tmp_path / "other.csv", "file,label\nx.bin,1\n"))


@pytest.mark.parametrize(("content", "said"), [
    (b"", "empty table"), (b"file,label\n", "names no file"), (b"a,b,c\n1,2,3\n", "no column named file or id"),
    (b"file,label\n\xff\xfe,0\n", "no table of files and labels"), (b"file,label\nx.bin\n", "row 1 has 1 of 2 columns"),
    (b"file,label\n" + b"x" * 200_000 + b",1\n", "no table|none is in"),
    (b"file,label\na\0b,1\n", "no table|names no file"),
])  # fmt: skip
def test_a_damaged_table_is_one_line(tmp_path, content, said):
    """Whatever a table holds, it is one line that names it."""
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises((RecordingError, OptionError), match=said) as refusal:
        open_dataset(tmp_path / "list.csv")
    assert "list.csv" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_no_data_set_is_one_line(tmp_path):
    """Nothing there, an empty folder, a pipe in place of a table: one line each."""
    with pytest.raises(RecordingError, match="does not exist"):
        open_dataset(tmp_path / "nothing")
    with pytest.raises(RecordingError, match="no file of a format"):
        open_dataset(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(RecordingError, match="a pipe"):
        open_dataset(tmp_path / "pipe.csv")
    with pytest.raises(RecordingError, match="no file of a format"):
        open_dataset(tmp_path)


def test_a_list_has_one_digest_wherever_it_lies(tmp_path):
    """The digest tells names, labels and sizes of files, not the folder above; a change of one changes it."""
    one, two = classes(tmp_path / "one", "a", "b"), classes(tmp_path / "two", "a", "b")
    digest = open_dataset(one).digest
    assert digest == open_dataset(two).digest
    assert digest != open_dataset(two, ("b", "a")).digest
    (two / "b" / "1.npz").write_bytes(b"other")
    assert digest != open_dataset(two).digest


def test_a_data_set_can_be_sent_to_another_process(tmp_path):
    """Workers get the data set by pickle and read the same samples."""
    data = open_dataset(classes(tmp_path, "a", "b"))
    sent = pickle.loads(pickle.dumps(data))  # noqa: S301 - our own
    assert sent.samples == data.samples
    net = data_sets.network()
    assert np.array_equal(sent.read(3, net).values, data.read(3, net).values)
    with pytest.raises(OptionError, match="samples 0 to 3"):
        data.read(4, net)


def test_reading_takes_the_options_of_run(tmp_path):
    """T and the options of reading go to the reader of recordings, and its errors come back."""
    from evsim.events import ReadOptions

    data = open_dataset(classes(tmp_path, "a"))
    net = data_sets.network()
    assert len(data.read(0, net, 5).values) == 5
    kept = data.read(0, net, options=ReadOptions(split="time"))
    alone = api.read(tmp_path / "a" / "0.npz", net, options=ReadOptions(split="time"))
    assert np.array_equal(kept.values, alone.values)
    assert api.simulate(net, kept).logits.shape == (3,)

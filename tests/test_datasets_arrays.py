"""Data sets of arrays, CIFAR's batches, trials of gestures, spikes: each in its authors' layout, and damaged ones."""

from __future__ import annotations

import pickle

import data_sets
import event_files
import h5py
import numpy as np
import pytest

from evsim import api
from evsim.datasets import FORMATS, open_dataset
from evsim.errors import OptionError, RecordingError
from evsim.events import ReadOptions

RNG = np.random.default_rng(7)


def normal(pixels):
    """Return pixels [H, W, 3] as the network of `data_sets` takes them."""
    return ((pixels.astype(np.float32) / np.float32(255) - 0.5) / 0.25).transpose(2, 0, 1)


def write(path, arrays, packed=False):
    """Write arrays as the suffix says."""
    if path.suffix == ".npz":
        (np.savez_compressed if packed else np.savez)(path, **arrays)
    else:
        with h5py.File(path, "w") as file:
            for name, values in arrays.items():
                file.create_dataset(name, data=values, compression="gzip" if packed else None)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("order", ["last", "first", "row"])
def test_pixels_become_normalised_images(tmp_path, suffix, packed, order):
    """Pixels of type uint8, colours last, first or all in a row, compressed or not, are what a picture of them is."""
    images = RNG.integers(0, 256, (5, 6, 6, 3)).astype(np.uint8)
    planes = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    x = {"last": images, "first": planes, "row": planes.reshape(5, -1)}[order]
    data = open_dataset(write(tmp_path / f"set{suffix}", {"x": x, "y": np.arange(5) % 3}, packed))
    assert [(s.name, s.label) for s in data.samples[:2]] == [(f"set{suffix}[0]", 0), (f"set{suffix}[1]", 1)]
    net = data_sets.network("image", 3)
    sent = pickle.loads(pickle.dumps(data))  # noqa: S301 - our own
    for index, pixels in enumerate(images):
        sample = sent.read(index, net)
        np.testing.assert_allclose(sample.values, normal(pixels), rtol=1e-6)
        assert sample.path == f"{tmp_path / f'set{suffix}'}[{index}]"
    assert api.simulate(net, data.read(4, net)).logits.shape == (3,)


def test_pixels_of_another_size_are_resized_as_a_picture_is(tmp_path):
    """An array of pictures and the same pictures as files become the same input."""
    pixels, content = data_sets.picture(1, side=10)
    (tmp_path / "one.png").write_bytes(content)
    net = data_sets.network("image", 3, crop_pct=0.875)
    data = open_dataset(write(tmp_path / "set.npz", {"images": pixels[None], "labels": [2]}))
    assert np.array_equal(data.read(0, net).values, api.read(tmp_path / "one.png", net).values)


def test_frames_and_normalised_images_are_taken_as_they_are(tmp_path):
    """Frames [N, T, C, H, W] and images of real values [N, C, H, W] go to the network unchanged."""
    frames = RNG.integers(0, 4, (2, 3, 2, 6, 6))
    data = open_dataset(write(tmp_path / "frames.npz", {"frames": frames, "labels": [[0], [1]]}))
    net = data_sets.network()
    assert np.array_equal(data.read(1, net).values, frames[1])
    with pytest.raises(RecordingError, match="holds 3 timesteps, the run has 4"):
        data.read(1, net, 4)
    images = RNG.standard_normal((2, 3, 6, 6)).astype(np.float32)
    data = open_dataset(write(tmp_path / "images.h5", {"data": images, "targets": np.eye(2)}))
    assert [s.label for s in data.samples] == [0, 1]
    assert np.array_equal(data.read(0, data_sets.network("image", 3)).values, images[0])
    with pytest.raises(OptionError, match="`split`"):
        data.read(0, data_sets.network("image", 3), options=ReadOptions(split="time"))


def test_a_file_of_parts_gives_the_held_out_one(tmp_path):
    """Of x_train and x_test the test part is taken and said; `part` takes the other."""
    x = RNG.standard_normal((5, 3, 6, 6)).astype(np.float32)
    arrays = {"x_train": x[:3], "y_train": [0, 1, 2], "x_test": x[3:], "y_test": [2, 1]}
    data = open_dataset(write(tmp_path / "set.npz", arrays))
    assert [s.label for s in data.samples] == [2, 1]
    assert any("test is taken" in note for note in data.notes)
    assert [s.label for s in open_dataset(tmp_path / "set.npz", part="train").samples] == [0, 1, 2]
    groups = write(tmp_path / "set.h5", {f"{k[2:]}/{k[0]}": v for k, v in arrays.items()})
    assert [s.label for s in open_dataset(groups).samples] == [2, 1]
    with pytest.raises(OptionError, match="`part=val`"):
        open_dataset(groups, part="val")


def test_names_as_labels_go_through_the_rule(tmp_path):
    """Texts beside samples are the model's names, or else positions."""
    x = np.zeros((3, 3, 6, 6), np.float32)
    path = write(tmp_path / "set.npz", {"x": x, "y": np.array(["owl", "cat", "owl"])})
    assert [s.label for s in open_dataset(path, ("owl", "cat")).samples] == [0, 1, 0]
    assert [s.label for s in open_dataset(path).samples] == [1, 0, 1]
    with h5py.File(tmp_path / "set.h5", "w") as file:
        file["x"] = x
        file.create_dataset("y", data=["owl", "cat", "owl"], dtype=h5py.string_dtype())
    assert [s.label for s in open_dataset(tmp_path / "set.h5", ("owl", "cat")).samples] == [0, 1, 0]


@pytest.mark.parametrize(("arrays", "said"), [
    ({"z": np.zeros((2, 3))}, "no array of samples"), ({"x": np.float32(1)}, "one number"),
    ({"x": np.zeros((2, 3, 6, 6)), "y": [1]}, "for 2 samples"),
    ({"x": np.zeros((2, 3)), "y": [0.5, 1]}, "no whole numbers"),
    ({"x": np.zeros((2, 3)), "y": np.zeros((2, 3))}, "single 1"), ({"x": np.zeros((2, 3)), "y": [1, -1]}, "no class"),
    ({"x": np.zeros((0, 3)), "y": []}, "no sample"),
    ({"t": np.arange(3), "x": np.arange(3), "y": np.arange(3), "p": np.ones(3)}, "is one recording"),
])  # fmt: skip
@pytest.mark.parametrize("suffix", [".npz", ".h5"])
def test_arrays_that_are_no_data_set_are_one_line(tmp_path, suffix, arrays, said):
    """What is missing or does not fit is named with the file."""
    path = write(tmp_path / f"set{suffix}", {name: np.asarray(values) for name, values in arrays.items()})
    with pytest.raises(RecordingError, match=said) as refusal:
        open_dataset(path)
    assert str(path) in str(refusal.value)


def test_arrays_of_objects_and_cut_files_are_refused(tmp_path):
    """Objects are pickles, which are not read; a cut file is damaged, at once or at its sample."""
    np.savez(tmp_path / "objects.npz", x=np.array([{}, []], object), y=[0, 1])
    with pytest.raises(RecordingError, match="objects"):
        open_dataset(tmp_path / "objects.npz")
    whole = write(tmp_path / "set.npz", {"x": np.zeros((9, 3, 6, 6), np.float32), "y": np.zeros(9, int)})
    for keep in (30, 2000):
        (tmp_path / "cut.npz").write_bytes(whole.read_bytes()[:keep])
        with pytest.raises(RecordingError, match=r"cut.npz"):
            open_dataset(tmp_path / "cut.npz")


def as_bytes(value):
    """Return texts as bytes, as whoever reads the batches with `encoding="bytes"` has them."""
    if isinstance(value, dict):
        return {as_bytes(key): as_bytes(each) for key, each in value.items()}
    if isinstance(value, list):
        return [as_bytes(each) for each in value]
    return value.encode() if isinstance(value, str) else value


def with_bytes(content):
    """Pickle them again."""
    return pickle.dumps(as_bytes(content))


def with_bytes_of_two(content):
    """Pickle them again by the protocol of the batches as published, which writes bytes as encoded texts."""
    return pickle.dumps(as_bytes(content), protocol=2)


def cifar(root, number=4, hundred=False, writer=data_sets.python_two, seed=0):
    """Write the batches of CIFAR for Python; return pixels [n, 3072] and labels of the test batch."""
    rng = np.random.default_rng(seed)
    root.mkdir(parents=True, exist_ok=True)
    key, batches = ("fine_labels", ["train"]) if hundred else ("labels", [f"data_batch_{i}" for i in range(1, 6)])
    for name in (*batches, "test" if hundred else "test_batch"):
        pixels, labels = rng.integers(0, 256, (number, 3072)).astype(np.uint8), rng.integers(0, 10, number).tolist()
        content = {"batch_label": name, key: labels, "data": pixels, "filenames": ["a.png"] * number}
        if hundred:
            content["coarse_labels"] = [0] * number
        (root / name).write_bytes(writer(content))
    names = {"fine_label_names" if hundred else "label_names": [f"class{i}" for i in range(10)]}
    (root / ("meta" if hundred else "batches.meta")).write_bytes(writer(names))
    return pixels, labels


@pytest.mark.parametrize("number", [4, 40])  # their pixels are short texts of the pickle, and long ones
@pytest.mark.parametrize("hundred", [False, True])
@pytest.mark.parametrize("writer", [data_sets.python_two, pickle.dumps, with_bytes, with_bytes_of_two])
def test_cifar_for_python(tmp_path, number, hundred, writer):
    """The batches as published (by Python 2) and as anyone may pickle them again: the test batch is held out."""
    pixels, labels = cifar(tmp_path / "set", number, hundred, writer)
    data = open_dataset(tmp_path / "set")
    assert [s.label for s in data.samples] == labels
    assert data.classes[:2] == ("class0", "class1")
    assert data.samples[1].name == ("test[1]" if hundred else "test_batch[1]")
    net = data_sets.network("image", 3, 32, 32)
    want = normal(pixels[1].reshape(3, 32, 32).transpose(1, 2, 0))
    np.testing.assert_allclose(data.read(1, net).values, want, rtol=1e-6)
    assert len(open_dataset(tmp_path / "set", part="train")) == number * (1 if hundred else 5)
    one = open_dataset(tmp_path / "set" / ("test" if hundred else "test_batch"))
    np.testing.assert_allclose(one.read(1, net).values, want, rtol=1e-6)


@pytest.mark.parametrize("hundred", [False, True])
def test_cifar_binary(tmp_path, hundred):
    """Records of one label, or of a coarse and a fine one, and 3072 bytes."""
    pixels, labels = RNG.integers(0, 256, (3, 3072)).astype(np.uint8), [5, 0, 9]
    records = b"".join(
        (b"\x01" if hundred else b"") + bytes([label]) + row.tobytes()
        for label, row in zip(labels, pixels, strict=True)
    )
    for name in ("train.bin", "test.bin") if hundred else ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(records)
    (tmp_path / ("fine_label_names.txt" if hundred else "batches.meta.txt")).write_text("\n".join("abcdefghij"))
    data = open_dataset(tmp_path)
    assert [s.label for s in data.samples] == labels
    assert data.classes == tuple("abcdefghij")
    net = data_sets.network("image", 3, 32, 32)
    np.testing.assert_allclose(
        data.read(2, net).values, normal(pixels[2].reshape(3, 32, 32).transpose(1, 2, 0)), rtol=1e-6
    )


class Bomb:
    """An object whose pickle runs a command."""

    def __reduce__(self):
        """Ask for it."""
        import os

        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize("content", [
    pickle.dumps({"data": Bomb(), "labels": [1]}), b"\x80\x02}.", b"\x80\x02",
    b"\x80\x02K\x01.", b"\x80\x02X\xff\xff\xff\xff",
    data_sets.python_two({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
    data_sets.python_two({"data": np.zeros((2, 3072), np.uint8)[:, :3000], "labels": [1, 2]}),
    data_sets.python_two({"data": np.zeros((2, 3072), np.uint8), "labels": [1, 2]})[:-2000],
])  # fmt: skip
def test_hostile_and_damaged_batches_are_one_line(tmp_path, content):
    """Nothing in a pickle runs; what is no batch is refused by its name."""
    (tmp_path / "test_batch").write_bytes(content)
    with pytest.raises(RecordingError, match="test_batch"):
        open_dataset(tmp_path / "test_batch")


def gesture(root, names=("user01_led", "user02_led"), header="class,startTime_usec,endTime_usec\n"):
    """Write recordings of three trials each and their csv; return their events."""
    root.mkdir(parents=True, exist_ok=True)
    held = {}
    for seed, name in enumerate(names):
        t = np.arange(0, 3000, 10)
        columns = [t, *(np.random.default_rng(seed).integers(0, n, len(t)) for n in (128, 128, 2))]
        held[name] = columns
        (root / f"{name}.aedat").write_bytes(event_files.aedat3(*(c.tolist() for c in columns)))
        (root / f"{name}_labels.csv").write_text(f"{header}1,0,1000\n11,1000,2000\n4,2200,3000\n")
    return held


def test_trials_of_gestures_are_samples(tmp_path):
    """Each trial is a sample with its own events; classes count from 1 in the csv and from 0 here, which is said."""
    held = gesture(tmp_path / "set")
    data = open_dataset(tmp_path / "set")
    assert [s.label for s in data.samples] == [0, 10, 3] * 2
    assert data.samples[1].name == "user01_led.aedat[trial 2]"
    assert any("class 1 there is class 0 here" in note for note in data.notes)
    net = data_sets.network(height=128, width=128)
    for index, (begin, end) in enumerate([(0, 1000), (1000, 2000), (2200, 3000)]):
        t = held["user02_led"][0]
        assert data.read(3 + index, net).events == int(((t >= begin) & (t < end)).sum())
    alone = open_dataset(tmp_path / "set" / "user02_led.aedat")
    assert np.array_equal(alone.read(1, net).values, data.read(4, net).values)
    with pytest.raises(OptionError, match="each a sample"):
        data.read(0, net, options=ReadOptions(trial=1))


def test_the_lists_of_gestures_choose_the_part(tmp_path):
    """trials_to_test.txt is the held-out part; a recording that is not there is told."""
    gesture(tmp_path)
    (tmp_path / "trials_to_train.txt").write_text("user01_led.aedat\n")
    (tmp_path / "trials_to_test.txt").write_text("user02_led.aedat\nuser09_led.aedat\n")
    (tmp_path / "gesture_mapping.csv").write_text("action,label\nclap,1\nwave,2\n")
    data = open_dataset(tmp_path)
    assert {s.name.partition("[")[0] for s in data.samples} == {"user02_led.aedat"}
    assert data.classes[:3] == ("clap", "wave", "2")
    assert any("1 of the 2 recordings of test are not there" in note for note in data.notes)
    assert {s.name[:6] for s in open_dataset(tmp_path, part="train").samples} == {"user01"}


def test_cached_frames_of_spikingjelly(tmp_path):
    """Folders of classes that hold .npz with `frames` are frames of these classes."""
    frames = RNG.integers(0, 5, (2, 3, 2, 6, 6)).astype(np.float32)
    for label in (0, 1):
        (tmp_path / "test" / str(label)).mkdir(parents=True)
        np.savez(tmp_path / "test" / str(label) / "user_0.npz", frames=frames[label])
    (tmp_path / "train" / "0").mkdir(parents=True)
    data = open_dataset(tmp_path)
    assert [s.label for s in data.samples] == [0, 1]
    assert np.array_equal(data.read(1, data_sets.network()).values, frames[1])


def heidelberg(path, number=3, units=700, seed=0):
    """Write SHD's layout; return times and units."""
    rng = np.random.default_rng(seed)
    samples = [
        (np.sort(rng.random(50)).astype(np.float32), rng.integers(0, units, 50).astype(np.uint16))
        for _ in range(number)
    ]
    with h5py.File(path, "w") as file:
        for place, (name, dtype) in enumerate((("spikes/times", np.float32), ("spikes/units", np.uint16))):
            dataset = file.create_dataset(name, (number,), h5py.vlen_dtype(dtype))
            for i, sample in enumerate(samples):
                dataset[i] = sample[place]
        file["labels"] = np.arange(number, dtype=np.uint16) + 4
        file["extra/keys"] = np.array([b"null", b"eins"])
    return samples


def test_spikes_of_shd_become_frames_of_counts(tmp_path):
    """Each sample's spikes are counted by unit and by window of time; neighbours are summed for fewer inputs."""
    samples = heidelberg(tmp_path / "shd_test.h5")
    data = open_dataset(tmp_path / "shd_test.h5")
    assert [(s.name, s.label) for s in data.samples] == [(f"shd_test.h5[{i}]", 4 + i) for i in range(3)]
    net = data_sets.network(channels=1, height=1, width=700, timesteps=4)
    sample = pickle.loads(pickle.dumps(data)).read(1, net, options=ReadOptions(split="time"))  # noqa: S301 - our own
    t = np.rint(samples[1][0].astype(np.float64) * 1e6).astype(np.int64)
    window = np.minimum((t - t[0]) // ((t[-1] - t[0]) // 4), 3)
    want = np.zeros((4, 700), int)
    np.add.at(want, (window, samples[1][1]), 1)
    assert np.array_equal(sample.values.reshape(4, 700), want)
    few = data_sets.network(channels=140, height=1, width=1, timesteps=4)
    summed = data.read(1, few, options=ReadOptions(split="time"))
    assert np.array_equal(summed.values.reshape(4, 140), want.reshape(4, 140, 5).sum(axis=2))
    assert any("5 neighbours" in note for note in summed.notes)
    assert api.simulate(few, summed).logits.shape == (3,)
    by_time = data.read(1, net, options=ReadOptions(split="duration", duration_us=100_000))
    assert by_time.timesteps == len(by_time.values) > 4
    with pytest.raises(RecordingError, match="takes \\[1, 1, 300\\]"):
        data.read(0, data_sets.network(channels=1, height=1, width=300))
    with pytest.raises(OptionError, match="`camera`"):
        data.read(0, net, options=ReadOptions(camera="left"))


def test_damaged_spikes_are_one_line(tmp_path):
    """Other lengths, other units, no lists of numbers."""
    heidelberg(tmp_path / "many.h5", units=900, seed=3)
    net = data_sets.network(channels=1, height=1, width=700)
    with pytest.raises(RecordingError, match="outside its sensor of 700"):
        open_dataset(tmp_path / "many.h5").read(0, net)
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["spikes/times"], file["spikes/units"] = np.zeros(3), np.zeros(3)
    with pytest.raises(RecordingError, match="no lists of numbers"):
        open_dataset(tmp_path / "plain.h5")
    heidelberg(tmp_path / "other.h5")
    with h5py.File(tmp_path / "other.h5", "a") as file:
        file["spikes/units"][1] = np.zeros(3, np.uint16)
    with pytest.raises(RecordingError, match="50 times and 3 units"):
        open_dataset(tmp_path / "other.h5").read(1, net)


def test_every_format_is_documented():
    """The list in docs/datasets.md is the registry's."""
    from pathlib import Path

    from evsim.datasets import format_table

    assert len({reader.NAME for reader in FORMATS}) == len(FORMATS)
    assert format_table() in (Path(__file__).parents[1] / "docs" / "datasets.md").read_text()

"""Where the audits and `evsim synthesize` write: refused before any work, over no input and no other output."""

from __future__ import annotations

import csv
import io
import os

import numpy as np
import pytest
from commands import evsim, refused

from evsim import modelfile
from evsim.converters.presets import Preset
from evsim.files import OutputError, check_outputs
from evsim.synthesis import synthesize

SMALL = Preset("imagenet", 32, 1, 4, 4, 10, 32, mean=(0.5,) * 3, std=(0.2,) * 3)
SWEEP = ("sweep", "--depth", "1", "--dim", "32", "--rates", "0.2", "--preset", "spikingformer-2-384-cifar10")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Return the paths of a model and of a folder with its input."""
    folder = tmp_path_factory.mktemp("model")
    made = synthesize(SMALL, 0.2)
    modelfile.save(made.network, folder / "model.h5")
    (folder / "in").mkdir()
    np.save(folder / "in" / "input.npy", made.sample)
    return folder / "model.h5", folder / "in"


def contents(folder):
    """Return every file under a folder with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("command", ["check", "compare"])
@pytest.mark.parametrize("victim", ["model", "input", "link"])
def test_no_audit_writes_over_what_it_reads(command, victim, model, tmp_path):
    """--json that names the model, the input, or a file of its folder is refused; all files stay as they are."""
    path, inputs = model
    target = {"model": path, "input": inputs / "input.npy", "link": tmp_path / "link"}[victim]
    if victim == "link":
        target.symlink_to(path)
    before = contents(path.parent)
    arguments = (path, "--input", inputs / "input.npy") if command == "check" else (path, path, "--input", inputs)
    assert "the very file that is read" in refused(command, *arguments, "--json", target)
    assert contents(path.parent) == before


@pytest.mark.parametrize("command", ["check", "compare", "paper", "sweep", "synthesize"])
@pytest.mark.parametrize(("place", "reason"), [("none/out", "there is no folder"), (".", "it is a folder")])
def test_bad_places_are_found_before_the_work(command, place, reason, model, tmp_path, monkeypatch):
    """A folder that is missing, or is given for a file, ends the command before a model is loaded or made."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("work was begun")

    monkeypatch.setattr("evsim.converters.load_model", never)
    monkeypatch.setattr("evsim.synthesis.synthesize", never)
    monkeypatch.setattr("evsim.audit.sweep.synthesize", never)
    monkeypatch.setattr("evsim.audit.paper.paper_table", never)
    path, inputs = model
    target = tmp_path / place
    arguments = {
        "check": (path, "--json", target),
        "compare": (path, path, "--input", inputs, "--json", target),
        "paper": ("--json", target),
        "sweep": (*SWEEP[1:], "--csv", target),
        "synthesize": ("spikingformer-2-256-dvs128", "-o", tmp_path / "m.h5", "--sample", target),
    }[command]
    assert reason in refused(command, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ("synthesize", "spikingformer-2-256-dvs128", "-o", "x", "--state-dict", "x"),
        ("synthesize", "spikingformer-2-256-dvs128", "-o", "x", "--sample", "./x"),
        (*SWEEP, "--csv", "s", "--json", "s"),
        (*SWEEP, "--csv", "-", "--json", "-"),
    ],
)
def test_two_outputs_in_one_file_are_refused(arguments, tmp_path, monkeypatch):
    """Two outputs of one name, however it is written, are refused before any work, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    reason = "both fill standard output" if "-" in arguments else "both write"
    assert reason in refused(*arguments)
    assert not list(tmp_path.iterdir())


def test_the_folder_of_counts_must_be_one(model, tmp_path):
    """--counts in a file, beneath a file, or where another output goes is refused before any work."""
    path, inputs = model
    (tmp_path / "file").write_text("mine")
    compare = ("compare", path, path, "--input", inputs)
    assert "is a file; give another folder" in refused(*compare, "--counts", tmp_path / "file")
    assert "is a file; give another folder" in refused(*SWEEP, "--counts", tmp_path / "file" / "counts")
    assert "in the way" in refused(*SWEEP, "--counts", tmp_path / "out" / "counts", "--json", tmp_path / "out")
    assert "in the way" in refused(*SWEEP, "--counts", tmp_path, "--csv", tmp_path / "spikingformer-1-32.counts.h5")
    assert contents(tmp_path) == {tmp_path / "file": b"mine"}


def test_outputs_of_different_names_pass(tmp_path):
    """New names, an existing output, standard output and None pass; a second name of one file does not."""
    (tmp_path / "old").write_text("")
    targets = {"a": tmp_path / "old", "b": tmp_path / "new", "--json": "-", "c": None}
    check_outputs(targets, [tmp_path / "in", None], tmp_path / "counts", ".h5")
    os.link(tmp_path / "old", tmp_path / "again")
    with pytest.raises(OutputError, match="both write"):
        check_outputs({"a": tmp_path / "old", "b": tmp_path / "again"})


def test_csv_on_standard_output_stands_alone(tmp_path, monkeypatch):
    """`sweep --csv -` prints the CSV and nothing else, and makes no file called "-"."""
    monkeypatch.chdir(tmp_path)
    outcome = evsim(*SWEEP, "--heads", "4", "--csv", "-")
    assert outcome.code == 0, outcome
    (row,) = csv.DictReader(io.StringIO(outcome.out))
    assert row["model"] == "spikingformer-1-32"
    assert int(row["sops"]) > 0
    assert not list(tmp_path.iterdir())

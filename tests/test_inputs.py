"""Whatever stands where a command reads a file: what never ends, and what no file can be named, is one line at once."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import typer
from commands import evsim

from evsim.cli.main import app

TESTS = Path(__file__).parent
DATA = TESTS.parent / "evsim" / "data"
MODEL, RECORDING = str(DATA / "model.h5"), str(DATA / "digit_3.aedat")
CHECKPOINT = str(TESTS / "data" / "golden" / "spikingformer-dvs" / "checkpoint.pth.tar")
RUN = ("run", MODEL, "--input", RECORDING)
NEURON = "block.0.mlp.mlp1_lif"
EXPLAIN = ("explain", MODEL, "--input", RECORDING, "--neuron", NEURON)
SWEEP = ("sweep", "--depth", "1", "--dim", "96", "--preset", "spikingformer-2-256-dvs128")
PATIENCE = 60
"""Seconds after which a command that should have refused at once is taken to wait for ever."""

INPUTS = {
    ("run", "model"): ("run", "X", "--input", RECORDING),
    ("run", "source"): ("run", MODEL, "--input", "X"),
    ("run", "trials"): (*RUN, "--trial", "1", "--trials", "X"),
    ("run", "profile"): (*RUN, "--profile", "X.toml"),
    ("check", "model"): ("check", "X"),
    ("check", "source"): ("check", MODEL, "--input", "X"),
    ("check", "trials"): ("check", MODEL, "--input", RECORDING, "--trial", "1", "--trials", "X"),
    ("check", "profile"): ("check", MODEL, "--input", RECORDING, "--profile", "X.toml"),
    ("compare", "first"): ("compare", "X", MODEL, "--input", RECORDING),
    ("compare", "second"): ("compare", MODEL, "X", "--input", RECORDING),
    ("compare", "source"): ("compare", MODEL, MODEL, "--input", "X"),
    ("compare", "trials"): ("compare", MODEL, MODEL, "--input", RECORDING, "--trial", "1", "--trials", "X"),
    ("compare", "profile"): ("compare", MODEL, MODEL, "--input", RECORDING, "--profile", "X.toml"),
    ("convert", "checkpoint"): ("convert", "X", "O/m.h5"),
    ("convert", "program_weights"): ("convert", "--from-torch", "x.py:f", "--checkpoint", "X", "O/m.h5"),
    ("explain", "model"): ("explain", "X", "--input", RECORDING, "--neuron", NEURON),
    ("explain", "source"): ("explain", MODEL, "--input", "X", "--neuron", NEURON),
    ("explain", "trials"): (*EXPLAIN, "--trial", "1", "--trials", "X"),
    ("explain", "profile"): (*EXPLAIN, "--profile", "X.toml"),
    ("live", "model"): ("live", "X", "--input", RECORDING),
    ("live", "source"): ("live", MODEL, "--input", "X"),
    ("live", "trials"): ("live", MODEL, "--input", RECORDING, "--trial", "1", "--trials", "X"),
    ("live", "profile"): ("live", MODEL, "--input", RECORDING, "--profile", "X.toml"),
    ("plot", "file"): ("plot", "X", "--kind", "energy", "-o", "O/f.svg"),
    ("plot", "profile"): ("plot", "C", "--kind", "energy", "-o", "O/f.svg", "--profile", "X.toml"),
    ("traffic", "file"): ("traffic", "X"),
    ("traffic", "source"): ("traffic", MODEL, "--input", "X"),
    ("traffic", "trials"): ("traffic", MODEL, "--input", RECORDING, "--trial", "1", "--trials", "X"),
    ("traffic", "profile"): ("traffic", MODEL, "--input", RECORDING, "--profile", "X.toml"),
    ("eval", "model"): ("eval", "X", str(DATA)),
    ("eval", "tables"): ("eval", MODEL, str(DATA), "--table", "X"),
    ("eval", "trials"): ("eval", MODEL, str(DATA), "--trial", "1", "--trials", "X"),
    ("eval", "profile"): ("eval", MODEL, str(DATA), "--profile", "X.toml"),
    ("export", "model"): ("export", "X", "O/g.nir"),
    ("quantize", "model"): ("quantize", "X", "O/m.h5"),
    ("quantize", "tables"): ("quantize", MODEL, "O/m.h5", "--calibrate", str(DATA), "--table", "X"),
    ("quantize", "trials"): ("quantize", MODEL, "O/m.h5", "--calibrate", RECORDING, "--trial", "1", "--trials", "X"),
    ("diverge", "model"): ("diverge", "X", "--input", RECORDING),
    ("diverge", "source"): ("diverge", "Q", "--input", "X"),
    ("diverge", "against"): ("diverge", "Q", "--input", RECORDING, "--against", "X"),
    ("diverge", "tables"): ("diverge", "Q", "--data", str(DATA), "--table", "X"),
    ("diverge", "trials"): ("diverge", "Q", "--input", RECORDING, "--trial", "1", "--trials", "X"),
    ("convert", "labels"): ("convert", CHECKPOINT, "O/m.h5", "--labels", "X"),
    ("convert", "keys"): ("convert", CHECKPOINT, "O/m.h5", "--keys", "X"),
    ("counts merge", "files"): ("counts", "merge", "X", "X", "--out", "O/c.h5"),
    ("energy", "files"): ("energy", "X"),
    ("energy", "profile"): ("energy", "C", "--profile", "X.toml"),
    ("events", "file"): ("events", "X"),
    ("events", "trials"): ("events", RECORDING, "--trial", "1", "--trials", "X"),
    ("info", "model"): ("info", "X"),
    ("profiles", "profile"): ("profiles", "--profile", "X.toml"),
    ("record", "image"): ("record", "X", "O/o.aedat"),
    ("sweep", "profile"): (*SWEEP, "--profile", "X.toml"),
}
"""Every place where a command reads a file: what to type, X for the file, O for a folder to write to, C for counts, Q
for a quantized model."""

OUTPUTS = {
    "out": ("convert", CHECKPOINT, "X.h5"),
    "json_file": (*RUN, "--json", "X.json"),
    "csv_file": (*SWEEP, "--csv", "X.csv"),
    "record_spikes": (*RUN, "--record-spikes", "X.h5"),
    "save_frames": (*RUN, "--save-frames", "X.npz"),
    "counts": (*RUN, "--counts", "X.h5"),
    "png": ("events", RECORDING, "--png", "X.png"),
    "gif": ("events", RECORDING, "--gif", "X.gif"),
    "webp": ("events", RECORDING, "--webp", "X.webp"),
    "html_file": (*RUN, "--html", "X.html"),
    "html": ("lesson", "-o", "X.html"),
    "trace": (*RUN, "--trace", "X.json"),
    "to": ("events", RECORDING, "--to", "X.csv"),
    "state_dict": ("synthesize", "spikingformer-2-256-dvs128", "--out", "O/m.h5", "--state-dict", "X.h5"),
    "sample": ("synthesize", "spikingformer-2-256-dvs128", "--out", "O/m.h5", "--sample", "X.npy"),
    "save": ("demo", "--save", "X"),
}
"""Parameters that name a file to write, in any command, and one such command."""

FOLDERS = {
    "sweep": (*SWEEP, "--counts", "X"),
    "compare": ("compare", MODEL, MODEL, "--input", RECORDING, "--counts", "X"),
}
NO_NAMES = {
    "zero byte": "a\0b",
    "surrogate": "a\ud800b",
    "5,000 letters": "x" * 5000,
    "2,500 folders": "x/" * 2500 + "y",
}
ODD_NAMES = {"escape": "a\x1b[31mb", "two lines": "a\nb", "no UTF-8": "a\udcffb"} | NO_NAMES


def commands(group, before=""):
    """Yield every command by its name."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def test_every_file_of_every_command_is_known_here():
    """A command that reads or writes a file by a new parameter has a line above."""
    files = ("MODEL", "MODEL_A", "MODEL_B", "FILE", "FILES", "PATH", "CHECKPOINT", "IMAGE", "OUT", "FOLDER")
    for name, command in commands(typer.main.get_command(app)):
        for parameter in command.params:
            named = parameter.name == "profile" or parameter.metavar in files
            if named and parameter.name not in (*OUTPUTS, "motion"):
                assert (name, parameter.name) in INPUTS


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Write counts of one run."""
    path = tmp_path_factory.mktemp("counts") / "counts.h5"
    assert evsim(*RUN, "--counts", path).code == 0
    assert evsim("quantize", MODEL, path.with_name("int8.h5")).code == 0
    return path


@contextmanager
def no_waiting():
    """Fail where a command waits for what never comes."""

    def fail(*_):
        pytest.fail(f"still waits after {PATIENCE} seconds")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fails(arguments, name, folder, counts=None):
    """Run a command with a name in place of X; it must end by one line for people and leave no file."""
    places = {"O": str(folder), "X": str(name), "C": str(counts), "Q": str(counts and counts.with_name("int8.h5"))}
    typed = [places.get(a, a.replace("O/", f"{folder}/") if a.startswith("O/") else a) for a in arguments]
    typed = [f"{name}{a[1:]}" if a.startswith("X.") else a for a in typed]
    with no_waiting():
        outcome = evsim(*typed)
    assert outcome.code == 2, (typed, outcome)
    assert outcome.out == "", typed
    assert outcome.err.startswith("evsim: "), outcome
    assert outcome.err.count("\n") == 1, outcome
    assert outcome.err.rstrip("\n").isprintable(), outcome
    assert len(outcome.err) < 1500, outcome
    assert list(folder.iterdir()) == [], typed
    return outcome.err


def endless(path):
    """Make a device of one's own that is like /dev/zero."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o444, os.makedev(1, 5))
        with path.open("rb") as file:
            file.read(1)
    except OSError:
        pytest.skip("devices cannot be made, or not used, in the temporary folder")


@pytest.mark.parametrize("what", ["a pipe", "a device", "a link to a device", "a folder", "nothing"])
@pytest.mark.parametrize("place", INPUTS, ids=" ".join)
def test_what_never_ends_is_refused_at_once(place, what, counts, tmp_path):
    """A FIFO that nobody writes to, a device of endless zeros, a folder and no file are named as such."""
    folder, suffix = tmp_path / "out", ".toml" if place[1] == "profile" else ""
    folder.mkdir()
    path = tmp_path / f"x.y{suffix}"
    if what == "a pipe":
        os.mkfifo(path)
    elif what == "a device":
        endless(path)
    elif what == "a link to a device":
        path.symlink_to("/dev/zero")
    elif what == "a folder":
        path.mkdir()
    text = fails(INPUTS[place], tmp_path / "x.y", folder, counts)
    assert str(tmp_path / "x.y") in text
    words = {
        "nothing": "does not exist",
        "a link to a device": "is a device",
        "a folder": "a folder|holds no files",
    }
    assert any(said in text for said in words.get(what, f"is {what}").split("|")), text


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("place", INPUTS, ids=" ".join)
def test_names_that_are_none_or_no_words(place, name, counts, tmp_path):
    """A name that no file can have, that a terminal would obey, or that fills a screen is one line for people."""
    (tmp_path / "out").mkdir()
    fails(INPUTS[place], f"{tmp_path}/{ODD_NAMES[name]}", tmp_path / "out", counts)


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("arguments", [*OUTPUTS.values(), *FOLDERS.values()], ids=[*OUTPUTS, *FOLDERS])
def test_outputs_of_names_that_no_file_can_have(arguments, name, tmp_path):
    """Such an output is refused before any work, and nothing else is written."""
    (tmp_path / "out").mkdir()
    fails(arguments, f"{tmp_path}/{NO_NAMES[name]}", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_files_of_odd_names_are_read(tmp_path):
    """A recording whose name is no UTF-8, or holds a newline and an escape, is read, and nothing obeys its name."""
    for name in (b"a\xffb.aedat", b"a\x1b[31m\nb.aedat"):
        path = os.path.join(os.fsencode(tmp_path), name)  # noqa: PTH118 - of bytes
        copy(RECORDING, path)
        command = [Path(sys.executable).with_name("evsim"), "events", path]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert outcome.returncode == 0, outcome
        assert outcome.stdout.replace("\n", "").isprintable(), outcome.stdout
        assert outcome.stdout.splitlines()[0].startswith(f"{tmp_path}/a")


def copy(source, target):
    """Copy a file to a name of bytes."""
    with Path(source).open("rb") as file, open(target, "wb") as other:  # noqa: PTH123 - of bytes
        other.write(file.read())

"""Every reader on files that nobody meant: read, or refused in one line, in bounded memory and time; never a crash.

A short run of tests/fuzz.py, of the same files every time; `make fuzz` goes on to others. Inputs that were at fault
once lie in tests/data/fuzz.
"""

from __future__ import annotations

import faulthandler
import json
import os
import re
import signal
import subprocess
import sys
import warnings
from types import SimpleNamespace

import fuzz
import fuzz_judge
import numpy as np
import pytest
from fuzz_models import MODELS
from fuzz_readers import READERS, Reader

from evsim import events
from evsim.errors import EvsimError, RecordingError
from evsim.primitives import NODE_TYPES

NUMBER = 100
SECONDS = 20
"""Files of each reader, and seconds at most."""

ONCE = sorted(fuzz.CORPUS.glob("*/*"))


@pytest.fixture(scope="module")
def short_run():
    """Fuzz all readers in a process of its own; return what it printed, by reader."""
    command = [sys.executable, fuzz.__file__, "--fresh", "--number", str(NUMBER), "--seconds", str(SECONDS)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.stderr == ""
    reports = re.findall(r"^(\S+): ({.*}), \d+ s\n((?: .*\n)*)", run.stdout, re.MULTILINE)
    return {name: (json.loads(fates), faults) for name, fates, faults in reports}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused(name, short_run):
    """No file of a short run is at fault; some are refused, and some still read."""
    fates, faults = short_run[name]
    assert faults == ""
    assert fates.keys() <= {"read", "refused", "library"}
    assert fates["refused"] > 0
    assert fates["read"] > 0


@pytest.mark.parametrize("path", ONCE, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_was_at_fault_once_is_not_again(path, tmp_path):
    """An input that crashed a reader, or was refused in an unfit line, is read or refused as it should."""
    reader, content = READERS[path.parent.name], path.read_bytes()
    again = SimpleNamespace(**vars(reader), whole=reader.whole, input=lambda _: content)
    assert fuzz_judge.tried(again, tmp_path, 0, 5)[1] == []


def test_every_format_is_fuzzed(tmp_path):
    """The whole files are of every format of recordings that evsim knows: a new format is entered in READERS."""
    formats = set()
    for name, reader in READERS.items():
        for content in reader.whole():
            (tmp_path / name).write_bytes(content)
            try:
                formats.add(events.open_stream(tmp_path / name).format)
            except EvsimError:  # a model, a picture, a table whose columns must be told
                continue
    tables = {"npz", "npy"}
    assert {name[:3] if name.startswith("evt") else name for name in formats} | tables >= {
        reader.NAME for reader in events.FORMATS
    }
    assert tables <= {name.rpartition(".")[2] for name in READERS}


def test_every_primitive_is_fuzzed():
    """Whole files of model.h5 and counts.h5 hold every primitive: a new one is entered in fuzz_models.py."""
    assert {type(node).__name__ for model in MODELS for node in model().nodes} == NODE_TYPES.keys()


def test_the_table_in_the_documents_is_the_state():
    """docs/security.md shows what `make fuzz-figures` prints."""
    text = (fuzz.TESTS.parent / "docs" / "security.md").read_text()
    assert fuzz.table() in text


def crashes(_path, _rng):
    """End the process."""
    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)


def grows(_path, _rng):
    """Take more memory than a file of a few bytes justifies."""
    assert np.ones(200 << 20, np.uint8).all()


def never_ends(_path, _rng):
    """Compute for ever."""
    while True:
        pass


def warns(_path, _rng):
    """Say something on standard error."""
    warnings.warn("a second line", stacklevel=1)


def talks(_path, _rng):
    """Write on standard error, as libraries in C do."""
    os.write(2, b"a second line")


def fails(path, _rng):
    """Raise what is no error of evsim's."""
    raise KeyError(path.name)


def hides_the_file(_path, _rng):
    """Refuse without a word about which file it was."""
    raise RecordingError("a file is damaged")


FAULTY = {
    crashes: "ended the process, code -11",
    grows: "memory grew by 2",
    never_ends: "more than",
    warns: "UserWarning",
    talks: "standard error",
    fails: "KeyError at test_fuzz.py",
    hides_the_file: "does not name the file",
}


@pytest.mark.parametrize("read", FAULTY, ids=lambda read: read.__name__)
def test_the_fuzzer_finds_faults(read, tmp_path, monkeypatch):
    """A reader that crashes, fails, grows, loops or warns on every third file is found out by the file's seed."""
    monkeypatch.setattr(fuzz_judge, "ROOM", 64 << 20)
    monkeypatch.setattr(fuzz_judge, "SECONDS", 0)
    turns = iter(range(100))

    def reads(path, rng):
        if path.read_bytes() != b"whole" and next(turns) == 2:
            read(path, rng)

    fates, faults = fuzz_judge.tried(Reader("a.bin", lambda: [b"whole"], reads), tmp_path, 10, 4)
    assert [seed for seed, _ in faults] == [12]
    assert FAULTY[read] in faults[0][1]
    assert fates == {"read": 3, "fault": 1}


def test_what_breaks_a_library_is_read_as_evsim_reads_it(tmp_path):
    """A file that ends the fuzzer's process by way of a library is no fault where evsim's child takes it."""
    called_here = []

    def here():
        called_here.append(True)

    def reads(_path, _rng):
        if called_here:
            faulthandler.disable()
            os.abort()

    fates, faults = fuzz_judge.tried(Reader("a.h5", lambda: [b"whole"], reads, library=here), tmp_path, 0, 3)
    assert faults == []
    assert fates == {"library": 3}


def test_a_seed_makes_the_same_file_again():
    """Files follow from the reader's name and the seed alone, and differ."""
    for name in ("two.aedat", "state.pkl", "counts.h5"):
        reader = READERS[name]
        files = [reader.input(seed) for seed in range(20)]
        assert files == [reader.input(seed) for seed in range(20)]
        assert len(set(files)) > 15

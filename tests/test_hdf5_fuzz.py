"""Damaged HDF5 files: whatever byte is changed, each reader reads the file or refuses it in its own error.

``EVSIM_FUZZ=10000 python tests/test_hdf5_fuzz.py`` runs so many per reader and prints what became of them.
"""

from __future__ import annotations

import io
import json
import os
import random
import re
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from evsim import child, countsfile, modelfile
from evsim.converters.checkpoint import read_checkpoint
from evsim.counters import merged
from evsim.energy import charge
from evsim.errors import EvsimError
from evsim.events import read

TESTS = Path(__file__).parent
GOLDEN = TESTS / "data" / "golden" / "spikingformer-dvs"
NUMBER = int(os.environ.get("EVSIM_FUZZ", "60"))
LONGEST = 8.0
"""Seconds that one file may take: a library that never ends is stopped after two of computing."""

FAULTS = (AssertionError, ArithmeticError, AttributeError, ValueError, TypeError, LookupError, MemoryError, OSError)
"""What no reader may raise of itself."""

EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF)


def read_model(path):
    """Load a network and fetch every weight."""
    network = modelfile.load(path)
    for key in network.weights:
        assert np.isfinite(network.weights[key]).all()


def read_counts(path):
    """Load counts, add them up and charge them."""
    counts = countsfile.load(path).counts
    for model in ("paper", "exact"):
        assert charge(merged([counts, counts]), model).pj >= 0.0


def read_state(path):
    """Read every tensor of a state_dict."""
    checkpoint = read_checkpoint(path)
    for key in checkpoint.tensors:
        assert checkpoint.tensors[key].shape == checkpoint.shapes[key]


def read_events(path):
    """Read all events."""
    assert len(read(path).t) < 1 << 24


READERS = {"model.h5": read_model, "counts.h5": read_counts, "state_dict.h5": read_state, "events.h5": read_events}


def content(name):
    """Return a whole file of each kind."""
    if name == "state_dict.h5":
        return (GOLDEN / "state_dict.h5").read_bytes()
    if name == "events.h5":
        buffer = io.BytesIO()
        with h5py.File(buffer, "w") as file:
            for key, dtype in zip("txyp", ("i8", "u2", "u2", "u1"), strict=True):
                values = np.arange(500) % 2 if key == "p" else np.arange(500)
                compression = "gzip" if key in "tx" else None
                file.create_dataset(f"events/{key}", data=values.astype(dtype), compression=compression)
            file["t_offset"] = 12
        return buffer.getvalue()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        network = golden_network()
        if name == "model.h5":
            modelfile.save(network, path)
        else:
            from evsim import api

            run = api.simulate(network, np.load(GOLDEN / "input.npy"), detail=True)
            run.save_counts(path)
        return path.read_bytes()


def golden_network():
    """Convert the golden checkpoint."""
    from evsim.converters import convert

    return convert(GOLDEN / "checkpoint.pth.tar").network


def mutated(whole, rng):
    """Change some bytes, mostly where HDF5 keeps its own: signatures, sizes, addresses, JSON."""
    changed = bytearray(whole)
    marks = MARKS.setdefault(len(whole), structure(whole))
    for _ in range(rng.choice((1, 1, 1, 1, 2))):
        near = rng.choice(marks) + rng.randrange(-8, 64) if rng.random() < 0.5 else rng.randrange(len(whole))
        at = min(max(near, 0), len(changed) - 9)
        kind = rng.randrange(6)
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.choice(EXTREMES)
        elif kind == 2:
            changed[at : at + 8] = rng.choice((b"\xff" * 8, bytes(8), (1 << rng.randrange(63)).to_bytes(8, "little")))
        elif kind == 3:
            changed[at : at + 4] = rng.choice((b"\xff\xff\xff\x7f", bytes(4), rng.randbytes(4)))
        elif kind == 4:
            other = rng.choice(marks)
            changed[at : at + 8] = whole[other : other + 8]
        else:
            changed[at] = rng.randrange(256)
    return bytes(changed[: rng.randrange(len(changed))] if rng.random() < 0.02 else changed)


MARKS: dict[int, list[int]] = {}


def structure(whole):
    """Return where the structures of HDF5 begin, and JSON stands."""
    found = [
        m.start() for m in re.finditer(rb"OHDR|OCHK|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|GCOL|TREE|SNOD|HEAP|FADB|FAHD", whole)
    ]
    texts = [m.start() for m in re.finditer(rb'[:,] ?["\d\[{]', whole)]
    return [0, 8, 32, 48, *found * 4, *texts]


def outcome(reader, path):
    """Read a file and say what became of it; any error but evsim's own, and a file that takes too long, is a fault."""
    begin = time.monotonic()
    try:
        reader(path)
        said = "read"
    except EvsimError as error:
        text = str(error)
        assert str(path) in text, text
        found = re.search(r"crashed \((\w+)\)|come to an end|is refused|claims", text)
        said = found[0] if found else "refused"
    assert time.monotonic() - begin < LONGEST, "takes too long"
    return said


@pytest.mark.parametrize("name", READERS)
def test_changed_bytes_are_one_line(name, tmp_path):
    """Files with bytes changed are read, or refused by evsim's own error that names the file."""
    whole = content(name)
    (tmp_path / name).write_bytes(whole)
    READERS[name](tmp_path / name)
    fates = Counter()
    for seed in range(NUMBER):
        (tmp_path / name).write_bytes(mutated(whole, random.Random(f"{name} {seed}")))
        fates[outcome(READERS[name], tmp_path / name)] += 1
    assert sum(fates.values()) == NUMBER
    assert len(fates) > 1, "nothing was ever refused: the bytes changed are not those that matter"


ODD = (
    None, True, -1, 0, 1e400, -0.5, 2**31, 2**63, 10**30, "x", "", "\ud800", "\x1b[31m", [], [1], {}, {"a": 1},
    [[[]]], "conv", [0, 0], [10**9, 10**9],
)  # fmt: skip


def leaves(value, path=()):
    """Yield the path of every value within JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from leaves(item, (*path, key))


def changed_leaf(value, path, odd, rng):
    """Return JSON with one value replaced, left out, or joined by a stranger."""
    if not path:
        return odd
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if rng.random() < 0.15:
        del holder[path[-1]]
    elif isinstance(holder, dict) and rng.random() < 0.1:
        holder["stranger"] = odd
    else:
        holder[path[-1]] = odd
    return value


PLACES = {"model.h5": ("@network", "@input", "nodes", "labels", "provenance"), "counts.h5": ("layers", "origin")}


@pytest.mark.parametrize("name", PLACES)
def test_changed_json_is_one_line(name, tmp_path):
    """A file whose JSON says anything else at any place is read, or refused by evsim's own error."""
    whole, path = content(name), tmp_path / name
    fates = Counter()
    for seed in range(NUMBER):
        rng = random.Random(f"json {name} {seed}")
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:
            place = rng.choice(PLACES[name])
            text = file.attrs[place[1:]] if place[0] == "@" else file[place][()]
            value = json.loads(text)
            new = json.dumps(changed_leaf(value, rng.choice(list(leaves(value))), rng.choice(ODD), rng))
            if place[0] == "@":
                file.attrs[place[1:]] = new
            else:
                del file[place]
                file[place] = new
        fates[outcome(READERS[name], path)] += 1
    assert fates["refused"] > NUMBER // 4


def worker(name, folder, begin, progress):
    """Read files from a seed on, all in this process, which libhdf5 may crash; write down how far it is."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    whole, path, fates = content(name), Path(folder) / name, Counter()
    for seed in range(begin, NUMBER):
        spent = resource.getrusage(resource.RUSAGE_SELF)
        resource.setrlimit(resource.RLIMIT_CPU, (int(spent.ru_utime + spent.ru_stime) + 6, resource.RLIM_INFINITY))
        path.write_bytes(mutated(whole, random.Random(f"{name} {seed}")))
        try:
            fates[outcome(READERS[name], path)] += 1
        except FAULTS as error:
            fates[f"FAULT {type(error).__name__}"] += 1
            print(f"{name}, seed {seed}: {error!r}", file=sys.stderr)
        progress.write_text(json.dumps([seed, fates]))


def main():
    """Read many files of each kind and print the figures.

    The child's own function runs in a thread of a worker process, so that a crash of libhdf5 costs a worker; it is
    counted, and the file read once more as evsim reads it.
    """
    resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))
    for name in sys.argv[1:] or READERS:
        total, begin = Counter(), 0
        with tempfile.TemporaryDirectory() as folder:
            progress = Path(folder) / "progress"
            while begin < NUMBER:
                progress.write_text(json.dumps([begin - 1, {}]))
                pid = os.fork()
                if not pid:
                    child.in_thread = lambda: True
                    worker(name, folder, begin, progress)
                    os._exit(0)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                seed, fates = json.loads(progress.read_text())
                total.update(fates)
                begin = seed + 1
                if code:
                    again = outcome(READERS[name], Path(folder) / name)
                    total[f"libhdf5: signal {-code}, evsim: {again}"] += 1
                    begin += 1
        print(f"{name}: {NUMBER} files, {dict(total.most_common())}", flush=True)


if __name__ == "__main__":
    main()

"""Mutates pickles, zip files and safetensors, and reads them: ``python tests/checkpoint_fuzz.py READER N [SEED]``.

A crash is anything that is not evsim's own error, memory beyond the bound, or five seconds. It prints the seed of each
input that crashed, by which it can be made again, and how many were read and how many refused.
"""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import random
import resource
import signal
import struct
import sys
import tempfile
import zipfile
from collections import Counter, OrderedDict
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
from torch_files import Namespace, Tensor, write_checkpoint

from evsim.converters.checkpoint import read_checkpoint
from evsim.errors import EvsimError

SECONDS = 5
MOST_GROWTH = 500 << 20
"""Bytes that the process may grow by."""

NAMES = [
    b"collections\nOrderedDict\n", b"torch._utils\n_rebuild_tensor_v2\n", b"torch\nFloatStorage\n", b"torch\nSize\n",
    b"torch._utils\n_rebuild_tensor_v3\n", b"torch._tensor\n_rebuild_from_type_v2\n", b"numpy\ndtype\n",
    b"numpy.core.multiarray\n_reconstruct\n", b"numpy.core.multiarray\nscalar\n", b"numpy\nndarray\n",
    b"_codecs\nencode\n", b"argparse\nNamespace\n", b"builtins\nset\n", b"copyreg\n_reconstructor\n", b"os\nsystem\n",
    b"torch\nQInt8Storage\n", b"numpy.core.numeric\n_frombuffer\n", b"torch._utils\n_rebuild_parameter\n",
]  # fmt: skip
TEXTS = [b"a.weight", b"args", b"state_dict", b"\xed\xa0\x80", b"", b"storage", b"0", b"latin1", b"x" * 70_000]
ARGUMENTS = {
    "B": [b"\0\0\0\0", b"\4\0\0\0abcd", b"\xff\xff\xff\xff", b"\0\0\0\x80"],
    "C": [b"\3abc"],
    "F": [b"1e5\n", b"x\n"],
    "G": [struct.pack(">d", 0.5), b"\xff" * 8],
    "I": [b"0\n", b"01\n", b"-1\n", b"9" * 30 + b"\n"],
    "J": [b"\1\0\0\0", b"\xff\xff\xff\xff"],
    "K": [bytes([n]) for n in (0, 1, 2, 3, 255)],
    "L": [b"12L\n", b"9" * 500 + b"L\n"],
    "M": [b"\0\1"],
    "S": [b"'x'\n", b"'x\n"],
    "V": [b"x\n"],
    "X": [struct.pack("<I", len(text)) + text for text in TEXTS],
    "\x80": [bytes([n]) for n in range(7)],
    "\x8a": [b"\1\5", b"\x08" + b"\x7f" * 8, b"\x41" + b"\1" * 65],
    "\x8b": [struct.pack("<i", n) + b"\1" for n in (1, 1 << 30, -1)],
    "\x8c": [b"\1a"],
    "\x8d": [struct.pack("<Q", n) + b"a" for n in (1, 1 << 50)],
    "\x8e": [struct.pack("<Q", n) + b"a" for n in (1, 1 << 50)],
    "\x95": [b"\0" * 8, b"\xff" * 8],
    "\x96": [struct.pack("<Q", n) + b"ab" for n in (0, 2, 1 << 40)],
    "c": NAMES,
    "g": [b"%d\n" % n for n in range(60)],
    "h": [bytes([n]) for n in range(60)],
    "i": NAMES,
    "j": [struct.pack("<I", n) for n in range(60)],
    "p": [b"%d\n" % n for n in range(60)],
    "q": [bytes([n]) for n in range(60)],
    "r": [struct.pack("<I", n) for n in (1, 50, 1 << 31)],
}
"""Arguments of opcodes; the other opcodes have none."""

PLAIN = "N\x88\x89)]}(tldauseR\x81\x85\x86\x87Qb021o\x8f\x90\x91\x92\x93\x94."


def seeds(folder):
    """Return honest files by the name of their reader; a reader takes any of its own."""
    rng = np.random.default_rng(3)
    arrays = {f"{m}.{p}": rng.normal(size=(2, 3)).astype(np.float32) for m in "ab" for p in ("weight", "bias")}
    tensors = OrderedDict((k, Tensor(v)) for k, v in arrays.items())
    args = Namespace(model="vitsnn", num_heads=2, mean=(0.5, 0.5), path=Path("x"), rng=np.random.default_rng(0))
    content = {"state_dict": tensors, "state_dict_ema": dict(tensors), "args": args, "epoch": 3, "best": np.float64(2)}
    torch = write_checkpoint(folder / "t.pth", content).read_bytes()
    mixed = write_checkpoint(folder / "n.pth", {"net": arrays, "e": {1, 2}, "args": {"T": np.int64(4)}}).read_bytes()
    return {
        "pickle": [_pickle_of(torch), _pickle_of(mixed), *(pickle.dumps({"net": arrays}, p) for p in (2, 4, 5))],
        "zip": [torch, mixed, _deflated(torch)],
        "safetensors": [_safetensors(arrays)],
    }


def _pickle_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return archive.read("archive/data.pkl")


def _deflated(content):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    return out.getvalue()


def _safetensors(arrays):
    header, place = {"__metadata__": {"format": "pt"}}, 0
    for name, value in arrays.items():
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [place, place + value.nbytes]}
        place += value.nbytes
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(v.tobytes() for v in arrays.values())


def opcodes(r, content):
    """Change a pickle by whole opcodes: some left out, doubled, moved, or new ones between."""
    at = [place for _, _, place in pickletools.genops(content)] + [len(content)]
    parts = [content[a:b] for a, b in pairwise(at)]
    for _ in range(r.randint(1, 6)):
        place = r.randrange(len(parts))
        what = r.random()
        if what < 0.2:
            del parts[place]
        elif what < 0.35:
            parts.insert(r.randrange(len(parts)), parts[place])
        elif what < 0.45:
            parts[place] = parts[place] * r.choice([2, 50, 5000] if len(parts[place]) < 1000 else [2, 9])
        else:
            code = r.choice(PLAIN) if r.random() < 0.5 else r.choice(list(ARGUMENTS))
            more = r.choice(ARGUMENTS.get(code, [b""]))
            parts.insert(place, code.encode("latin-1") + more)
        if not parts:
            parts = [b"."]
    return b"".join(parts)


def damaged(r, content):
    """Change bytes, cut, double or overwrite a part; the beginning and the end are hit more often than chance would."""
    changed = bytearray(content)
    for _ in range(r.randint(1, 6)):
        if not changed:
            break
        low, high = r.choice(
            [(0, 64), (0, len(changed)), (0, len(changed)), (max(0, len(changed) - 400), len(changed))]
        )
        place, length = r.randrange(low, max(low + 1, min(high, len(changed)))), r.randint(1, 40)
        what = r.random()
        if what < 0.55:
            changed[place] = r.choice([0, 1, 0x7F, 0x80, 0xFF, r.randrange(256)])
        elif what < 0.7:
            del changed[place : place + length]
        elif what < 0.8:
            changed[place:place] = changed[place : place + length]
        elif what < 0.95:
            changed[place : place + 4] = struct.pack("<I", r.choice([0, 1, 0x7FFFFFFF, 0xFFFFFFFF, len(changed)]))
        else:
            del changed[place:]
    return bytes(changed)


def entries(r, content):
    """Change the header of a safetensors file as JSON, its length told rightly."""
    length = int.from_bytes(content[:8], "little")
    header, rest = json.loads(content[8 : 8 + length]), content[8 + length :]
    values = [
        0,
        -1,
        1,
        2.5,
        1 << 62,
        10**30,
        None,
        True,
        "F32",
        "F64",
        "BF16",
        "F8_E4M3",
        [],
        [2, 3],
        [0, 24],
        {},
        "x\x1b",
    ]
    for _ in range(r.randint(1, 4)):
        name = r.choice(list(header))
        entry = header[name]
        if r.random() < 0.2 or not isinstance(entry, dict) or not entry:
            header[r.choice([name, "new.weight", "x\x00y", "\ud800"])] = r.choice([*values, entry])
        elif r.random() < 0.2:
            entry.pop(r.choice(list(entry)))
        else:
            key = r.choice([*entry, "more"])
            if isinstance(entry.get(key), list) and entry[key] and r.random() < 0.7:
                entry[key] = list(entry[key])
                entry[key][r.randrange(len(entry[key]))] = r.choice(values)
            else:
                entry[key] = r.choice(values)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def _wrapped(content, method=zipfile.ZIP_STORED):
    """Return the zip file around a pickle, with storages for all its tensors."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("archive/data.pkl", content)
        for key in range(4):
            archive.writestr(f"archive/data/{key}", bytes(24))
    return out.getvalue()


def mutated(reader, contents, seed):
    """Return one mutated file of a reader; the same seed gives the same."""
    r = random.Random(seed)
    content = r.choice(contents)
    if reader == "pickle":
        changed = opcodes(r, content) if r.random() < 0.7 else damaged(r, content)
        if r.random() < 0.4:
            return changed
        return _wrapped(changed, r.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    if reader == "safetensors" and r.random() < 0.6:
        return entries(r, content)
    return damaged(r, content)


def touch(path):
    """Read a checkpoint and every tensor in it."""
    checkpoint = read_checkpoint(path)
    for key in checkpoint.shapes:
        _ = checkpoint.tensors[key].shape
    return len(checkpoint.shapes)


@contextmanager
def _limited():
    def late(*_):
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def fuzz(reader, number, start=0):
    """Read `number` mutated files; return how many were read, how many refused, and the seeds of those that crashed."""
    outcomes, crashed = Counter(), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        contents, path = seeds(folder)[reader], folder / "c.pth"
        for content in contents:
            path.write_bytes(_wrapped(content) if reader == "pickle" else content)
            assert touch(path) > 0
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for seed in range(start, start + number):
            path.write_bytes(mutated(reader, contents, seed))
            try:
                with _limited():
                    touch(path)
                outcomes["read"] += 1
            except EvsimError as error:
                outcomes["refused"] += 1
                if str(path) not in str(error) or "\n" in str(error):
                    crashed[seed] = f"message {error!r}"
            except BaseException as error:  # noqa: BLE001 - whatever comes is what is looked for
                crashed[seed] = repr(error)[:200]
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
            if grown > MOST_GROWTH:
                crashed[seed] = f"grew by {grown} bytes"
                break
        outcomes["grown MB"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
    return outcomes, crashed


if __name__ == "__main__":
    totals, faults = fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    print(sys.argv[1], dict(totals), f"{len(faults)} crashes")
    for seed, what in list(faults.items())[:20]:
        print(seed, what)

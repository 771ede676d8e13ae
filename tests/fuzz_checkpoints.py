"""Whole pickles, zip files and safetensors for the fuzzer, and changes that keep their frame whole."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path

import numpy as np
from torch_files import Namespace, Tensor, write_checkpoint

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


def opcodes(content, r):
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


def entries(content, r):
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


def in_a_zip(content, r):
    """Change a pickle by whole opcodes, and put it into a zip file as PyTorch does."""
    return _wrapped(opcodes(content, r), r.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))


def within_its_pickle(content, r):
    """Change the pickle of a zip file by whole opcodes."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w") as packed:
        for name in archive.namelist():
            member = archive.read(name)
            packed.writestr(name, opcodes(member, r) if name.endswith("data.pkl") else member)
    return out.getvalue()


def _wrapped(content, method=zipfile.ZIP_STORED):
    """Return the zip file around a pickle, with storages for all its tensors."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("archive/data.pkl", content)
        for key in range(4):
            archive.writestr(f"archive/data/{key}", bytes(24))
    return out.getvalue()

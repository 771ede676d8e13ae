"""Damage for the fuzzer: bytes, numbers, words and parts of a file changed; and files rebuilt around what was changed.

Everything is drawn from one `random.Random`, so a seed makes the same file again.
"""

from __future__ import annotations

import copy
import gzip
import io
import json
import re
import struct
import warnings
import zipfile
import zlib

EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFE, 0xFF)
WHOLE = (0, 1, 2, 7, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**48, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
NUMBERS = (
    b"0", b"1", b"-1", b"2147483648", b"9223372036854775807", b"9223372036854775808", b"1e400", b"1e308", b"-0.5",
    b"nan", b"inf", b"9" * 40, b"0x10", b"1_0", b"", b"\xd9\xa3",
)  # fmt: skip
ODD = (
    None, True, -1, 0, 1e400, -0.5, 2**31, 2**63, 10**30, "x", "", "\ud800", "\x1b[31m", [], [1], {}, {"a": 1},
    [[[]]], "conv", [0, 0], [10**9, 10**9], 3, 64, [3, 3],
)  # fmt: skip
"""Values that JSON may hold where another was meant."""

HEAD = 512
"""Bytes at a file's start that are hit more often than chance would."""


def damaged(content, rng, tokens=(), others=(), marks=()):
    """Return a file with one to six changes.

    `tokens` are words of the format, `others` whole files of the same reader to take parts of, `marks` places where its
    structures begin.
    """
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        _change(changed, rng, tokens, others, marks)
    return bytes(changed)


def _change(changed, rng, tokens, others, marks):
    end = len(changed)
    if not end:
        changed += rng.randbytes(8)
        return
    place = rng.randrange(min(end, HEAD) if rng.random() < 0.4 else end)
    if marks and rng.random() < 0.5:
        place = min(max(rng.choice(marks) + rng.randrange(-8, 64), 0), end - 1)
    length = rng.choice((1, 2, 4, 8, rng.randint(1, 40), rng.randint(1, 400)))
    kind = rng.choice(KINDS)
    if kind == "bit":
        changed[place] ^= 1 << rng.randrange(8)
    elif kind == "byte":
        changed[place] = rng.choice(EXTREMES) if rng.random() < 0.5 else rng.randrange(256)
    elif kind == "whole":
        size = rng.choice((2, 4, 8))
        value = rng.choice(WHOLE) + rng.choice((0, 0, -1, 1))
        changed[place : place + size] = (value % (1 << 8 * size)).to_bytes(size, rng.choice(("little", "big")))
    elif kind == "cut":
        del changed[place : place + length]
    elif kind == "double":
        changed[place:place] = changed[place : place + length] * rng.choice((1, 1, 1, 9))
    elif kind == "move":
        other = rng.randrange(end)
        changed[other : other + length] = changed[place : place + length]
    elif kind == "end":
        del changed[rng.randrange(end) :]
    elif kind == "noise":
        changed[place : place + length] = rng.randbytes(length)
    elif kind == "token" and tokens:
        stretch = rng.choice((0, 0, length))
        changed[place : place + stretch] = rng.choice(tokens)
    elif kind == "splice" and others:
        other = rng.choice(others)
        start = rng.randrange(len(other) + 1)
        changed[place : place + rng.choice((0, length))] = other[start : start + length]
    elif numbers := [*re.finditer(rb"-?\d+(?:\.\d+)?", bytes(changed[place : place + 4096]))]:
        span = rng.choice(numbers[:20])
        changed[place + span.start() : place + span.end()] = rng.choice(NUMBERS)


KINDS = (
    "bit", "bit", "byte", "byte", "byte", "whole", "whole", "cut", "double", "move", "end", "noise", "token", "token",
    "splice", "number",
)  # fmt: skip


def within_zip(content, rng):
    """Return a zip file whose members or their names are changed, and whose checksums are right."""
    out = io.BytesIO()
    warnings.filterwarnings("ignore", "Duplicate name")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    chosen = rng.randrange(len(members))
    with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as packed:
        for number, (name, inner) in enumerate(members):
            if number == chosen and rng.random() < 0.1:
                continue
            if number == chosen and rng.random() < 0.2:
                packed.writestr(rng.choice(("x", "../x.aedat", "a/b.npy", "t.npy", "\x1b", "x" * 3000)), inner)
                continue
            packed.writestr(name, damaged(inner, rng) if number == chosen else inner)
    return out.getvalue()


def within_gzip(content, rng):
    """Return a gzip file of a damaged file."""
    return gzip.compress(damaged(gzip.decompress(content), rng), 1)


def within_png(content, rng):
    """Return a PNG with one chunk changed, its checksum right; pixels are changed before they are packed."""
    chunks, place = [], 8
    while place < len(content):
        (length,) = struct.unpack_from(">I", content, place)
        chunks.append((content[place + 4 : place + 8], content[place + 8 : place + 8 + length]))
        place += 12 + length
    chosen = rng.randrange(len(chunks))
    parts = [content[:8]]
    for number, (kind, body) in enumerate(chunks):
        if number == chosen:
            unpacked = zlib.decompress(body) if kind == b"IDAT" else body
            body = damaged(unpacked, rng)  # noqa: PLW2901
            body = zlib.compress(body) if kind == b"IDAT" else body  # noqa: PLW2901
            kind = rng.choice((kind, kind, kind, b"tEXt", b"PLTE", b"acTL", b"eXIf"))  # noqa: PLW2901
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(parts)


def hdf5_marks(content):
    """Return where the structures of HDF5 begin, and where JSON stands."""
    signs = rb"OHDR|OCHK|FRHP|FHDB|FHIB|BTHD|BTLF|BTIN|GCOL|TREE|SNOD|HEAP|FADB|FAHD"
    signatures = [match.start() for match in re.finditer(signs, content)]
    texts = [match.start() for match in re.finditer(rb'[:,] ?["\d\[{]', content)]
    return [0, 8, 32, 48, *signatures * 4, *texts]


def within_json(places):
    """Return a change of the JSON in an HDF5 file: ``@name`` is an attribute of the root, else a dataset."""

    def change(content, rng):
        import h5py

        buffer = io.BytesIO(content)
        with h5py.File(buffer, "r+") as file:
            place = rng.choice(places)
            text = file.attrs[place[1:]] if place[0] == "@" else file[place][()]
            value = json.loads(text)
            for _ in range(rng.choice((1, 1, 1, 2))):
                value = changed_leaf(value, rng.choice([*_leaves(value)]), rng)
            if place[0] == "@":
                file.attrs[place[1:]] = json.dumps(value)
            else:
                del file[place]
                file[place] = json.dumps(value)
        return buffer.getvalue()

    return change


def changed_leaf(value, path, rng):
    """Return JSON with the value at a path replaced, left out, taken from elsewhere, or joined by a stranger."""
    odd = copy.deepcopy(rng.choice(ODD))
    if not path:
        return odd
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if rng.random() < 0.15:
        del holder[path[-1]]
    elif isinstance(holder, dict) and rng.random() < 0.1:
        holder["stranger"] = odd
    elif rng.random() < 0.3:
        items = [*holder.values()] if isinstance(holder, dict) else holder
        holder[path[-1]] = json.loads(json.dumps(rng.choice(items)))
    elif isinstance(holder[path[-1]], int) and rng.random() < 0.5:
        holder[path[-1]] += rng.choice((-1, 1, 2, 1000))
    else:
        holder[path[-1]] = odd
    return value


def _leaves(value, path=()):
    """Yield the path of every value within JSON."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _leaves(item, (*path, key))

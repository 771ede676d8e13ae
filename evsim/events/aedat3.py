"""AEDAT 3.1: the format of DVS128 Gesture. Little-endian packets of polarity events, each with a header."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.binary import Window, header_lines
from evsim.events.options import ReadOptions
from evsim.events.types import PIECE, Piece, Recording, Size, Stream, empty_piece
from evsim.files import replacing

NAME = "aedat3"
SUFFIXES = (".aedat",)
ABOUT = "AEDAT 3.1 (DVS128 Gesture)"
SIZE = "`Source` in the header, if it is a known camera"
MAGIC = b"#!AER-DAT3"
VERSION = b"#!AER-DAT3.1"
END = b"#!END-HEADER"
SOURCES = {"DVS128": (128, 128), "DAVIS240": (240, 180), "DAVIS346": (346, 260), "DAVIS640": (640, 480)}
PACKET = struct.Struct("<hhiiiiii")
"""Type, source, size of an event, offset of its time, time overflow, capacity, number, valid."""

EVENT = np.dtype([("word", "<u4"), ("time", "<u4")])
POLARITY = 1
LARGEST_KIND = 256
"""Kinds of packet go up to 13; one of the other byte order looks like 256."""

WRITTEN_PER_PACKET = 1 << 12


def recognises(head: bytes) -> bool:
    """Whether a file begins as AEDAT 3 does."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a recording; like the public readers, events that their validity bit calls invalid are kept.

    Raises
    ------
    RecordingError
        If the header is not that of AEDAT 3.1.
    """
    size = None
    with path.open("rb") as file:
        lines = header_lines(file, b"#", path)
        if not next(lines, b"").startswith(VERSION):
            raise RecordingError(f"{path} is not of AEDAT 3.1 but an older or damaged AEDAT 3; evsim reads 3.1")
        for line in lines:
            if line.startswith(b"#Source"):
                names = [known for name, known in SOURCES.items() if name in line.decode("ascii", "replace").upper()]
                size = Size(*names[0], "Source in the header") if names else size
            if line.startswith(END):
                break
        else:
            raise RecordingError(f"{path} lacks the line #!END-HEADER of AEDAT 3.1; it is damaged")
        offset = file.tell()
    return Stream(NAME, path, size, _pieces(path, offset, options.honour_validity))


def write(recording: Recording, path: str | Path) -> None:
    """Write a recording as packets of polarity events.

    Raises
    ------
    RecordingError
        If its coordinates or times do not fit the format.
    OutputError
        If the file cannot be written.
    """
    if max(recording.width, recording.height) > 1 << 15:
        raise RecordingError(f"AEDAT 3.1 holds 32768 pixels each way, not {recording.width} x {recording.height}")
    if len(recording) and (int(recording.t.min()) < 0 or int(recording.t.max()) >= 1 << 62):
        raise RecordingError("AEDAT 3.1 holds times from 0 to 2^62 - 1 us")
    names = [name for name, size in SOURCES.items() if size == (recording.width, recording.height)]
    source = names[0] if names else f"evsim, {recording.width} x {recording.height}"
    overflow = recording.t >> 31
    edges = np.unique(
        np.concatenate(
            [np.arange(0, len(recording), WRITTEN_PER_PACKET), np.flatnonzero(np.diff(overflow)) + 1, [len(recording)]]
        ).astype(np.int64)
    )
    x, y, p = (values.astype(np.uint32) for values in (recording.x, recording.y, recording.p))
    events = np.empty(len(recording), EVENT)
    events["word"] = x << 17 | y << 2 | p << 1 | 1
    events["time"] = recording.t & 0x7FFF_FFFF
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(f"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: {source}\r\n".encode() + END + b"\r\n")
        for begin, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            number = end - begin
            high = int(overflow[begin])
            file.write(PACKET.pack(POLARITY, 1, EVENT.itemsize, 4, high, number, number, number))
            file.write(events[begin:end].tobytes())


def _pieces(path: Path, offset: int, honour_validity: bool) -> Iterator[Piece]:
    """Walk from packet to packet, and decode some quarter of a million events at once."""
    window = Window(path)
    at, length, other, cut = offset, window.length, 0, ""
    bodies: list[tuple[NDArray[np.uint8], int]] = []  # bytes of events, time overflow
    waiting = 0
    while at < length and not cut:
        if length - at < PACKET.size:
            cut = f"{length - at} bytes of a packet header"
            break
        kind, _, size, _, overflow, capacity, number, _ = PACKET.unpack(window.take(at, PACKET.size).data)
        if size <= 0 or not 0 <= number <= capacity or overflow < 0 or not 0 <= kind < LARGEST_KIND:
            raise RecordingError(f"{path}: the packet header at byte {at} makes no sense; the file is damaged")
        at += PACKET.size
        present = min(number, (length - at) // size)
        if present < number:
            cut = f"a packet that should hold {number - present} more"
        if kind != POLARITY:
            other += present
        elif size != EVENT.itemsize:
            raise RecordingError(
                f"{path}: polarity events of {size} bytes instead of 8 at byte {at}; the file is damaged"
            )
        while kind == POLARITY and present:  # a packet may be as large as the file
            taken = min(present, PIECE)
            bodies.append((window.take(at, taken * size), overflow))
            waiting, present, at, capacity = waiting + taken, present - taken, at + taken * size, capacity - taken
            if waiting >= PIECE:
                yield _decoded(bodies, honour_validity)
                bodies, waiting = [], 0
        at += capacity * size
    if bodies:
        yield _decoded(bodies, honour_validity)
    yield empty_piece({"other events": other} if other else {}, cut=cut)


def _decoded(bodies: list[tuple[NDArray[np.uint8], int]], honour_validity: bool) -> Piece:
    raw = np.concatenate([body for body, _ in bodies]).view(EVENT)
    word, t = raw["word"], raw["time"].astype(np.int64)
    if any(overflow for _, overflow in bodies):
        numbers = [len(body) // EVENT.itemsize for body, _ in bodies]
        t |= np.repeat([overflow << 31 for _, overflow in bodies], numbers)
    skipped: dict[str, int] = {}
    if honour_validity:
        valid = word & 1 != 0
        if not valid.all():
            skipped["invalid events"] = int(np.count_nonzero(~valid))
            word, t = word[valid], t[valid]
    x, y = (word >> 17).astype(np.uint16), (word >> 2 & 0x7FFF).astype(np.uint16)
    return Piece(t, x, y, (word >> 1 & 1).astype(np.uint8), skipped)

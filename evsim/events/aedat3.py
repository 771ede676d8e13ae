"""AEDAT 3.1: the format of DVS128 Gesture. Little-endian packets of polarity events, each with a header."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.binary import ReadOptions, pack
from evsim.events.types import GREATEST_INDEX, Recording

NAME = "aedat3"
SUFFIXES = (".aedat",)
MAGIC = b"#!AER-DAT3"
END = b"#!END-HEADER\r\n"
PACKET = np.dtype(
    [("type", "<i2"), ("source", "<i2"), ("size", "<i4"), ("time_offset", "<i4"), ("overflow", "<i4"),
     ("capacity", "<i4"), ("number", "<i4"), ("valid", "<i4")]
)  # fmt: skip
EVENT = np.dtype([("word", "<u4"), ("time", "<u4")])
POLARITY = 1


def recognises(head: bytes) -> bool:
    """Whether a file begins as AEDAT 3 does."""
    return head.startswith(MAGIC)


def read(path: Path, options: ReadOptions) -> Recording:
    """Read a recording; like the public readers, events that their validity bit calls invalid are kept.

    Raises
    ------
    RecordingError
        If the file is truncated or a packet's header makes no sense.
    """
    with path.open("rb") as file:
        head = file.read(1 << 20)
    end = head.find(END)
    if end < 0:
        raise RecordingError(f"{path} lacks the line #!END-HEADER of AEDAT 3.1; it is damaged or of another version")
    data = np.memmap(path, np.uint8, "r")
    at, skipped = end + len(END), 0
    times: list[NDArray[np.int64]] = []
    words: list[NDArray[np.uint32]] = []
    while at < len(data):
        if at + PACKET.itemsize > len(data):
            _truncated(path, sum(map(len, words)), options)
            break
        packet = data[at : at + PACKET.itemsize].view(PACKET)[0]
        at += PACKET.itemsize
        size, number = int(packet["size"]), int(packet["number"])
        body = size * int(packet["capacity"])
        if size <= 0 or number < 0 or number > int(packet["capacity"]):
            raise RecordingError(
                f"{path}: the packet header at byte {at - PACKET.itemsize} makes no sense; damaged file"
            )
        present = min(number, (len(data) - at) // size)
        if int(packet["type"]) == POLARITY and size == EVENT.itemsize:
            events = data[at : at + present * size].view(EVENT)
            words.append(events["word"].astype(np.uint32))
            times.append(events["time"].astype(np.int64) | int(packet["overflow"]) << 31)
        else:
            skipped += present
        if present < number:
            _truncated(path, sum(map(len, words)), options)
            break
        at += body
    word = np.concatenate(words) if words else np.empty(0, np.uint32)
    t = np.concatenate(times) if times else np.empty(0, np.int64)
    x, y, p = (word >> 17) & 0x7FFF, (word >> 2) & 0x7FFF, (word >> 1) & 1
    size_known = (128, 128, "Source in the header") if b"DVS128" in head[:end] else None
    found = (int(x.max()) + 1 if len(x) else 0, int(y.max()) + 1 if len(y) else 0, GREATEST_INDEX)
    return pack((t, x, y, p), size_known or found, NAME, path, {"other events": skipped} if skipped else {})


def _truncated(path: Path, whole: int, options: ReadOptions) -> None:
    if not options.allow_truncated:
        raise RecordingError(
            f"{path} is truncated: it ends after {whole} whole events within a packet; "
            "copy it again, or read those by --allow-truncated"
        )

"""AEDAT 2.0: jAER's format, that of CIFAR10-DVS. Big-endian pairs of address and time behind a text header."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events.binary import header_lines, printable, records, rest
from evsim.events.options import Layout, Orientation, ReadOptions
from evsim.events.plausible import LOOKED_AT, refuse_other
from evsim.events.types import Piece, Recording, Size, Stream, empty_piece
from evsim.files import write_whole

NAME = "aedat2"
SUFFIXES = (".aedat",)
ABOUT = "AEDAT 2.0 of jAER (CIFAR10-DVS): DVS128 and DAVIS"
SIZE = "the chip that the header names"
MAGIC = b"#!AER-DAT2.0"
END = b"#End Of ASCII Header"
CHIP = "ch.unizh.ini.jaer.chip.retina.DVS128"
CHIP_LINE = re.compile(rb"#\s*AEChip\s*[:=]\s*(.*)", re.IGNORECASE)
DVS128_CHIPS = ("dvs128", "tmpdiff128")
DAVIS_SIZES = {"davis240": (240, 180), "davis346": (346, 260), "davis128": (128, 128), "davis640": (640, 480)}
RECORD = np.dtype([("address", ">u4"), ("time", ">u4")])

SPECIAL = 0x8000_8000
"""Bits that mark a DVS128 word as special: 15, and jAER's general one."""

FEW_ROWS, FEW_ROWS_OF = 8, 100
"""So many rows, of so many events, are no picture: a cochlea's 64 channels have addresses below 2^11."""

UNUSED = 0x7FFF_0000
"""Bits of a DVS128 address that are never set."""

HEADER = (
    "#!AER-DAT2.0\r\n"
    "# This is a raw AE data file - do not edit\r\n"
    "# Data format is int32 address, int32 timestamp (8 bytes total), repeated for each event\r\n"
    "# Timestamps tick is 1 us\r\n"
    f"# AEChip: {CHIP}\r\n"
    "#End Of ASCII Header\r\n"
).encode()


def recognises(head: bytes) -> bool:
    """Whether a file begins as AEDAT 2.0 does."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a recording.

    Raises
    ------
    RecordingError
        If nothing tells the layout of its addresses.
    OptionError
        If the layout asked for is not that of the chip in the header.
    """
    offset, chip = _header(path)
    layout, notes = _layout(path, offset, chip, options)
    orientation = options.orientation or "spikingjelly"
    if layout == "dvs128":
        return Stream(NAME, path, Size(128, 128, "the DVS128"), _dvs128(path, offset, orientation), notes)
    sizes = [size for name, size in DAVIS_SIZES.items() if name in chip.lower()]
    size = Size(*sizes[0], "AEChip in the header") if sizes else None
    if size is None and options.sensor:
        size = Size(*options.sensor, "the option sensor")
    if orientation == "jaer" and size is None:
        raise RecordingError(f"{path} does not name its sensor, so it cannot be turned as jAER shows it; give `sensor`")
    return Stream(NAME, path, size, _davis(path, offset, size if orientation == "jaer" else None), notes)


def write(recording: Recording, path: str | Path, orientation: Orientation = "spikingjelly") -> None:
    """Write a DVS128 recording so that a loader of that orientation sees it as it is.

    Raises
    ------
    RecordingError
        If its sensor is larger than a DVS128's, or its times exceed 32 bits.
    OutputError
        If the file cannot be written.
    """
    path = Path(path)
    if recording.width > 128 or recording.height > 128:
        raise RecordingError(
            f"AEDAT 2.0 of a DVS128 holds 128 x 128 pixels, not {recording.width} x {recording.height}; "
            "write AEDAT 3.1 by `aedat=3.1`"
        )
    if not fits(recording):
        raise RecordingError("AEDAT 2.0 holds times from 0 to 2^32 - 1 us; write AEDAT 3.1 by `aedat=3.1`")
    words = np.empty((len(recording), 2), ">u4")
    x, y, p = (values.astype(np.uint32) for values in (recording.x, recording.y, recording.p))
    words[:, 0] = {
        "spikingjelly": lambda: (127 - x) << 8 | (127 - y) << 1 | (1 - p),
        "jaer": lambda: (127 - y) << 8 | (127 - x) << 1 | (1 - p),
        "raw": lambda: y << 8 | x << 1 | p,
    }[orientation]()
    words[:, 1] = recording.t
    write_whole(path, HEADER + words.tobytes())


def fits(recording: Recording) -> bool:
    """Whether a recording can be written as a DVS128's."""
    if recording.width > 128 or recording.height > 128:
        return False
    return not len(recording) or (int(recording.t.min()) >= 0 and int(recording.t.max()) < 2**32)


def _header(path: Path) -> tuple[int, str]:
    """Return where the events begin, and the chip that the header names, or ""."""
    chip = heard = ""
    with path.open("rb") as file:
        for line in header_lines(file, b"#", path):
            if found := CHIP_LINE.match(line):
                chip = printable(found[1])
            elif not chip and b"cochlea" in line.lower():
                heard = printable(line.lstrip(b"# \t"))[:60]
            if line.startswith(END):
                break
        return file.tell(), chip or heard


def _layout(path: Path, offset: int, chip: str, options: ReadOptions) -> tuple[Layout, tuple[str, ...]]:
    if "cochlea" in chip.lower():
        raise RecordingError(f"{path} comes from a silicon cochlea ({chip[:60]}): it holds sound, not a picture")
    named = _layout_of(chip)
    if named and options.layout not in (None, named):
        raise OptionError(
            f"`layout={options.layout}` contradicts the header of {path}, which names the chip {chip[:60]} "
            f"(layout {named}); leave out `layout`"
        )
    if known := named or options.layout:
        return known, ()
    if chip:
        raise RecordingError(
            f"{path} comes from the chip {chip[:60]}, which evsim does not know; give `layout=dvs128` or `layout=davis`"
        )
    greatest = max((int(piece["address"].max()) for piece in records(path, offset, RECORD)), default=0)
    if greatest >= 2**15:
        raise RecordingError(
            f"{path} does not name its chip, and its addresses are not a DVS128's; "
            "give `layout=dvs128` or `layout=davis`"
        )
    for first in records(path, offset, RECORD, LOOKED_AT):
        refuse_other(path, first["time"], first.view("V8"), "a DVS128 (AEDAT 2.0)")
        rows = np.unique(first["address"] >> 8)
        if len(first) >= FEW_ROWS_OF and len(rows) <= FEW_ROWS:
            raise RecordingError(
                f"{path} does not name its chip, and all its events lie in {len(rows)} of 128 rows, as those of a "
                "silicon cochlea do and no picture's; if it is a DVS128's, give `layout=dvs128`"
            )
        break
    return "dvs128", ("the header names no chip; all addresses are a DVS128's",)


def _layout_of(chip: str) -> Layout | None:
    if "davis" in chip.lower():
        return "davis"
    return "dvs128" if any(name in chip.lower() for name in DVS128_CHIPS) else None


def _dvs128(path: Path, offset: int, orientation: Orientation) -> Iterator[Piece]:
    for words in records(path, offset, RECORD):
        address, time = words["address"].astype(np.uint32), words["time"].astype(np.int64)
        skipped: dict[str, int] = {}
        special = (address & SPECIAL) != 0
        if special.any():
            skipped["special events"] = int(np.count_nonzero(special))
            address, time = address[~special], time[~special]
        if (address & UNUSED).any():
            raise RecordingError(
                f"{path} holds addresses of more than 16 bits, which no DVS128 makes; "
                "it is damaged, of another byte order, or needs `layout=davis`"
            )
        yield Piece(*turned(time, address.astype(np.uint16), orientation), skipped)
    yield empty_piece(cut=rest(path, offset, RECORD.itemsize))


def turned(
    time: NDArray[np.int64], address: NDArray[np.uint16], orientation: Orientation
) -> tuple[NDArray[np.int64], NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint8]]:
    """Return t, x, y and p of a DVS128's addresses in an orientation."""
    x, y, bit = _u16(address >> 1 & 0x7F), _u16(address >> 8 & 0x7F), (address & 1).astype(np.uint8)
    if orientation == "spikingjelly":
        x, y = _mirrored(y, 128), _mirrored(x, 128)
    elif orientation == "jaer":
        x, y = _mirrored(x, 128), _mirrored(y, 128)
    return time, x, y, bit if orientation == "raw" else bit ^ np.uint8(1)


def _davis(path: Path, offset: int, turned: Size | None) -> Iterator[Piece]:
    for words in records(path, offset, RECORD):
        address, time = words["address"].astype(np.uint32), words["time"].astype(np.int64)
        frame, external = address >> 31 != 0, address & 0x400 != 0
        numbers = {"APS and IMU words": frame, "external events": external & ~frame}
        skipped = {kind: number for kind, mask in numbers.items() if (number := int(np.count_nonzero(mask)))}
        if skipped:
            events = ~(frame | external)
            address, time = address[events], time[events]
        x, y = _u16(address >> 12 & 0x3FF), _u16(address >> 22 & 0x1FF)
        if turned and len(x) and (x.max() >= turned.width or y.max() >= turned.height):
            raise RecordingError(f"{path} holds events outside its sensor of {turned.width} x {turned.height}")
        if turned:
            x, y = _mirrored(x, turned.width), _mirrored(y, turned.height)
        yield Piece(time, x, y, (address >> 11 & 1).astype(np.uint8), skipped)
    yield empty_piece(cut=rest(path, offset, RECORD.itemsize))


def _mirrored(values: NDArray[np.uint16], size: int) -> NDArray[np.uint16]:
    return _u16(size - 1 - values)


def _u16(values: NDArray[np.integer]) -> NDArray[np.uint16]:
    return values.astype(np.uint16, copy=False)

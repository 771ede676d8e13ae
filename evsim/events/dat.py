"""Prophesee's DAT, version 2: that of N-CARS and GEN1. Little-endian pairs of time and word behind a text header."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from evsim.errors import RecordingError
from evsim.events.binary import header_lines, printable, records, rest
from evsim.events.options import ReadOptions
from evsim.events.types import Piece, Size, Stream, empty_piece

NAME = "dat"
SUFFIXES = (".dat",)
ABOUT = "Prophesee DAT, version 2"
SIZE = "the header, if it has width and height or names a camera that has one size"
RECORD = np.dtype([("time", "<u4"), ("word", "<u4")])
SIZES_OF_PLUGINS = (
    ("imx636", (1280, 720)), ("gen41", (1280, 720)), ("gen4", (1280, 720)), ("gen31", (640, 480)), ("gen3", (640, 480)),
    ("genx320", (320, 320)),
)  # fmt: skip
"""Sensors in the names of Prophesee's plug-ins, e.g. hal_plugin_gen41_evk3, and their sizes."""

SIZES_OF_SYSTEMS = (
    ((0x21, 0x22, 0x23, 0x28, 0x29), (640, 480)),
    ((0x1E, 0x1F, 0x20, 0x27, 0x2E, 0x30, 0x31, 0x32, 0x3A, 0x42), (1280, 720)),
    ((0x3B, 0x40), (320, 320)),
)
"""Prophesee's numbers of systems (OpenEB's device_system_id.h), and the sizes of their sensors."""

CD_EVENTS = (0, 12)
"""Types of the event that DAT files of change detection name: 2D of the first cameras, CD of later ones."""


def recognises(head: bytes) -> bool:
    """Whether a file begins with a header of ``%`` lines, as DAT does; RAW, which names an encoding, is asked first."""
    return head.startswith(b"% ")


def stream(path: Path, options: ReadOptions) -> Stream:  # noqa: ARG001 - nothing to choose
    """Open a recording.

    Raises
    ------
    RecordingError
        If it is of another version, or holds other events than change detection.
    """
    facts: dict[str, str] = {}
    with path.open("rb") as file:
        for line in header_lines(file, b"%", path):
            key, _, value = printable(line[1:]).partition(" ")
            facts[key.lower()] = value.strip()
        kind, length = (*file.read(2), -1, -1)[:2]
        offset = file.tell()
    if facts.get("version", "2") != "2":
        raise RecordingError(f"{path} is of DAT version {facts['version'][:20]}; evsim reads version 2")
    if length == -1:
        raise RecordingError(f"{path} is truncated: it ends within its header; copy it again")
    if kind not in CD_EVENTS or length != RECORD.itemsize:
        raise RecordingError(
            f"{path} holds events of type {kind} and {length} bytes; evsim reads DAT of 8-byte CD events (type 0 or 12)"
        )
    return Stream(NAME, path, header_size(facts), _pieces(path, offset), header_notes(facts))


def header_size(facts: dict[str, str]) -> Size | None:
    """Return the sensor size of a Prophesee header: width and height, geometry WxH, or that of the camera it names."""
    width, height = facts.get("width", ""), facts.get("height", "")
    if not (width and height) and "x" in facts.get("geometry", ""):
        width, height = facts["geometry"].split("x", 1)
    if width.isdecimal() and height.isdecimal() and max(len(width), len(height)) <= 5 and int(width) and int(height):
        return Size(int(width), int(height), "the header")
    plugin, system = facts.get("plugin_name", "").lower(), facts.get("system_id", "")
    for name, size in SIZES_OF_PLUGINS:
        if name in plugin:
            return Size(*size, "plugin_name in the header")
    if "prophesee" in facts.get("integrator_name", facts.get("camera_integrator_name", "prophesee")).lower():
        for numbers, size in SIZES_OF_SYSTEMS:
            if system.isdecimal() and len(system) < 5 and int(system) in numbers:
                return Size(*size, "system_ID in the header")
    return None


def header_notes(facts: dict[str, str]) -> tuple[str, ...]:
    """Return what a person should know of a Prophesee header."""
    if facts.get("t0", "0") == "0":
        return ()
    return (
        f"the header's t0 of {facts['t0'][:20]}, which faery adds to all times, is left out: it is not of the format",
    )


def _pieces(path: Path, offset: int) -> Iterator[Piece]:
    for events in records(path, offset, RECORD):
        word = events["word"].astype(np.uint32)
        if (word >> 29).any():
            raise RecordingError(f"{path}: words use bits that DAT leaves free; it is damaged or of another byte order")
        x, y = (word & 0x3FFF).astype(np.uint16), (word >> 14 & 0x3FFF).astype(np.uint16)
        yield Piece(events["time"].astype(np.int64), x, y, (word >> 28).astype(np.uint8))
    yield empty_piece(cut=rest(path, offset, RECORD.itemsize))

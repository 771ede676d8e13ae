"""A recording of an event camera: four columns and what is known of their origin; whole, or as a stream of pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GREATEST_INDEX = "greatest index + 1"
"""`Recording.size_from` where a file names no sensor size: it is that of all its events, whatever range is read."""

GREATEST_SELECTED = "greatest index + 1 of the selected events"
"""The same where reading ended with the range, so that the rest of the file is not known."""

OUTSIDE_RANGE, OUTSIDE_CROP = "outside the range", "outside the crop"
BEFORE, BEHIND_BINS, BEHIND = "before the first bin", "behind the last bin", "behind the last window of time"
"""Why an event is in no frame; what lies outside the middle of the sensor is outside a crop too."""

PIECE = 1 << 18
"""Events that a reader decodes at a time: small enough for the cache, large enough for NumPy."""


@dataclass(frozen=True, eq=False)
class Recording:
    """Events in the order of the file.

    Attributes
    ----------
    t
        int64, microseconds.
    x, y
        uint16, column and row; row 0 on top.
    p
        uint8, 1 = ON (brighter), 0 = OFF.
    width, height
        Size of the sensor in pixels.
    size_from
        Where the sensor size came from, in words; "greatest index + 1 ..." means that the file names none.
    format
        Name of the format, e.g. "aedat2".
    skipped
        What the file holds besides events, and how often: kind to number.
    notes
        What a person should know, one line each.
    path
        Where it was read from, or "".
    left_out
        Why events of the file are not among these, and how many: reason to number.
    in_file
        Events of the whole file; None where it was not read to its end.
    """

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]
    width: int
    height: int
    size_from: str
    format: str
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    path: str = ""
    left_out: Mapping[str, int] = field(default_factory=dict)
    in_file: int | None = None

    def __len__(self) -> int:
        return len(self.t)

    @property
    def size_known(self) -> bool:
        """Whether the file, its format or the user names the sensor size."""
        return self.size_from not in (GREATEST_INDEX, GREATEST_SELECTED)


class Size(NamedTuple):
    """Sensor size in pixels, and where it came from, in words."""

    width: int
    height: int
    source: str


class Piece(NamedTuple):
    """Some events of a file in its order, and what was met on the way to them.

    `cut` says what a truncated file ends with, e.g. "3 bytes of another event"; "" for a whole one.
    """

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]
    skipped: Mapping[str, int] = {}
    notes: tuple[str, ...] = ()
    cut: str = ""


@dataclass(frozen=True)
class Stream:
    """What a reader makes of a file: the facts of its header at once, its events piece by piece.

    Attributes
    ----------
    format
        Name of the format.
    path
        The file.
    size
        Sensor size, None where the file and its format name none.
    pieces
        The events; can be gone through once.
    notes
        What a person should know, one line each.
    unit
        Unit that times were taken for, in words, where the file does not fix it; "" where it does.
    """

    format: str
    path: Path
    size: Size | None
    pieces: Iterator[Piece]
    notes: tuple[str, ...] = ()
    unit: str = ""


def empty_piece(skipped: Mapping[str, int] | None = None, notes: tuple[str, ...] = (), cut: str = "") -> Piece:
    """Return a piece without events, which only tells something."""
    return Piece(
        np.empty(0, np.int64), np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.uint8),
        skipped or {}, notes, cut,
    )  # fmt: skip

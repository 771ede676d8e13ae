"""What is in a recording, found by going through it in pieces: files larger than memory can be listed too."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.events import open_stream
from evsim.events.options import ReadOptions
from evsim.events.reading import Reading
from evsim.events.types import Size

HELD = 64 << 20
"""Bytes of each of x, y and p that wait in memory for their turn in the digest; what is more waits on disk."""

LARGEST_SENSOR = 1 << 24
"""Pixels that are counted one by one."""

HOT_FACTOR, HOT_LEAST = 10, 50
"""A pixel is hot if it fires more than 10 times as often as the mean of those that fire, and 50 times at least."""

Event = tuple[int, int, int, int]
"""t, x, y, p."""


@dataclass(frozen=True)
class Summary:
    """Facts of a recording, or of the range of it that was asked for.

    Attributes
    ----------
    path, format, size
        The file, its format, its sensor and where the sensor size came from.
    count, on, off
        Events, and those of each polarity.
    first, last
        Events (t, x, y, p) in the order of the file, None without events.
    t_min, t_max
        Least and greatest time in microseconds, None without events.
    sum_x, sum_y
        Sums of the coordinates, to compare readers by.
    backward_steps
        How often time runs backward from one event to the next.
    skipped, notes
        As of a `Recording`.
    digest
        SHA-256 of t as <i8, then x as <u2, y as <u2 and p as u1, one column behind the other.
    """

    path: str
    format: str
    size: Size
    count: int
    on: int
    off: int
    first: Event | None
    last: Event | None
    t_min: int | None
    t_max: int | None
    sum_x: int
    sum_y: int
    backward_steps: int
    skipped: dict[str, int]
    notes: tuple[str, ...]
    digest: str


@dataclass(frozen=True, eq=False)
class Activity:
    """When and where events happen.

    Attributes
    ----------
    rate
        Events in each of equally long slices from the least to the greatest time.
    slice_us
        Length of a slice in microseconds.
    active
        Number of pixels that fire, None where the sensor is too large to count them one by one.
    hot
        Pixels that fire far more often than others: (x, y, events), the busiest first.
    """

    rate: NDArray[np.int64]
    slice_us: float
    active: int | None
    hot: tuple[tuple[int, int, int], ...]


def summarise(path: str | Path, options: ReadOptions | None = None) -> Summary:
    """Go through a recording once; errors as `evsim.events.read`."""
    options = options or ReadOptions()
    stream = open_stream(path, options)
    reading = Reading(stream, options)
    on = sum_x = sum_y = 0
    first: Event | None = None
    last: Event | None = None
    t_min = t_max = None
    with _digesting() as digest:
        for piece in reading.pieces():
            t, x, y, p = piece[:4]
            first = first or (int(t[0]), int(x[0]), int(y[0]), int(p[0]))
            last = (int(t[-1]), int(x[-1]), int(y[-1]), int(p[-1]))
            low, high = int(t.min()), int(t.max())
            t_min, t_max = low if t_min is None else min(t_min, low), high if t_max is None else max(t_max, high)
            on += int(np.count_nonzero(p))
            sum_x, sum_y = sum_x + int(x.sum(dtype=np.int64)), sum_y + int(y.sum(dtype=np.int64))
            digest.add(t, x, y, p)
        found = digest.hex()
    size, notes = reading.finished()
    return Summary(
        str(path), stream.format, size, reading.count, on, reading.count - on, first, last, t_min, t_max,
        sum_x, sum_y, reading.backward_steps, reading.skipped, notes, found,
    )  # fmt: skip


def activity(summary: Summary, options: ReadOptions | None = None, slices: int = 60) -> Activity:
    """Go through the recording of a summary once more, with the same options, for rates and hot pixels."""
    options = options or ReadOptions()
    if summary.t_min is None or summary.t_max is None:
        return Activity(np.zeros(0, np.int64), 0.0, 0, ())
    span = summary.t_max - summary.t_min + 1
    slices = min(slices, span)
    rate = np.zeros(slices, np.int64)
    width, height, _ = summary.size
    pixels = np.zeros(width * height, np.int64) if width * height <= LARGEST_SENSOR else None
    for piece in Reading(open_stream(summary.path, options), options).pieces():
        place = np.minimum((piece.t - summary.t_min) * (slices / span), slices - 1).astype(np.int64)
        rate += np.bincount(place, minlength=slices)
        if pixels is not None:
            np.add.at(pixels, piece.y.astype(np.int64) * width + piece.x, 1)
    if pixels is None:
        return Activity(rate, span / slices, None, ())
    active = int(np.count_nonzero(pixels))
    hot = np.flatnonzero(pixels > max(HOT_LEAST - 1, HOT_FACTOR * summary.count / active))
    order = hot[np.argsort(-pixels[hot], kind="stable")]
    return Activity(
        rate, span / slices, active, tuple((int(i % width), int(i // width), int(pixels[i])) for i in order)
    )


class _Digest:
    """Hashes t as it comes, and keeps x, y and p in the files that it is given until t is through."""

    def __init__(self, waiting: list[tempfile.SpooledTemporaryFile[bytes]]) -> None:
        self._hash = hashlib.sha256()
        self._waiting = waiting

    def add(self, t: NDArray[np.int64], x: NDArray[np.uint16], y: NDArray[np.uint16], p: NDArray[np.uint8]) -> None:
        self._hash.update(t.astype("<i8", copy=False).tobytes())
        for file, values in zip(self._waiting, (x.astype("<u2"), y.astype("<u2"), p), strict=True):
            file.write(values.tobytes())

    def hex(self) -> str:
        for file in self._waiting:
            file.seek(0)
            while block := file.read(1 << 20):
                self._hash.update(block)
        return self._hash.hexdigest()


@contextmanager
def _digesting() -> Iterator[_Digest]:
    with (
        tempfile.SpooledTemporaryFile(max_size=HELD) as x,
        tempfile.SpooledTemporaryFile(max_size=HELD) as y,
        tempfile.SpooledTemporaryFile(max_size=HELD) as p,
    ):
        yield _Digest([x, y, p])

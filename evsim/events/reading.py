"""From a stream of pieces to the events that were asked for: ranges, trials, checks against the sensor."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events.options import Bound, ReadOptions
from evsim.events.types import (
    GREATEST_INDEX,
    GREATEST_SELECTED,
    OUTSIDE_CROP,
    OUTSIDE_RANGE,
    Piece,
    Recording,
    Size,
    Stream,
)
from evsim.files import check_input

Number = TypeVar("Number", bound=np.integer[Any])

LONGEST_TABLE = 1 << 20
"""Bytes that a label csv may have."""

LONGEST_SPAN = 1 << 53
"""Microseconds, 285 years: no recording spans more, and beyond it times are not exact in a float."""

SUSPECT_COUNT, SLOWEST, FASTEST, LONGEST_US = 100, 100.0, 2e8, 3_600_000_000
"""From so many events on, fewer or more events a second than these, or a span of more than an hour, are hardly those of
a camera: the unit of time may be another than was taken."""


class Reading:
    """A stream gone through once, piece by piece, with all that is learned on the way.

    Attributes
    ----------
    count
        Events kept so far.
    seen
        Events met so far, inside or outside the range.
    greatest_x, greatest_y
        Of the events kept; -1 before the first.
    backward_steps
        How often time ran backward between neighbours of those kept.
    skipped, notes, left_out
        As of a `Recording`; `left_out` of the events met so far.
    """

    def __init__(self, stream: Stream, options: ReadOptions) -> None:
        self._stream, self._options = stream, options
        self.size = Size(*options.sensor, "the option sensor") if options.sensor else stream.size
        self.notes = list(stream.notes)
        if options.sensor and stream.size and options.sensor != stream.size[:2]:
            width, height, source = stream.size
            self.notes.append(
                "`sensor={}x{}` is taken, not {} x {} ({})".format(*options.sensor, width, height, source)
            )
        self._range = (options.start, options.stop)
        if options.trial is not None:
            self._range, note = _trial(stream.path, options)
            self.notes.append(note)
        self.skipped: dict[str, int] = {}
        self.left_out: dict[str, int] = {}
        self.count = self.seen = self.backward_steps = 0
        self.greatest_x = self.greatest_y = -1
        self._all_x = self._all_y = -1  # of all events met, where the file names no sensor size
        self._ended = False
        self._last: int | None = None
        self._earliest = self._latest = 0

    def pieces(self) -> Iterator[Piece]:
        """Yield the events of the range.

        Raises
        ------
        RecordingError
            If the file is damaged, truncated without leave, or holds events outside its sensor.
        """
        stop = self._range[1]
        for piece in self._stream.pieces:
            for kind, number in piece.skipped.items():
                self.skipped[kind] = self.skipped.get(kind, 0) + number
            self.notes += piece.notes
            kept = self._within(piece)
            if self.size is None and len(piece.t):
                self._all_x, self._all_y = max(self._all_x, int(piece.x.max())), max(self._all_y, int(piece.y.max()))
            self.seen += len(piece.t)
            self._leave(OUTSIDE_RANGE, len(piece.t) - len(kept.t))
            if len(kept.t):
                self._check_sensor(kept)
                within = self._cropped(kept)
                self._leave(OUTSIDE_CROP, len(kept.t) - len(within.t))
                kept = within
            if len(kept.t):
                self._account(kept)
                yield kept
            if piece.cut:
                self._truncated(piece.cut)
            if stop and stop.unit == "event" and self.seen >= stop.value:
                return
        self._ended = True

    @property
    def in_file(self) -> int | None:
        """Events of the whole file; None before its end."""
        return self.seen if self._ended else None

    @property
    def known_left_out(self) -> dict[str, int]:
        """`left_out`, without what lies outside the range where the rest of the file is not known."""
        return {key: number for key, number in self.left_out.items() if self._ended or key != OUTSIDE_RANGE}

    def _leave(self, reason: str, number: int) -> None:
        if number:
            self.left_out[reason] = self.left_out.get(reason, 0) + number

    def _within(self, piece: Piece) -> Piece:
        start, stop = self._range
        if start is None and stop is None:
            return piece
        first, end = 0, len(piece.t)
        if start and start.unit == "event":
            first = min(max(start.value - self.seen, 0), end)
        if stop and stop.unit == "event":
            end = max(min(stop.value - self.seen, end), first)
        t, x, y, p = piece.t[first:end], piece.x[first:end], piece.y[first:end], piece.p[first:end]
        inside = np.ones(len(t), np.bool_)
        if start and start.unit == "us":
            inside &= t >= start.value
        if stop and stop.unit == "us":
            inside &= t < stop.value
        return Piece(t, x, y, p) if inside.all() else Piece(t[inside], x[inside], y[inside], p[inside])

    def _check_sensor(self, kept: Piece) -> None:
        self.greatest_x = max(self.greatest_x, int(kept.x.max()))
        self.greatest_y = max(self.greatest_y, int(kept.y.max()))
        if self.size and (self.greatest_x >= self.size.width or self.greatest_y >= self.size.height):
            raise RecordingError(
                f"{self._stream.path} holds an event at up to x {self.greatest_x}, y {self.greatest_y}, outside its "
                f"sensor of {self.size.width} x {self.size.height} ({self.size.source}); "
                "it is damaged, of another layout, or `sensor` is wrong"
            )

    def _cropped(self, kept: Piece) -> Piece:
        """Return the events within the part of the sensor that was asked for, whose corner becomes 0, 0."""
        if self._options.crop is None:
            return kept
        width, height, left, top = self._options.crop
        x, y = kept.x - np.uint16(left), kept.y - np.uint16(top)  # what lies left of it or above wraps around
        inside = (kept.x >= left) & (x < width) & (kept.y >= top) & (y < height)
        return Piece(kept.t[inside], x[inside], y[inside], kept.p[inside])

    def _account(self, kept: Piece) -> None:
        self.backward_steps += int(np.count_nonzero(kept.t[1:] < kept.t[:-1]))
        if self._last is not None and int(kept.t[0]) < self._last:
            self.backward_steps += 1
        self._last = int(kept.t[-1])
        earliest, latest = int(kept.t.min()), int(kept.t.max())
        self._earliest = min(self._earliest, earliest) if self.count else earliest
        self._latest = max(self._latest, latest) if self.count else latest
        if self._latest - self._earliest > LONGEST_SPAN:
            raise RecordingError(
                f"{self._stream.path} holds times from {self._earliest} to {self._latest} us, which no recording "
                "spans; it is damaged, or of another unit of time; keep a part by `start` and `stop`"
            )
        self.count += len(kept.t)

    def _truncated(self, cut: str) -> None:
        if not self._options.allow_truncated and not self.seen:  # nothing is there to be read all the same
            raise RecordingError(f"{self._stream.path} is truncated: 0 whole events, then {cut}; copy it again")
        if not self._options.allow_truncated:
            raise RecordingError(
                f"{self._stream.path} is truncated: {self.seen} whole events, then {cut}; "
                "copy it again, or read those by `allow_truncated=True`"
            )
        self.notes.append(f"the file is truncated: after {self.seen} whole events this is left out: {cut}")

    def finished(self) -> tuple[Size, tuple[str, ...]]:
        """Return sensor size and notes, once all pieces have been gone through."""
        notes = [*self.notes]
        if self.backward_steps:
            notes.append(f"time runs backward {self.backward_steps} times")
        if doubt := self._doubt():
            notes.append(doubt)
        crop = self._options.crop
        if self.seen and not self.count:
            notes.append(f"none of the {self.seen} events lies in the {'crop' if crop else 'range'}")
        if crop:
            width, height, left, top = crop
            notes.append(
                f"cropped to {width} x {height} pixels from x {left}, y {top}: {self.count} of {self.seen} events"
            )
            return Size(width, height, "the option crop"), tuple(notes)
        if self.size:
            return self.size, tuple(notes)
        if self._ended:
            return Size(self._all_x + 1, self._all_y + 1, GREATEST_INDEX), tuple(notes)
        return Size(self.greatest_x + 1, self.greatest_y + 1, GREATEST_SELECTED), tuple(notes)

    def _doubt(self) -> str:
        """Return what to say of an assumed unit of time that gives a rate of events that no camera has."""
        span = self._latest - self._earliest
        if not self._stream.unit or self.count < SUSPECT_COUNT or not span:
            return ""
        if SLOWEST <= self.count / (span / 1e6) <= FASTEST and span <= LONGEST_US:
            return ""
        return (
            f"{self.count} events in {span / 1e6:g} s: times were taken for {self._stream.unit}; "
            "if that is wrong, give their unit by `time_unit`"
        )


def collect(stream: Stream, options: ReadOptions) -> Recording:
    """Read the events of a stream that were asked for into memory; errors as `Reading.pieces`."""
    reading = Reading(stream, options)
    t: list[NDArray[np.int64]] = []
    x: list[NDArray[np.uint16]] = []
    y: list[NDArray[np.uint16]] = []
    p: list[NDArray[np.uint8]] = []
    for piece in reading.pieces():
        t.append(piece.t)
        x.append(piece.x)
        y.append(piece.y)
        p.append(piece.p)
    size, notes = reading.finished()
    return Recording(
        _joined(t, np.int64), _joined(x, np.uint16), _joined(y, np.uint16), _joined(p, np.uint8),
        *size, stream.format, reading.skipped, notes, str(stream.path), reading.known_left_out, reading.in_file,
    )  # fmt: skip


def _joined(parts: list[NDArray[Number]], dtype: type[Number]) -> NDArray[Number]:
    """Join the parts of a column and let go of them, so that two copies of one column at most exist at a time."""
    joined = np.concatenate(parts) if parts else np.empty(0, dtype)
    assert joined.dtype == dtype, joined.dtype
    parts.clear()
    return joined


def _trial(path: Path, options: ReadOptions) -> tuple[tuple[Bound, Bound], str]:
    """Range of a DVS128 Gesture trial, and a note that says which; events with start <= t < end, label = class - 1."""
    table = Path(options.trials) if options.trials else path.with_name(f"{path.stem}_labels.csv")
    trials, named = read_trials(table)
    assert options.trial is not None
    if not 1 <= options.trial <= len(trials):
        raise OptionError(f"`trial={options.trial}`: {table} holds trials 1 to {len(trials)}")
    kind, start, end = trials[options.trial - 1]
    note = f"trial {options.trial} of {len(trials)} in {table.name}: label {kind - 1}, {start} to {end} us"
    if not named:
        note += "; it has no line of names, so its first line is trial 1"
    return (Bound(start, "us"), Bound(end, "us")), note


def _is_whole(cell: str) -> bool:
    return cell.strip().lstrip("+-").isdecimal()


class Trials(NamedTuple):
    """Class (from 1), first and last microsecond of each trial, and whether a first line names these columns."""

    rows: list[tuple[int, ...]]
    named: bool


def read_trials(table: Path) -> Trials:
    """Return what a DVS128 Gesture label csv holds.

    Raises
    ------
    OptionError
        If it is no such table.
    """
    check_input(table, OptionError, "the label csv of the trials", "give it by `trials`")
    try:
        if table.stat().st_size > LONGEST_TABLE:
            raise OptionError(f"{table} is too long for a label csv of trials; give another by `trials`")
        rows = [row for row in csv.reader(table.read_text("utf-8-sig").splitlines()) if row]
        named = bool(rows) and not all(_is_whole(cell) for cell in rows[0])
        trials = [tuple(int(cell) for cell in row) for row in rows[named:]]
    except OSError as error:
        raise OptionError(f"`trial` needs the label csv {table}: {error.strerror}; give it by `trials`") from error
    except (ValueError, csv.Error) as error:
        raise OptionError(f"{table} is no label csv of trials (class, start us, end us): {error}") from error
    if any(len(trial) != 3 or not 0 <= trial[1] <= trial[2] < 1 << 62 for trial in trials):
        raise OptionError(f"{table} is no label csv of trials: each line has class, start us, end us")
    return Trials(trials, named)

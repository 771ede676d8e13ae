"""What the formats of named columns share (``.npz``, ``.npy``, HDF5, text): arrays t, x, y and p become events."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events.types import Piece

KEYS = ("t", "x", "y", "p")
NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "x": ("x", "xs", "x_coordinate"),
    "y": ("y", "ys", "y_coordinate"),
    "p": ("p", "ps", "pol", "pols", "polarity", "polarities", "on"),
}
"""Names that the columns have in public files, in small letters."""

UNITS_NS = {"ns": 1, "us": 1000, "ms": 1_000_000, "s": 1_000_000_000}
"""Nanoseconds per unit of time."""

UNIT_WORDS = {"ns": "nanoseconds", "us": "microseconds", "ms": "milliseconds", "s": "seconds"}

SECONDS_BELOW = 1e6
"""Times with fractions below this are seconds, unless all are whole; others are microseconds."""

EPOCH = (9e8, 1e10)
"""Seconds since 1970 of all cameras that there were and will be."""

CROWDED = 10.0
"""Events in a microsecond, on average, that no camera gives."""


class Column(NamedTuple):
    """Type and shape of an array, known before it is read."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Range(NamedTuple):
    """Times of a float type as stored: least, greatest, whether all are whole, and how many."""

    least: float
    greatest: float
    whole: bool
    number: int


def matches(names: Iterable[str]) -> dict[str, str]:
    """Return which name stands for t, x, y and p; empty if not each of them has exactly one.

    A unit behind the name of the time, as in ``t_us`` or ``time [s]``, does not disturb; see `unit_in`.
    """
    plain = {name: re.sub(r"[ _\[(]+(ns|us|ms|s)[\])]?$", "", name.strip().lower()) for name in names}
    taken: dict[str, str] = {}
    for key in KEYS:
        fitting = [name for name, bare in plain.items() if bare in NAMES[key]]
        exact = [name for name in fitting if name == key]  # "t" goes before "timestamp" where a file has both
        if len(exact or fitting) != 1:
            return {}
        taken[key] = (exact or fitting)[0]
    return taken


def unit_in(name: str) -> str | None:
    """Return the unit that the name of a column of times ends with, e.g. of ``t_ns``."""
    found = re.search(r"[ _\[(](ns|us|ms|s)[\])]?$", name.strip().lower())
    return found[1] if found else None


def check_columns(path: Path, columns: dict[str, Column]) -> None:
    """Refuse columns that are not numbers, or not of one length.

    Raises
    ------
    RecordingError
        If one is of another type or shape.
    """
    length = columns["t"].shape
    for key, (dtype, shape) in columns.items():
        if len(shape) != 1 or shape != length or dtype.kind not in "iubf":
            raise RecordingError(
                f"{path}: {key} has shape {list(shape)} of {dtype}, wanted {list(length[:1])} of whole numbers"
            )


def range_of(blocks: Iterable[NDArray[Any]]) -> Range:
    """Go through times of a float type once; NaN counts as no time here, and is refused with its piece."""
    least, greatest, whole, count = np.inf, -np.inf, True, 0
    for block in blocks:
        count += len(block)
        finite = block[np.isfinite(block)]
        if len(finite):
            least, greatest = min(least, float(finite.min())), max(greatest, float(finite.max()))
            whole = whole and bool((finite == np.rint(finite)).all())
    return Range(least, greatest, whole, count)


def float_unit(dtype: np.dtype[Any], times: Range) -> tuple[str, str]:
    """Return the unit of times of a float type, and a note that says which was taken and why."""
    said = f"times of type {dtype} up to {times.greatest:g}"
    if times.whole or times.number == 0:
        return "us", f"{said}, all whole, are taken for microseconds"
    if times.greatest < SECONDS_BELOW:
        return "s", f"{said}, below a million, are taken for seconds, and become microseconds"
    span = times.greatest - times.least
    if EPOCH[0] <= times.greatest < EPOCH[1] and span < min(SECONDS_BELOW, times.number):
        return "s", f"{said} that span {span:g} are taken for seconds since 1970, and become microseconds"
    return "us", f"{said}, not below a million, are taken for microseconds, and rounded"


def npz_unit(dtype: np.dtype[Any], times: Range) -> tuple[str, str]:
    """Return the same for SpikingJelly's arrays, which hold microseconds unless those are too few for the events."""
    span = times.greatest - times.least
    if not times.whole and times.number > 1 and (span < 1.0 or times.number / span > CROWDED):
        said = f"times of type {dtype} up to {times.greatest:g} hold {times.number} events in a span of {span:g}"
        return "s", f"{said}, so they are taken for seconds, and become microseconds"
    return "us", f"times of type {dtype} are taken for microseconds as SpikingJelly does, and rounded"


def order_of(path: Path, columns: str | None, number: int) -> dict[str, int]:
    """Return the places of t, x, y and p in a nameless table, by the option `columns`.

    Raises
    ------
    OptionError
        If the option is missing or names another number of columns.
    """
    if columns is None:
        raise OptionError(
            f"{path} is a table of {number} columns without names; say what they are in their order, e.g. "
            "`columns=xytp` (t time, x, y, p polarity)"
        )
    if len(columns) != number:
        raise OptionError(f"{path} has {number} columns, but `columns={columns}` names {len(columns)}")
    return {key: columns.index(key) for key in KEYS}


class Columns:
    """Makes pieces of columns one after the other, and sees to it that their polarities are 0 and 1, or -1 and 1.

    Parameters
    ----------
    path
        For messages.
    unit
        Unit of the times.
    shift
        Added to all times, in microseconds.
    """

    def __init__(self, path: Path, unit: str = "us", shift: int = 0) -> None:
        self._path, self._unit, self._shift = path, UNITS_NS[unit], shift
        self._zero = self._minus = False

    def piece(self, t: NDArray[Any], x: NDArray[Any], y: NDArray[Any], p: NDArray[Any]) -> Piece:
        """Return the events of some values.

        Raises
        ------
        RecordingError
            If a value is out of range.
        """
        self._zero |= bool((p == 0).any())
        notes: tuple[str, ...] = ()
        if not self._minus and p.dtype.kind in "if" and (p == -1).any():
            self._minus, notes = True, ("p is -1 or 1; -1 is read as 0 (OFF)",)
        if self._zero and self._minus:
            raise RecordingError(f"{self._path}: p holds 0 and -1; wanted 0 and 1, or -1 and 1")
        return Piece(
            self._times(t),
            self._within("x", x, 0, 65535).astype(np.uint16),
            self._within("y", y, 0, 65535).astype(np.uint16),
            (self._within("p", p, -1, 1) > 0).astype(np.uint8),
            notes=notes,
        )

    def _times(self, t: NDArray[Any]) -> NDArray[np.int64]:
        if t.dtype.kind == "f":
            if np.isnan(t).any():
                raise RecordingError(
                    f"{self._path}: {np.count_nonzero(np.isnan(t))} times are NaN, no number; mend the file"
                )
            t = np.rint(t.astype(np.float64) * (self._unit / 1000))
        else:
            most = (1 << 62) // max(1, self._unit // 1000)
            t = self._within("t", t, -most, most).astype(np.int64)
            t = t * (self._unit // 1000) if self._unit >= 1000 else (t + 500) // 1000
        if not (np.abs(self._within("t", t, -(1 << 62), 1 << 62).astype(np.float64)) <= 2.0**62).all():
            raise RecordingError(f"{self._path}: t has values that are no times")
        return t.astype(np.int64) + self._shift

    def _within(self, key: str, values: NDArray[Any], least: int, greatest: int) -> NDArray[Any]:
        if len(values) and not (values.min() >= least and values.max() <= greatest):
            raise RecordingError(f"{self._path}: {key} has values outside {least} .. {greatest}; it is damaged")
        if key != "t" and values.dtype.kind == "f" and (values != np.rint(values)).any():
            raise RecordingError(f"{self._path}: {key} has values that are no whole numbers")
        return values

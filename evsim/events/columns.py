"""What the formats of named columns share (``.npz``, HDF5): arrays t, x, y and p of any number type become events."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.types import Piece

KEYS = ("t", "x", "y", "p")


class Column(NamedTuple):
    """Type and shape of an array, known before it is read."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def check_columns(path: Path, columns: dict[str, Column]) -> None:
    """Refuse columns that are not whole numbers (t may be of a float type), or not of one length.

    Raises
    ------
    RecordingError
        If one is of another type or shape.
    """
    length = columns["t"].shape
    for key, (dtype, shape) in columns.items():
        if len(shape) != 1 or shape != length or dtype.kind not in ("iubf" if key == "t" else "iub"):
            raise RecordingError(
                f"{path}: {key} has shape {list(shape)} of {dtype}, wanted {list(length[:1])} of whole numbers"
            )


class Columns:
    """Makes pieces of columns one after the other, and sees to it that their polarities are 0 and 1, or -1 and 1.

    Parameters
    ----------
    path
        For messages.
    scale
        Microseconds per unit of times of a float type.
    shift
        Added to all times, in microseconds.
    """

    def __init__(self, path: Path, scale: float = 1.0, shift: int = 0) -> None:
        self._path, self._scale, self._shift = path, scale, shift
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
        if not self._minus and p.dtype.kind == "i" and (p == -1).any():
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
            t = np.rint(t.astype(np.float64) * self._scale)
        if not (np.abs(self._within("t", t, -(1 << 62), 1 << 62).astype(np.float64)) <= 2.0**62).all():
            raise RecordingError(f"{self._path}: t has values that are no times")
        return t.astype(np.int64) + self._shift

    def _within(self, key: str, values: NDArray[Any], least: int, greatest: int) -> NDArray[Any]:
        if len(values) and not (values.min() >= least and values.max() <= greatest):
            raise RecordingError(f"{self._path}: {key} has values outside {least} .. {greatest}; it is damaged")
        return values

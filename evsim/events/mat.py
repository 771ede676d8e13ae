"""MATLAB's ``.mat`` of version 5: vectors ts, x, y and pol, perhaps within one struct.

Version 7.3 is HDF5, which `evsim.events.hdf5` reads; what its vectors mean is told here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.columns import (
    KEYS,
    UNIT_WORDS,
    Column,
    Columns,
    check_columns,
    float_unit,
    matches,
    range_of,
    unit_in,
)
from evsim.events.mat5 import DamageError, Value, unpacked
from evsim.events.options import ReadOptions
from evsim.events.types import PIECE, Piece, Stream, empty_piece

NAME = "mat"
SUFFIXES = (".mat",)
ABOUT = "MATLAB 5 and 7.3: vectors ts (us), x, y, pol, perhaps within one struct"
SIZE = "nowhere"
TAKES = ("time_unit",)
MAGIC = b"MATLAB 5.0 MAT-file"
HARMLESS, LARGEST_RATIO = 64 << 20, 20
"""Bytes that a file may unpack to whatever its size, and how many times its size beyond: it is read whole."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as MATLAB 5's do."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a recording.

    Raises
    ------
    RecordingError
        If it is damaged, or holds no vectors of events.
    """
    return of_vectors(path, _columns(path, _variables(path)), options)


def of_vectors(path: Path, columns: Mapping[str, tuple[str, NDArray[Any]]], options: ReadOptions) -> Stream:
    """Return the events of vectors.

    Parameters
    ----------
    path
        For messages.
    columns
        Name and values of t, x, y and p.
    options
        The option `time_unit` goes before the unit that is taken.

    Raises
    ------
    RecordingError
        If they are not numbers, or not of one length.
    """
    check_columns(path, {key: Column(values.dtype, values.shape) for key, (_, values) in columns.items()})
    t, x, y, p = (columns[key][1] for key in KEYS)
    unit = options.time_unit or unit_in(columns["t"][0])
    notes: tuple[str, ...] = ()
    taken = unit or "us"
    if not unit and t.dtype.kind == "f":
        times = range_of([t])
        if not times.whole:
            taken, note = float_unit(t.dtype, times)
            notes = (note,)
    if len(x) and x.min() >= 1 and y.min() >= 1:
        x, y = x.astype(np.float64) - 1, y.astype(np.float64) - 1
        notes = (*notes, "no x or y is 0, so they are taken to count from 1 as MATLAB does, and become one less")
    return Stream(NAME, path, None, _pieces(path, (t, x, y, p), taken, notes), (), "" if unit else UNIT_WORDS[taken])


def vector(value: Any) -> NDArray[Any]:
    """Return a matrix of one row or column, perhaps in a cell of its own, as a vector; others as they are."""
    values = np.asarray(value)
    while values.dtype == object and values.size == 1:  # what a struct holds lies in a cell of its own
        values = np.asarray(values.reshape(())[()])
    return values.reshape(-1) if values.ndim < 2 or 1 in values.shape else values


def _pieces(path: Path, columns: tuple[NDArray[Any], ...], unit: str, notes: tuple[str, ...]) -> Iterator[Piece]:
    yield empty_piece(notes=notes)
    events = Columns(path, unit)
    for begin in range(0, len(columns[0]), PIECE):
        yield events.piece(*(column[begin : begin + PIECE] for column in columns))


def _variables(path: Path) -> dict[str, Value]:
    most = max(HARMLESS, LARGEST_RATIO * path.stat().st_size)
    try:
        return unpacked(path.read_bytes(), most)
    except OverflowError:
        raise RecordingError(f"{path} unpacks to more than {most >> 20} MB, which no recording does; refused") from None
    except DamageError as error:
        raise RecordingError(f"{path} is a damaged MATLAB file ({error}); copy it again") from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read ({error.strerror}); check the path") from error


def _columns(path: Path, variables: dict[str, Value]) -> dict[str, tuple[str, NDArray[Any]]]:
    """Name and values of t, x, y and p: variables of the file, or fields of one struct."""
    holders = [variables, *(value for value in variables.values() if isinstance(value, dict))]
    arrays = [{name: value for name, value in holder.items() if isinstance(value, np.ndarray)} for holder in holders]
    fitting = [(holder, matches(holder)) for holder in arrays]
    fitting = [(holder, names) for holder, names in fitting if names]
    if not fitting:
        held = ", ".join(list(variables)[:8]) or "nothing"
        raise RecordingError(f"{path} has no vectors ts, x, y and pol, nor a struct of them; it holds {held}")
    if len(fitting) > 1:
        raise RecordingError(f"{path} holds several recordings; give a file with one")
    holder, names = fitting[0]
    return {key: (name, vector(holder[name])) for key, name in names.items()}

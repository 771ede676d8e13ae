"""Tables of events in one array: structured (fields t, x, y, p by name) or [N, columns] (order by the option)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.columns import (
    KEYS,
    UNIT_WORDS,
    Columns,
    float_unit,
    matches,
    order_of,
    range_of,
    unit_in,
)
from evsim.events.options import ReadOptions
from evsim.events.types import Piece, empty_piece

Blocks = Callable[[], Iterator[NDArray[Any]]]
"""The rows of a table, some at a time, from its beginning each time that it is called."""


class Table(NamedTuple):
    """Pieces of a table, and the unit that its times were taken for, in words; "" if that is known."""

    pieces: Iterator[Piece]
    unit: str


def is_table(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bool:
    """Whether an array can be a table of events: structured with their fields, or numbers in 4 columns or more."""
    if dtype.names:
        return len(shape) == 1 and bool(matches(dtype.names))
    return len(shape) == 2 and shape[1] >= 4 and dtype.kind in "iuf"


def table(
    path: Path,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    blocks: Blocks,
    options: ReadOptions,
    order: str | None = None,
    unit: str | None = None,
) -> Table:
    """Return the events of a table.

    Parameters
    ----------
    path
        For messages.
    dtype, shape
        Of the array.
    blocks
        Its rows.
    options
        The option `columns` goes before `order`, `time_unit` before `unit`.
    order
        What the columns are where the format tells, e.g. "txyp".
    unit
        Unit of the times where the format tells.

    Raises
    ------
    RecordingError
        If a field has another type than numbers.
    OptionError
        If nothing tells what the columns are.
    """
    columns: dict[str, Callable[[Any], Any]]
    if dtype.names:
        fields = matches(dtype.names)
        for key, name in fields.items():
            kind = dtype[name]
            if kind.kind not in "iubf" or kind.shape:
                raise RecordingError(f"{path}: the field {name} ({key}) is of {kind}, wanted numbers")
        unit = unit or unit_in(fields["t"])
        of_time = dtype[fields["t"]]
        columns = {key: itemgetter(fields[key]) for key in KEYS}
    else:
        numbers = order_of(path, options.columns or order, shape[1])
        of_time = dtype
        columns = {key: partial(_column, numbers[key]) for key in KEYS}
    known = options.time_unit or unit
    notes: tuple[str, ...] = ()
    if not known and of_time.kind == "f":
        taken, note = float_unit(of_time, range_of(columns["t"](rows) for rows in blocks()))
        notes = (note,)
    else:
        taken = known or "us"
    return Table(_pieces(path, blocks, columns, taken, notes), "" if known else UNIT_WORDS[taken])


def _column(place: int, rows: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(rows[:, place])


def _pieces(
    path: Path, blocks: Blocks, columns: Mapping[str, Callable[[Any], Any]], unit: str, notes: tuple[str, ...]
) -> Iterator[Piece]:
    if notes:
        yield empty_piece(notes=notes)
    events = Columns(path, unit)
    for rows in blocks():
        yield events.piece(*(np.asarray(columns[key](rows)) for key in KEYS))

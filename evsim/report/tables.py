"""Tables and reports as data: columns with units, rows of values. `evsim.report.terminal` and `formats` show them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Range = tuple[float, float]
Value = str | int | float | Range | None
"""What a cell holds: a text, a number in the unit of its column, a range of numbers, or nothing."""

Quantity = Literal["text", "whole", "count", "energy", "share", "number"]
"""How a column is shown: texts; integers as they are; in thousands and the like; in joules; in percent; plain."""

Tone = Literal["", "good", "bad", "quiet"]
"""What a row means: as it should be, not spike-driven or wrong, of no weight."""

DIGITS = 3
"""Significant digits of everything that is shown; CSV and JSON have all."""

LEAST = 1e-3
"""Below it a number of a scaled column has no digit worth its place, and is said to be less."""

ENERGIES = {"J": 1e3, "mJ": 1.0, "uJ": 1e-3, "nJ": 1e-6, "pJ": 1e-9}
"""Units of energy in mJ, in which tables hold it."""

COUNTS = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0}
"""Prefixes of counts."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name
        Its heading, without a unit.
    quantity
        What its values are; energies are held in mJ, shares as parts of 1.
    unit
        Of a plain number, or of a count behind its prefix.
    drop
        Its place in the order in which columns leave a narrow terminal: 1 goes first, 0 never.
    signed
        Whether positive numbers bear their sign.
    decimals
        Of plain numbers that are held against each other, as potentials against a threshold; else three digits.
    """

    name: str
    quantity: Quantity = "text"
    unit: str = ""
    drop: int = 0
    signed: bool = False
    decimals: int | None = None


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes
    ----------
    columns, rows
        A row holds a value for each column.
    title
        A line above it, or nothing.
    total
        A last row, set apart.
    tones
        What each row means; none for all alike.
    bar
        Name of the column whose values are drawn too, the greatest as the full bar.
    bar_drop
        As `Column.drop`, of the bars.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]
    title: str = ""
    total: tuple[Value, ...] | None = None
    tones: tuple[Tone, ...] = ()
    bar: str = ""
    bar_drop: int = 1

    def index(self, name: str) -> int:
        """Return the place of the column of that name; ValueError if there is none."""
        return [column.name for column in self.columns].index(name)

    @property
    def lines(self) -> tuple[tuple[Value, ...], ...]:
        """All rows, the total last."""
        return self.rows if self.total is None else (*self.rows, self.total)


@dataclass(frozen=True)
class Report:
    """What a command says: the headline, then texts and tables.

    Attributes
    ----------
    headline
        Lines that stand alone where a report is to be brief.
    parts
        Texts and tables, an empty line between.
    """

    headline: tuple[str, ...]
    parts: tuple[str | Table, ...] = field(default=())

    @property
    def tables(self) -> tuple[Table, ...]:
        """Its tables."""
        return tuple(part for part in self.parts if isinstance(part, Table))

    def __str__(self) -> str:
        """As plain text, of any width."""
        from evsim.report.terminal import View, shown

        return shown(self, View())


def together(reports: Sequence[Report]) -> Report:
    """Return reports as one: its headline is theirs."""
    if len(reports) == 1:
        return reports[0]
    parts: list[str | Table] = []
    for report in reports:
        parts += [report.headline[0], *report.parts]
    return Report(tuple(line for report in reports for line in report.headline), tuple(parts))


def plain(rows: Sequence[tuple[str, ...]], left: int = 1, drops: Sequence[int] = (), title: str = "") -> Table:
    """Return rows of texts as a table, the first row its headings.

    Parameters
    ----------
    rows
        The texts.
    left
        Columns of words, which stand before those of numbers.
    drops
        As `Column.drop`, by column; 0 for what it does not reach.
    title
        As `Table.title`.
    """
    columns = tuple(
        Column(name, "text" if i < left else "number", drop=drops[i] if i < len(drops) else 0)
        for i, name in enumerate(rows[0])
    )
    return Table(columns, tuple(rows[1:]), title)


def significant(value: float, *, signed: bool = False) -> str:
    """Return a number with three significant digits, thousands apart; of the very small and great by a power of ten."""
    sign = "+" if signed else ""
    if value == 0 or not math.isfinite(value):
        return f"{value:{sign}g}" if value else "0"
    rounded = float(f"{value:.{DIGITS - 1}e}")
    exponent = math.floor(math.log10(abs(rounded)))
    if not -5 <= exponent < 12:
        return f"{rounded:{sign}.{DIGITS - 1}e}"
    return f"{rounded:{sign},.{max(0, DIGITS - 1 - exponent)}f}"


def energy_unit(greatest_mj: float) -> str:
    """Return the unit in which an energy is at least 1: J, mJ, uJ, nJ, or pJ for all below."""
    return next((unit for unit, scale in ENERGIES.items() if abs(greatest_mj) >= scale * 0.9995), "pJ")


def energy(value_mj: float) -> str:
    """Return an energy with its unit."""
    unit = energy_unit(value_mj)
    return f"{significant(value_mj / ENERGIES[unit])} {unit}"


def count(value: float, unit: str = "") -> str:
    """Return a count with its prefix and unit: 13.8 M, 1.2 kbit."""
    prefix = _prefix([value])
    return f"{_counted(value, COUNTS[prefix])} {prefix}{unit}".rstrip()


@dataclass(frozen=True)
class Cells:
    """A table as texts.

    Attributes
    ----------
    heads
        Headings with units.
    rows
        Texts of all rows, the total last.
    numeric
        Whether each column holds numbers.
    units, scales
        Of each column: the unit as it is shown, and how many of the held one it is.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: tuple[bool, ...]
    units: tuple[str, ...]
    scales: tuple[float, ...]


def cells(table: Table) -> Cells:
    """Return the texts of a table: one unit of energy for all of it, one prefix for each column of counts."""
    joules = energy_unit(
        max((n for i, c in enumerate(table.columns) if c.quantity == "energy" for n in _numbers(table, i)), default=0.0)
    )
    units, scales = [], []
    for i, column in enumerate(table.columns):
        match column.quantity:
            case "energy":
                unit, scale = joules, ENERGIES[joules]
            case "share":
                unit, scale = "%", 0.01
            case "count":
                prefix = _prefix(_numbers(table, i))
                unit, scale = prefix + column.unit, COUNTS[prefix]
            case _:
                unit, scale = column.unit, 1.0
        units.append(unit)
        scales.append(scale)
    columns = [
        [_text(row[i], column, scale) for row in table.lines]
        for i, (column, scale) in enumerate(zip(table.columns, scales, strict=True))
    ]
    heads = tuple(f"{c.name} ({unit})" if unit else c.name for c, unit in zip(table.columns, units, strict=True))
    numeric = tuple(column.quantity != "text" for column in table.columns)
    rows = tuple(zip(*columns, strict=True)) if table.lines else ()
    return Cells(heads, rows, numeric, tuple(units), tuple(scales))


def _numbers(table: Table, i: int) -> list[float]:
    found: list[float] = []
    for row in table.lines:
        value = row[i]
        if isinstance(value, tuple):
            found += [abs(value[0]), abs(value[1])]
        elif isinstance(value, int | float):
            found.append(abs(value))
    return [number for number in found if math.isfinite(number)]


def _prefix(numbers: Sequence[float]) -> str:
    greatest = max(map(abs, numbers), default=0.0)
    return next((prefix for prefix, scale in COUNTS.items() if greatest >= scale * 0.9995), "")


def _text(value: Value, column: Column, scale: float) -> str:
    match value:
        case None:
            return ""
        case str():
            return value
        case (low, high):
            both = [_number(end, column, scale) for end in (low, high)]
            return both[0] if both[0] == both[1] else " to ".join(both)
        case _:
            return _number(value, column, scale)


def _number(value: float, column: Column, scale: float) -> str:
    if column.quantity == "whole":
        return f"{value:,.0f}"
    if column.decimals is not None:
        return f"{value:{'+' if column.signed else ''},.{column.decimals}f}"
    scaled = value / scale
    if column.quantity in ("energy", "count", "share") and 0 < abs(scaled) < LEAST:
        return f"<{LEAST:g}" if scaled > 0 else f">-{LEAST:g}"
    if column.quantity == "count" and not column.signed:
        return _counted(value, scale)
    return significant(scaled, signed=column.signed)


def _counted(value: float, scale: float) -> str:
    """Return a count behind its prefix; without one a whole number stays whole: 32, not 32.0."""
    return f"{value:.0f}" if scale == 1 and value == round(value) else significant(value / scale)

"""What tests of reports share: three significant digits by decimal arithmetic, tables of CSV as rows."""

from __future__ import annotations

import csv
from decimal import ROUND_HALF_EVEN, Context, Decimal

from evsim.report.terminal import View, shown

THREE = Context(prec=3, rounding=ROUND_HALF_EVEN)


def three(value):
    """Return a number with three significant digits, as a table has it."""
    if not value:
        return "0"
    rounded = THREE.create_decimal(Decimal(value))
    digits = max(0, 2 - rounded.adjusted())
    return f"{rounded.quantize(Decimal(1).scaleb(-digits)) if digits else rounded.to_integral():,f}"


def tables(text):
    """Return the tables of ``--format csv``: lists of dicts."""
    return [list(csv.DictReader(part.splitlines())) for part in text.strip().split("\n\n")]


def narrow(report, width=80):
    """Return a report as a terminal of that width shows it."""
    return shown(report, View(width=width))


def joules(millijoules):
    """Return an energy in the unit in which it is at least 1."""
    units = (("J", 1e-3), ("mJ", 1), ("uJ", 1e3), ("nJ", 1e6), ("pJ", 1e9))
    return next(f"{three(millijoules * scale)} {unit}" for unit, scale in units if millijoules * scale >= 1)

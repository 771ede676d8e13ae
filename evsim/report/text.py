"""Text in columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 80
"""Columns of a terminal that nobody has widened."""

NARROWEST = 24
"""Columns that a cell of words takes at least."""


def aligned(rows: Sequence[tuple[str, ...]], left: int = 2) -> list[str]:
    """Return rows of text with aligned columns: the first `left` to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "-" * max(map(len, lines)), *lines[1:]]


def listed(rows: Sequence[tuple[str, ...]]) -> list[str]:
    """Return rows of text with aligned columns, the last of which breaks between words at 80 columns."""
    before = sum(max(len(row[i]) for row in rows) + 2 for i in range(len(rows[0]) - 1))
    lines = []
    for row in rows:
        first, *more = textwrap.wrap(row[-1], max(NARROWEST, WIDTH - before), break_on_hyphens=False) or [""]
        lines.append((*row[:-1], first))
        lines += [(*[""] * (len(row) - 1), line) for line in more]
    return aligned(lines, len(rows[0]))

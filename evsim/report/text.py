"""Text in lines."""

from __future__ import annotations

from collections.abc import Sequence

WIDTH = 80
"""Columns of a terminal that nobody has widened."""


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

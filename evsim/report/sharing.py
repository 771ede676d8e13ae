"""Shared sums in the table of a run: what additions layers take, beside their synaptic operations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from evsim.counters import Counts, SynapseCounts
from evsim.document import sharing_of, sharing_totals
from evsim.report.tables import Column, Table, Value, count, significant

COLUMNS = (Column("quads", "count"), Column("product", "count"))
"""Additions where quads of neighbours share, and by product sparsity."""

NONZERO = Column("nonzero weights", "count", drop=7)
"""Only where weights of 0 would show."""

KINDS = {"quads": "quads", "product sparsity": "product"}
"""Both definitions, and their names in the JSON of a run."""

LEAST = 1e-3
"""Share of the operations that meets weights of 0 where these would show."""

BEHIND = "SOPs"
"""The column that they stand behind."""


def with_sharing(table: Table, counts: Counts, where: Mapping[str, str]) -> Table:
    """Return a table of layers or sections with the columns of shared sums, if these were counted.

    Parameters
    ----------
    table
        Its first column names the rows.
    counts
        Of all its rows.
    where
        Layer to the row that it is part of.
    """
    if not counts.shares:
        return table
    totals, pruned = sharing_totals(counts), has_zeros(counts)
    sums: dict[Value, list[int | None]] = {row[0]: [None] * 3 for row in table.rows}
    for layer in counts.layers:
        if told := sharing_of(layer):
            shared = [told[key] and told[key]["additions"] for key in KINDS.values()]
            own = sums[where[layer.name]]
            for i, number in enumerate((*shared, told["nonzero_weight_operations"])):
                own[i] = number if own[i] is None else own[i] if number is None else own[i] + number
    width, at = 2 + pruned, table.index(BEHIND) + 1
    rows = tuple((*row[:at], *sums[row[0]][:width], *row[at:]) for row in table.rows)
    last = (*(totals[kind]["additions"] for kind in KINDS.values()), totals["nonzero_weight_operations"])[:width]
    total = None if table.total is None else (*table.total[:at], *last, *table.total[at:])
    columns = (*table.columns[:at], *(*COLUMNS, NONZERO)[:width], *table.columns[at:])
    return replace(table, columns=columns, rows=rows, total=total)


def sharing_lines(counts: Counts) -> list[str]:
    """Return what sharing saves, and what of it is not counted; nothing where none of it was."""
    if not counts.shares:
        return []
    totals, lines = sharing_totals(counts), []
    if sops := totals["sops"]:
        lines.append(f"additions where sums are shared, of {count(sops / max(1, counts.samples))} SOPs with weights:")
        lines += [_line(title, totals[kind], sops, max(1, counts.samples)) for title, kind in KINDS.items()]
    weighted = [layer for layer in counts.layers if isinstance(layer, SynapseCounts)]
    if integers := [layer for layer in weighted if layer.input_kind == "integers"]:
        macs = count(sum(int(layer.macs.sum()) for layer in integers) / max(1, counts.samples))
        number = f"{len(integers)} layers read" if len(integers) > 1 else f"{integers[0].name} reads"
        lines.append(f"not counted: sums that integer input shares ({number} integers, {macs} MACs)")
    if has_zeros(counts):
        share = 1 - totals["nonzero_weight_operations"] / totals["operations"]
        lines.append(f"weights that are 0: {significant(100 * share)} % of the operations meet one")
    return lines


def _line(title: str, told: Mapping[str, int], sops: int, samples: int) -> str:
    total, weights, sums = (told[key] / sops for key in ("additions", "weights_added", "sums_added"))
    parts = f"{significant(total)} per SOP: weights {significant(weights)}, kept sums {significant(sums)}"
    return f"  {title:<16} : {count(told['additions'] / samples)}  ({parts})"


def has_zeros(counts: Counts) -> bool:
    """Whether enough operations met a weight of 0 for a table to show it."""
    totals = sharing_totals(counts)
    left_out: int = totals["operations"] - totals["nonzero_weight_operations"]
    return left_out > LEAST * int(totals["operations"])

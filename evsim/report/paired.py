"""Evaluations of several models on the same samples, as text."""

from __future__ import annotations

from collections.abc import Sequence

from evsim.evaluation.paired import FIGURES, LETTERS, Against, Paired
from evsim.evaluation.statistics import RESAMPLES
from evsim.report.evaluation import TITLES
from evsim.report.tables import Column, Quantity, Report, Table, Value

COLUMNS = (
    Column("model"), Column("top-1", "share"), Column("95 % interval", "share", drop=2), Column("SOPs", "count"),
    Column("MACs", "count", drop=1), Column("exact", "energy"), Column("paper", "energy"),
)  # fmt: skip


def paired_report(outcome: Paired) -> Report:
    """Return the figures of each model, and each held against the first."""
    letters = LETTERS[: len(outcome.models)].upper()
    left = f"; {outcome.left_out:,} did not run on all" if outcome.left_out else ""
    headline = [
        f"{letter}: {model} ({file})"
        for letter, model, file in zip(letters, outcome.models, outcome.files, strict=True)
    ]
    headline.append(f"on {outcome.data}: {outcome.samples:,} samples, the same for all{left}")
    rows: list[tuple[Value, ...]] = []
    for i, letter in enumerate(letters):
        top1 = outcome.top1[i]
        rows.append((letter, top1.value, top1.interval, *(outcome.means[name][i] for name in FIGURES)))
    parts: list[str | Table] = [Table(COLUMNS, tuple(rows), bar="exact", bar_drop=3)]
    for letter, against in zip(letters[1:], outcome.against, strict=True):
        parts += _against(letter, against)
    parts.append(f"(paired intervals of 95 %: bootstrap of {RESAMPLES:,} resamples, seed {outcome.seed})")
    return Report(tuple(headline), tuple(parts))


def _against(letter: str, against: Against) -> list[Table | str]:
    """Return differences and ratios, a table for each unit."""
    answers = against.answers
    parts: list[Table | str] = []
    if answers.difference is not None and answers.interval is not None:
        parts.append(_table(letter, "share", [("top-1", answers.difference, answers.interval, None, None)]))
    for quantity in ("count", "energy"):
        rows: list[tuple[Value, ...]] = [
            (TITLES[name][0], figure.mean, figure.interval, figure.ratio, figure.ratio_interval)
            for name, figure in against.figures.items()
            if TITLES[name][1] == quantity
        ]
        if rows:
            parts.append(_table(letter, "count" if quantity == "count" else "energy", rows))
    lines = []
    if answers.difference is not None:
        lines.append(
            f"right alone: A on {answers.first_alone:,} samples, {letter} on {answers.this_alone:,} "
            f"(McNemar's exact test: p = {answers.p_value:.3g})"
        )
    lines.append(f"one answer on {answers.agreement:.1%} of the samples")
    return [*parts, "\n".join(lines)]


def _table(letter: str, quantity: Quantity, rows: Sequence[tuple[Value, ...]]) -> Table:
    columns = [
        Column(f"{letter} - A"), Column("mean", quantity, signed=True),
        Column("95 % interval", quantity, drop=2, signed=True),
    ]  # fmt: skip
    if quantity == "share":
        return Table(tuple(columns), tuple(row[:3] for row in rows))
    columns += [Column(f"{letter} / A", "number"), Column("95 % interval of it", "number", drop=1)]
    return Table(tuple(columns), tuple(rows))

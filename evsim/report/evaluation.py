"""An evaluation as text for a terminal, and as CSV."""

from __future__ import annotations

import csv
import io

from evsim.evaluation.document import FIGURES, extremes
from evsim.evaluation.outcome import Evaluation
from evsim.evaluation.statistics import RESAMPLES, Share, Summary
from evsim.report.run import WHY, sections
from evsim.report.sharing import sharing_lines
from evsim.report.tables import Column, Quantity, Report, Table, Value, count, energy, significant

LAYERS = (
    Column("layer"), Column("kind", drop=2), Column("rate", "share"), Column("SOPs", "count"),
    Column("MACs", "count", drop=3), Column("exact", "energy"), Column("paper", "energy"),
)  # fmt: skip

SHOWN_CLASSES = 20
"""Rows of the table of classes, the least accurate first; JSON has all."""

SHOWN = 5
"""Pairs of classes that are mistaken most often, and failed samples that are named; JSON has all."""

TITLES: dict[str, tuple[str, Quantity]] = {
    "sops": ("SOPs", "count"),
    "macs": ("MACs", "count"),
    "energy_mj": ("energy, exact", "energy"),
    "paper_energy_mj": ("energy, paper", "energy"),
}
"""What is told of a sample, and as what."""


def evaluation_report(outcome: Evaluation, *, layers: bool = False) -> Report:
    """Return accuracy, means with intervals, and the tables by section or layer, timestep and class.

    Parameters
    ----------
    outcome
        Of `evsim.evaluation.evaluate`.
    layers
        Whether a table has a row for each layer instead of each section.
    """
    parts: list[str | Table] = [
        *_totals(outcome),
        _layers(outcome) if layers else _sections(outcome),
        _anytime(outcome),
        *_classes(outcome),
        _extremes(outcome),
        "\n".join([_calibration(outcome), *_sharing(outcome), WHY]),
        *(["\n".join(_failed(outcome))] if outcome.failed else []),
        *([_throughput(outcome)] if outcome.throughput.samples else []),
    ]
    return Report((*_accuracy(outcome), _cost(outcome), _head(outcome)), tuple(parts))


def evaluation_csv(outcome: Evaluation) -> str:
    """Return one row per sample."""
    columns = outcome.columns()
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
    return stream.getvalue()


def percent(share: Share) -> str:
    """Return a share with its interval."""
    if share.value is None or share.interval is None:
        return "-"
    low, high = share.interval
    return f"{share.value:.2%}  [{low:.2%}, {high:.2%}]"


def _head(outcome: Evaluation) -> str:
    header = outcome.audit.header
    return (
        f"{header.model} on {header.data} ({len(outcome.names):,} samples, {len(header.classes):,} classes), "
        f"T = {header.timesteps}, {header.precision}"
    )


def _accuracy(outcome: Evaluation) -> list[str]:
    accuracy = outcome.accuracy
    if not accuracy.top1.total:
        return ["no sample has a label, so there is no accuracy"]
    return [
        f"top-1: {percent(accuracy.top1)}  ({accuracy.top1.count:,} of {accuracy.top1.total:,})",
        f"top-5: {percent(accuracy.top5)}",
    ]


def _cost(outcome: Evaluation) -> str:
    sops, macs, exact, _ = (outcome.summaries[name][-1].mean for name in FIGURES)
    dense = outcome.audit.layout.first.dense_macs_with_attention
    mine = sops + macs
    fewer = f", {significant(dense / mine)} times fewer operations than dense" if mine and mine <= dense else ""
    return f"{count(sops)} SOPs and {energy(exact)} per sample{fewer}"


def _totals(outcome: Evaluation) -> list[Table | str]:
    """Return a table for operations and one for energies, for each has units of its own."""
    tables: list[Table | str] = []
    for quantity, title in (("count", "operations of a sample"), ("energy", "energy of a sample")):
        known: Quantity = "count" if quantity == "count" else "energy"
        rows = tuple(
            _summary_row(TITLES[name][0], outcome.summaries[name][-1])
            for name in FIGURES
            if TITLES[name][1] == quantity
        )
        columns = (
            Column(title), Column("mean", known), Column("95 % interval", known), Column("deviation", known, drop=2),
            Column("least", known, drop=1), Column("most", known, drop=1),
        )  # fmt: skip
        tables.append(Table(columns, rows))
    note = f"(shares: Wilson intervals; means: bootstrap of {RESAMPLES:,} resamples, seed {outcome.seed})"
    return [*tables, note]


def _summary_row(title: str, figure: Summary) -> tuple[Value, ...]:
    return (title, figure.mean, figure.interval, figure.deviation, figure.least, figure.most)


def _layers(outcome: Evaluation) -> Table:
    rows: list[tuple[Value, ...]] = []
    table = outcome.summaries
    for i, layer in enumerate(outcome.audit.layout.first.layers):
        sops, macs, exact, estimated, rate = (table[name][i].mean for name in (*FIGURES, "rate"))
        figures = (None,) * 4 if layer.kind == "lif" else (sops, macs, exact, estimated)
        rows.append((layer.name, layer.kind, rate, *figures))
    return Table(LAYERS, tuple(rows), bar="exact", bar_drop=1)


def _sections(outcome: Evaluation) -> Table:
    first = outcome.audit.layout.first
    sums: dict[str, list[float]] = {}
    for i, name in enumerate(sections(first).values()):
        part = sums.setdefault(name, [0.0] * len(FIGURES))
        for n, key in enumerate(FIGURES):
            part[n] += outcome.summaries[key][i].mean
    total: tuple[Value, ...] = ("total", *(outcome.summaries[key][-1].mean for key in FIGURES))
    rows: tuple[tuple[Value, ...], ...] = tuple((name, *part) for name, part in sums.items())
    return Table((Column("section"), *LAYERS[3:]), rows, "", total, bar="exact", bar_drop=1)


def _anytime(outcome: Evaluation) -> Table:
    columns = (
        Column("timesteps", "whole"), Column("top-1", "share"), Column("95 % interval", "share", drop=2),
        Column("SOPs", "count"), Column("MACs", "count", drop=1), Column("exact", "energy"),
    )  # fmt: skip
    rows = tuple(
        (
            moment.timestep, moment.top1.value, moment.top1.interval, moment.sops, moment.macs, moment.energy_mj,
        )
        for moment in outcome.anytime
    )  # fmt: skip
    return Table(columns, rows, bar="exact", bar_drop=3)


def _classes(outcome: Evaluation) -> list[Table | str]:
    known = [row for row in outcome.classes if row.accuracy.total]
    if not known:
        return []
    worst = sorted(known, key=lambda row: (row.accuracy.value or 0.0, row.index))[:SHOWN_CLASSES]
    columns = (
        Column("class"), Column("samples", "whole"), Column("top-1", "share"), Column("95 % interval", "share", drop=2),
        Column("taken for it", "whole", drop=1), Column("SOPs", "count"), Column("exact", "energy"),
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = []
    for row in worst:
        title = row.label if row.label == str(row.index) else f"{row.index} {row.label}"
        right = row.accuracy
        rows.append((title, right.total, right.value, right.interval, row.predicted, row.sops, row.energy_mj))
    lines = []
    if len(known) > len(worst):
        lines.append(f"(the {len(worst)} least accurate of {len(known)} classes)")
    mistaken = sorted((pair for pair in outcome.confusion if pair[0] != pair[1]), key=lambda pair: -pair[2])[:SHOWN]
    names = outcome.audit.header.classes
    if mistaken:
        shown = (f"{_name(names, a)} for {_name(names, b)} ({n:,})" for a, b, n in mistaken)
        lines.append(f"mistaken most often: {', '.join(shown)}")
    return [Table(columns, tuple(rows)), *(["\n".join(lines)] if lines else [])]


def _name(names: tuple[str, ...], index: int) -> str:
    return names[index] if index < len(names) else str(index)


def _extremes(outcome: Evaluation) -> Table:
    rows: list[tuple[Value, ...]] = []
    for title, samples in zip(("cheapest", "dearest"), extremes(outcome), strict=True):
        for i, sample in enumerate(samples):
            rows.append((title if not i else "", sample["path"], sample["sops"], sample["energy_mj"]))
    columns = (Column(""), Column("sample"), Column("SOPs", "count"), Column("exact", "energy"))
    return Table(columns, tuple(rows))


def _calibration(outcome: Evaluation) -> str:
    calibration = outcome.calibration
    if calibration.ratio is None:
        return "paper / exact: not defined, a sample costs nothing"
    ratio, (low, high) = calibration.ratio, calibration.ratio.interval
    line = f"paper / exact: {ratio.mean:.4f} [{low:.4f}, {high:.4f}], from {ratio.least:.4f} to {ratio.most:.4f}"
    return line if calibration.correlation is None else f"{line}; correlation {calibration.correlation:.4f}"


def _sharing(outcome: Evaluation) -> list[str]:
    return sharing_lines(outcome.counts) if outcome.audit.header.sharing else []


def _failed(outcome: Evaluation) -> list[str]:
    number = len(outcome.failed)
    if not number:
        return []
    lines = [f"failed: {number:,} of {number + len(outcome.names):,} samples, left out above"]
    lines += [f"  {each.path}: {each.reason}" for each in outcome.failed[:SHOWN]]
    return [*lines, *([f"  and {number - SHOWN:,} more"] if number > SHOWN else [])]


def _throughput(outcome: Evaluation) -> str:
    speed = outcome.throughput
    rate = speed.samples / speed.seconds if speed.seconds else 0.0
    workers = "1 worker" if speed.workers == 1 else f"{speed.workers} workers"
    return (
        f"{speed.samples:,} samples in {speed.seconds:.1f} s ({rate:.1f} per second, {workers}; "
        f"{speed.startup_seconds:.1f} s to get ready)"
    )

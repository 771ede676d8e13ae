"""An evaluation as text for a terminal, and as CSV."""

from __future__ import annotations

import csv
import io

from evsim.evaluation.document import FIGURES, extremes
from evsim.evaluation.outcome import Evaluation
from evsim.evaluation.statistics import RESAMPLES, Share, Summary
from evsim.report.text import aligned

SHOWN_CLASSES = 20
"""Rows of the table of classes, the least accurate first; JSON has all."""

SHOWN = 5
"""Pairs of classes that are mistaken most often, and failed samples that are named; JSON has all."""

TITLES = {
    "sops": "SOPs",
    "macs": "MACs",
    "energy_mj": "energy, exact (mJ)",
    "paper_energy_mj": "energy, paper (mJ)",
}

WHOLE = ("sops", "macs")
"""Figures that are shown without decimals."""


def evaluation_report(outcome: Evaluation) -> str:
    """Return accuracy, means with intervals, and the tables by layer, timestep and class."""
    parts = [
        [_head(outcome), "", *_accuracy(outcome)],
        _totals(outcome),
        _layers(outcome),
        _anytime(outcome),
        _classes(outcome),
        _extremes(outcome),
        [_calibration(outcome)],
        _failed(outcome),
        [_throughput(outcome)] if outcome.throughput.samples else [],
    ]
    return "\n\n".join("\n".join(part) for part in parts if part)


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


def _totals(outcome: Evaluation) -> list[str]:
    rows: list[tuple[str, ...]] = [("of a sample", "mean", "95 % interval", "deviation", "least", "most")]
    rows += [_summary_row(TITLES[name], outcome.summaries[name][-1], whole=name in WHOLE) for name in FIGURES]
    note = f"(shares: Wilson intervals; means: bootstrap of {RESAMPLES:,} resamples, seed {outcome.seed})"
    return [*aligned(rows), note]


def _summary_row(title: str, figure: Summary, *, whole: bool) -> tuple[str, ...]:
    def shown(value: float) -> str:
        return f"{value:,.0f}" if whole else f"{value:.6f}"

    low, high = figure.interval
    return (
        title, shown(figure.mean), f"{shown(low)} .. {shown(high)}", shown(figure.deviation),
        shown(figure.least), shown(figure.most),
    )  # fmt: skip


def _layers(outcome: Evaluation) -> list[str]:
    rows: list[tuple[str, ...]] = [("layer", "kind", "rate", "SOPs", "MACs", "mJ", "paper mJ")]
    table = outcome.summaries
    for i, layer in enumerate(outcome.audit.layout.first.layers):
        sops, macs, exact, estimated, rate = (table[name][i] for name in (*FIGURES, "rate"))
        energies = ("", "") if layer.kind == "lif" else (f"{exact.mean:.6f}", f"{estimated.mean:.6f}")
        operations = ("", "") if layer.kind == "lif" else (f"{sops.mean:,.0f}", f"{macs.mean:,.0f}")
        rows.append((layer.name, layer.kind, f"{rate.mean:.2%}", *operations, *energies))
    return aligned(rows)


def _anytime(outcome: Evaluation) -> list[str]:
    rows: list[tuple[str, ...]] = [("after timestep", "top-1", "SOPs", "MACs", "mJ")]
    for moment in outcome.anytime:
        figures = f"{moment.sops:,.0f}", f"{moment.macs:,.0f}", f"{moment.energy_mj:.6f}"
        rows.append((str(moment.timestep), percent(moment.top1), *figures))
    return aligned(rows)


def _classes(outcome: Evaluation) -> list[str]:
    known = [row for row in outcome.classes if row.accuracy.total]
    if not known:
        return []
    worst = sorted(known, key=lambda row: (row.accuracy.value or 0.0, row.index))[:SHOWN_CLASSES]
    rows: list[tuple[str, ...]] = [("class", "samples", "top-1", "taken for it", "SOPs", "mJ")]
    for row in worst:
        title = row.label if row.label == str(row.index) else f"{row.index} {row.label}"
        figures = f"{row.predicted:,}", f"{row.sops:,.0f}", f"{row.energy_mj:.6f}"
        rows.append((title, f"{row.accuracy.total:,}", percent(row.accuracy), *figures))
    lines = aligned(rows)
    if len(known) > len(worst):
        lines.append(f"(the {len(worst)} least accurate of {len(known)} classes)")
    mistaken = sorted((pair for pair in outcome.confusion if pair[0] != pair[1]), key=lambda pair: -pair[2])[:SHOWN]
    names = outcome.audit.header.classes
    if mistaken:
        shown = (f"{_name(names, a)} for {_name(names, b)} ({n:,})" for a, b, n in mistaken)
        lines.append(f"mistaken most often: {', '.join(shown)}")
    return lines


def _name(names: tuple[str, ...], index: int) -> str:
    return names[index] if index < len(names) else str(index)


def _extremes(outcome: Evaluation) -> list[str]:
    rows: list[tuple[str, ...]] = [("", "sample", "SOPs", "mJ")]
    for title, samples in zip(("cheapest", "dearest"), extremes(outcome), strict=True):
        for i, sample in enumerate(samples):
            rows.append((title if not i else "", sample["path"], f"{sample['sops']:,}", f"{sample['energy_mj']:.6f}"))
    return aligned(rows)


def _calibration(outcome: Evaluation) -> str:
    calibration = outcome.calibration
    if calibration.ratio is None:
        return "paper / exact: not defined, a sample costs nothing"
    ratio, (low, high) = calibration.ratio, calibration.ratio.interval
    line = f"paper / exact: {ratio.mean:.4f} [{low:.4f}, {high:.4f}], from {ratio.least:.4f} to {ratio.most:.4f}"
    return line if calibration.correlation is None else f"{line}; correlation {calibration.correlation:.4f}"


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

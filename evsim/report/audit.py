"""What audits brought out, as tables, JSON and CSV."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

from evsim.audit.check import Check, LayerCheck
from evsim.audit.compare import Comparison
from evsim.audit.paper import Implied, PaperTable, Recomputed
from evsim.audit.sweep import SweepRow
from evsim.report.published import published_parts
from evsim.report.tables import Column, Report, Table, Tone, Value, energy, plain
from evsim.synthesis import TOLERANCE

SCHEMA = 1

SHOWN = 20
"""Values that a printed histogram shows, from the least on; JSON has all."""


def check_report(check: Check) -> Report:
    """Return the verdict, the offending layers with range, histogram, cause and share of energy, and the ends."""
    hidden = sum(layer.role == "hidden" for layer in check.layers)
    how = "by its graph and in this run" if check.run else "by its graph; with an input it looks at the values too"
    verdict = (
        f"{check.network.name} is spike-driven: all {hidden} hidden synaptic layers read 0/1 spikes ({how})"
        if check.spike_driven
        else f"{check.network.name} is NOT spike-driven: {len(check.offenders)} of {hidden} hidden synaptic layers "
        f"read other values than 0/1 spikes ({how})"
    )
    parts: list[str | Table] = []
    headline = [verdict]
    if check.offenders:
        parts += _check_table("layer", check.offenders, "bad")
        if check.run:
            headline.append(_share_line(check.offenders))
    if check.ends:
        parts += ["apart from these, by design:", *_check_table("end", check.ends, "quiet")]
    return Report(tuple(headline), tuple(parts))


def check_document(check: Check) -> dict[str, Any]:
    """Return a check as plain lists, dicts, numbers and texts."""
    offending = {layer.name for layer in check.offenders}
    return {
        "schema": SCHEMA,
        "model": check.network.name,
        "input": check.run.sample.path if check.run else None,
        "spike_driven": check.spike_driven,
        "layers": [
            {
                "name": layer.name,
                "role": layer.role,
                "input_kind": layer.kind,
                "input_binary": layer.spikes,
                "offending": layer.name in offending,
                "cause": layer.cause,
                "values": asdict(layer.values) if layer.values else None,
                "energy_share": dict(layer.share),
            }
            for layer in check.layers
        ],
    }


RECOMPUTED = (
    "model", "G AC", "log G", "G MAC", "log", "mJ", "log mJ", "from log", "table mJ", "from table", "own heads mJ",
    "of table",
)  # fmt: skip
IMPLIED = (
    "model", "dense G", "G MAC", "table mJ", "implied G AC", "table G", "mean input", "residual rate", "q k v fc1 G",
)  # fmt: skip


def paper_report(table: PaperTable) -> Report:
    """Return the headline and what it rests on, the published energies beside ours, and what the others imply."""
    graded = {entry.model: entry.graded_mj for entry in table.implied if entry.graded_mj}
    alone = ", ".join(f"{mj:.2f} mJ ({name})" for name, mj in graded.items())
    headline = (
        f"1 - 7.4635 / 18.82 = {table.saving:.2%} less energy than Spikformer-8-512, the paper's headline.",
        (
            "It needs integer-as-events. With binary-only, the shipped setting of the authors' tool, q, k, v and fc1 "
            f"alone are dense MACs of {alone}, more than is published for the whole; the saving would be at least "
            f"{table.saving_if_binary_only:.2%}."
        ),
    )
    recomputed = plain(
        [RECOMPUTED, *(_recomputed_row(entry) for entry in table.recomputed)],
        drops=(0, 0, 6, 5, 4, 0, 7, 8, 0, 9, 2, 1),
        title="from the published firing rate of every layer (ours: rates x dense operations + attention)",
    )
    implied = plain(
        [IMPLIED, *(_implied_row(entry) for entry in table.implied)],
        drops=(0, 0, 3, 0, 0, 2, 0, 4, 1),
        title="where only the energy is published, what it implies (all but first conv and head as accumulates)",
    )
    return Report(
        headline,
        (
            recomputed,
            (
                "The log of 8-768 takes 12 heads for its attention, the model has 8; its rates are means over batches. "
                "The table rounds to 0.01 mJ, and its figure for 8-768 is of another run than the log."
            ),
            implied,
            (
                "mean input: mean firing rate; for Spikformer mean value of what its layers read, an integer k counted "
                "as k accumulates (integer-as-events). residual rate: rate of rpe_lif, proj_lif and fc2_lif that gives "
                "the published energy if all other neurons fire as Spikingformer's (of 8-768 for 8-768, else of "
                "8-512). q k v fc1: dense operations of the layers that read the integer stream."
            ),
            *published_parts(table.published),
        ),
    )


def paper_document(table: PaperTable) -> dict[str, Any]:
    """Return the paper's table as plain lists, dicts, numbers and texts."""
    return {"schema": SCHEMA, **asdict(table)}


def skipped_note(comparison: Comparison) -> tuple[str, ...]:
    """Return a note that counts and names the files that were no inputs; none if there were none."""
    if not comparison.skipped:
        return ()
    names = ", ".join(comparison.skipped[:SHOWN])
    more = f" and {len(comparison.skipped) - SHOWN} more" if len(comparison.skipped) > SHOWN else ""
    files = "1 file" if len(comparison.skipped) == 1 else f"{len(comparison.skipped)} files"
    return (f"skipped {files} of no known format: {names}{more}",)


DENSE = "dense MACs: of the layers with weights; attention's are left out"
"""What the column of a sweep holds, which is less than what a run's operations are compared with."""


def sweep_report(rows: Sequence[SweepRow]) -> Report:
    """Return a sweep as a table."""
    graded = any(row.paper_events_mj != row.paper_mj for row in rows)
    columns = (
        Column("model"), Column("heads", "whole", drop=1), Column("parameters", "count", drop=5),
        Column("dense MACs", "count", drop=4), Column("SOPs", "count"), Column("MACs", "count", drop=6),
        Column("exact", "energy"), Column("paper", "energy"),
        *((Column("as events", "energy", drop=7),) if graded else ()),
        Column("time", "number", "ms", drop=3), Column("worst rate error", "share", drop=1, signed=True),
    )  # fmt: skip
    table = tuple(
        (
            row.model, row.heads, row.parameters, row.dense_macs, row.sops, row.macs, row.exact_mj, row.paper_mj,
            *((row.paper_events_mj,) if graded else ()), row.milliseconds, row.worst_rate_error,
        )
        for row in rows
    )  # fmt: skip
    cheapest = min(rows, key=lambda row: row.exact_mj)
    headline = f"{len(rows)} sizes; {cheapest.model} needs least: {energy(cheapest.exact_mj)}"
    return Report((headline,), (Table(columns, table, bar="exact", bar_drop=2), DENSE))


def sweep_warnings(rows: Sequence[SweepRow]) -> list[str]:
    """Return a line for every size whose neurons miss their target rates."""
    return [
        f"{row.model}: a layer of neurons misses its target rate by {row.worst_rate_error:.2%}; see evsim synthesize"
        for row in rows
        if row.worst_rate_error > TOLERANCE
    ]


def sweep_csv(rows: Sequence[SweepRow]) -> str:
    """Return a sweep as CSV, a column per field of `SweepRow`."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = [f.name for f in fields(SweepRow)]
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)
    return text.getvalue()


def sweep_document(rows: Sequence[SweepRow]) -> dict[str, Any]:
    """Return a sweep as plain lists, dicts, numbers and texts."""
    return {"schema": SCHEMA, "rows": [asdict(row) for row in rows]}


def _check_table(title: str, layers: Sequence[LayerCheck], tone: Tone) -> list[Table | str]:
    views = list(layers[0].share) if layers else []
    columns = (
        Column(title),
        Column("input"),
        Column("values"),
        *(Column(f"of {v}", "share", drop=len(views) - i) for i, v in enumerate(views)),
    )
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (
            layer.name,
            layer.kind + (", 0/1 here" if layer.values and layer.values.binary else ""),
            f"{layer.values.low:.3g}..{layer.values.high:.3g}" if layer.values else "",
            *(layer.share[view] for view in views),
        )
        for layer in layers
    )
    lines = []
    for (cause, values), group in itertools.groupby(layers, lambda layer: (layer.cause, layer.values)):
        lines.append(f"  {', '.join(layer.name for layer in group)}: {cause}")
        if values:
            total = sum(values.histogram.values())
            shown = list(values.histogram.items())[:SHOWN]
            parts = [f"{value}: {n / total:.2%}" for value, n in shown]
            if more := len(values.histogram) - len(shown):
                parts.append(f"{more} greater values: {1.0 - sum(n for _, n in shown) / total:.2%}")
            lines.append(f"    values {', '.join(parts)}")
    return [Table(columns, rows, tones=(tone,) * len(rows)), "\n".join(lines)]


def _share_line(layers: Sequence[LayerCheck]) -> str:
    shares = {view: sum(layer.share[view] for layer in layers) for view in layers[0].share}
    return "together of the energy: " + ", ".join(f"{share:.2%} {view}" for view, share in shares.items())


def _recomputed_row(entry: Recomputed) -> tuple[str, ...]:
    return (
        entry.model, f"{entry.gacs:.6f}", f"{entry.log_gacs:.6f}", f"{entry.gmacs:.6f}", f"{entry.log_gmacs:.6f}",
        f"{entry.energy_mj:.6f}", f"{entry.log_mj:.6f}", f"{entry.log_difference:+.1e}",
        f"{entry.table_mj}", f"{entry.table_difference:+.2%}", f"{entry.own_heads_mj:.6f}",
        f"{entry.own_heads_difference:+.2%}",
    )  # fmt: skip


def _implied_row(entry: Implied) -> tuple[str, ...]:
    return (
        entry.model, f"{entry.dense_gops:.4f}", f"{entry.dense_gmacs:.4f}", f"{entry.table_mj}",
        f"{entry.gacs:.4f}", f"{entry.table_gacs or ''}", f"{entry.mean_rate:.4f}",
        f"{entry.residual_rate:.2%}" if entry.residual_rate is not None else "",
        f"{entry.graded_gops:.4f}" if entry.graded_gops is not None else "",
    )  # fmt: skip

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
from evsim.report.published import published_report
from evsim.report.text import aligned
from evsim.synthesis import TOLERANCE

SCHEMA = 1

SHOWN = 20
"""Values that a printed histogram shows, from the least on; JSON has all."""


def check_report(check: Check) -> str:
    """Return the verdict, the offending layers with range, histogram, cause and share of energy, and the ends."""
    hidden = sum(layer.role == "hidden" for layer in check.layers)
    how = "by its graph and in this run" if check.run else "by its graph; with an input it looks at the values too"
    verdict = (
        f"{check.network.name} is spike-driven: all {hidden} hidden synaptic layers read 0/1 spikes ({how})"
        if check.spike_driven
        else f"{check.network.name} is NOT spike-driven: {len(check.offenders)} of {hidden} hidden synaptic layers "
        f"read other values than 0/1 spikes ({how})"
    )
    lines = [verdict, ""]
    if check.offenders:
        lines += _check_table("layer", check.offenders)
        if check.run:
            lines += ["", _share_line(check.offenders)]
        lines.append("")
    lines += ["apart from these, by design:", *_check_table("end", check.ends)]
    return "\n".join(lines)


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


def paper_report(table: PaperTable) -> str:
    """Return the published energies beside ours, what the others imply, and what the headline rests on."""
    rows: list[tuple[str, ...]] = [
        (
            "model",
            "",
            "G AC",
            "log",
            "G MAC",
            "log",
            "mJ",
            "log mJ",
            "from log",
            "table mJ",
            "from table",
            "own heads mJ",
            "from table",
        )
    ]
    rows += [_recomputed_row(entry) for entry in table.recomputed]
    implied: list[tuple[str, ...]] = [
        (
            "model",
            "",
            "dense G",
            "G MAC",
            "table mJ",
            "implied G AC",
            "table G",
            "mean input",
            "residual rate",
            "q k v fc1 G",
        )
    ]
    implied += [_implied_row(entry) for entry in table.implied]
    graded = {entry.model: entry.graded_mj for entry in table.implied if entry.graded_mj}
    return "\n".join(
        [
            "From the published firing rate of every layer (ours: rates x dense operations + attention):",
            "",
            *aligned(rows),
            "",
            "The log of 8-768 takes 12 heads for its attention, the model has 8; its rates are means over batches.",
            "The table rounds to 0.01 mJ, and its figure for 8-768 is of another run than the log.",
            "",
            "Where only the energy is published, what it implies (all but first conv and head charged as accumulates):",
            "",
            *aligned(implied),
            "",
            "mean input: mean firing rate; for Spikformer mean value of what its layers read, an integer k counted as",
            "k accumulates (integer-as-events). residual rate: rate of rpe_lif, proj_lif and fc2_lif that gives the",
            "published energy if all other neurons fire as Spikingformer's (of 8-768 for 8-768, else of 8-512).",
            "q k v fc1: dense operations of the layers that read the integer stream.",
            "",
            f"Headline: 1 - 7.4635 / 18.82 = {table.saving:.2%} less energy than Spikformer-8-512.",
            "It needs integer-as-events. With binary-only, the shipped setting of the authors' tool, q, k, v and fc1",
            "alone are dense MACs of " + ", ".join(f"{mj:.2f} mJ ({name})" for name, mj in graded.items()) + ",",
            f"more than is published for the whole; the saving would be at least {table.saving_if_binary_only:.2%}.",
            "",
            *published_report(table.published),
        ]
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


def sweep_report(rows: Sequence[SweepRow]) -> str:
    """Return a sweep as a table."""
    graded = any(row.paper_events_mj != row.paper_mj for row in rows)
    head = (
        "model", "", "heads", "parameters", "dense MACs", "SOPs", "MACs", "exact mJ", "paper mJ",
        *(("as events mJ",) if graded else ()), "ms", "worst rate error",
    )  # fmt: skip
    table = [head]
    table += [
        (
            row.model, "", str(row.heads), f"{row.parameters:,}", f"{row.dense_macs:,}", f"{row.sops:,}",
            f"{row.macs:,}", f"{row.exact_mj:.4f}", f"{row.paper_mj:.4f}",
            *((f"{row.paper_events_mj:.4f}",) if graded else ()), f"{row.milliseconds:.0f}",
            f"{row.worst_rate_error:.2%}",
        )
        for row in rows
    ]  # fmt: skip
    return "\n".join(aligned(table))


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


def _check_table(title: str, layers: Sequence[LayerCheck]) -> list[str]:
    views = list(layers[0].share) if layers else []
    rows = [(title, "input", "values", *(f"share, {view}" for view in views))]
    rows += [
        (
            layer.name,
            layer.kind + (", 0/1 here" if layer.values and layer.values.binary else ""),
            f"{layer.values.low:.4g}..{layer.values.high:.4g}" if layer.values else "",
            *(f"{layer.share[view]:.2%}" for view in views),
        )
        for layer in layers
    ]
    lines = aligned(rows)
    for (cause, values), group in itertools.groupby(layers, lambda layer: (layer.cause, layer.values)):
        lines.append(f"  {', '.join(layer.name for layer in group)}: {cause}")
        if values:
            total = sum(values.histogram.values())
            shown = list(values.histogram.items())[:SHOWN]
            parts = [f"{value}: {n / total:.2%}" for value, n in shown]
            if more := len(values.histogram) - len(shown):
                parts.append(f"{more} greater values: {1.0 - sum(n for _, n in shown) / total:.2%}")
            lines.append(f"    values {', '.join(parts)}")
    return lines


def _share_line(layers: Sequence[LayerCheck]) -> str:
    shares = {view: sum(layer.share[view] for layer in layers) for view in layers[0].share}
    return "together of the energy: " + ", ".join(f"{share:.2%} {view}" for view, share in shares.items())


def _recomputed_row(entry: Recomputed) -> tuple[str, ...]:
    return (
        entry.model, "", f"{entry.gacs:.6f}", f"{entry.log_gacs:.6f}", f"{entry.gmacs:.6f}", f"{entry.log_gmacs:.6f}",
        f"{entry.energy_mj:.6f}", f"{entry.log_mj:.6f}", f"{entry.log_difference:+.1e}",
        f"{entry.table_mj}", f"{entry.table_difference:+.2%}", f"{entry.own_heads_mj:.6f}",
        f"{entry.own_heads_difference:+.2%}",
    )  # fmt: skip


def _implied_row(entry: Implied) -> tuple[str, ...]:
    return (
        entry.model, "", f"{entry.dense_gops:.4f}", f"{entry.dense_gmacs:.4f}", f"{entry.table_mj}",
        f"{entry.gacs:.4f}", f"{entry.table_gacs or ''}", f"{entry.mean_rate:.4f}",
        f"{entry.residual_rate:.2%}" if entry.residual_rate is not None else "",
        f"{entry.graded_gops:.4f}" if entry.graded_gops is not None else "",
    )  # fmt: skip

"""A run in both precisions: what differs, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evsim.audit.precision import PrecisionComparison
from evsim.report.divergence import told
from evsim.report.tables import Column, Table

COLUMNS = (
    Column("neurons"), Column("flips", "whole"), Column("of", "whole", drop=1),
    Column("spikes float32", "whole", drop=2), Column("float64", "whole", drop=2), Column("on the threshold", "whole"),
)  # fmt: skip


def precision_parts(comparison: PrecisionComparison) -> tuple[str | Table, ...]:
    """Return flips per layer, the first of them, and both predictions where they differ."""
    single, double = comparison.single, comparison.double
    touched = [layer for layer in comparison.layers if layer.flips or layer.ties]
    parts: list[str | Table] = [
        f"float32 against float64: {comparison.flips:,} of {comparison.neurons:,} spikes and silences differ"
    ]
    if touched:
        rows = tuple(
            (layer.name, layer.flips, layer.neurons, layer.spikes[0], layer.spikes[1], layer.ties) for layer in touched
        )
        parts.append(Table(COLUMNS, rows))
    lines = []
    if comparison.first:
        lines.append(f"first: {told(comparison.first[0], 'float32')}")
    if comparison.ties:
        lines.append(
            f"{comparison.ties:,} potentials lie within one float32 step of their threshold: there a spike hangs "
            "on the last bit"
        )
    if comparison.same_prediction:
        difference = max(abs(float(a) - float(b)) for a, b in zip(single.logits, double.logits, strict=True))
        lines.append(f"same prediction in both; logits differ by up to {difference:.3g}")
    else:
        lines.append(f"PREDICTIONS DIFFER: class {single.prediction} in float32, class {double.prediction} in float64")
    return (*parts, "\n".join(lines))


def precision_document(comparison: PrecisionComparison) -> dict[str, Any]:
    """Return the comparison as plain lists, dicts, numbers and texts: the field `against_float64` of a run's JSON."""
    double = comparison.double
    return {
        "prediction": {
            "class": double.prediction,
            "label": double.label(double.prediction),
            "logits": [float(v) for v in double.logits],
        },
        "same_prediction": comparison.same_prediction,
        "flips": comparison.flips,
        "ties": comparison.ties,
        "first": asdict(comparison.first[0]) if comparison.first else None,
        "layers": [
            {
                "name": layer.name,
                "neurons": layer.neurons,
                "spikes_float32": layer.spikes[0],
                "spikes_float64": layer.spikes[1],
                "flips": layer.flips,
                "ties": layer.ties,
            }
            for layer in comparison.layers
        ],
    }

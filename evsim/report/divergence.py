"""An integer network held against float64, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evsim.audit.divergence import Divergence
from evsim.audit.flips import Flip
from evsim.report.tables import Column, Report, Table, Value

MOST_STEPS = 16
"""Timesteps that have a column each."""

MOST_CLASSES = 5
"""Logits that are shown: the greatest in float64."""

NAMES = {"dequantized": "its own weights in float64", "original": "the original in float64"}
"""What an integer network is held against, in words."""


def divergence_report(outcomes: tuple[Divergence, ...]) -> Report:
    """Return what differs from each reference: predictions, flips by layer and timestep, the first of them, logits."""
    integers = outcomes[0].integers
    headline = (
        f"{integers.network.name} in {integers.precision}: class {integers.prediction}{_label(outcomes[0])}",
        *(_verdict(outcome) for outcome in outcomes),
    )
    parts = [part for outcome in outcomes for part in divergence_parts(outcome)]
    return Report(headline, (*parts, _logits(outcomes)))


def divergence_parts(outcome: Divergence) -> tuple[str | Table, ...]:
    """Return flips by layer and timestep, and the first of them."""
    precision = outcome.integers.precision
    share = outcome.flips / outcome.neurons if outcome.neurons else 0.0
    number = f"{outcome.flips:,} of {outcome.neurons:,} spikes and silences differ ({share:.2%})"
    parts: list[str | Table] = [f"{precision} against {NAMES[outcome.reference]}: {number}"]
    touched = [layer for layer in outcome.layers if layer.flips]
    if not touched:
        return tuple(parts)
    steps = outcome.integers.timesteps
    shown = range(steps) if steps <= MOST_STEPS else range(0)
    columns = (
        Column("neurons"), Column("flips", "whole"), Column("share", "share"),
        Column(f"spikes {precision}", "whole", drop=MOST_STEPS + 1), Column("float64", "whole", drop=MOST_STEPS + 1),
        *(Column(f"t {t}", "whole", drop=MOST_STEPS - t) for t in shown),
    )  # fmt: skip
    rows: list[tuple[Value, ...]] = [
        (
            layer.name,
            layer.flips,
            layer.flips / layer.neurons,
            *layer.spikes,
            *(layer.by_timestep[t] if t < len(layer.by_timestep) else None for t in shown),
        )
        for layer in touched
    ]
    parts.append(Table(columns, tuple(rows)))
    parts.append("\n".join(["first:", *(f"  {told(flip, precision)}" for flip in outcome.first)]))
    return tuple(parts)


def divergence_document(outcomes: tuple[Divergence, ...]) -> dict[str, Any]:
    """Return comparisons as plain lists, dicts, numbers and texts; see docs: The JSON of a run."""
    integers = outcomes[0].integers
    return {
        "precision": integers.precision,
        "prediction": _prediction(integers),
        "against": [
            {
                "reference": outcome.reference,
                "model": outcome.floats.network.name,
                "prediction": _prediction(outcome.floats),
                "same_prediction": outcome.same_prediction,
                "flips": outcome.flips,
                "neurons": outcome.neurons,
                "first": [asdict(flip) for flip in outcome.first],
                "layers": [
                    {
                        "name": layer.name,
                        "neurons": layer.neurons,
                        f"spikes_{integers.precision}": layer.spikes[0],
                        "spikes_float64": layer.spikes[1],
                        "flips": layer.flips,
                        "flips_by_timestep": list(layer.by_timestep),
                    }
                    for layer in outcome.layers
                ],
            }
            for outcome in outcomes
        ],
    }


def _prediction(run: Any) -> dict[str, Any]:
    return {
        "class": run.prediction,
        "label": run.label(run.prediction),
        "logits": [float(value) for value in run.logits],
    }


def _label(outcome: Divergence) -> str:
    label = outcome.integers.label(outcome.integers.prediction)
    return f" ({label})" if label else ""


def _verdict(outcome: Divergence) -> str:
    against = NAMES[outcome.reference]
    if outcome.same_prediction:
        return f"{against}: the same class"
    return f"{against}: ANOTHER CLASS, {outcome.floats.prediction}"


def _logits(outcomes: tuple[Divergence, ...]) -> Table:
    """Return the greatest logits side by side."""
    integers, last = outcomes[0].integers, outcomes[-1].floats
    order = sorted(range(len(last.logits)), key=lambda c: -float(last.logits[c]))[:MOST_CLASSES]
    if integers.prediction not in order:
        order.append(integers.prediction)
    columns = (
        Column("class"), Column(integers.precision, "number"),
        *(Column(outcome.reference, "number") for outcome in outcomes),
    )  # fmt: skip
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (
            last.label(c) or str(c),
            float(integers.logits[c]),
            *(float(outcome.floats.logits[c]) for outcome in outcomes),
        )
        for c in order
    )
    return Table(columns, rows, "logits")


def told(flip: Flip, precision: str) -> str:
    """Return where and when a spike differs, and how near the threshold that is.

    Parameters
    ----------
    flip
        The spike.
    precision
        What is held against float64.
    """
    where = f"{flip.layer}, timestep {flip.timestep}, position ({flip.y}, {flip.x}), channel {flip.channel}"
    who = f"fires in {precision} alone" if flip.fires else "fires in float64 alone"
    return f"{where} {who}; its potential in float64 is the threshold {flip.threshold:g} {flip.margin:+.3e}"

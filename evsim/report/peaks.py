"""Peaks and bandwidth as a report and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evsim.audit.peaks import LayerPeaks, Peaks
from evsim.report.tables import Column, Report, Table, Value, count

SCHEMA = 1

BIT, RATE = "bit", "B/s"

SUMMED = ("weights_moved", "spikes_moved", "potentials_moved", "buffer_moved")
"""What moves, by what it is."""


def peaks_report(outcome: Peaks, title: str) -> Report:
    """Return the peaks and the bandwidth, then a row per layer.

    Parameters
    ----------
    outcome
        Of `evsim.audit.peaks`.
    title
        What was counted.
    """
    busiest = max(outcome.layers, key=lambda layer: layer.events)
    hardest = max(outcome.layers, key=lambda layer: layer.operations)
    largest = max(outcome.layers, key=lambda layer: layer.buffer_bits)
    everything = sum(layer.weight_bits for layer in outcome.layers)
    weights = max(outcome.layers, key=lambda layer: layer.weight_bits)
    headline = [
        f"most events in a step: {count(busiest.events)} at {busiest.name}",
        f"most operations in a step: {count(hardest.operations)} at {hardest.name}, timestep {hardest.operations_at}",
        f"largest buffer: {count(largest.buffer_bits, BIT)}, {largest.buffer} of {largest.name}",
        f"largest weights: {count(weights.weight_bits, BIT)} of {weights.name}; all: {count(everything, BIT)}",
        _moved(outcome),
        title,
    ]
    rows: tuple[tuple[Value, ...], ...] = tuple(
        (
            layer.name, layer.events, layer.operations, layer.operations_at, layer.buffer, layer.buffer_bits,
            layer.weight_bits or None, layer.moved, outcome.bandwidth(layer.moved),
        )
        for layer in outcome.layers
    )  # fmt: skip
    columns: tuple[Column, ...] = (
        Column("layer"), Column("events", "count", drop=4), Column("operations", "count", drop=3),
        Column("at", "whole", drop=1), Column("buffer", drop=2), Column("size", "count", BIT),
        Column("weights", "count", BIT, drop=5), Column("moved", "count", BIT), Column("rate", "count", RATE),
    )  # fmt: skip
    moved = outcome.moved
    total: tuple[Value, ...] = ("total", None, None, None, None, None, everything, moved, outcome.bandwidth(moved))
    if outcome.fps is None:
        columns, rows, total = columns[:-1], tuple(row[:-1] for row in rows), total[:-1]
    note = (
        "events, operations: of the step with most, which for operations is at. size: of its largest buffer. moved: "
        f"per inference, by the widths of {outcome.profile}: weights that an event of a timestep needs, once per "
        "timestep; maps in the cheapest of three codes; potentials read and written; attention's buffer. Means over "
        "the samples, but for events, the most of any."
    )
    return Report(tuple(headline), (Table(columns, rows, "", total, bar="moved", bar_drop=1), note))


def peaks_document(outcome: Peaks, title: str) -> dict[str, Any]:
    """Return the peaks as plain lists, dicts, numbers and texts; see docs: What is printed."""
    return {
        "schema": SCHEMA,
        "counts": title,
        "fps": outcome.fps,
        "widths": outcome.profile,
        "bits_per_inference": outcome.moved,
        "bytes_per_second": outcome.bandwidth(outcome.moved),
        "layers": [_layer(outcome, layer) for layer in outcome.layers],
    }


def _layer(outcome: Peaks, layer: LayerPeaks) -> dict[str, Any]:
    return {**asdict(layer), "bits_moved": layer.moved, "bytes_per_second": outcome.bandwidth(layer.moved)}


def _moved(outcome: Peaks) -> str:
    parts = {name: sum(getattr(layer, name) for layer in outcome.layers) for name in SUMMED}
    shares = ", ".join(f"{name.removesuffix('_moved')} {count(bits, BIT)}" for name, bits in parts.items() if bits)
    text = f"moves {count(outcome.moved, BIT)} per inference ({shares})"
    rate = outcome.bandwidth(outcome.moved)
    if rate is None:
        return f"{text}; `fps=30` tells the bandwidth"
    return f"bandwidth at {outcome.fps:g} inferences per second: {count(rate, RATE)}; {text}"

"""What quantizing did to a network, as text and as JSON."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from evsim.quantized import INPUT_FRACTION, MOST_FRACTION
from evsim.quantizing import Quantized
from evsim.report.tables import Column, Report, Table

LAYERS = (
    Column("layer"), Column("weights", "count", drop=3), Column("error", "share"), Column("zeroed", "whole", drop=2),
    Column("saturated", "whole", drop=1), Column("sums"), Column("M", "text", drop=4), Column("grid", "text", drop=5),
)  # fmt: skip


def quantized_report(outcome: Quantized) -> Report:
    """Return sizes and units of an integer network, and what became of each layer's weights."""
    numbers, layers = outcome.quantization, outcome.layers
    before, after = outcome.bytes_before, outcome.bytes_after
    weights = sum(layer.weights for layer in layers)
    narrow = [layer for layer in layers if layer.accumulator == "int16"]
    sizes = f"{_size(before)} -> {_size(after)}, {before / max(after, 1):.2f} times smaller"
    unit = f"whole numbers of 2^-{numbers.fraction}, up to {2 ** (30 - numbers.fraction):,}"
    headline = (
        f"{outcome.network.name}: weights {sizes}",
        f"{numbers.weights} weights, F = {numbers.fraction}: values are {unit}",
    )
    zeroed, saturated = (sum(getattr(layer, name) for layer in layers) for name in ("zeroed", "saturated"))
    kept = [layer for layer in layers if layer.grid.startswith("kept")]
    lost = [layer for layer in layers if layer.grid and not layer.grid.startswith("kept")]
    lines = [
        *([f"F is no greater, for with {numbers.fraction + 1} {outcome.limit}"] if outcome.limit else []),
        *(
            [f"inputs are whole numbers of 2^-{numbers.input_fraction}, for they reach beyond 8"]
            if numbers.input_fraction < INPUT_FRACTION
            else []
        ),
        f"proven: no sum overflows{_where(outcome)}; {len(narrow)} of {len(layers)} layers add up in 16 bits",
        f"weights: {zeroed:,} of {weights:,} became 0, {saturated:,} are clipped",
        f"scales: {_scales(outcome)}",
        *([f"quantisation-aware training: {len(kept)} layers keep their integers"] if kept else []),
        *(f"{layer.name}: the grid of {layer.grid}" for layer in lost),
        "error: root of the squared errors of the weights over that of their squares; sums: type that holds them",
    ]
    rows = tuple(
        (
            layer.name,
            layer.weights,
            layer.error,
            layer.zeroed,
            layer.saturated,
            layer.accumulator,
            "-".join(map(str, dict.fromkeys(layer.multipliers))),
            "" if not layer.grid else "kept" if layer.grid.startswith("kept") else "lost",
        )
        for layer in layers
    )
    columns = LAYERS if any(layer.grid for layer in layers) else LAYERS[:-1]
    return Report(headline, (Table(columns, tuple(row[: len(columns)] for row in rows)), "\n".join(lines)))


def quantized_document(outcome: Quantized) -> dict[str, Any]:
    """Return the same as plain lists, dicts, numbers and texts; see docs: The JSON of a run."""
    numbers = outcome.quantization
    return {
        "schema": 1,
        "model": outcome.network.name,
        "weights": numbers.weights,
        "fraction": numbers.fraction,
        "most_fraction": MOST_FRACTION,
        "limit": outcome.limit or None,
        "input_fraction": numbers.input_fraction,
        "calibration_samples": outcome.samples,
        "largest_count": outcome.largest,
        "bytes_before": outcome.bytes_before,
        "bytes_after": outcome.bytes_after,
        "layers": [{**asdict(layer), "multipliers": list(layer.multipliers)} for layer in outcome.layers],
    }


def _where(outcome: Quantized) -> str:
    steps = outcome.network.spec.timesteps
    counts = f"event counts up to {outcome.largest:,} and " if outcome.largest is not None else ""
    return f" with {counts}{steps} timesteps"


def _scales(outcome: Quantized) -> str:
    if outcome.samples:
        return f"those that change the currents of {outcome.samples} inputs least"
    return "the least that clip nothing; a calibration chooses them by data"


def _size(number: int) -> str:
    return f"{number / 1e6:,.2f} MB" if number >= 1e5 else f"{number / 1e3:,.1f} kB"

"""Counts and traffic as CSV: a row per layer and timestep, and of attention one per head too."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.counters import AttentionCounts, Counts, LayerCounts, NeuronCounts
from evsim.energy import place
from evsim.errors import printable
from evsim.sharedsums import ON_REQUEST

WHERE = ("layer", "kind", "stage", "block", "timestep", "head")

COUNTED = (
    "input_size", "input_nonzeros", "input_sum", "sops", "macs", "bias_adds", "neuron_updates", "spikes", "nonzeros",
    "sops_other_order", "acs_unrolled", *ON_REQUEST,
)  # fmt: skip
"""Counters of `evsim.counters`, by name."""

NEURONS = ("input_size", "neuron_updates", "spikes", "nonzeros")
"""Those of neurons: what they never do, or nobody counts, is no 0."""

HEADS = {
    "sops_per_head": "sops",
    "sops_other_order_per_head": "sops_other_order",
    "sops_unrolled_per_head": "acs_unrolled",
}
"""Counters of heads, and the column that they stand in."""

MOVED = (
    "run_length_bits", "least_bits", "greatest_value", "greatest_sum", "rows_touched", "neurons_touched",
    "kv_coincidences", "qk_coincidences", "kv_greatest", "qk_greatest", "qk_entries",
)  # fmt: skip
"""Figures of `evsim.movement.Traffic` per timestep."""


def counts_csv(counts: Counts) -> str:
    """Return one row per layer and timestep, with an empty `head`, and one per head where something is counted by head.

    What a row has no figure of is empty. A row without a head holds all of its layer, so those with one do not add to
    it. Figures are sums over the samples, but for those named greatest, which are the greatest. Columns that no layer
    has, such as those of traffic where it was not measured, are left out.
    """
    rows = [row for layer in counts.layers for row in _rows(layer, counts.timesteps)]
    names = [name for name in (*COUNTED, *MOVED) if any(name in row for row in rows)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*WHERE, *names))
    writer.writerows([row.get(name, "") for name in (*WHERE, *names)] for row in rows)
    return out.getvalue()


def _rows(layer: LayerCounts, timesteps: int) -> Iterator[dict[str, Any]]:
    own = NEURONS if isinstance(layer, NeuronCounts) else COUNTED
    whole = {name: getattr(layer, name, None) for name in own}
    heads: dict[str, Any] = {}
    if isinstance(layer, AttentionCounts):
        heads = {column: getattr(layer, name) for name, column in HEADS.items()}
    if layer.traffic is not None:
        for name in MOVED:
            values = getattr(layer.traffic, name)
            (heads if values is not None and values.ndim == 2 else whole)[name] = values
    name = printable(layer.name)
    where = {"layer": name, "kind": layer.kind, "stage": place(name, "stage"), "block": place(name, "block")}
    for t in range(timesteps):
        yield {**where, "timestep": t, "head": "", **_at(whole, t)}
        for head in range(layer.geometry.heads if heads else 0):
            yield {**where, "timestep": t, "head": head, **_at(heads, (t, head))}


def _at(values: dict[str, NDArray[np.int64] | None], place_: Any) -> dict[str, int]:
    return {name: int(each[place_]) for name, each in values.items() if each is not None}

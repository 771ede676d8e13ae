"""What moved in each layer: the counted figures behind the energy method counted-memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from evsim.counters import (
    AttentionCounts,
    Counts,
    Ints,
    LayerCounts,
    NeuronCounts,
    RowCounts,
    SynapseCounts,
    Traffic,
    unknown_row,
)
from evsim.energy import Profile
from evsim.energy.counted_memory import attention_traffic, measured, sum_bits
from evsim.report.tables import Column, Table

COLUMNS = (
    "weights_per_sop",
    "weights_per_timestep",
    "weights_once",
    "bitmap_bits",
    "address_bits",
    "run_length_bits",
    "least_bits",
    "neurons",
    "neurons_touched",
    "sum_bits",
    "kv_buffer_bits",
    "qk_buffer_bits",
    "peak_events",
)


HEADINGS = (
    Column("layer"), Column("weights per SOP", "count", drop=9), Column("per timestep", "count"),
    Column("once", "count", drop=8), Column("bitmap bits", "count", drop=7), Column("address bits", "count", drop=6),
    Column("run bits", "count", drop=5), Column("least bits", "count"), Column("neurons", "count", drop=3),
    Column("touched", "count", drop=10), Column("sum bits", "whole", drop=4), Column("k^T v bits", "count", drop=2),
    Column("q k^T bits", "count", drop=1), Column("peak events", "count"),
)  # fmt: skip
"""Of `COLUMNS`, the layer before them."""


def traffic_table(counts: Counts, profile: Profile) -> Table:
    """Return what moved per inference: weights by three bounds, input bits by three codes, neurons, widths, buffers.

    Raises
    ------
    OptionError
        If the counts were taken without traffic.
    """
    rows = tuple((entry["layer"], *(entry[key] for key in COLUMNS)) for entry in traffic_document(counts, profile))
    return Table(HEADINGS, rows, "what moves per inference")


def traffic_document(counts: Counts, profile: Profile) -> list[dict[str, Any]]:
    """Return the figures of every layer, means over the samples (widths, buffers and peaks: the greatest)."""
    return [{"layer": layer.name, **dict.fromkeys(COLUMNS), **_figures(layer, profile)} for layer in counts.layers]


def _figures(layer: LayerCounts, profile: Profile) -> dict[str, float]:
    traffic = measured(layer)
    peak: dict[str, float] = {"peak_events": traffic.peak_events}
    match layer:
        case SynapseCounts():
            coded = {} if layer.input_kind == "real" else _coded(layer, traffic, layer.input_nonzeros)
            return coded | _synapses(layer, traffic, profile) | peak
        case AttentionCounts():
            return _coded(layer, traffic, layer.input_nonzeros) | _attention(layer, traffic) | peak
        case NeuronCounts():
            assert traffic.neurons_touched is not None
            neurons = {
                "neurons": _mean(layer, layer.neuron_updates),
                "neurons_touched": _mean(layer, traffic.neurons_touched),
            }
            fired = layer.spikes if layer.nonzeros is None else layer.nonzeros
            return _coded(layer, traffic, fired) | neurons | peak
    raise unknown_row(layer, "the table of what moves", "it has no columns for it")


def _mean(layer: RowCounts, values: Any) -> float:
    return float(np.sum(values)) / max(1, layer.samples)


def _coded(layer: RowCounts, traffic: Traffic, events: Ints) -> dict[str, float]:
    """Return the bits of a map of so many nonzeros, [T], in each code; real values have none."""
    each = layer.geometry.tokens * layer.geometry.in_channels
    graded = layer.input_kind == "integers" if not isinstance(layer, NeuronCounts) else layer.graded
    width = int(traffic.greatest_value.max()).bit_length() if graded else 1
    value = events * (width if graded else 0)
    return {
        "bitmap_bits": _mean(layer, layer.input_size) * max(1, width),
        "address_bits": _mean(layer, events * (each - 1).bit_length() + value),
        "run_length_bits": _mean(layer, traffic.run_length_bits + value),
        "least_bits": _mean(layer, traffic.least_bits),
    }


def _synapses(layer: SynapseCounts, traffic: Traffic, profile: Profile) -> dict[str, float]:
    out = layer.geometry.row
    assert traffic.rows_touched is not None
    assert traffic.rows_touched_once is not None
    assert traffic.neurons_touched is not None
    assert traffic.greatest_sum is not None
    ran = int(np.count_nonzero(layer.input_size))
    return {
        "weights_per_sop": _mean(layer, layer.sops + layer.macs),
        "weights_per_timestep": _mean(layer, traffic.rows_touched) * out,
        "weights_once": _mean(layer, traffic.rows_touched_once) * out,
        "neurons": float(ran * layer.geometry.outputs),
        "neurons_touched": _mean(layer, traffic.neurons_touched),
        "sum_bits": sum_bits(profile.weight_bits, int(traffic.greatest_sum.max())),
    }


def _attention(layer: AttentionCounts, traffic: Traffic) -> dict[str, float]:
    assert traffic.greatest_sum is not None
    width: dict[str, float] = {"sum_bits": max(1, int(traffic.greatest_sum.max()).bit_length())}
    if layer.attention != "ssa":
        return width
    return width | {
        "kv_buffer_bits": attention_traffic(layer, traffic, "q(kv)")[2],
        "qk_buffer_bits": attention_traffic(layer, traffic, "(qk)v")[2],
    }

"""What moved in each layer: the counted figures behind the energy model counted-memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from evsim.counters import Counts, LayerCounts, Traffic
from evsim.energy import Profile
from evsim.energy.counted_memory import attention_traffic, sum_bits
from evsim.errors import OptionError
from evsim.report.text import aligned

HEAD = (
    "layer",
    "weights per SOP",
    "per timestep",
    "once",
    "input bits: bitmap",
    "addresses",
    "runs",
    "least",
    "neurons",
    "touched",
    "sum bits",
    "k^T v bits",
    "q k^T bits",
    "peak events",
)


def traffic_report(counts: Counts, profile: Profile) -> str:
    """Return a table of what moved per inference: weights by three bounds, three codes, neurons, widths, buffers.

    Raises
    ------
    OptionError
        If the counts were taken without traffic.
    """
    rows = [
        (entry["layer"], *("" if entry[key] is None else f"{entry[key]:,.0f}" for key in COLUMNS))
        for entry in traffic_document(counts, profile)
    ]
    return "\n".join(aligned([HEAD, *rows], 1))


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


def traffic_document(counts: Counts, profile: Profile) -> list[dict[str, Any]]:
    """Return the figures of every layer, means over the samples (widths, buffers and peaks: the greatest)."""
    found = []
    for layer in counts.layers:
        if layer.traffic is None:
            raise OptionError(
                f"the counts of {layer.name} lack traffic; count again by evsim run --counts, or "
                "simulate(..., detail=True)"
            )
        figures = dict.fromkeys(COLUMNS) | _coded(layer, layer.traffic) | {"peak_events": layer.traffic.peak_events}
        if layer.kind == "attention":
            figures |= _attention(layer, layer.traffic)
        elif layer.kind == "lif":
            assert layer.traffic.neurons_touched is not None
            figures |= {
                "neurons": _mean(layer, layer.neuron_updates),
                "neurons_touched": _mean(layer, layer.traffic.neurons_touched),
            }
        else:
            figures |= _synapses(layer, layer.traffic, profile)
        found.append({"layer": layer.name, **figures})
    return found


def _mean(layer: LayerCounts, values: Any) -> float:
    return float(np.sum(values)) / max(1, layer.samples)


def _coded(layer: LayerCounts, traffic: Traffic) -> dict[str, float]:
    """Return the bits of the input map (LIF: of its output) in each code; real values have none."""
    if layer.input_kind == "real" and layer.spikes is None:
        return {}
    size = layer.geometry
    events = layer.input_nonzeros if layer.spikes is None else layer.spikes
    each = size.tokens * size.in_channels
    width = int(traffic.greatest_value.max()).bit_length() if layer.input_kind == "integers" else 1
    value = events * (width if layer.input_kind == "integers" else 0)
    return {
        "bitmap_bits": _mean(layer, layer.input_size) * max(1, width),
        "address_bits": _mean(layer, events * (each - 1).bit_length() + value),
        "run_length_bits": _mean(layer, traffic.run_length_bits + value),
        "least_bits": _mean(layer, traffic.least_bits),
    }


def _synapses(layer: LayerCounts, traffic: Traffic, profile: Profile) -> dict[str, float]:
    out = layer.geometry.out_channels
    assert traffic.rows_touched is not None
    assert traffic.rows_touched_once is not None
    assert traffic.neurons_touched is not None
    assert traffic.greatest_sum is not None
    ran = int(np.count_nonzero(layer.input_size))
    return {
        "weights_per_sop": _mean(layer, layer.sops + layer.macs),
        "weights_per_timestep": _mean(layer, traffic.rows_touched) * out,
        "weights_once": _mean(layer, traffic.rows_touched_once) * out,
        "neurons": float(ran * layer.geometry.out_positions * out),
        "neurons_touched": _mean(layer, traffic.neurons_touched),
        "sum_bits": sum_bits(profile.weight_bits, int(traffic.greatest_sum.max())),
    }


def _attention(layer: LayerCounts, traffic: Traffic) -> dict[str, float]:
    assert traffic.greatest_sum is not None
    return {
        "sum_bits": max(1, int(traffic.greatest_sum.max()).bit_length()),
        "kv_buffer_bits": attention_traffic(layer, traffic, "q(kv)")[2],
        "qk_buffer_bits": attention_traffic(layer, traffic, "(qk)v")[2],
    }

"""What a chip must hold and move for a network: peaks of events and operations, buffers, bits per inference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evsim.counters import AttentionCounts, Counts, LayerCounts, NeuronCounts, SynapseCounts, Traffic, unknown_row
from evsim.energy import Profile
from evsim.energy.counted_memory import attention_traffic, measured
from evsim.errors import OptionError


@dataclass(frozen=True)
class LayerPeaks:
    """Peaks and bits of one layer; bits moved are means over the samples, of one inference.

    Attributes
    ----------
    name, kind
        The layer.
    events, events_at
        The most nonzero inputs (neurons: spikes) in one timestep of one sample, and the timestep with the most of them
        over all samples.
    operations, operations_at
        Operations (SOPs and MACs; neurons: updates) of the timestep that has most, mean over the samples, and which it
        is.
    buffer, buffer_bits
        What its largest memory for activity holds, and how large it is: a map of spikes or values at its input,
        potentials, or attention's buffer between its products.
    weight_bits
        Memory of its weights.
    weights_moved, spikes_moved, potentials_moved, buffer_moved
        Bits per inference: weights that some event of a timestep needs, once per timestep; the map in its cheapest
        code; potentials read and written; attention's buffer.
    """

    name: str
    kind: str
    events: int
    events_at: int
    operations: float
    operations_at: int
    buffer: str
    buffer_bits: int
    weight_bits: int
    weights_moved: float
    spikes_moved: float
    potentials_moved: float
    buffer_moved: float

    @property
    def moved(self) -> float:
        """All bits per inference."""
        return self.weights_moved + self.spikes_moved + self.potentials_moved + self.buffer_moved


@dataclass(frozen=True)
class Peaks:
    """Peaks of a network.

    Attributes
    ----------
    layers
        Of each layer, in order of execution.
    fps
        Inferences per second that were asked for; None if none were.
    profile
        Whose widths of weights, potentials and activations were taken.
    """

    layers: tuple[LayerPeaks, ...]
    fps: float | None
    profile: str

    @property
    def moved(self) -> float:
        """Bits per inference."""
        return sum(layer.moved for layer in self.layers)

    def bandwidth(self, bits: float) -> float | None:
        """Return bytes per second at which so many bits per inference move; None without a rate."""
        return None if self.fps is None else bits * self.fps / 8


def peaks(counts: Counts, profile: Profile, fps: float | None = None) -> Peaks:
    """Return the peaks.

    Parameters
    ----------
    counts
        With traffic, of one sample or several.
    profile
        Widths of weights, potentials and real activations.
    fps
        Inferences per second.

    Raises
    ------
    OptionError
        If the counts were taken without traffic, or the rate is no positive number.
    """
    if fps is not None and not 0 < fps < float("inf"):
        raise OptionError(f"`fps` is the number of inferences per second, above 0; got {fps:g}")
    if not counts.layers:
        raise OptionError("the counts hold no layers, so nothing moves; count a network that has some")
    if any(layer.traffic is None for layer in counts.layers):
        raise OptionError(
            "the counts lack what moved; count again by a run with `detail=True`, or give model and `input`"
        )
    return Peaks(tuple(_layer(layer, profile) for layer in counts.layers), fps, profile.name)


def _layer(layer: LayerCounts, profile: Profile) -> LayerPeaks:
    traffic, samples, size = measured(layer), max(1, layer.samples), layer.geometry
    weights = weights_moved = potentials = buffer_moved = 0.0
    inputs = size.tokens * size.in_channels
    match layer:
        case SynapseCounts():
            assert traffic.rows_touched is not None
            width = _width(layer.input_kind, traffic, profile)
            buffer, held = "input map", inputs * width
            weights = (size.weights + size.out_channels * size.shifted) * profile.weight_bits
            weights_moved = int(traffic.rows_touched.sum()) * size.row * profile.weight_bits / samples
            spikes = int(traffic.least_bits.sum()) / samples
            if layer.input_kind == "real":
                spikes = float(np.count_nonzero(layer.input_size) * inputs * profile.activation_bits)
            events, operations = layer.input_nonzeros, layer.sops + layer.macs
        case AttentionCounts():
            buffer, held = "input map", inputs * _width(layer.input_kind, traffic, profile)
            if layer.attention == "ssa":
                _, moved, capacity = attention_traffic(layer, traffic, size.order or "q(kv)")
                buffer_moved = int(moved.sum()) / samples
                if capacity >= held:
                    buffer, held = "between the products", capacity
            spikes = int(traffic.least_bits.sum()) / samples
            events, operations = layer.input_nonzeros, layer.sops
        case NeuronCounts():
            buffer, held = "potentials", size.outputs * profile.potential_bits
            potentials = 2 * int(layer.neuron_updates.sum()) * profile.potential_bits / samples
            spikes = int(traffic.least_bits.sum()) / samples
            events, operations = (layer.spikes if layer.nonzeros is None else layer.nonzeros), layer.neuron_updates
        case _:
            raise unknown_row(layer, "the table of peaks", "it has no columns for it")
    busiest, most = int(np.argmax(operations)), int(np.argmax(events))
    return LayerPeaks(
        layer.name, layer.kind, traffic.peak_events, most, int(operations[busiest]) / samples, busiest,
        buffer, int(held), int(weights), weights_moved, float(spikes), potentials, buffer_moved,
    )  # fmt: skip


def _width(kind: str, traffic: Traffic, profile: Profile) -> int:
    if kind == "real":
        return profile.activation_bits
    return max(1, int(traffic.greatest_value.max()).bit_length()) if kind == "integers" else 1

"""What several energy models read off the counts of one layer."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from evsim.counters import Ints, LayerCounts
from evsim.energy.result import Ledger

Floats = NDArray[np.float64]


def active(layer: LayerCounts) -> Ints:
    """Return how many samples ran the layer at each timestep, [T]."""
    return (layer.input_size > 0) * np.int64(max(1, layer.samples))


def outputs(layer: LayerCounts) -> int:
    """Return the number of output values (neurons) per timestep."""
    return layer.geometry.out_positions * layer.geometry.out_channels


def dense_macs(layer: LayerCounts) -> Ints:
    """Return the dense multiply-accumulates of a conv or linear layer over all samples, [T]; bias left out."""
    return active(layer) * layer.geometry.dense_macs


def has_bias(layer: LayerCounts) -> bool:
    """Whether a bias is added at run time: the layer's own, or the shift of a BatchNorm folded into it."""
    return layer.geometry.bias or layer.geometry.batch_norm


def leaks(layer: LayerCounts) -> bool:
    """Whether a LIF's potential decays (a tau of 0 or infinity says that it does not)."""
    return 0 < layer.geometry.tau < math.inf


def synaptic_events(ledger: Ledger, layer: LayerCounts) -> Ints:
    """Return the events that a spiking chip would handle, [T], noting what is no plain synaptic operation.

    Spikes: synaptic operations. Integers: value-many of them. Real values: one per multiply-accumulate.
    """
    if layer.kind == "attention":
        ledger.note("attention: each coincidence is charged as a synaptic operation, which such a chip does not offer")
        return layer.sops
    if layer.input_kind == "spikes":
        return layer.sops
    if layer.acs_unrolled is not None:
        ledger.note("integer inputs are charged as so many spikes")
        return layer.acs_unrolled
    ledger.note("real inputs: each multiply-accumulate is charged as a synaptic operation")
    return layer.macs

"""What several energy methods read off the counts of one row, or charge alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from evsim.counters import AttentionCounts, Ints, NeuronCounts, RowCounts, SynapseCounts
from evsim.energy.profile import Price
from evsim.energy.result import Ledger

Floats = NDArray[np.float64]


def active(layer: RowCounts) -> Ints:
    """Return how many samples ran the layer at each timestep, [T]."""
    return (layer.input_size > 0) * np.int64(max(1, layer.samples))


def dense_macs(layer: SynapseCounts) -> Ints:
    """Return the dense multiply-accumulates over all samples, [T]; bias left out."""
    return active(layer) * layer.geometry.dense_macs


def leaks(layer: NeuronCounts) -> bool:
    """Whether the potentials decay (a tau of 0 or infinity says that they do not)."""
    return 0 < layer.geometry.tau < math.inf


def charge_events(ledger: Ledger, layer: SynapseCounts | AttentionCounts, price: Price) -> None:
    """Charge the events that a spiking chip would handle as ACs, noting what is no plain synaptic operation.

    Spikes: synaptic operations. Integers: value-many of them. Real values: one per multiply-accumulate. Attention:
    each coincidence, by head.
    """
    if isinstance(layer, AttentionCounts):
        note_coincidences(ledger)
        ledger.charge(layer, "AC", layer.sops_per_head, price, heads=True)
        return
    if layer.input_kind == "spikes":
        events = layer.sops
    elif layer.acs_unrolled is not None:
        ledger.note("integer inputs are charged as so many spikes")
        events = layer.acs_unrolled
    else:
        ledger.note("real inputs: each multiply-accumulate is charged as a synaptic operation")
        events = layer.macs
    ledger.charge(layer, "AC", events, price)


def note_coincidences(ledger: Ledger) -> None:
    """Say that a spiking chip does not offer what attention needs."""
    ledger.note("attention: each coincidence is charged as a synaptic operation, which such a chip does not offer")

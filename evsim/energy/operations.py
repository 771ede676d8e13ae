"""What several energy methods read off the counts of one row, or charge alike."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from evsim.counters import AttentionCounts, Ints, NeuronCounts, RowCounts, SynapseCounts
from evsim.energy.profile import Price
from evsim.energy.result import Ledger
from evsim.errors import OptionError

Floats = NDArray[np.float64]

INTEGERS = "integer inputs are charged as so many spikes"


def active(layer: RowCounts) -> Ints:
    """Return how many samples ran the layer at each timestep, [T]."""
    return (layer.input_size > 0) * np.int64(max(1, layer.samples))


def dense_macs(layer: SynapseCounts) -> Ints:
    """Return the dense multiply-accumulates over all samples, [T]; bias left out."""
    return active(layer) * layer.geometry.dense_macs


def unrolled(ledger: Ledger, layer: NeuronCounts) -> Ints:
    """Return the updates of neurons had integers been spikes: of integer neurons one in each of their levels, [T].

    Neurons that fire several times at once are updated once.
    """
    if not layer.virtual:
        return layer.neuron_updates
    ledger.note("integer neurons are charged as neurons of spikes in as many virtual timesteps as they have levels")
    return layer.neuron_updates * layer.geometry.levels


def firing(layer: NeuronCounts) -> Ints:
    """Return at how many updates a neuron fired, [T]: several spikes at once are of one update."""
    return layer.spikes if layer.nonzeros is None or layer.virtual else layer.nonzeros


def states(ledger: Ledger, layer: NeuronCounts) -> int:
    """Return how many numbers each neuron keeps: its potential, and a synaptic current where it has one."""
    if not layer.neuron.startswith("cuba"):
        return 1
    ledger.note("neurons with a synaptic current keep two numbers, which are both read and written")
    return 2


def keeps(layer: NeuronCounts) -> bool:
    """Whether the neurons keep a potential from one timestep to the next."""
    return layer.neuron != "i-lif"


def refuse_integers(layer: NeuronCounts, method: str) -> None:
    """Refuse integer neurons by name, for a method that knows spikes alone."""
    if layer.graded:
        raise OptionError(
            f"method {method} has no rule for {layer.name}, integer neurons ({layer.neuron}); choose another `method`"
        )


def leaks(layer: NeuronCounts) -> bool:
    """Whether the potentials decay: tau says so (0 or infinity: no), or the kind, where each neuron has its own."""
    by_kind = layer.geometry.module == "Neuron" and layer.neuron not in ("if", "integrator")
    return by_kind or 0 < layer.geometry.tau < math.inf


def charge_events(ledger: Ledger, layer: SynapseCounts | AttentionCounts, price: Price) -> None:
    """Charge the events that a spiking chip would handle as ACs, noting what is no plain synaptic operation.

    Spikes: synaptic operations. Integers: value-many of them. Real values: one per multiply-accumulate. Attention:
    each coincidence, by head.
    """
    if isinstance(layer, AttentionCounts):
        note_coincidences(ledger)
        charged = layer.sops_per_head
        if layer.sops_unrolled_per_head is not None:
            ledger.note(INTEGERS)
            charged = layer.sops_unrolled_per_head
        ledger.charge(layer, "AC", charged, price, heads=True)
        return
    if layer.input_kind == "spikes":
        events = layer.sops
    elif layer.acs_unrolled is not None:
        ledger.note(INTEGERS)
        events = layer.acs_unrolled
    else:
        ledger.note("real inputs: each multiply-accumulate is charged as a synaptic operation")
        events = layer.macs
    ledger.charge(layer, "AC", events, price)


def note_coincidences(ledger: Ledger) -> None:
    """Say that a spiking chip does not offer what attention needs."""
    ledger.note("attention: each coincidence is charged as a synaptic operation, which such a chip does not offer")

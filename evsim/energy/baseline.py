"""The dense network of the same shape, so that a saving has a denominator.

Rule: every conv and linear layer once, its dense operations (padding taps and bias included) as multiply-accumulates;
attention once per block as ``2 N N D`` (q k^T and its product with v, the only order that a softmax allows), kinds that
are no such pair of products by their own dense operations; no neurons. The published 38.34 mJ of Transformer-8-512 have
no published rule; docs/energy-models.md holds this one against them.
"""

from __future__ import annotations

from evsim.counters import AttentionCounts, Counts, LayerCounts, NeuronCounts, SynapseCounts
from evsim.energy.profile import Profile
from evsim.energy.result import Energy, Ledger
from evsim.workload import dense_operations


def dense_ledger(counts: Counts, profile: Profile, name: str = "ann") -> Ledger:
    """Return the ledger of a dense network, which has neither timesteps nor heads."""
    return Ledger(counts, name, profile, per_timestep=False, per_head=False)


def macs(counts: Counts, profile: Profile, options: object) -> Energy:  # noqa: ARG001 - nothing is left open
    """Charge every layer of the dense network once, at E_MAC."""
    ledger = dense_ledger(counts, profile)
    for layer in counts.layers:
        ledger.charge(layer, "MAC", once(ledger, layer) * max(1, layer.samples), profile.price("e_mac_pj"))
    return ledger.energy()


def once(ledger: Ledger, layer: LayerCounts) -> int:
    """Return the dense operations of one pass through a layer."""
    match layer:
        case SynapseCounts():
            return dense_operations(layer.kind, layer.geometry)
        case AttentionCounts() if layer.attention != "ssa":
            return dense_operations(layer.kind, layer.geometry)
        case AttentionCounts():
            return layer.geometry.tokens**2 * (layer.geometry.in_channels + layer.geometry.out_channels)
        case NeuronCounts():
            return 0
    raise ledger.refusal(layer)

"""The dense network of the same shape, so that a saving has a denominator.

Rule: every conv and linear layer once, its dense operations (padding taps and bias included) as multiply-accumulates;
attention once per block as ``2 N N D`` (q k^T and its product with v, the only order that a softmax allows); no
neurons. The published 38.34 mJ of Transformer-8-512 have no published rule; docs/energy-models.md holds this one
against them.
"""

from __future__ import annotations

from evsim.counters import Counts, LayerCounts
from evsim.energy.memory_bytes import WORD_BYTES
from evsim.energy.operations import has_bias, outputs
from evsim.energy.options import Options
from evsim.energy.paper import dense_operations
from evsim.energy.profile import Profile
from evsim.energy.result import Energy, Ledger


def macs(counts: Counts, profile: Profile, options: Options) -> Energy:  # noqa: ARG001 - nothing is left open
    """Charge every layer of the dense network once, at E_MAC."""
    ledger = Ledger(counts, "ann", profile, per_timestep=False, per_head=False)
    for layer in counts.layers:
        ledger.charge(layer, "MAC", once(layer) * max(1, layer.samples), profile.price("e_mac_pj"))
    return ledger.energy()


def bytes_moved(counts: Counts, profile: Profile, options: Options) -> Energy:  # noqa: ARG001 - nothing is left open
    """Charge the dense network by model `bytes`: one weight per multiply-accumulate, one bias per output."""
    ledger = Ledger(counts, "ann", profile, per_timestep=False, per_head=False)
    e_byte = profile.price("e_byte_pj")
    for layer in counts.layers:
        samples = max(1, layer.samples)
        ledger.charge(layer, "MAC", once(layer) * samples, profile.price("e_mac_pj"))
        if layer.kind in ("conv", "linear"):
            moved = layer.geometry.dense_macs + (outputs(layer) if has_bias(layer) else 0)
            ledger.charge(layer, "weights read", WORD_BYTES * moved * samples, e_byte)
    return ledger.energy()


def once(layer: LayerCounts) -> int:
    """Return the dense operations of one pass through a layer."""
    if layer.kind == "lif":
        return 0
    if layer.kind == "attention":
        return 2 * layer.geometry.tokens**2 * layer.geometry.in_channels
    return dense_operations(layer) // max(1, layer.steps)

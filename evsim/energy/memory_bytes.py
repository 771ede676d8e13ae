"""M2, compute and bytes: SpikingJelly's ``estimate_simple_energy`` on evsim's counts.

``E = MAC e_mac + AC e_ac + bytes e_byte``, with bytes = 4 per synaptic operation (one weight read each; per dense MAC
where the input is not spikes) + 4 T N for a bias + 8 T N for a membrane potential (read and written each timestep).
No reuse of weights, no buffers of attention, no routing; additions of a bias are not charged.
"""

from __future__ import annotations

from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy.baseline import dense_ledger, once
from evsim.energy.method import Method
from evsim.energy.operations import active, dense_macs, keeps, states
from evsim.energy.options import NoOptions
from evsim.energy.profile import Profile
from evsim.energy.result import Energy, Ledger

WORD_BYTES = 4


def energy(counts: Counts, profile: Profile, options: NoOptions) -> Energy:  # noqa: ARG001 - nothing is left open
    """Charge compute and bytes moved."""
    ledger = Ledger(counts, METHOD.name, profile)
    e_ac, e_byte = profile.price("e_ac_pj"), profile.price("e_byte_pj")
    for layer in counts.layers:
        match layer:
            case SynapseCounts():
                spikes = layer.input_kind == "spikes"
                operations = layer.sops if spikes else dense_macs(layer)
                price = e_ac if spikes else profile.price("e_mac_pj")
                ledger.charge(layer, "AC" if spikes else "MAC", operations, price)
                ledger.charge(layer, "weights read", WORD_BYTES * operations, e_byte)
                if layer.geometry.shifted:
                    ledger.charge(layer, "weights read", WORD_BYTES * layer.geometry.outputs * active(layer), e_byte)
            case AttentionCounts():
                ledger.charge(layer, "AC", layer.sops_per_head, e_ac, heads=True)
                ledger.note("attention: its operations are charged, its memory is not part of the method")
            case NeuronCounts() if not keeps(layer):
                ledger.note("integer neurons without state have no potentials to move")
            case NeuronCounts():
                moved = 2 * WORD_BYTES * states(ledger, layer) * layer.neuron_updates
                ledger.charge(layer, "potentials read and written", moved, e_byte)
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


def baseline(counts: Counts, profile: Profile, options: NoOptions) -> Energy:  # noqa: ARG001 - nothing is left open
    """Charge the dense network alike: one weight per multiply-accumulate, one bias per output."""
    ledger, e_byte = dense_ledger(counts, profile), profile.price("e_byte_pj")
    for layer in counts.layers:
        size, samples = layer.geometry, max(1, layer.samples)
        ledger.charge(layer, "MAC", once(ledger, layer) * samples, profile.price("e_mac_pj"))
        if isinstance(layer, SynapseCounts):
            moved = size.dense_macs + size.outputs * size.shifted
            ledger.charge(layer, "weights read", WORD_BYTES * moved * samples, e_byte)
    return ledger.energy()


METHOD = Method(
    "bytes",
    "operations and bytes (SpikingJelly)",
    needs="e_ac_pj, e_mac_pj, e_byte_pj",
    prices=(("e_ac_pj", "e_mac_pj", "e_byte_pj"),),
    profile="45nm",
    energy=energy,
    baselines={"ann": baseline},
)

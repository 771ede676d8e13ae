"""M2, compute and bytes: SpikingJelly's ``estimate_simple_energy`` on evsim's counts.

``E = MAC e_mac + AC e_ac + bytes e_byte``, with bytes = 4 per synaptic operation (one weight read each; per dense MAC
where the input is not spikes) + 4 T N for a bias + 8 T N for a membrane potential (read and written each timestep).
No reuse of weights, no buffers of attention, no routing; additions of a bias are not charged.
"""

from __future__ import annotations

from evsim.counters import Counts
from evsim.energy.operations import active, dense_macs, has_bias, outputs
from evsim.energy.options import Options
from evsim.energy.profile import Profile
from evsim.energy.result import Energy, Ledger

WORD_BYTES = 4


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:  # noqa: ARG001 - nothing is left open
    """Charge compute and bytes moved."""
    ledger = Ledger(counts, "bytes", profile)
    e_ac, e_byte = profile.price("e_ac_pj"), profile.price("e_byte_pj")
    for layer in counts.layers:
        if layer.kind == "lif":
            moved = 2 * WORD_BYTES * layer.neuron_updates
            ledger.charge(layer, "potentials read and written", moved, e_byte)
        elif layer.sops_per_head is not None:
            ledger.charge(layer, "AC", layer.sops_per_head, e_ac, heads=True)
            ledger.note("attention: its operations are charged, its memory is not part of the model")
        else:
            spikes = layer.input_kind == "spikes"
            operations = layer.sops if spikes else dense_macs(layer)
            ledger.charge(layer, "AC" if spikes else "MAC", operations, e_ac if spikes else profile.price("e_mac_pj"))
            ledger.charge(layer, "weights read", WORD_BYTES * operations, e_byte)
            if has_bias(layer):
                ledger.charge(layer, "weights read", WORD_BYTES * outputs(layer) * active(layer), e_byte)
    return ledger.energy()

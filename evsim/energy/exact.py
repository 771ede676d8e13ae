"""M1, the exact view: counted operations times their prices."""

from __future__ import annotations

from evsim.counters import AttentionCounts, Counts, LayerCounts, NeuronCounts, SynapseCounts
from evsim.energy import baseline
from evsim.energy.method import Method
from evsim.energy.options import NoOptions
from evsim.energy.paper import energy_mj
from evsim.energy.profile import Profile
from evsim.energy.result import Energy, Ledger


def energy(counts: Counts, profile: Profile, options: NoOptions) -> Energy:  # noqa: ARG001 - nothing is left open
    """Charge every synaptic operation as an AC, by head where there are heads, and every MAC as a MAC."""
    ledger, e_ac = Ledger(counts, METHOD.name, profile), profile.price("e_ac_pj")
    for layer in counts.layers:
        match layer:
            case SynapseCounts():
                ledger.charge(layer, "AC", layer.sops, e_ac)
                if layer.macs.any():
                    ledger.charge(layer, "MAC", layer.macs, profile.price("e_mac_pj"))
            case AttentionCounts():
                ledger.charge(layer, "AC", layer.sops_per_head, e_ac, heads=True)
            case NeuronCounts():
                pass  # updates have no price in this view
            case _:
                raise ledger.refusal(layer)
    samples = max(1, counts.samples)
    return ledger.energy(energy_mj(counts.sops / samples, counts.macs / samples, profile))


def layers_mj(counts: Counts, profile: Profile) -> dict[str, float]:
    """Return the energy of every row by its name, to its last digit: ``sops * E_AC + macs * E_MAC`` in millijoules."""
    return {layer.name: _layer_mj(layer, profile) for layer in counts.layers}


def _layer_mj(layer: LayerCounts, profile: Profile) -> float:
    samples = max(1, layer.samples)
    return energy_mj(int(layer.sops.sum()) / samples, int(layer.macs.sum()) / samples, profile)


METHOD = Method(
    "exact",
    "counted operations times prices",
    needs="e_ac_pj, e_mac_pj",
    prices=(("e_ac_pj", "e_mac_pj"),),
    profile="45nm",
    energy=energy,
    baselines={"ann": baseline.macs},
    linear=True,
)

"""The exact view: counted operations times their prices."""

from __future__ import annotations

from dataclasses import dataclass

from evsim.counters import Counts, LayerCounts
from evsim.energy.options import Options
from evsim.energy.paper import energy_mj
from evsim.energy.profile import Profile
from evsim.energy.result import PICO_TO_MILLI, Energy, Ledger


@dataclass(frozen=True)
class ExactView:
    """Energy in mJ: per layer by name, and in total."""

    rows: dict[str, float]
    energy_mj: float


def exact_view(counts: Counts, profile: Profile) -> ExactView:
    """Charge every synaptic operation as an AC and every MAC as a MAC, averaged over the samples of `counts`."""
    rows = {layer.name: layer_energy_mj(layer, profile) for layer in counts.layers}
    samples = max(1, counts.samples)
    return ExactView(rows, energy_mj(counts.sops / samples, counts.macs / samples, profile))


def layer_energy_mj(layer: LayerCounts, profile: Profile) -> float:
    """Return the energy of one layer: ``sops * E_AC + macs * E_MAC``."""
    samples = max(1, layer.samples)
    return energy_mj(int(layer.sops.sum()) / samples, int(layer.macs.sum()) / samples, profile)


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:  # noqa: ARG001 - nothing is left open
    """Return the exact view as an `Energy`, by timestep and attention head."""
    ledger = Ledger(counts, "exact", profile)
    for layer in counts.layers:
        charge_operations(ledger, layer, profile)
    return ledger.energy(exact_view(counts, profile).energy_mj / PICO_TO_MILLI)


def charge_operations(ledger: Ledger, layer: LayerCounts, profile: Profile) -> None:
    """Charge synaptic operations as ACs, by head where there are heads, and multiply-accumulates as MACs."""
    if layer.sops_per_head is not None:
        ledger.charge(layer, "AC", layer.sops_per_head, profile.price("e_ac_pj"), heads=True)
    else:
        ledger.charge(layer, "AC", layer.sops, profile.price("e_ac_pj"))
    if layer.macs.any():
        ledger.charge(layer, "MAC", layer.macs, profile.price("e_mac_pj"))

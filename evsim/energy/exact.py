"""The exact view: counted operations times their prices."""

from __future__ import annotations

from dataclasses import dataclass

from evsim.counters import Counts, LayerCounts
from evsim.energy.paper import energy_mj
from evsim.energy.profile import Profile


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

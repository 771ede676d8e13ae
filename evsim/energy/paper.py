"""The paper's estimate: operations from firing rates (Spikingformer, arXiv 2304.11954, section on energy).

An estimate, kept exactly as published and weak where that is: padding taps that never fire are charged, bias
additions are scaled by the firing rate, attention takes ``min(fr_k, fr_v)`` where the coincidences depend on which
spikes coincide, always in the order q (k^T v); a static image is charged T times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evsim.counters import Counts, LayerCounts
from evsim.energy.options import NonSpike, Options
from evsim.energy.profile import Profile
from evsim.energy.result import PICO_TO_MILLI, Energy, Ledger
from evsim.errors import OptionError

__all__ = ["NonSpike", "PaperRow", "PaperView", "attention_acs", "dense_operations", "energy_mj", "paper_view"]


@dataclass(frozen=True)
class PaperRow:
    """Estimate of one layer: accumulates, multiply-accumulates, firing rate of its input (a fraction), energy."""

    name: str
    acs: float
    macs: float
    firing_rate: float
    energy_mj: float


@dataclass(frozen=True)
class PaperView:
    """Estimate of a run: a row per layer, by name, and totals."""

    rows: Mapping[str, PaperRow]
    gacs: float
    gmacs: float
    energy_mj: float


def paper_view(counts: Counts, profile: Profile, nonspike: NonSpike = "binary-only") -> PaperView:
    """Estimate the energy of a run as the paper does, averaged over the samples of `counts`.

    Parameters
    ----------
    counts
        Of one sample or several.
    profile
        Prices of AC and MAC.
    nonspike
        How integer inputs are charged: "binary-only", the shipped setting of the authors' tool, as dense MACs;
        "integer-as-events" as value-many accumulates.

    Raises
    ------
    OptionError
        If `nonspike` has no such value.
    """
    if nonspike not in ("binary-only", "integer-as-events"):
        raise OptionError(f"--nonspike must be binary-only or integer-as-events, got {nonspike}")
    rows = {layer.name: _row(layer, profile, nonspike) for layer in counts.layers}
    acs, macs = sum(row.acs for row in rows.values()), sum(row.macs for row in rows.values())
    return PaperView(rows, acs / 1e9, macs / 1e9, energy_mj(acs, macs, profile))


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Return the paper's estimate as an `Energy`; its rates are means over timesteps and heads, so neither is apart."""
    view = paper_view(counts, profile, options.nonspike)
    ledger = Ledger(counts, "paper", profile, per_timestep=False, per_head=False)
    for layer in counts.layers:
        samples, row = max(1, layer.samples), view.rows[layer.name]
        ledger.charge(layer, "AC", row.acs * samples, profile.price("e_ac_pj"))
        ledger.charge(layer, "MAC", row.macs * samples, profile.price("e_mac_pj"))
    return ledger.energy(view.energy_mj / PICO_TO_MILLI)


def energy_mj(acs: float, macs: float, profile: Profile) -> float:
    """Return ``E_AC * acs + E_MAC * macs`` in millijoules."""
    return (profile.e_ac_pj * acs + profile.e_mac_pj * macs) * PICO_TO_MILLI


def dense_operations(layer: LayerCounts) -> int:
    """Return the dense operations of a conv or linear layer over all timesteps, bias included, as the tool counts.

    The tool counts the bias of a conv once per output position, that of a linear layer once per timestep.
    """
    size = layer.geometry
    positions = size.out_positions if layer.kind == "conv" else 1
    return layer.steps * (size.dense_macs + (positions * size.out_channels if size.bias else 0))


def attention_acs(timesteps: int, heads: int, tokens: int, head_dim: int, rates: tuple[float, float, float]) -> float:
    """Return the ACs of attention: ``T * heads * N * dh^2 * (min(fr_k, fr_v) + fr_q)``, rates of q, k, v."""
    fr_q, fr_k, fr_v = rates
    return timesteps * heads * tokens * head_dim**2 * (min(fr_k, fr_v) + fr_q)


def _row(layer: LayerCounts, profile: Profile, nonspike: NonSpike) -> PaperRow:
    samples, size = layer.samples, int(layer.input_size.sum()) / max(1, layer.samples)
    if layer.kind == "lif" or size == 0:
        return PaperRow(layer.name, 0.0, 0.0, 0.0, 0.0)
    if layer.kind == "attention":
        assert layer.operand_nonzeros is not None
        shape = layer.geometry
        each = samples * layer.steps * shape.tokens * shape.in_channels
        fr_q, fr_k, fr_v = (float(n) / each for n in layer.operand_nonzeros.sum(axis=1))
        acs = attention_acs(layer.steps, shape.heads, shape.tokens, shape.head_dim, (fr_q, fr_k, fr_v))
        rate = int(layer.input_nonzeros.sum()) / (samples * size)
        return PaperRow(layer.name, acs, 0.0, rate, energy_mj(acs, 0.0, profile))
    dense = dense_operations(layer)
    # the paper charges the layer that reads the frames themselves as MACs in both settings
    if nonspike == "integer-as-events" and layer.input_kind == "integers" and not layer.reads_input:
        rate = int(layer.input_sum.sum()) / (samples * size)
        return PaperRow(layer.name, dense * rate, 0.0, rate, energy_mj(dense * rate, 0.0, profile))
    # the tool looks at the data: a sample whose input is all 0/1 is charged as ACs, any other as dense MACs
    if layer.input_kind == "spikes":
        rate = int(layer.input_nonzeros.sum()) / (samples * size)
        return PaperRow(layer.name, dense * rate, 0.0, rate, energy_mj(dense * rate, 0.0, profile))
    other = samples - layer.binary_samples
    acs = dense * layer.binary_nonzeros / size / samples
    macs = dense * other / samples
    rate = (layer.binary_nonzeros / size + other) / samples
    return PaperRow(layer.name, acs, macs, rate, energy_mj(acs, macs, profile))

"""The paper's estimate: operations from firing rates (Spikingformer, arXiv 2304.11954, section on energy).

An estimate, kept exactly as published and weak where that is: padding taps that never fire are charged, bias
additions are scaled by the firing rate, attention takes ``min(fr_k, fr_v)`` where the coincidences depend on which
spikes coincide, always in the order q (k^T v); a static image is charged T times.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evsim.counters import AttentionCounts, Counts, LayerCounts, NeuronCounts, SynapseCounts, unknown_row
from evsim.energy import baseline
from evsim.energy.method import Method
from evsim.energy.options import checked
from evsim.energy.profile import Profile
from evsim.energy.result import PICO_TO_MILLI, Energy, Ledger
from evsim.workload import dense_operations

NonSpike = Literal["binary-only", "integer-as-events"]


@dataclass(frozen=True)
class Options:
    """What the estimate leaves open.

    Attributes
    ----------
    nonspike
        How integer inputs are charged: "binary-only", the shipped setting of the authors' tool, as dense MACs;
        "integer-as-events" as value-many accumulates.
    """

    nonspike: NonSpike = "binary-only"

    def __post_init__(self) -> None:
        checked(self)


@dataclass(frozen=True)
class Estimate:
    """Accumulates and multiply-accumulates of one layer per sample, and the firing rate of its input (a fraction)."""

    acs: float = 0.0
    macs: float = 0.0
    firing_rate: float = 0.0


def estimate(counts: Counts, nonspike: NonSpike = "binary-only") -> dict[str, Estimate]:
    """Return the operations of every row by its name, averaged over the samples of `counts`.

    Parameters
    ----------
    counts
        Of one sample or several.
    nonspike
        As `Options` has it.

    Raises
    ------
    OptionError
        If `nonspike` has no such value, or there is a row of a kind that the paper does not know.
    """
    setting = Options(nonspike).nonspike
    return {layer.name: _row(layer, setting) for layer in counts.layers}


def layers_mj(counts: Counts, profile: Profile, nonspike: NonSpike = "binary-only") -> dict[str, float]:
    """Return the energy of every row by its name in millijoules; parameters and errors as `estimate`."""
    return {name: energy_mj(row.acs, row.macs, profile) for name, row in estimate(counts, nonspike).items()}


def totals(counts: Counts, nonspike: NonSpike = "binary-only") -> tuple[float, float]:
    """Return the accumulates and multiply-accumulates of all rows; parameters and errors as `estimate`."""
    rows = estimate(counts, nonspike).values()
    return sum(row.acs for row in rows), sum(row.macs for row in rows)


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge the estimate; its rates are means over timesteps and heads, so neither is apart."""
    rows = estimate(counts, options.nonspike)
    ledger = Ledger(counts, METHOD.name, profile, per_timestep=False, per_head=False)
    for layer in counts.layers:
        samples, row = max(1, layer.samples), rows[layer.name]
        ledger.charge(layer, "AC", row.acs * samples, profile.price("e_ac_pj"))
        ledger.charge(layer, "MAC", row.macs * samples, profile.price("e_mac_pj"))
    total, other = (energy_mj(*totals(counts, setting), profile) for setting in _with_other(options.nonspike))
    if total != other:
        setting = _with_other(options.nonspike)[1]
        ledger.note(
            f"integers are charged by {options.nonspike}; by {setting} (`nonspike={setting}`) it is {other:.6f} mJ"
        )
    return ledger.energy(total)


def energy_mj(acs: float, macs: float, profile: Profile) -> float:
    """Return ``E_AC * acs + E_MAC * macs`` in millijoules."""
    return (profile.e_ac_pj * acs + profile.e_mac_pj * macs) * PICO_TO_MILLI


def attention_acs(timesteps: int, heads: int, tokens: int, head_dim: int, rates: tuple[float, float, float]) -> float:
    """Return the ACs of attention: ``T * heads * N * dh^2 * (min(fr_k, fr_v) + fr_q)``, rates of q, k, v."""
    fr_q, fr_k, fr_v = rates
    return timesteps * heads * tokens * head_dim**2 * (min(fr_k, fr_v) + fr_q)


def _with_other(nonspike: NonSpike) -> tuple[NonSpike, NonSpike]:
    """Return a setting and the other one."""
    return (nonspike, "integer-as-events" if nonspike == "binary-only" else "binary-only")


def _row(layer: LayerCounts, nonspike: NonSpike) -> Estimate:
    match layer:
        case SynapseCounts():
            return _synapses(layer, nonspike)
        case AttentionCounts():
            return _attention(layer)
        case NeuronCounts():
            return Estimate()
    raise unknown_row(layer, f"method {METHOD.name}", "choose another `method`")


def _synapses(layer: SynapseCounts, nonspike: NonSpike) -> Estimate:
    samples, size = layer.samples, int(layer.input_size.sum()) / max(1, layer.samples)
    if size == 0:
        return Estimate()
    dense = layer.steps * dense_operations(layer.kind, layer.geometry)
    # the paper charges the layer that reads the frames themselves as MACs in both settings
    if nonspike == "integer-as-events" and layer.input_kind == "integers" and not layer.reads_input:
        rate = int(layer.input_sum.sum()) / (samples * size)
        return Estimate(dense * rate, 0.0, rate)
    # the tool looks at the data: a sample whose input is all 0/1 is charged as ACs, any other as dense MACs
    if layer.input_kind == "spikes":
        rate = int(layer.input_nonzeros.sum()) / (samples * size)
        return Estimate(dense * rate, 0.0, rate)
    other = samples - layer.binary_samples
    acs = dense * layer.binary_nonzeros / size / samples
    macs = dense * other / samples
    return Estimate(acs, macs, (layer.binary_nonzeros / size + other) / samples)


def _attention(layer: AttentionCounts) -> Estimate:
    samples, shape, size = layer.samples, layer.geometry, int(layer.input_size.sum()) / max(1, layer.samples)
    if size == 0:
        return Estimate()
    each = samples * layer.steps * shape.tokens * shape.in_channels
    fr_q, fr_k, fr_v = (float(n) / each for n in layer.operand_nonzeros.sum(axis=1))
    acs = attention_acs(layer.steps, shape.heads, shape.tokens, shape.head_dim, (fr_q, fr_k, fr_v))
    return Estimate(acs, 0.0, int(layer.input_nonzeros.sum()) / (samples * size))


METHOD = Method(
    "paper",
    "the paper's estimate from firing rates",
    needs="e_ac_pj, e_mac_pj",
    prices=(("e_ac_pj", "e_mac_pj"),),
    profile="45nm",
    energy=energy,
    options=Options,
    baselines={"ann": baseline.macs},
    variant="nonspike",
    linear=True,
)

"""The rule of Spike-driven Transformer (arXiv 2307.01694, appendix): ``R x FL``, from firing rates.

First convolution ``E_MAC FL``; all other layers ``E_AC T R FL``, with ``FL = k^2 h w c_in c_out`` (no bias, padding
taps included; per token ``i o``) and R the share of the input that fires; its attention, of masks and sums, ``E_AC T R^
N D``, R^ being the rates of q, k and v added up. That reading of R^ is from memory of the paper: no code of the authors
computes an energy. Their successors V2 and V3 charge alike, an integer k as k accumulates; attention that multiplies is
no part of the rule, and is charged like any layer, by its dense operations times the mean rate of what it multiplies.
"""

from __future__ import annotations

from dataclasses import dataclass

from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy.dense_rates import First, charge_dense, charge_first, charge_rate
from evsim.energy.method import Method
from evsim.energy.options import checked
from evsim.energy.profile import Profile
from evsim.energy.result import Energy, Ledger


@dataclass(frozen=True)
class Options:
    """What the rule leaves open.

    Attributes
    ----------
    first
        How often the first convolution is charged for a static image: "once", as printed, or "every-step".
    """

    first: First = "once"

    def __post_init__(self) -> None:
        checked(self)


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge rates times dense operations; rates are means over timesteps, so neither they nor heads are apart."""
    ledger = Ledger(counts, METHOD.name, profile, per_timestep=False, per_head=False)
    for layer in counts.layers:
        match layer:
            case SynapseCounts() if layer.reads_input:
                charge_first(ledger, layer, profile, options.first)
            case SynapseCounts() if layer.input_kind == "real":
                ledger.note("layers that read real values are no part of the rule; they are charged as dense MACs")
                charge_dense(ledger, layer, profile)
            case SynapseCounts():
                charge_rate(ledger, layer, profile, int(layer.input_sum.sum()))
            case AttentionCounts():
                _attention(ledger, layer, profile)
            case NeuronCounts():
                pass  # no part of the rule
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


def _attention(ledger: Ledger, layer: AttentionCounts, profile: Profile) -> None:
    fired, dense = int(layer.input_nonzeros.sum()), layer.dense_macs * max(1, layer.samples)
    if dense:
        ledger.note("attention that multiplies is no part of the rule: its dense operations times their mean rate")
        fired_share = fired / max(1, int(layer.input_size.sum()))
        ledger.charge(layer, "AC", dense * fired_share, profile.price("e_ac_pj"))
        return
    ledger.charge(layer, "AC", fired, profile.price("e_ac_pj"))  # T N D (R_q + R_k + R_v)


METHOD = Method(
    "sdt",
    "Spike-driven Transformer's rule",
    needs="e_ac_pj, e_mac_pj",
    prices=(("e_ac_pj", "e_mac_pj"),),
    profile="45nm",
    energy=energy,
    options=Options,
    variant="first",
    linear=True,
)

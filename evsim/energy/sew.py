"""SEW-ResNet as others cite it: ``E_MAC FL_conv1 + E_AC sum(fr T FL)`` (Spikingformer, arXiv 2304.11954, its table).

SEW-ResNet's own paper gives no energy. Those that compare with it print this rule of convolutional networks: the first
convolution as multiply-accumulates, every layer behind it as accumulates, by firing rate; bias, neurons and residual
operations are free. They do not say what the rate of an integer is, which half of the layers of its ADD form read:
whether a layer's input fires where it is no 0, or k times where it is k.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy.dense_rates import First, charge_dense, charge_first, charge_rate
from evsim.energy.method import Method
from evsim.energy.options import checked
from evsim.energy.profile import Profile
from evsim.energy.result import Energy, Ledger
from evsim.errors import OptionError

Fired = Literal["values", "nonzeros"]


@dataclass(frozen=True)
class Options:
    """What the rule leaves open.

    Attributes
    ----------
    fired
        What an integer k of the input counts as: "values", k spikes, or "nonzeros", one.
    first
        How often the first convolution is charged for a static image: "once", as printed, or "every-step".
    """

    fired: Fired = "values"
    first: First = "once"

    def __post_init__(self) -> None:
        checked(self)


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge rates times dense operations.

    Raises
    ------
    OptionError
        If the counts hold attention, for which the rule has no term.
    """
    ledger = Ledger(counts, METHOD.name, profile, per_timestep=False, per_head=False)
    for layer in counts.layers:
        match layer:
            case SynapseCounts() if layer.reads_input:
                charge_first(ledger, layer, profile, options.first)
            case SynapseCounts() if layer.input_kind == "real":
                ledger.note("layers that read real values are no part of the rule; they are charged as dense MACs")
                charge_dense(ledger, layer, profile)
            case SynapseCounts():
                _rate(ledger, layer, profile, options.fired)
            case AttentionCounts():
                raise OptionError(
                    f"method sew cannot charge {layer.name}: its rule is of convolutional networks and has no term for "
                    "attention; leave it out by `leave_out=attention`, or choose another `method`"
                )
            case NeuronCounts():
                pass  # no part of the rule
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


def _rate(ledger: Ledger, layer: SynapseCounts, profile: Profile, fired: Fired) -> None:
    if layer.input_kind == "integers":
        other = "nonzeros" if fired == "values" else "values"
        ledger.note(f"integers fire by `fired={fired}`; the rule does not say which, `fired={other}` is the other way")
    charge_rate(ledger, layer, profile, int((layer.input_sum if fired == "values" else layer.input_nonzeros).sum()))


METHOD = Method(
    "sew",
    "SEW-ResNet, as others cite it",
    needs="e_ac_pj, e_mac_pj; no attention",
    prices=(("e_ac_pj", "e_mac_pj"),),
    profile="45nm",
    energy=energy,
    options=Options,
    variant="fired",
    linear=True,
)

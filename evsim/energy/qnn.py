"""M7, an SNN against its bit-matched quantised network: a RECONSTRUCTION of Yan et al. (arXiv 2409.08290).

Only the abstract was read; the equations are evsim's reconstruction. Spiking side: every synaptic operation
accumulates; every neuron compares once per timestep and subtracts once per spike; every spike travels `hops` hops, its
address folded into the price. Quantised side: activations of ``b = ceil(log2(T + 1))`` bits, a share of which are 0
and cost nothing; needs the user's e_mac, for the paper's was not found. Weights are taken to stay where they are used;
control energy is not charged, which favours the spiking side.
"""

from __future__ import annotations

from dataclasses import dataclass

from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy.baseline import dense_ledger
from evsim.energy.method import Method
from evsim.energy.operations import charge_events
from evsim.energy.options import checked
from evsim.energy.profile import Price, Profile
from evsim.energy.result import Energy, Ledger
from evsim.errors import OptionError

RECONSTRUCTED = "a reconstruction of arXiv 2409.08290, whose body was not read; no control energy, no weight memory"


@dataclass(frozen=True)
class Options:
    """What the reconstruction leaves open.

    Attributes
    ----------
    hops
        Mean hops from a source.
    qnn_zeros
        Share of zero activations in the bit-matched network; unknown gives a range.
    """

    hops: float = 1.0
    qnn_zeros: float | None = None

    def __post_init__(self) -> None:
        checked(self)
        if self.qnn_zeros is not None and self.qnn_zeros > 1:
            raise OptionError(f"qnn_zeros is a share between 0 and 1, got {self.qnn_zeros}")


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge the spiking side: accumulates, comparisons, resets, spikes moved."""
    ledger, e_ac = Ledger(counts, METHOD.name, profile), profile.price("e_ac_pj")
    compare, reset, hop = (profile.price(key) for key in ("e_compare_pj", "e_reset_pj", "e_event_bit_hop_pj"))
    ledger.note(RECONSTRUCTED)
    for layer in counts.layers:
        match layer:
            case SynapseCounts() | AttentionCounts():
                charge_events(ledger, layer, e_ac)
                sources = layer.input_sum if layer.input_kind == "integers" else layer.input_nonzeros
                ledger.charge(layer, "spikes moved", options.hops * sources, hop)
            case NeuronCounts():
                ledger.charge(layer, "neuron updates", layer.neuron_updates, compare)
                ledger.charge(layer, "neuron updates", layer.spikes, reset)
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


def activation_bits(timesteps: int) -> int:
    """Return the bits of an activation that tells as much as T timesteps of spikes: ``ceil(log2(T + 1))``."""
    return timesteps.bit_length()


def baseline(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge the quantised side; where the share of zeros is not given, between the bounds that the spike rate sets.

    With sr the spike rate of a layer's input, ``sr <= 1 - zeros <= min(1, T sr)``.
    """
    ledger = dense_ledger(counts, profile, "bit-matched QNN")
    e_mac, hop = profile.price("e_mac_pj"), profile.price("e_dense_bit_hop_pj")
    ledger.note(RECONSTRUCTED)
    for layer in counts.layers:
        samples = max(1, layer.samples)
        match layer:
            case SynapseCounts():
                low, high = _nonzero_share(layer, options)
                macs = layer.geometry.dense_macs * samples
                ledger.charge(layer, "MAC", macs, Price(low * e_mac.low, high * e_mac.high, e_mac.source))
                bits = activation_bits(layer.steps) * layer.geometry.tokens * layer.geometry.in_channels * samples
                ledger.charge(layer, "spikes moved", options.hops * bits, hop)
            case AttentionCounts():
                ledger.note(
                    "attention is not part of the quantised side; leave it out of both by `leave_out=attention`"
                )
            case NeuronCounts():
                pass
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


def _nonzero_share(layer: SynapseCounts, options: Options) -> tuple[float, float]:
    if layer.input_kind == "real":
        return 1.0, 1.0
    if options.qnn_zeros is not None:
        return (1.0 - options.qnn_zeros,) * 2
    rate = int(layer.input_nonzeros.sum()) / max(1, int(layer.input_size.sum()))
    return rate, min(1.0, layer.steps * rate)


def break_even_rate(timesteps: int) -> float:
    """Return the spike rate below which sparse spikes move for less than dense activations: ``b / (12 T)``."""
    return activation_bits(timesteps) * 0.25 / (3.0 * timesteps)


METHOD = Method(
    "qnn",
    "a reconstruction of Yan et al.",
    needs="e_ac_pj, e_compare_pj, e_reset_pj, e_event_bit_hop_pj",
    prices=(("e_ac_pj", "e_compare_pj", "e_reset_pj", "e_event_bit_hop_pj"),),
    profile="22nm-yan",
    energy=energy,
    options=Options,
    baselines={"qnn": baseline},
)

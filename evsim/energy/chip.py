"""M4 and M5, tables of chips: synaptic operations and neuron updates at a chip's own prices.

M4 (nengo/keras-spiking): ``E = SOP e_synop + N T e_neuron``, SOP = dense connections x mean input, padding taps
included; a device that is not spiking computes every connection once. No overhead, as its authors state.
M5 (events; the form is evsim's, the constants are Davies's): ``E = SOP e_sop + active e_active + inactive e_inactive +
packets (e_packet + hops_x e_hop_x + hops_y e_hop_y) + P_static time``, with exact synaptic operations, one packet per
spike unless a placement says otherwise, and, an assumption, "active" for the updates that spike.
Which of the two it is follows from the prices that the profile gives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evsim import workload
from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts
from evsim.energy.affine import charge_power
from evsim.energy.method import Method
from evsim.energy.operations import Floats, charge_events, dense_macs, firing, unrolled
from evsim.energy.options import checked
from evsim.energy.profile import Price, Profile
from evsim.energy.result import Energy, Ledger

TABLE = ("e_synop_pj", "e_neuron_pj")
EVENTS = ("e_sop_pj", "e_neuron_active_pj", "e_neuron_inactive_pj", "e_packet_pj", "e_hop_x_pj", "e_hop_y_pj")


@dataclass(frozen=True)
class Options:
    """What a chip's events leave open.

    Attributes
    ----------
    packets_per_spike, hops_x, hops_y
        A placement's packets and mean hops.
    time_ms
        Duration of one inference, for static power; never taken from the simulation.
    """

    packets_per_spike: float = 1.0
    hops_x: float = 0.0
    hops_y: float = 0.0
    time_ms: float | None = None

    def __post_init__(self) -> None:
        checked(self)


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge by events where the profile gives their prices, else by the table."""
    if profile.gives(*EVENTS) or (profile.gives("e_sop_pj", "e_neuron_active_pj") and not profile.gives(*TABLE)):
        return _by_events(counts, profile, options)
    return _once(counts, profile) if profile.device == "dense" else _by_table(counts, profile)


def _by_events(counts: Counts, profile: Profile, options: Options) -> Energy:
    ledger = Ledger(counts, METHOD.name, profile)
    e_sop, active, inactive, packet, hop_x, hop_y = (profile.price(key) for key in EVENTS)
    ends = ((packet.low, hop_x.low, hop_y.low), (packet.high, hop_x.high, hop_y.high))
    low, high = (within + options.hops_x * x + options.hops_y * y for within, x, y in ends)
    way = Price(low, high, packet.source)
    for layer in counts.layers:
        match layer:
            case SynapseCounts() | AttentionCounts():
                charge_events(ledger, layer, e_sop)
            case NeuronCounts():
                ledger.charge(layer, "neuron updates", firing(layer), active)
                ledger.charge(layer, "neuron updates", unrolled(ledger, layer) - firing(layer), inactive)
                ledger.charge(layer, "spikes moved", options.packets_per_spike * layer.spikes, way)
            case _:
                raise ledger.refusal(layer)
    if profile.gives("p_static_uw"):
        if options.time_ms is None:
            ledger.note("static power is left out; give the duration of an inference by `time_ms`")
        else:
            charge_power(ledger, counts, profile.price("p_static_uw"), options.time_ms)
    return ledger.energy()


def _by_table(counts: Counts, profile: Profile) -> Energy:
    ledger = Ledger(counts, METHOD.name, profile)
    e_synop, e_neuron = profile.price("e_synop_pj"), profile.price("e_neuron_pj")
    for layer in counts.layers:
        match layer:
            case SynapseCounts():
                ledger.charge(layer, "AC", _nominal(ledger, layer), e_synop)
            case AttentionCounts():
                charge_events(ledger, layer, e_synop)
            case NeuronCounts():
                ledger.charge(layer, "neuron updates", unrolled(ledger, layer), e_neuron)
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


def _nominal(ledger: Ledger, layer: SynapseCounts) -> Floats:
    """Return dense connections times mean input, [T]; of real values the mean is not counted, and taken as 1."""
    dense = dense_macs(layer)
    if layer.input_kind == "real":
        ledger.note("real inputs are charged by their dense connections")
        return dense.astype(np.float64)
    return dense * (layer.input_sum / np.maximum(1, layer.input_size))


def _once(counts: Counts, profile: Profile) -> Energy:
    ledger = Ledger(counts, METHOD.name, profile, per_timestep=False)
    e_synop, e_neuron = profile.price("e_synop_pj"), profile.price("e_neuron_pj")
    ledger.note("the device is not spiking: every connection is computed once, and T counts as 1")
    for layer in counts.layers:
        samples = max(1, layer.samples)
        match layer:
            case SynapseCounts() | AttentionCounts():
                ledger.charge(layer, "MAC", workload.dense_macs(layer.kind, layer.geometry) * samples, e_synop)
            case NeuronCounts():
                ledger.charge(layer, "neuron updates", layer.geometry.outputs * samples, e_neuron)
            case _:
                raise ledger.refusal(layer)
    return ledger.energy()


METHOD = Method(
    "chip",
    "a chip's events or table",
    needs="e_sop_pj, e_neuron_active_pj, …; or e_synop_pj, e_neuron_pj",
    prices=(EVENTS, TABLE),
    profile="loihi",
    energy=energy,
    options=Options,
)

"""M4 and M5, tables of chips: synaptic operations and neuron updates at a chip's own prices.

M4 (nengo/keras-spiking): ``E = SOP e_synop + N T e_neuron``, SOP = dense connections x mean input, padding taps
included; a device that is not spiking computes every connection once. No overhead, as its authors state.
M5 (events; the form is evsim's, the constants are Davies's): ``E = SOP e_sop + active e_active + inactive e_inactive +
packets (e_packet + hops_x e_hop_x + hops_y e_hop_y) + P_static time``, with exact synaptic operations, one packet per
spike unless a placement says otherwise, and, an assumption, "active" for the updates that spike.
Which of the two it is follows from the prices that the profile gives.
"""

from __future__ import annotations

import numpy as np

from evsim.counters import Counts, LayerCounts
from evsim.energy.affine import charge_power
from evsim.energy.operations import Floats, dense_macs, outputs, synaptic_events
from evsim.energy.options import Options
from evsim.energy.profile import Price, Profile
from evsim.energy.result import Energy, Ledger

EVENTS = ("e_sop_pj", "e_neuron_active_pj", "e_neuron_inactive_pj", "e_packet_pj", "e_hop_x_pj", "e_hop_y_pj")


def energy(counts: Counts, profile: Profile, options: Options) -> Energy:
    """Charge by events where the profile gives their prices, else by the table."""
    if profile.gives("e_sop_pj", "e_neuron_active_pj"):
        return _by_events(counts, profile, options)
    return _once(counts, profile) if profile.device == "dense" else _by_table(counts, profile)


def _by_events(counts: Counts, profile: Profile, options: Options) -> Energy:
    ledger = Ledger(counts, "chip", profile)
    e_sop, active, inactive, packet, hop_x, hop_y = (profile.price(key) for key in EVENTS)
    way = [p + options.hops_x * x + options.hops_y * y for p, x, y in (_ends(packet, hop_x, hop_y))]
    for layer in counts.layers:
        if layer.spikes is None:
            heads = layer.sops_per_head is not None
            events = synaptic_events(ledger, layer)
            ledger.charge(layer, "AC", layer.sops_per_head if heads else events, e_sop, heads=heads)  # type: ignore[arg-type]
            continue
        ledger.charge(layer, "neuron updates", layer.spikes, active)
        ledger.charge(layer, "neuron updates", layer.neuron_updates - layer.spikes, inactive)
        ledger.charge(layer, "spikes moved", options.packets_per_spike * layer.spikes, Price(way[0], way[1], ""))
    if profile.gives("p_static_uw"):
        if options.time_ms is None:
            ledger.note("static power is left out; give the duration of an inference by --time-ms")
        else:
            charge_power(ledger, counts, profile.price("p_static_uw"), options.time_ms)
    return ledger.energy()


def _ends(*prices: Price) -> list[tuple[float, ...]]:
    return [tuple(price.low for price in prices), tuple(price.high for price in prices)]


def _by_table(counts: Counts, profile: Profile) -> Energy:
    ledger = Ledger(counts, "chip", profile)
    e_synop, e_neuron = profile.price("e_synop_pj"), profile.price("e_neuron_pj")
    for layer in counts.layers:
        if layer.kind == "lif":
            ledger.charge(layer, "neuron updates", layer.neuron_updates, e_neuron)
        elif layer.sops_per_head is not None:
            synaptic_events(ledger, layer)
            ledger.charge(layer, "AC", layer.sops_per_head, e_synop, heads=True)
        else:
            ledger.charge(layer, "AC", _nominal(ledger, layer), e_synop)
    return ledger.energy()


def _nominal(ledger: Ledger, layer: LayerCounts) -> Floats:
    """Return dense connections times mean input, [T]; of real values the mean is not counted, and taken as 1."""
    dense = dense_macs(layer)
    if layer.input_kind == "real":
        ledger.note("real inputs are charged by their dense connections")
        return dense.astype(np.float64)
    return dense * (layer.input_sum / np.maximum(1, layer.input_size))


def _once(counts: Counts, profile: Profile) -> Energy:
    ledger = Ledger(counts, "chip", profile, per_timestep=False)
    e_synop, e_neuron = profile.price("e_synop_pj"), profile.price("e_neuron_pj")
    ledger.note("the device is not spiking: every connection is computed once, and T counts as 1")
    for layer in counts.layers:
        samples = max(1, layer.samples)
        if layer.kind == "lif":
            ledger.charge(layer, "neuron updates", outputs(layer) * samples, e_neuron)
        else:
            ledger.charge(layer, "MAC", layer.dense_macs // max(1, layer.steps) * samples, e_synop)
    return ledger.energy()

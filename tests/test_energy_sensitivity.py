"""Ratios under every price, and the prices at which a conclusion turns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from energy_cases import layer, layer_c, networks
from hypothesis import given, settings
from hypothesis import strategies as st

from evsim.counters import Counts
from evsim.energy import charge, load_profile, sensitivity
from evsim.energy.charging import parsed
from evsim.workload import Geometry


def network(acs, macs):
    """Return counts with so many synaptic operations and multiply-accumulates."""
    one, size = np.ones(1, np.int64), Geometry("Linear", 10, 10, 1, 1, 1, 1)
    rows = (
        layer("a", "linear", size, 1, input_size=10 * one, input_nonzeros=one, sops=acs * one),
        layer("b", "linear", size, 1, input_kind="real", input_size=10 * one, input_nonzeros=one, macs=macs * one),
    )
    return Counts(1, rows)


def turn_of(found, method):
    """Return the turning point of one method."""
    return next(turn for turn in found.turns if turn.method == method)


def test_break_even_of_prices():
    """300 ACs and 10 MACs against 100 ACs and 60 MACs cost the same where a MAC is 4 ACs."""
    a, b = network(300, 10), network(100, 60)
    turn = turn_of(sensitivity(a, b, profiles=[load_profile()]), "exact")
    assert turn.ratio == pytest.approx(4.0)
    assert turn.cheaper_below == "B"
    assert turn.sentence == "exact: B is cheaper below E_MAC / E_AC = 4, A above"
    for e_mac, cheaper in ((3.9, False), (4.1, True)):
        profile = load_profile().priced(e_ac_pj=1.0, e_mac_pj=e_mac)
        assert (charge(a, "exact", profile).pj < charge(b, "exact", profile).pj) is cheaper


def test_no_break_even():
    """Who does less of everything is cheaper at every price; equals cost the same."""
    found = sensitivity(network(10, 10), network(20, 30), profiles=[load_profile()])
    assert turn_of(found, "exact").sentence == "exact: A is cheaper at every E_MAC / E_AC"
    found = sensitivity(network(10, 10), network(10, 10), profiles=[load_profile()])
    assert turn_of(found, "exact").sentence == "exact: A and B cost the same at every E_MAC / E_AC"


def test_memory_scale():
    """At the factor on memory prices that the table names, both cost the same in method bytes."""
    a = layer_c()
    conv, neurons = a.layers
    more, fewer = replace(conv, sops=conv.sops + 25), replace(neurons, neuron_updates=neurons.neuron_updates // 4)
    b = replace(a, layers=(more, fewer))
    profile = load_profile().priced(e_byte_pj=0.01)
    ratio = next(r for r in sensitivity(a, b, profiles=[profile]).ratios if r.method == "bytes")
    assert ratio.cheaper_below == "A"
    level = profile.priced(e_byte_pj=0.01 * ratio.scale)
    assert charge(a, "bytes", level).pj == pytest.approx(charge(b, "bytes", level).pj, rel=1e-9)


def test_least_and_greatest():
    """The summary names the methods in which A fares best and worst."""
    a = layer_c()
    b = replace(a, layers=(replace(a.layers[0], sops=a.layers[0].sops * 3), a.layers[1]))
    found = sensitivity(a, b)
    values = [ratio.value for ratio in found.ratios]
    assert found.least.value == min(values)
    assert found.greatest.value == max(values) == pytest.approx(1.0)
    assert found.least.method == "exact"
    assert {method for method, *_ in found.refused} >= {"spikesim", "lemaire"}


@settings(max_examples=20, deadline=None)
@given(a=networks(), b=networks(), shares=st.lists(st.floats(0, 1), min_size=2, max_size=2))
def test_ranges_hold_every_price(a, b, shares):
    """Whatever prices within the ranges, the ratio lies between the ends that are given."""
    ranges = {"e_ac_pj": (0.5, 1.5), "e_mac_pj": (2.0, 6.0)}
    profile = load_profile().priced(**ranges)
    inside = {k: low + s * (high - low) for (k, (low, high)), s in zip(ranges.items(), shares, strict=True)}
    for ratio in sensitivity(a, b, profiles=[profile]).ratios:
        own = load_profile().priced(**inside)
        options = parsed([ratio.variant] if ratio.variant else [])
        x, y = (charge(counts, ratio.method, own, options).pj for counts in (a, b))
        if y > 0:
            assert ratio.low - 1e-9 <= x / y <= ratio.high + 1e-9, ratio

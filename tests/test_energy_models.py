"""Every energy method against its worked examples, and what all of them have in common."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest
from energy_cases import layer, layer_c, layer_f, networks, published_counts, without_traffic
from hypothesis import given, settings
from hypothesis import strategies as st

from evsim.counters import Counts
from evsim.energy import BASELINES, METHODS, Options, charge, charge_baseline, load_profile, profile_names
from evsim.energy.qnn import break_even_rate
from evsim.errors import EvsimError, OptionError, ProfileError
from evsim.workload import Geometry

SIX = 1e-6
PUBLISHED = json.loads((resources.files("evsim.data") / "published.json").read_text())


def close(value):
    """Return what equals a value to six digits and more."""
    return pytest.approx(value, rel=SIX / 10)


def test_exact_of_layer_c():
    """M1: 36000 synaptic operations at 0.9 pJ are 32400 pJ."""
    assert charge(layer_c(), "exact").pj == close(32400)


@pytest.mark.parametrize(("bias", "memory", "total"), [(False, 5230018.56, 5262418.56), (True, 6047907.84, 6080307.84)])
def test_bytes_of_layer_c(bias, memory, total):
    """M2: bytes at 24.96 pJ, with and without a bias."""
    energy = charge(layer_c(bias), "bytes")
    by = energy.by("cost")
    assert (by["weights read"] + by["potentials read and written"]) * 1e9 == close(memory)
    assert energy.pj == close(total)


@pytest.mark.parametrize(
    ("sram", "total"),
    [("piecewise", 976154.85), ("fit", 1865081.496), ("packed", 704343.6), ("spikingjelly", 989081.10)],
)
def test_lemaire_of_layer_c(sram, total):
    """M3: the three readings of the energy of a memory access."""
    assert charge(layer_c(), "lemaire", options=Options(sram=sram)).pj == close(total)


def test_lemaire_of_layer_c_part_by_part():
    """M3, piecewise: operations, addresses, input and output, weights, bias and potentials."""
    by = charge(layer_c(), "lemaire").by("cost")
    pj = {label: by[label] * 1e9 for label in by}
    assert pj["AC"] + pj["neuron updates"] == close(30663.6)
    assert pj["addresses"] == close(6800)
    assert pj["spikes moved"] == close(3906.25)
    assert pj["weights read"] == close(50625 + 320)
    assert pj["potentials read and written"] == close(883840)


def test_lemaire_of_layer_f():
    """M3, piecewise, on a linear layer with IF neurons."""
    energy = charge(layer_f(), "lemaire")
    pj = {label: value * 1e9 for label, value in energy.by("cost").items()}
    assert pj["AC"] + pj["neuron updates"] == close(669.6)
    assert pj["addresses"] == close(640)
    assert pj["spikes moved"] == close(683.59375)
    assert pj["weights read"] == close(144516.129032 + 80)
    assert pj["potentials read and written"] == close(4160)
    assert energy.pj == close(150749.322783)


def test_lemaire_of_a_dense_layer():
    """M3's equations for dense networks, on layer C's shape, by hand."""
    energy = charge_baseline(layer_c(), "ann", "lemaire")
    macs, neurons, inputs = 2048 * 36, 2048, 1024
    fifo_in, fifo_out, weights, bias = 10 * 4096 / 8192, 10.0, 1.40625, 0.0390625
    by_hand = macs * 3.2 + neurons * 0.1 + (inputs + neurons + 72) * 0.1
    by_hand += macs * fifo_in + macs * weights + neurons * bias + neurons * fifo_out
    assert energy.pj == close(by_hand)


@pytest.mark.parametrize(
    ("profile", "total"),
    [
        ("spinnaker", 91776000),
        ("spinnaker2-prototype", 3440640),
        ("loihi-table", 194176),
        ("i7-4960x", 141452800),
        ("titan-black", 4934400),
        ("cortex-a", 14803200),
    ],
)
def test_chip_tables_of_layer_f(profile, total):
    """M4: synaptic operations and neuron updates; a device that is not spiking computes each connection once."""
    assert charge(layer_f(), "chip", profile).pj == close(total)


def test_chip_events_of_layer_f():
    """M5: Davies's constants, 40 packets over one hop each way, and static power over the time that is given."""
    options = Options(hops_x=1, hops_y=1)
    energy = charge(layer_f(), "chip", "loihi", options)
    by = energy.by("cost")
    assert [by[c] * 1e9 for c in ("AC", "neuron updates", "spikes moved")] == [close(151040), close(14472), close(348)]
    assert energy.pj == close(165860)
    assert any("static power is left out" in note for note in energy.notes)
    timed = charge(layer_f(), "chip", "loihi", options.changed(time_ms=2.0))
    assert timed.by("layer")["(no layer)"] == close(104e-3 * 2e-3 * 1e3)
    assert timed.pj == close(165860 + 104e-3 * 2e-3 * 1e12)


@pytest.mark.parametrize(("megahertz", "sops", "microwatt"), [(75, 37.5e6, 476.925), (1.3, 0.65e6, 35.0935)])
def test_affine_chip_meets_odin(megahertz, sops, microwatt):
    """M6: both operating points of ODIN, from its static power, its idle power and its energy per operation."""
    fc = Geometry("Linear", 1, 1, 1, 1, 1, 1)
    one = np.ones(1, np.int64)
    counts = Counts(1, (layer("fc", "linear", fc, 1, input_size=one, sops=one * int(sops)),))
    energy = charge(counts, "affine", "odin", Options(time_ms=1000.0, frequency_mhz=megahertz))
    assert energy.pj * 1e-6 == close(microwatt)


def test_affine_needs_a_time():
    """M6 without the duration of an inference is refused, and names the option."""
    with pytest.raises(OptionError, match="`time_ms`"):
        charge(layer_f(), "affine", "truenorth")
    assert charge(layer_f(), "affine", "truenorth-average").pj == close(6400 * 26)


def test_qnn_side_by_side():
    """M7: accumulate side and movement of both sides for fan-in 4096, T = 5, spike rate 0.05."""
    fc = Geometry("Linear", 4096, 1, 1, 1, 1, 1)
    each = np.ones(5, np.int64)
    spikes = np.array([204, 205, 205, 205, 205], np.int64)
    # 1024 spikes are the rate 0.05 to the integer; the output spikes 5 * 0.05 times, in 4 samples once
    counts = Counts(
        5,
        (
            layer("fc", "linear", fc, 5, input_nonzeros=spikes * 4, input_size=each * 16384,
                  sops=spikes * 4, samples=4),
            layer("lif", "lif", Geometry("LIF", 1, 1, 1, 1, 1, 1), 5, input_size=each * 4, neuron_updates=each * 4,
                  spikes=np.array([0, 0, 0, 0, 1], np.int64), samples=4),
        ),
        samples=4,
    )  # fmt: skip
    by = charge(counts, "qnn", "22nm-yan").by("cost")
    assert (by["AC"] + by["neuron updates"]) * 1e9 == close(56.07354)
    assert by["spikes moved"] * 1e9 == close(3072)
    with pytest.raises(ProfileError, match="e_mac_pj"):
        charge_baseline(counts, "qnn", "qnn", "22nm-yan")
    dense = charge_baseline(counts, "qnn", "qnn", load_profile("22nm-yan").priced(e_mac_pj=0.2))
    assert dense.by("cost")["spikes moved"] * 1e9 == close(3072)
    assert dense.range_mj[0] < dense.range_mj[1]
    assert dense.total[1] - 3072 == close(4096 * 0.25 * 0.2)
    assert [break_even_rate(5), break_even_rate(3)] == pytest.approx([0.05, 0.0555556], rel=1e-6)


def test_spikesim_of_the_published_layer():
    """M8: 6272 cycles of a 3x3 convolution 128 -> 256 on 14x14 at T = 4, at 828.486147 pJ each."""
    conv = Geometry("Conv2d", 128, 256, 14, 14, 14, 14, (3, 3), (1, 1), (1, 1))
    counts = Counts(4, (layer("conv", "conv", conv, 4, input_size=np.full(4, 128 * 196, np.int64)),))
    energy = charge(counts, "spikesim")
    assert energy.pj == close(5196265.115)
    assert energy.pj / 6272 == close(828.486147)


def test_spikesim_refuses_attention():
    """M8 on attention is one clear line; left out by the user's word, the rest is charged."""
    counts = published_counts(PUBLISHED["spikingformer-8-512"])
    with pytest.raises(OptionError, match="attention multiplies spikes with spikes"):
        charge(counts, "spikesim")
    assert charge(counts, "spikesim", options=Options(leave_out=("attention",))).pj > 0


def test_counted_memory_of_layer_c():
    """Evsim's own model on layer C by hand, in 8-bit integers: every kind of cost."""
    by = charge(layer_c(), "counted-memory", "45nm-int8").by("cost")
    pj = {label: value * 1e9 for label, value in by.items()}
    # sums of up to 20 weights of 8 bit take 13 bit; memories here are no larger than the least published one
    assert pj["AC"] == close((36000 + 4 * 2048) * 0.03 * 13 / 8)
    assert pj["neuron updates"] == close(4 * 2048 * 3 * 0.03 * 16 / 8)
    assert pj["weights read"] == close(4 * (36 * 8 + 8) * 8 * 10 / 64)
    assert pj["potentials read and written"] == close(2 * 4 * 2048 * 16 * 10 / 64)
    assert pj["spikes moved"] == close((3 * 500 + 5 * 300) * 10 / 64)


@pytest.mark.parametrize(
    ("change", "cost", "pj"),
    [
        ({"weights": "per-sop"}, "weights read", (36000 + 4 * 2048) * 8 * 10 / 64),
        ({"weights": "once"}, "weights read", (36 * 8 + 8) * 8 * 10 / 64),
        ({"potentials": "touched"}, "potentials read and written", 2 * 4 * 1500 * (16 + 2) * 10 / 64),
        ({"on_chip_kib": 0.25}, "weights read", 4 * (36 * 8 + 8) * 8 * 20.3125),
        ({"weights_kib": 32}, "weights read", 4 * (36 * 8 + 8) * 8 * 20 / 64),
        ({"weights_kib": 0.125}, "weights read", 4 * (36 * 8 + 8) * 8 * 20.3125),
        ({"weight_bits": 4}, "weights read", 4 * (36 * 8 + 8) * 4 * 10 / 64),
        ({"potentials_kib": 1024}, "potentials read and written", 2 * 4 * 2048 * 16 * 100 / 64),
        ({"potential_bits": 12}, "potentials read and written", 2 * 4 * 2048 * 12 * 10 / 64),
        ({"spikes_kib": 32}, "spikes moved", (3 * 500 + 5 * 300) * 20 / 64),
    ],
)
def test_counted_memory_bounds_of_layer_c(change, cost, pj):
    """The bounds of weight fetches and potentials, and DRAM behind a small chip."""
    energy = charge(layer_c(), "counted-memory", "45nm-int8", Options(**change))
    assert energy.by("cost")[cost] * 1e9 == close(pj)


@pytest.mark.parametrize("order", ["declared", "other", "least"])
def test_counted_memory_of_attention(order):
    """Both orders of attention by hand: additions, and the buffer at the width of its greatest entry."""
    counts = attention_counts()
    row = counts.layers[0]
    by = charge(counts, "counted-memory", "45nm-int8", Options(order=order)).by("cost")
    # k^T v: 2 x 10 writes and 20 - 10 reads of 3 bit in head 0 (greatest 7), of 4 bit in head 1 (greatest 8)
    kv = 30 * 3 + 30 * 4
    # q k^T: 2 x 4 writes and 3 nonzero entries read, of 1 bit (greatest 1) and 2 bit (greatest 2)
    qk = 11 * 1 + 11 * 2
    buffer, operations = (kv, 40) if order == "declared" else (qk, 12)
    assert by["attention buffer"] * 1e9 == close(buffer * 10 / 64)
    assert by["AC"] * 1e9 == close(operations * 0.03 * 4 / 8)
    assert int(row.sops.sum()) == 40


def attention_counts():
    """One attention row of two heads at T = 1."""
    from evsim.counters import Traffic

    pair = np.array([[20, 20]], np.int64)
    size = Geometry("SpikingSelfAttention", 8, 8, 3, 3, 3, 3, heads=2, head_dim=4, order="q(kv)")
    one = np.ones(1, np.int64)
    traffic = Traffic(
        run_length_bits=one, least_bits=one, greatest_value=one, peak_events=1, greatest_sum=9 * one,
        kv_coincidences=pair // 2, qk_coincidences=pair // 5, kv_greatest=np.array([[7, 8]], np.int64),
        qk_greatest=np.array([[1, 2]], np.int64), qk_entries=np.array([[3, 3]], np.int64),
    )  # fmt: skip
    row = layer(
        "ssa", "attention", size, 1, sops_per_head=pair, input_size=one * 216,
        sops_other_order_per_head=np.array([[6, 6]], np.int64), traffic=traffic,
    )  # fmt: skip
    return Counts(1, (row,))


def test_counted_memory_needs_traffic():
    """Counts without traffic are refused, with the way to get it."""
    with pytest.raises(OptionError, match="by a run with `detail=True`"):
        charge(without_traffic(layer_c()), "counted-memory")


@pytest.mark.parametrize(("attention", "total"), [(False, 38.00), (True, 39.45)])
def test_dense_network_of_8_512(attention, total):
    """The dense network of Spikingformer-8-512 is 38.00 mJ without the attention products, 39.45 with them."""
    counts = published_counts(PUBLISHED["spikingformer-8-512"])
    options = Options() if attention else Options(leave_out=("attention",))
    assert charge_baseline(counts, "ann", "exact", "45nm", options).energy_mj == pytest.approx(total, abs=0.005)


@pytest.mark.parametrize("method", [m for m in METHODS if m not in BASELINES["ann"]])
def test_no_dense_price_no_baseline(method):
    """A method without a price for dense networks refuses --against ann."""
    with pytest.raises(OptionError, match="has no price for `against=ann`"):
        charge_baseline(layer_c(), "ann", method)


@settings(max_examples=40, deadline=None)
@given(counts=networks(), data=st.data())
def test_energy_adds_up(counts, data):
    """Sums over layers, kinds of cost, timesteps, and heads of an attention row equal the total, in every method."""
    options = Options(time_ms=1.5, frequency_mhz=20.0, hops_x=0.5, leave_out=())
    for method in METHODS:
        name = data.draw(st.sampled_from([METHODS[method].profile, *profile_names()[:3]]))
        profile = load_profile(name).priced(e_ac_pj=[0.7, 1.1], e_mac_pj=[3.0, 5.0])
        try:
            energy = charge(counts, method, profile, options.only(METHODS[method].options))
        except EvsimError:
            continue
        for end in (0, 1):
            total = energy.total[end]
            for key in ("layer", "stage", "block", "cost", *(["timestep"] if energy.per_timestep else [])):
                by = energy.by(key)
                assert sum((by.low, by.high)[end]) == pytest.approx(total, rel=1e-12, abs=1e-12), (method, key)
            for row, heads in energy.heads.items():
                whole = (energy.low, energy.high)[end][energy.layers.index(row)].sum()
                assert heads[end].sum() == pytest.approx(whole, rel=1e-12), (method, row)


@settings(max_examples=20, deadline=None)
@given(counts=networks())
def test_every_method_answers_or_says_why(counts):
    """Every method with every bundled profile gives an energy or an EvsimError, never anything else."""
    answered = set()
    for method in METHODS:
        for name in profile_names():
            try:
                options = Options(time_ms=1.0, frequency_mhz=1.0).only(METHODS[method].options)
                energy = charge(counts, method, name, options)
            except EvsimError:
                continue
            answered.add(method)
            assert np.isfinite(energy.low).all()
            assert (energy.low >= 0).all()
            assert (energy.low <= energy.high).all()
    assert answered >= set(METHODS) - {"spikesim", "sew", "resformer"}  # not of attention, not of reals inside


def test_a_memory_above_the_greatest_point_is_noted():
    """--set on_chip_kib keeps a memory on the chip at the greatest point's price, with a note; else it is DRAM."""
    on_chip = charge(layer_c(), "counted-memory", options=Options(potentials_kib=8000, on_chip_kib=8000))
    flat = charge(layer_c(), "counted-memory", options=Options(potentials_kib=1024))
    dram = charge(layer_c(), "counted-memory", options=Options(potentials_kib=8000))
    note = "a memory of 8000 KiB is above the greatest of 45 nm float32's [sram], 1024 KiB, and charged like it"
    assert any(note in text for text in on_chip.notes)
    assert on_chip.pj == flat.pj < dram.pj
    assert not any("[sram]" in text for text in (*flat.notes, *dram.notes))


def test_lemaire_notes_a_memory_above_the_greatest_point():
    """Readings that go by the table say where a memory is beyond it; the others know no table."""
    counts = published_counts(PUBLISHED["spikingformer-8-512"], samples=1)
    for sram in ("piecewise", "spikingjelly", "fit", "packed"):
        notes = charge(counts, "lemaire", options=Options(sram=sram)).notes
        assert any("above the greatest" in note for note in notes) is (sram in ("piecewise", "spikingjelly")), sram
    assert not any("above the greatest" in note for note in charge(layer_c(), "lemaire").notes)

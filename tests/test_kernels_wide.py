"""Kernels of groups, windows, integers and heads against plain NumPy. `make test` runs this file without JIT too."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import precisions, rates, seeds

from evsim.errors import NetworkError
from evsim.kernels.counting import (
    masks_of_heads,
    spikes_per_head,
    sum_integers,
    weigh_integers,
    weigh_spikes,
    weigh_values,
)
from evsim.kernels.integers import add_spikes, cut_planes, round_currents, sum_tokens
from evsim.kernels.threads import Workers
from evsim.layers.attention import IntegerAttention
from evsim.layers.context import Context
from evsim.layers.grouped import Grouped
from evsim.layers.synapses import Synapses, gathers
from evsim.network import LIF, Conv2d, Shape, SpikingSelfAttention
from evsim.spikes import IntegerMap, RealMap, SpikeMap

some_tests = settings(max_examples=25, deadline=None)
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}


def context_of(precision, threads=1):
    """Return what layers share; however small, work is shared among the threads."""
    workers = Workers(threads)
    workers.small = 0
    return Context(np.dtype(precision), workers, streaming=False)


def packet_of(kind, values):
    """Return maps [T, H, W, C] of numbers as a packet."""
    steps, height, width, channels = values.shape
    flat = values.reshape(steps, height * width, channels)
    if kind == "spikes":
        return SpikeMap.from_dense(flat != 0, height, width)
    if kind == "integers":
        return IntegerMap(0, flat.astype(np.int32), height, width)
    return RealMap(0, steps, np.ascontiguousarray(flat), channels, height, width)


def numbers(kind, shape, rng, rate, precision):
    """Draw values of a kind, of which a share of `rate` is not 0."""
    active = rng.random(shape) < rate
    if kind == "spikes":
        return active.astype(precision)
    factor = rng.integers(1, 9, shape) if kind == "integers" else rng.standard_normal(shape)
    return (active * factor).astype(precision)


def convolution(node, rng):
    """Return random weights for a convolution, and its dense weight and shift with BatchNorm folded in."""
    weights = {
        key: rng.standard_normal(shape) if key == "bn_shift" else rng.uniform(0.5, 2.0, shape)
        for key, shape in node.parameters().items()
    }
    weights["weight"] = rng.standard_normal(weights["weight"].shape).astype(np.float32)
    return weights, weights["weight"] * weights["bn_scale"], weights["bn_shift"]


def by_groups(values, weight, groups, window):
    """Convolve each group's channels with its own weights."""
    pairs = zip(np.split(values, groups, axis=3), np.split(weight, groups, axis=3), strict=True)
    return np.concatenate([naive.conv(part.astype(float), own, *window) for part, own in pairs], axis=3)


@some_tests
@given(
    width=st.sampled_from([1, 3, 5, 7]), height=st.sampled_from([1, 3]), size=st.tuples(*[st.integers(1, 18)] * 2),
    channels=st.sampled_from([1, 15, 16, 33, 70]), kind=st.sampled_from(["spikes", "integers", "real"]),
    stride=st.sampled_from([1, 1, 2]), precision=precisions, rate=rates, seed=seeds,
)  # fmt: skip
def test_depthwise_windows_equal_dense_ones(width, height, size, channels, kind, stride, precision, rate, seed):
    """Each channel is convolved with its own window, for any width and map; threads change no bit."""
    rng = np.random.default_rng(seed)
    pads = height // 2, width // 2
    node = Conv2d("c", ("x",), channels, channels, (height, width), (stride,) * 2, pads, groups=channels)
    source = Shape(kind, channels, *size)
    values = numbers(kind, (2, *size, channels), rng, rate, precision)
    weights, dense, shift = convolution(node, rng)
    target = node.infer((source,))
    packet = packet_of(kind, values)
    one, three = (
        Grouped(node, source, target, weights, context_of(precision, threads)).step(packet) for threads in (1, 3)
    )
    want = by_groups(values, dense, channels, (node.stride, node.padding)) + shift
    np.testing.assert_allclose(one.values[..., :channels], want.reshape(2, -1, channels),
                               atol=TOLERANCE[precision] * (1 + np.abs(want).max()))  # fmt: skip
    assert (one.values == three.values).all()
    assert not one.values[..., channels:].any()


@some_tests
@given(
    groups=st.sampled_from([2, 3]), inner=st.sampled_from([64, 192]), outer=st.sampled_from([64, 128]),
    kernel=st.sampled_from([1, 3]), stride=st.sampled_from([1, 2]), width=st.integers(1, 9), precision=precisions,
    rate=rates, seed=seeds,
)  # fmt: skip
def test_groups_of_whole_words_gather_their_own_inputs(
    groups, inner, outer, kernel, stride, width, precision, rate, seed
):
    """Groups that run as a dense layer does give each output its own group's inputs; so do fused neurons."""
    rng = np.random.default_rng(seed)
    channels = groups * outer
    node = Conv2d(
        "c", ("x",), groups * inner, channels, (kernel,) * 2, (stride,) * 2, (kernel // 2,) * 2, groups=groups
    )
    source = Shape("spikes", groups * inner, 3, width)
    assert gathers(node, source)
    values = numbers("spikes", (2, 3, width, groups * inner), rng, rate, precision)
    weights, dense, shift = convolution(node, rng)
    target = node.infer((source,))
    sums = Synapses(node, source, target, weights, context_of(precision)).step(packet_of("spikes", values))
    want = by_groups(values, dense, groups, (node.stride, node.padding)) + shift
    np.testing.assert_allclose(sums.values, want.reshape(2, -1, channels),
                               atol=TOLERANCE[precision] * (1 + np.abs(want).max()))  # fmt: skip
    neurons = LIF("n", ("c",), 2.0, 0.5)
    fused = Synapses(node, source, target, weights, context_of(precision, 3), neurons)
    assert (fused.step(packet_of("spikes", values)).dense() == naive.lif(sums.values, 2.0, 0.5)).all()


@some_tests
@given(channels=st.sampled_from([1, 63, 64, 100, 130]), greatest=st.sampled_from([0, 1, 5, 300]), seed=seeds)
def test_integers_are_bits_and_spikes_add_to_them(channels, greatest, seed):
    """Planes of bits, the highest first, make up the integers; adding spikes to them and summing them up is exact."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, greatest + 1, (5, channels)).astype(np.int32)
    planes = np.empty((9, 5, -(-channels // 64)), np.uint64)
    for first, last in ((0, 2), (2, 5)):
        cut_planes(first, last, values.reshape(-1), channels, planes)
    bits = SpikeMap(0, planes, channels, 1, 5).dense()
    assert (np.tensordot(2 ** np.arange(8, -1, -1), bits, 1) == values).all()

    fired = rng.random((1, 5, channels)) < 0.4
    words = SpikeMap.from_dense(fired, 1, 5).words
    sums = values.copy()
    add_spikes(0, 5, words[0], channels, sums.reshape(-1))
    assert (sums == values + fired[0]).all()
    tokens = np.zeros(channels, np.int32)
    sum_tokens(words[0], tokens)
    assert (tokens == fired[0].sum(axis=0)).all()
    totals = np.empty(5, np.int64)
    sum_integers(0, 5, values, totals)
    assert (totals == values.sum(axis=1)).all()


@some_tests
@given(
    channels=st.sampled_from([1, 2, 3, 64, 130]),
    parts=st.sampled_from([1, 3, 8]),
    greatest=st.integers(1, 500),
    seed=seeds,
)
def test_maps_are_weighed(channels, parts, greatest, seed):
    """Nonzeros, values and spikes are summed up by timestep, each as often as it reaches outputs, and once."""
    rng = np.random.default_rng(seed)
    values = (rng.integers(0, greatest + 1, (2, 7 * channels)) * (rng.random((2, 7 * channels)) < 0.5)).astype(np.int32)
    reach = rng.integers(0, 10**6, 7 * channels)
    nonzeros, sums = np.empty((2 * parts, 3), np.int64), np.empty((2 * parts, 2), np.int64)
    for weights in (reach, reach[:0]):
        for first, last in ((0, 1), (1, 2 * parts)):
            weigh_values(first, last, parts, values, weights, nonzeros)
            weigh_integers(first, last, parts, values, weights, sums)
        by = weights if weights.size else np.zeros_like(reach)
        whole = [(values != 0).sum(axis=1), ((values != 0) * by).sum(axis=1), (values > 1).sum(axis=1)]
        assert (nonzeros.reshape(2, parts, 3).sum(axis=1) == np.transpose(whole)).all()
        assert (
            sums.reshape(2, parts, 2).sum(axis=1) == np.transpose([values.sum(axis=1), (values * by).sum(axis=1)])
        ).all()
    fired = rng.random((2, 7, channels)) < 0.4
    words = SpikeMap.from_dense(fired, 1, 7).words.reshape(2, -1)
    by_position = rng.integers(0, 10**6, 7)
    counts = np.empty((2, 2), np.int64)
    weigh_spikes(0, 2, words, np.repeat(by_position, words.shape[1] // 7), counts)
    assert (counts[:, 0] == fired.sum(axis=(1, 2))).all()
    assert (counts[:, 1] == fired.sum(axis=2) @ by_position).all()
    weigh_spikes(0, 2, words, by_position[:0], counts)
    assert (counts[:, 0] == fired.sum(axis=(1, 2))).all()


@some_tests
@given(heads=st.sampled_from([1, 3, 8]), size=st.sampled_from([1, 5, 64, 70]), rate=rates, seed=seeds)
def test_heads_are_counted_and_masked(heads, size, rate, seed):
    """Spikes of each head are counted wherever its channels begin, and a mask by head covers all of its channels."""
    rng = np.random.default_rng(seed)
    fired = rng.random((2, 3, heads * size)) < rate
    counts = np.empty((2, 3, heads), np.int64)
    spikes_per_head(SpikeMap.from_dense(fired, 1, 3).words, size, counts)
    assert (counts == fired.reshape(2, 3, heads, size).sum(axis=3)).all()
    mask = rng.random((1, 6, heads)) < 0.5
    words = np.empty((6, -(-heads * size // 64)), np.uint64)
    masks_of_heads(SpikeMap.from_dense(mask, 1, 6).words[0], size, heads, words)
    covered = SpikeMap(0, words[np.newaxis], heads * size, 1, 6).dense()
    assert (covered == np.repeat(mask, size, axis=2)).all()


@pytest.mark.parametrize("up", [False, True])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_currents_are_rounded_and_what_is_not_finite_is_told(precision, up):
    """Halves go to even or up, values are clamped, and channels past the last are not looked at."""
    row = np.array([[-3.0, 0.5, 1.5, 2.5, 3.49, 9.0, np.inf]], precision)
    got = np.empty((1, 6), np.int32)
    real = row.dtype.type
    faults = np.zeros(1, np.int64)
    round_currents(0, 1, row, 6, real(4), real(0.5), up, got, faults)
    assert faults[0] == 0
    assert (got == naive.integers(row[:, :6], 4, up)).all()
    for wrong in (np.nan, np.inf, -np.inf):
        row[0, 2] = wrong
        faults[0] = 0
        with np.errstate(invalid="ignore"):  # as every run has it
            round_currents(0, 1, row, 6, real(4), real(0.5), up, got, faults)
        assert faults[0] == 1


def test_integer_attention_refuses_what_is_not_exact():
    """A sum beyond the integers that float32 holds is refused, however it was rounded; float64 gives it."""
    shape = Shape("integers", 2, 1, 3)
    node = SpikingSelfAttention("a", ("q", "k", "v"), 1, 1.0)
    for value, fits in ((100, True), (250, False)):
        packets = [IntegerMap(0, np.full((1, 3, 2), value, np.int32), 1, 3) for _ in range(3)]
        layers = [IntegerAttention(node, (shape,) * 3, shape, context_of(each)) for each in ("float32", "float64")]
        assert (layers[1].step(*packets).values[..., :2] == 6 * value**3).all()
        if fits:
            assert (layers[0].step(*packets).values[..., :2] == 6 * value**3).all()
            continue
        with pytest.raises(NetworkError, match="sums are not exact"):
            layers[0].step(*packets)

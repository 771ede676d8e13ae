"""Every kernel against its slow twin of tests/naive.py. `make test` runs this file twice: compiled, and without JIT."""

from __future__ import annotations

from itertools import pairwise

import naive
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numba import njit
from strategies import channels, precisions, rates, seeds, spike_maps, windows

from evsim.kernels.attention import transpose_bits
from evsim.kernels.counting import attention_operations, spikes_per_position
from evsim.kernels.lists import TILE_WORDS, add_up, count_segments, fill_segments
from evsim.kernels.quads import ANY, ROOM, cut_quads, quads_of
from evsim.kernels.threads import Workers
from evsim.kernels.vector import add_maps, add_rows, add_rows_of_bits, add_scaled_run, put_rows_of_bits
from evsim.kernels.word_rows import add_quad, add_quads
from evsim.layers.attention import Attention
from evsim.layers.context import Context
from evsim.layers.neurons import NeuronLayer
from evsim.layers.pool import Pool
from evsim.layers.segments import segments
from evsim.layers.synapses import Synapses
from evsim.network import LIF, Conv2d, MaxPool, Shape, SpikingSelfAttention
from evsim.spikes import IntegerMap, RealMap, SpikeMap

property_test = settings(max_examples=40, deadline=None)
TOLERANCE = {"float32": 2e-4, "float64": 1e-11}


def context_of(precision="float64", threads=1, streaming=False):
    """Return what layers share; however small, work is shared among the threads."""
    workers = Workers(threads)
    workers.small = 0
    return Context(np.dtype(precision), workers, streaming)


def as_spikes(maps):
    """Return a spike map of booleans [T, H, W, C]."""
    steps, height, width, count = maps.shape
    return SpikeMap.from_dense(maps.reshape(steps, height * width, count), height, width)


def synapses_of(maps, window, out_channels, rng, context, neurons=None, kind="spikes"):
    """Return a random convolution for such maps, its dense weight and its shift, all folded."""
    kernel, stride, padding = window
    count = maps.shape[3]
    node = Conv2d("conv", ("x",), count, out_channels, kernel, stride, padding, bias=True)
    source = Shape(kind, count, maps.shape[1], maps.shape[2])
    assume(all(n + 2 * p >= k for n, p, k in zip(maps.shape[1:3], padding, kernel, strict=True)))
    weights = {
        "weight": rng.standard_normal((*kernel, count, out_channels)).astype(np.float32),
        "bias": rng.standard_normal(out_channels).astype(np.float32),
        "bn_scale": rng.uniform(0.5, 2.0, out_channels),
        "bn_shift": rng.standard_normal(out_channels),
    }
    layer = Synapses(node, source, node.infer((source,)), weights, context, neurons)
    shift = weights["bias"] * weights["bn_scale"] + weights["bn_shift"]
    return layer, weights["weight"] * weights["bn_scale"], shift


@property_test
@given(spike_maps(), windows(), channels, precisions, seeds)
def test_spikes_gather_what_a_dense_convolution_sums(maps, window, out_channels, precision, seed):
    """Sums of weight rows at active inputs equal the dense convolution, for any window, width and precision."""
    layer, dense, shift = synapses_of(maps, window, out_channels, np.random.default_rng(seed), context_of(precision))
    got = layer.step(as_spikes(maps))
    want = naive.conv(maps.astype(float), dense, *window[1:]) + shift
    assert got.values.dtype == precision
    np.testing.assert_allclose(got.values[..., :out_channels], want.reshape(len(maps), -1, out_channels),
                               atol=TOLERANCE[precision] * (1 + np.abs(want).max()))  # fmt: skip


@property_test
@given(spike_maps(65), windows(), channels, precisions, seeds)
def test_integers_gather_scaled_rows(maps, window, out_channels, precision, seed):
    """A graded spike adds its weight row as often as its value says."""
    rng = np.random.default_rng(seed)
    layer, dense, shift = synapses_of(maps, window, out_channels, rng, context_of(precision), kind="integers")
    values = (maps * rng.integers(1, 18, maps.shape)).astype(np.int32)
    steps, height, width, count = maps.shape
    got = layer.step(IntegerMap(0, values.reshape(steps, height * width, count), height, width))
    want = naive.conv(values.astype(float), dense, *window[1:]) + shift
    np.testing.assert_allclose(got.values[..., :out_channels], want.reshape(steps, -1, out_channels),
                               atol=TOLERANCE[precision] * (1 + np.abs(want).max()))  # fmt: skip


@property_test
@given(spike_maps(33), windows(), channels, precisions, seeds)
def test_real_values_convolve_densely(maps, window, out_channels, precision, seed):
    """The first convolution, on an image, equals the dense one; an image stands for all its timesteps."""
    rng = np.random.default_rng(seed)
    layer, dense, shift = synapses_of(maps[:1], window, out_channels, rng, context_of(precision), kind="real")
    _, height, width, count = maps.shape
    image = rng.standard_normal((1, height, width, count)).astype(precision)
    got = layer.step(RealMap(0, 5, image.reshape(1, height * width, count), count, height, width))
    want = naive.conv(image.astype(float), dense, *window[1:]) + shift
    assert got.steps == 5
    assert len(got.values) == 1
    np.testing.assert_allclose(got.values[..., :out_channels], want.reshape(1, -1, out_channels),
                               atol=TOLERANCE[precision] * (1 + np.abs(want).max()))  # fmt: skip


@property_test
@given(spike_maps(), windows(), channels, st.sampled_from([1.5, 1.75, 2.0, 4.0]), seeds)
def test_fused_neurons_fire_as_those_apart(maps, window, out_channels, tau, seed):
    """A convolution that drives its neurons at once gives the spikes of convolution and LIF one after the other."""
    neurons = LIF("lif", ("conv",), tau, 0.7)
    apart, *_ = synapses_of(maps, window, out_channels, np.random.default_rng(seed), context_of())
    fused, *_ = synapses_of(maps, window, out_channels, np.random.default_rng(seed), context_of(), neurons)
    currents = apart.step(as_spikes(maps))
    got = fused.step(as_spikes(maps)).dense()
    assert (got == naive.lif(currents.values[..., :out_channels], tau, 0.7)).all()
    layer = NeuronLayer(neurons, Shape("spikes", out_channels, currents.height, currents.width), context_of())
    assert (layer.step(currents).dense() == got).all()


@property_test
@given(spike_maps(), channels, precisions, seeds)
def test_residual_stream_is_added(maps, out_channels, precision, seed):
    """A fused residual addition equals the sum of stream and layer."""
    rng = np.random.default_rng(seed)
    context = context_of(precision)
    layer, *_ = synapses_of(maps, ((1, 1), (1, 1), (0, 0)), out_channels, rng, context)
    alone = layer.step(as_spikes(maps))
    stream = rng.standard_normal(alone.values.shape).astype(precision)
    carried = RealMap(0, len(maps), stream, out_channels, alone.height, alone.width)
    assert (layer.step(as_spikes(maps), carried).values == alone.values + stream).all()


@property_test
@given(spike_maps(), windows(), channels, precisions, seeds)
def test_results_do_not_depend_on_threads_or_packets(maps, window, out_channels, precision, seed):
    """Three threads, or one timestep at a time with kept potentials: every bit is the same."""
    neurons = LIF("lif", ("conv",), 1.5, 0.5)
    spikes = as_spikes(maps)
    outcomes = []
    for threads, streaming in ((1, False), (3, False), (1, True)):
        context = context_of(precision, threads, streaming)
        layer, *_ = synapses_of(maps, window, out_channels, np.random.default_rng(seed), context, neurons)
        layer.reset()
        packets = (
            [SpikeMap(t, spikes.words[t : t + 1], *maps.shape[3:], *maps.shape[1:3]) for t in range(len(maps))]
            if streaming
            else [SpikeMap(0, spikes.words, *maps.shape[3:], *maps.shape[1:3])]
        )
        outcomes.append(np.concatenate([layer.step(packet).words for packet in packets]))
    assert (outcomes[0] == outcomes[1]).all()
    assert (outcomes[0] == outcomes[2]).all()


@property_test
@given(spike_maps(), st.integers(1, 3), st.integers(1, 2), st.integers(0, 1), seeds)
def test_pools(maps, window, stride, padding, seed):
    """Max-pooling of spikes, integers and real values equals the slow one."""
    assume(padding < window and min(maps.shape[1:3]) + 2 * padding >= window)
    node = MaxPool("pool", ("x",), window, stride, padding)
    steps, height, width, count = maps.shape
    values = np.random.default_rng(seed).integers(-9, 9, maps.shape).astype(np.int32) * maps
    flat = (steps, height * width, count)
    packets = {
        "spikes": (as_spikes(maps), maps),
        "integers": (IntegerMap(0, np.abs(values).reshape(flat), height, width), np.abs(values)),
        "real": (RealMap(0, steps, values.reshape(flat).astype(float), count, height, width), values.astype(float)),
    }
    for kind, (packet, dense) in packets.items():
        target = node.infer((Shape(kind, count, height, width),))
        got = Pool(node, target, context_of()).step(packet)
        got = got.dense() if isinstance(got, SpikeMap) else got.values
        assert (got.reshape(steps, target.height, target.width, count)
                == naive.max_pool(dense, window, stride, padding)).all()  # fmt: skip


@st.composite
def operands(draw):
    """Heads, and q, k, v as booleans [T, N, C]; head sizes on both sides of 32 and 64, tokens of 64 and 128."""
    heads, size = draw(st.sampled_from([(1, 8), (2, 16), (3, 32), (2, 48), (2, 64), (1, 96), (2, 70), (1, 130)]))
    steps, tokens = draw(st.integers(1, 2)), draw(st.sampled_from([1, 4, 63, 64, 65, 130]))
    rng = np.random.default_rng(draw(seeds))
    return heads, [rng.random((steps, tokens, heads * size)) < draw(rates) for _ in range(3)]


@property_test
@given(operands(), precisions)
def test_attention_equals_the_matrix_products(given_operands, precision):
    """Rows added per spike give exactly scale * q (k^T v), in either precision."""
    heads, qkv = given_operands
    _, tokens, count = qkv[0].shape
    shape = Shape("real", count, 1, tokens)
    node = SpikingSelfAttention("ssa", ("q", "k", "v"), heads, 0.125)
    got = Attention(node, shape, context_of(precision)).step(*(as_spikes(x[:, np.newaxis]) for x in qkv))
    assert (got.values[..., :count] == naive.attention(*qkv, heads, 0.125)).all()


@property_test
@given(operands())
def test_attention_counts_equal_the_products_entries(given_operands):
    """Both orders are counted as if every product were written out."""
    heads, qkv = given_operands
    steps, _, count = qkv[0].shape
    words = [as_spikes(x[:, np.newaxis]).words for x in qkv]
    got = np.zeros((2, steps, heads), np.int64)
    attention_operations(0, steps * heads, heads, count // heads, count // heads, *words, *got)
    assert (got == naive.attention_counts(*qkv, heads)).all()


@property_test
@given(spike_maps(), st.integers(1, 3), st.integers(1, 5))
def test_lists_name_every_spike_once(maps, tile_words, cuts):
    """Segments list the active channels in ascending order, whoever fills them."""
    spikes = as_spikes(maps)
    words = spikes.words.reshape(-1, spikes.words.shape[2])
    tiles = -(-words.shape[1] // tile_words)
    starts = np.empty(tiles * len(words) + 1, np.int64)
    edges = np.linspace(0, len(starts) - 1, cuts + 1).astype(int)
    for first, last in reversed(list(pairwise(edges))):
        count_segments(first, last, words, tile_words, starts)
    add_up(starts)
    index = np.empty(int(starts[-1]), np.uint16)
    for first, last in reversed(list(pairwise(edges))):  # no part may write into another
        fill_segments(first, last, words, tile_words, starts, index, 1, 0)
    dense = spikes.dense().reshape(len(words), -1)
    want = [np.flatnonzero(row[k * tile_words * 64 : (k + 1) * tile_words * 64]) for k in range(tiles) for row in dense]
    assert index.tolist() == np.concatenate(want).tolist()
    assert np.diff(starts).tolist() == [len(part) for part in want]


@property_test
@given(spike_maps(), st.integers(1, 5))
def test_quads_list_what_neighbours_have_in_common(maps, cuts):
    """Words of a quad hold the channels of all four, then of each pair, then of each position, whoever cuts them."""
    spikes = as_spikes(maps)
    words = spikes.words.reshape(-1, spikes.words.shape[2])
    width, tile = spikes.width, 64 * TILE_WORDS
    rows = len(words) // width
    total = quads_of(rows, width, words.shape[1])
    parts = np.full(total * ROOM, 99, np.uint64)
    edges = np.linspace(0, total, cuts + 1).astype(int)
    for first, last in reversed(list(pairwise(edges))):
        cut_quads(first, last, words, width, parts)
    quads = parts.reshape(-1, ROOM)
    bits = np.unpackbits(quads[:, :ANY].astype("<u8").view(np.uint8), axis=1, bitorder="little")
    lists = (np.flatnonzero(row).tolist() for row in bits.reshape(-1, tile))
    assert ((quads[:, ANY] > 0) == bits.any(axis=1)).all()
    dense = spikes.dense().reshape(rows, width, -1)
    for begin in range(0, dense.shape[2], tile):
        for row in dense[..., begin : begin + tile]:
            for x in range(0, width, 4):
                four = [set(np.flatnonzero(row[i])) if i < width else set() for i in range(x, x + 4)]
                pairs = [four[0] & four[1], four[2] & four[3]]
                every = pairs[0] & pairs[1]
                own = [mine - pairs[i // 2] for i, mine in enumerate(four)]
                for want in (every, pairs[0] - every, pairs[1] - every, *own):
                    assert next(lists) == sorted(want)


@property_test
@given(spike_maps(), windows(), channels, precisions, seeds, st.integers(1, 7))
def test_results_do_not_depend_on_bands(maps, window, out_channels, precision, seed, positions):
    """However few output positions a band has, whatever quads it cuts through: every bit is the same."""
    context = context_of(precision)
    outcomes = []
    with pytest.MonkeyPatch.context() as patch:
        for most, band in ((10**6, 10**6), (10**6, positions), (positions, positions)):
            one = context.block * context.dtype.itemsize * len(maps)
            patch.setattr("evsim.layers.synapses.SUMS_BYTES", most * one)
            patch.setattr("evsim.layers.synapses.FEW_SUMS_BYTES", band * one)
            layer, *_ = synapses_of(maps, window, out_channels, np.random.default_rng(seed), context)
            outcomes.append(layer.step(as_spikes(maps)).values)
    assert all((outcome == outcomes[0]).all() for outcome in outcomes)


@property_test
@given(spike_maps())
def test_lists_of_integers_carry_their_values(maps):
    """Segments of a graded map hold each nonzero value beside its channel."""
    steps, height, width, count = maps.shape
    values = (maps * np.arange(1, count + 1)).astype(np.int32).reshape(steps, height * width, count)
    lists = segments(IntegerMap(0, values, height, width), context_of())
    assert len(lists.index) == len(lists.values) == np.count_nonzero(maps)
    assert lists.values.sum() == values.sum()


@property_test
@given(spike_maps())
def test_spikes_are_counted_by_position(maps):
    """Bits counted per position equal the dense sums, and from_dense and dense are inverses."""
    spikes = as_spikes(maps)
    counts = np.empty(spikes.words.shape[:2], np.int64)
    spikes_per_position(0, counts.size, spikes.words.reshape(counts.size, -1), counts.reshape(-1))
    assert (counts == maps.reshape(*counts.shape, -1).sum(axis=2)).all()
    assert (spikes.dense() == maps.reshape(*counts.shape, -1)).all()


@given(seeds, rates)
def test_bits_transpose(seed, rate):
    """Bit r of word c becomes bit c of word r."""
    bits = np.random.default_rng(seed).random((64, 64)) < rate
    words = as_spikes(bits.reshape(64, 1, 1, 64)).words.reshape(64)
    turned = as_spikes(bits.T.reshape(64, 1, 1, 64)).words.reshape(64)
    got = np.empty(64, np.uint64)
    transpose_bits(words, got)
    assert (got == turned).all()


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_threshold_itself_fires(precision):
    """A membrane exactly at its threshold spikes, and restarts from zero."""
    current = np.zeros((3, 1, 32), precision)
    current[:, 0, 0] = 2.0  # tau 2: v = 1.0 at once
    layer = NeuronLayer(LIF("lif", ("x",)), Shape("spikes", 32, 1, 1), context_of(precision))
    assert layer.step(RealMap(0, 3, current, 32, 1, 1)).dense()[:, 0, 0].all()


@njit(error_model="numpy")
def add_by_every_intrinsic(sums, rows, index, values, words, both, word, scale, lanes):
    """Add rows to eleven blocks of sums, block by block in another way."""
    end = len(index)
    add_rows(sums, 0, False, rows, 0, index, None, 0, end, lanes)
    add_rows(sums, lanes, True, rows, 0, index, values, 0, end, lanes)
    add_scaled_run(sums, 2 * lanes, rows, 0, values, 0, end, lanes)
    add_rows_of_bits(sums, 3 * lanes, rows, 0, word, lanes)
    put_rows_of_bits(sums, 4 * lanes, rows, 0, word, scale, lanes)
    add_maps(sums, 5 * lanes, rows, 0, rows, lanes, sums, 5 * lanes, True, lanes)
    add_quad(sums, 6 * lanes, 0, 1, False, rows, 0, words, 0, lanes)
    add_quads(sums, 7 * lanes, 1, False, rows, 0, words, 0, len(words), both, lanes, 0, 5)


@property_test
@given(
    st.sampled_from([("int32", 64), ("int32", 32), ("int64", 32), ("float32", 64), ("float64", 32)]),
    st.booleans(),
    seeds,
)
def test_lanes_are_integers_as_well_as_floats(lanes_of, both, seed):
    """Every intrinsic that adds rows adds and multiplies integers as NumPy does, and floats that hold integers."""
    dtype, lanes = lanes_of
    rng = np.random.default_rng(seed)
    rows = rng.integers(-99, 99, (12, lanes)).astype(dtype)
    sums = rng.integers(-99, 99, (11, lanes)).astype(dtype)
    index = rng.integers(0, 12, 12).astype(np.uint16)
    values = rng.integers(-9, 9, 12).astype(dtype)
    lists = rng.integers(0, 2**12, 7)
    words = np.stack([lists, np.zeros(7, int)], axis=1).astype(np.uint64).reshape(-1)
    every, first, second, *own = [rows[[i for i in range(12) if part >> i & 1]].sum(axis=0) for part in lists]
    word = np.uint64(rng.integers(0, 2**12))
    named = [i for i in range(12) if int(word) >> i & 1]
    want = np.stack([
        sums[0] + rows[index].sum(axis=0),
        values @ rows[index],
        sums[2] + values @ rows,
        sums[3] + rows[named].sum(axis=0),
        rows[named].sum(axis=0) * 3,
        sums[5] + rows[0] + rows[1],
        sums[6] + every + first + own[0],
        sums[7] + every + first + own[0],
        sums[8] + every + first + own[1],
        sums[9] + every + second + own[2],
        sums[10] + every + second + own[3],
    ])  # fmt: skip
    got = sums.reshape(-1)
    add_by_every_intrinsic(got, rows.reshape(-1), index, values, words, both, word, 3, lanes)
    assert got.dtype == dtype
    assert (got.reshape(11, lanes) == want).all()

"""What moves in a layer, against plain loops over dense arrays that know nothing of evsim."""

from __future__ import annotations

import math

import numpy as np
import pytest
from energy_cases import FOLDERS, golden_run
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evsim import api
from evsim.kernels.traffic import attention_buffers, run_length_bits, touched_rows, windows
from evsim.spikes import SpikeMap


def words_of(spikes):
    """Return booleans [T, P, C] as bit words."""
    return SpikeMap.from_dense(spikes, spikes.shape[1], 1).words


@st.composite
def layers(draw):
    """Draw an input [T, H, W, C] and a convolution's geometry."""
    height, width, channels, steps = (draw(st.integers(1, n)) for n in (5, 5, 70, 2))
    kernel = (draw(st.integers(1, min(3, height))), draw(st.integers(1, min(3, width))))
    stride, padding = (draw(st.integers(1, 2)), draw(st.integers(1, 2))), (draw(st.integers(0, 1)),) * 2
    apart = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    spans = zip((height, width), padding, kernel, stride, apart, strict=True)
    out = tuple((n + 2 * p - (k - 1) * d - 1) // s + 1 for n, p, k, s, d in spans)
    assume(min(out) > 0)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = random.poisson(draw(st.sampled_from([0.0, 0.02, 0.4])), (steps, height, width, channels))
    return values, out, kernel, stride, padding, apart


@settings(max_examples=60, deadline=None)
@given(case=layers())
def test_rows_and_windows(case):
    """Rows touched, the greatest sum into one output and the outputs reached equal loops over every tap."""
    values, out, kernel, stride, padding, apart = case
    steps, height, width, channels = values.shape
    rows, sums = set(), np.zeros((steps, *out), int)
    for t in range(steps):
        for oy in range(out[0]):
            for ox in range(out[1]):
                for dy in range(kernel[0]):
                    for dx in range(kernel[1]):
                        y, x = oy * stride[0] - padding[0] + dy * apart[0], ox * stride[1] - padding[1] + dx * apart[1]
                        if 0 <= y < height and 0 <= x < width:
                            sums[t, oy, ox] += values[t, y, x].sum()
                            rows |= {(t, dy, dx, c) for c in np.flatnonzero(values[t, y, x])}
    flat = values.reshape(steps, height * width, channels)
    words = words_of(flat > 0)
    layout = ((height, width), out, kernel, stride, padding, apart)
    touched = np.zeros((steps, kernel[0] * kernel[1], words.shape[2]), np.uint64)
    touched_rows(words, *layout, touched)
    counted = np.bitwise_count(touched).sum(axis=(1, 2))
    assert counted.tolist() == [sum(row[0] == t for row in rows) for t in range(steps)]
    once = np.bitwise_count(np.bitwise_or.reduce(touched, axis=0)).sum()
    assert once == len({row[1:] for row in rows})
    greatest, reached = np.zeros(steps, np.int64), np.zeros(steps, np.int64)
    windows(flat.sum(axis=2).astype(np.int64), *layout, greatest, reached)
    assert greatest.tolist() == sums.max(axis=(1, 2)).tolist()
    assert reached.tolist() == (sums > 0).sum(axis=(1, 2)).tolist()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), channels=st.integers(1, 130), rate=st.sampled_from([0.0, 0.01, 0.3, 1.0]))
def test_run_lengths(seed, channels, rate):
    """Run-length bits equal the lengths of the Elias gamma codes, written out as texts."""
    spikes = np.random.default_rng(seed).random((2, 3, channels)) < rate
    bits = np.zeros(2, np.int64)
    run_length_bits(words_of(spikes), channels, bits)
    for t in range(2):
        code, run = "", 0
        for spike in spikes[t].reshape(-1):
            if spike:
                binary = format(run + 1, "b")
                code += "0" * (len(binary) - 1) + binary
                run = 0
            else:
                run += 1
        assert bits[t] == len(code)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    heads=st.integers(1, 3),
    size=st.sampled_from([1, 7, 64, 70]),
    tokens=st.sampled_from([1, 5, 66]),
)
def test_attention_buffers(seed, heads, size, tokens):
    """Coincidences, greatest entries and nonzero entries of both buffers equal dense products."""
    random = np.random.default_rng(seed)
    q, k, v = (random.random((2, tokens, heads * size)) < 0.3 for _ in range(3))
    coincidences, greatest = np.zeros((2, 2, heads), np.int64), np.zeros((2, 2, heads), np.int64)
    entries = np.zeros((2, heads), np.int64)
    attention_buffers(heads, size, words_of(q), words_of(k), words_of(v), coincidences, greatest, entries)
    for t in range(2):
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            kv = k[t, :, part].T.astype(int) @ v[t, :, part].astype(int)
            qk = q[t, :, part].astype(int) @ k[t, :, part].T.astype(int)
            assert coincidences[:, t, h].tolist() == [kv.sum(), qk.sum()]
            assert greatest[:, t, h].tolist() == [kv.max(), qk.max()]
            assert entries[t, h] == np.count_nonzero(qk)


def test_traffic_of_a_network_equals_dense_arrays():
    """On a golden, codes, neurons reached and sums equal what its recorded spikes say, in either schedule."""
    run = golden_run(next(f for f in FOLDERS if f.name == "spikingformer-dvs"))
    network, frames = run.network, run.sample.values
    layer, time = (
        api.simulate(network, frames, precision="float64", detail=True, record_spikes=True, schedule=schedule)
        for schedule in ("layer", "time")
    )
    for one, other in zip(layer.counts.layers, time.counts.layers, strict=True):
        for name in one.traffic.__dataclass_fields__:
            assert np.array_equal(getattr(one.traffic, name), getattr(other.traffic, name)), (one.name, name)
    for name, (packed, shape) in layer.spikes.items():
        spikes = np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)
        row = layer.counts.layer(name)
        each, events = int(np.prod(shape[1:])), spikes.reshape(len(spikes), -1).sum(axis=1)
        addresses = events * math.ceil(math.log2(each))
        expected = np.minimum(np.minimum(each, addresses), row.traffic.run_length_bits)
        assert row.traffic.least_bits.tolist() == expected.tolist(), name
        assert row.traffic.peak_events == events.max()
    first = layer.counts.layers[0]
    frames = np.asarray(frames)
    assert first.traffic.greatest_value.tolist() == frames.max(axis=(1, 2, 3)).tolist()
    around = np.pad(frames.sum(axis=1), ((0, 0), (1, 1), (1, 1)))
    sums = sum(around[:, y : y + frames.shape[2], x : x + frames.shape[3]] for y in range(3) for x in range(3))
    assert first.traffic.greatest_sum.tolist() == sums.max(axis=(1, 2)).tolist()
    reached = (sums > 0).sum(axis=(1, 2)) * first.geometry.out_channels
    assert first.traffic.neurons_touched.tolist() == reached.tolist()


def test_detail_changes_nothing_else():
    """Counts with detail are those without, and only then there is traffic."""
    run = golden_run(FOLDERS[0])
    again = api.simulate(run.network, run.sample, precision="float64", detail=True)
    for plain, detailed in zip(run.counts.layers, again.counts.layers, strict=True):
        assert plain.traffic is None
        assert detailed.traffic is not None
        assert np.array_equal(plain.sops, detailed.sops)
        assert np.array_equal(plain.macs, detailed.macs)
    with pytest.raises(ValueError, match="lack the traffic"):
        run.energy("counted-memory")
    assert again.energy("counted-memory", "45nm").by("layer").mj.dtype == np.float64

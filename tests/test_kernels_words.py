"""Kernels of words and of single events, to the bit. `make test` runs this file without JIT too."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from strategies import precisions, seeds

from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.synapses import Synapses
from evsim.network import Conv2d, Shape
from evsim.spikes import IntegerMap, SpikeMap

some_tests = settings(max_examples=25, deadline=None)
heights, widths = st.integers(1, 5), st.integers(1, 9)


def layer_of(kind, height, width, inputs, outputs, precision, rng):
    """Return a convolution of 3 x 3 that keeps the map's size."""
    node = Conv2d("conv", ("x",), inputs, outputs, kernel=(3, 3), padding=(1, 1), bias=True)
    weights = {"weight": rng.standard_normal((3, 3, inputs, outputs)), "bias": rng.standard_normal(outputs)}
    workers = Workers(2)
    workers.small = 0
    context = Context(np.dtype(precision), workers, streaming=False)
    return Synapses(node, Shape(kind, inputs, height, width), Shape("real", outputs, height, width), weights, context)


@some_tests
@given(heights, widths, st.sampled_from([1, 2, 31, 32, 64, 130, 200]), st.sampled_from([0.1, 0.5]), precisions, seeds)
def test_words_add_in_the_order_of_taps_and_channels(height, width, inputs, rate, precision, seed):
    """Where nothing is shared, sums are those of adding weight rows one by one: row, column, channel."""
    few = inputs <= 32
    assume(few or precision == "float64")
    rng = np.random.default_rng(seed)
    spikes = rng.random((2, height, width, inputs)) < rate
    layer = layer_of("spikes", height, width, inputs, 32, precision, rng)
    assert layer.layout == ("windows" if few else "words")
    weight = layer.weights.reshape(3, 3, inputs, 32)
    got = layer.step(SpikeMap.from_dense(spikes.reshape(2, -1, inputs), height, width)).values
    edged = np.pad(spikes, ((0, 0), (1, 1), (1, 1), (0, 0)))
    for t, y, x in np.ndindex(2, height, width):
        total = np.zeros(32, precision)
        for ky, kx, c in np.argwhere(edged[t, y : y + 3, x : x + 3]):
            total += weight[ky, kx, c]
        assert (got[t, y * width + x] == total + layer.shift).all()


@some_tests
@given(
    heights, widths, st.integers(1, 5), st.sampled_from([0.05, 0.6]), precisions, st.sampled_from([3, 40, 100]), seeds,
    st.integers(1, 20),
)  # fmt: skip
def test_events_one_by_one_are_those_of_lists(height, width, inputs, rate, precision, outputs, seed, positions):
    """Integers of few channels give the same bits one by one as in lists, wherever bands are cut."""
    rng = np.random.default_rng(seed)
    shape = 2, height * width, inputs
    values = np.where(rng.random(shape) < rate, rng.integers(1, 9, shape), 0).astype(np.int32)
    outcomes = []
    with pytest.MonkeyPatch.context() as patch:
        for few, band in ((0.0, 10**6), (1.0, 10**6), (1.0, positions)):
            patch.setattr("evsim.layers.segments.FEW_EVENTS", few)
            patch.setattr("evsim.layers.synapses.SUMS_BYTES", band * 512)
            patch.setattr("evsim.layers.synapses.LINE_BYTES", band)
            layer = layer_of("integers", height, width, inputs, outputs, precision, np.random.default_rng(seed))
            outcomes.append(layer.step(IntegerMap(0, values, height, width)).values)
    assert all((outcome == outcomes[0]).all() for outcome in outcomes)

"""Shared sums and weights that are 0, against plain NumPy that compares every set and every row."""

from __future__ import annotations

import numpy as np
import plain_sharing
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from evsim.geometry import Geometry
from evsim.sharing import shared_sums
from evsim.spikes import SpikeMap


@st.composite
def layers(draw):
    """Draw spikes [T, H, W, C] in which neighbours have something in common, and a convolution's geometry."""
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 11))
    channels, groups = draw(st.sampled_from([(1, 1), (3, 1), (18, 1), (130, 1), (200, 1), (6, 3), (4, 4), (160, 2)]))
    steps = draw(st.integers(1, 3))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride, padding, dilation = ((draw(st.integers(low, high)), draw(st.integers(low, high))) for low, high in PAIRS)
    spans = zip((height, width), padding, kernel, stride, dilation, strict=True)
    out = tuple((n + 2 * p - (k - 1) * d - 1) // s + 1 for n, p, k, s, d in spans)
    assume(min(out) > 0)
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    rates = random.random(channels) ** draw(st.sampled_from([1, 3, 12]))
    spikes = random.random((steps, height, width, channels)) < rates
    return spikes, out, (kernel, stride, padding, dilation), groups


PAIRS = ((1, 3), (0, 2), (1, 2))
"""Least and greatest of stride, padding and dilation."""


def counted(spikes, out, window, groups):
    """Return what evsim counts of a layer, [6, T]."""
    steps, height, width, channels = spikes.shape
    kernel, stride, padding, dilation = window
    size = Geometry(
        "Conv2d", channels, groups, height, width, *out, kernel, stride, padding, groups=groups, dilation=dilation
    )
    return shared_sums(SpikeMap.from_dense(spikes.reshape(steps, -1, channels), height, width).words, size)


@settings(max_examples=60, deadline=None)
@given(case=layers())
def test_quads_equal_sets(case):
    """What quads share equals sets of channels, quad by quad, tap by tap."""
    spikes, out, window, groups = case
    assert counted(*case)[:3].tolist() == plain_sharing.by_quads(spikes, out, *window, groups).tolist()


@settings(max_examples=60, deadline=None)
@given(case=layers())
def test_products_equal_rows(case):
    """Product sparsity equals the comparison of every row of a tile with every other."""
    spikes, out, window, groups = case
    assert counted(*case)[3:].tolist() == plain_sharing.by_products(spikes, out, *window, groups).tolist()

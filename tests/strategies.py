"""Hypothesis strategies of the tests: sizes are small on purpose, and cross every block and word boundary."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

rates = st.sampled_from([0.0, 0.02, 0.15, 0.5, 1.0])
seeds = st.integers(0, 2**32 - 1)
channels = st.sampled_from([1, 3, 31, 32, 33, 64, 65, 96, 130])
precisions = st.sampled_from(["float32", "float64"])


@st.composite
def spike_maps(draw, most_channels=130):
    """Booleans [T, H, W, C] at some rate."""
    shape = draw(st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 9)))
    width = draw(channels.filter(lambda c: c <= most_channels))
    return np.random.default_rng(draw(seeds)).random((*shape, width)) < draw(rates)


@st.composite
def windows(draw):
    """Kernel, stride and padding of a convolution, square or not."""
    if draw(st.booleans()):
        return (3, 3), (1, 1), (1, 1)  # the tokenizers' own, which has a path of its own for few channels
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 3), (5, 1)]))
    stride = draw(st.sampled_from([(1, 1), (2, 2), (1, 2)]))
    padding = tuple(draw(st.integers(0, size - 1)) for size in kernel)
    return kernel, stride, padding


@st.composite
def event_lists(draw, width, height, latest, least=0, most=40):
    """Columns t, x, y, p of events in order of time, some at once."""
    n = draw(st.integers(least, most))
    column = lambda low, high: draw(st.lists(st.integers(low, high), min_size=n, max_size=n))  # noqa: E731 - a name for it
    return sorted(column(0, latest)), column(0, width - 1), column(0, height - 1), column(0, 1)

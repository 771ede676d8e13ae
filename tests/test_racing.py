"""Calls that wait change nothing: random networks in memory full of rubbish, see `racing.py`, which tries many more."""

from __future__ import annotations

import os
import random

import pytest
import racing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import networks, sources
from test_quantizing import quantized

from evsim.kernels import threads
from evsim.layers.pool import Average

EXAMPLES = int(os.environ.get("EVSIM_NETWORKS", "100")) // 10
"""Of each precision, each of which is run in six ways."""


@pytest.fixture(autouse=True)
def _every_call_is_shared(monkeypatch):
    """Let threads share however little there is."""
    monkeypatch.setattr(threads, "SMALL", 0)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no choice of cores on this system")
@pytest.mark.parametrize("precision", ["float32", "float64", "int8"])
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(data=st.data())
def test_nobody_looks_at_what_is_not_there_yet(data, precision):
    """Logits, spikes and counts are those of a run in which nothing waits."""
    network = data.draw(networks())
    source = data.draw(sources(network))
    if precision == "int8":
        network = quantized(network, precision, source)
    with racing.disturbed(random.Random(data.draw(st.integers(0, 99)))):
        assert racing.differs(network, source, precision, repeats=1) is None


def test_a_layer_that_looks_too_early_is_caught(monkeypatch):
    """A pool that adds up with NumPy what may still be waited for gives sums of rubbish."""
    monkeypatch.setattr(Average, "defers", True, raising=False)
    network, source = racing.pooled()
    assert racing.differs(network, source, "float32") == "float32, layer, threads=1, run 0"

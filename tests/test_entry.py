"""A stage runs on the packets that it was planned for, and on no others: kernels trust shapes, types and memory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evsim.engine import Simulator
from evsim.errors import NetworkError
from evsim.inputspec import InputSpec
from evsim.layers.entry import check_entry
from evsim.network import LIF, Conv2d, Input, Linear, Network, Shape, TimeMean, TokenMean
from evsim.spikes import IntegerMap, RealMap, SpikeMap

SINGLE = np.dtype(np.float32)
SPIKES, INTEGERS, REAL = (Shape(kind, 40, 2, 3) for kind in ("spikes", "integers", "real"))


def spikes(shape=(2, 6, 1), dtype=np.uint64, start=0, size=(40, 2, 3)):
    """Return a packet of spikes, none of which fires."""
    return SpikeMap(start, np.zeros(shape, dtype), *size)


def real(shape=(2, 6, 64), dtype=np.float32, steps=2, size=(40, 2, 3)):
    """Return a packet of real values."""
    return RealMap(0, steps, np.zeros(shape, dtype), *size)


def integers(shape=(2, 6, 40), dtype=np.int32):
    """Return a packet of integers."""
    return IntegerMap(0, np.zeros(shape, dtype), 2, 3)


RIGHT = [
    (SPIKES, spikes()), (SPIKES, spikes(start=5)), (INTEGERS, integers()), (REAL, real()), (REAL, real((2, 6, 40))),
    (REAL, real((1, 6, 64), steps=9)),
]  # fmt: skip
WRONG = [
    (SPIKES, real(), r"got real \[40, 2, 3\]"),
    (SPIKES, integers(), r"got integers"),
    (REAL, spikes(), r"got spikes"),
    (SPIKES, spikes(size=(41, 2, 3)), r"got spikes \[41, 2, 3\]"),
    (SPIKES, spikes(size=(40, 3, 2)), r"got spikes \[40, 3, 2\]"),
    (INTEGERS, integers((2, 6, 39)), r"\[39, 2, 3\]"),
    (SPIKES, spikes((2, 6, 2)), r"an array \[2, 6, 2\]"),
    (SPIKES, spikes((2, 5, 1)), r"an array \[2, 5, 1\]"),
    (SPIKES, spikes((0, 6, 1)), r"an array \[0, 6, 1\]"),
    (SPIKES, spikes(dtype=np.int64), "values of int64, not uint64"),
    (INTEGERS, integers(dtype=np.int64), "values of int64, not int32"),
    (REAL, real(dtype=np.float64), "values of float64, not float32"),
    (REAL, real((2, 6, 48)), r"an array \[2, 6, 48\]"),
    (REAL, real((3, 6, 64)), r"an array \[3, 6, 64\] for 2 timesteps"),
    (REAL, replace(real(), values=np.zeros((2, 6, 128), np.float32)[..., ::2]), "an array with gaps"),
    (REAL, replace(real(), values=np.zeros((64, 6, 2), np.float32).T), "an array with gaps"),
]


@pytest.mark.parametrize("case", range(len(RIGHT)))
def test_packets_as_planned_go_in(case):
    """What layers emit is taken: one array for several timesteps and unpadded channels too, where they are real."""
    shape, packet = RIGHT[case]
    check_entry("stage", (shape,), (packet,), SINGLE)


@pytest.mark.parametrize("case", range(len(WRONG)))
def test_other_packets_are_refused(case):
    """Another kind, size, type, number of timesteps, or memory with gaps: the stage is named, and what came."""
    shape, packet, words = WRONG[case]
    with pytest.raises(NetworkError, match=f"stage was planned for {shape.kind}.*{words}"):
        check_entry("stage", (shape,), (packet,), SINGLE)


def test_packets_of_a_step_are_of_the_same_timesteps():
    """Two inputs of unlike timesteps, or one too few, are refused."""
    with pytest.raises(NetworkError, match="timesteps 1 to 3 beside 0 to 2"):
        check_entry("stage", (SPIKES, SPIKES), (spikes(), spikes(start=1)), SINGLE)
    with pytest.raises(NetworkError, match="2 packets, but got 1"):
        check_entry("stage", (SPIKES, SPIKES), (spikes(),), SINGLE)


@pytest.mark.parametrize("schedule", ["layer", "time"])
def test_a_layer_that_emits_another_size_stops_the_run(schedule, monkeypatch):
    """A fault of one layer reaches no kernel of the next: the run ends with the name of the stage."""
    nodes = (
        Input("input", (), 2, 4, 4, "integers"),
        LIF("lif", ("input",)),
        Conv2d("conv", ("lif",), 2, 2, (3, 3), (1, 1), (1, 1), batch_norm=False),
        TokenMean("tokens", ("conv",)),
        TimeMean("times", ("tokens",)),
        Linear("head", ("times",), 2, 2, bias=False),
    )
    weights = {"conv.weight": np.ones((3, 3, 2, 2), np.float32), "head.weight": np.ones((2, 2), np.float32)}
    network = Network("net", "test", "standard", InputSpec("events", 2, 4, 4, 2), nodes, weights)
    simulator = Simulator(network, schedule=schedule)
    frames = np.ones((2, 2, 4, 4), np.int32)
    assert np.isfinite(simulator.run(frames)).all()
    step = type(simulator.stages[0].layer).step

    def smaller(self, *packets):
        spikes = step(self, *packets)
        return SpikeMap(spikes.start, spikes.words[:, :8].copy(), 2, 2, 4)

    monkeypatch.setattr(type(simulator.stages[0].layer), "step", smaller)
    with pytest.raises(NetworkError, match=r"conv was planned for spikes \[2, 4, 4\], but got spikes \[2, 2, 4\]"):
        simulator.run(frames)

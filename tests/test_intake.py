"""Integers inside a network are exact, or the run is refused: whatever the input holds, and whatever adds them up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import refused
from hypothesis import given, settings
from hypothesis import strategies as st

from evsim import api
from evsim.engine import Simulator
from evsim.errors import NetworkError, RecordingError
from evsim.inputspec import InputSpec
from evsim.network import LIF, Add, Conv2d, Input, Linear, MaxPool, Network, TimeMean, TokenMean
from evsim.primitives import SpikingSelfAttention, SumPool, TokenSum

LARGEST = 2**31 - 1
SHARED = Path(__file__).parents[2] / "shared" / "cases" / "hostile"


def adding(steps, kind="events"):
    """Return a network on 2 channels of 3 x 3: each step is "pool", or the index of an earlier map to add."""
    if kind == "events":
        spec = InputSpec("events", 2, 3, 3, 2)
        nodes = [Input("input", (), 2, 3, 3, "integers")]
        maps = ["input"]
    else:
        spec = InputSpec("image", 2, 3, 3, 2, (0.0, 0.0), (1.0, 1.0))
        nodes = [Input("input", (), 2, 3, 3, "real"), LIF("lif", ("input",), 1.0)]
        maps = ["lif"]
    for rank, step in enumerate(steps):
        name, newest = f"a{rank}", maps[-1]
        pool = step == "pool"
        nodes.append(MaxPool(name, (newest,), 3, 1, 1) if pool else Add(name, (newest, maps[min(step, len(maps) - 1)])))
        maps.append(name)
    nodes += [Conv2d("conv", (maps[-1],), 2, 1, batch_norm=False), TokenMean("tokens", ("conv",))]
    nodes += [TimeMean("times", ("tokens",)), Linear("head", ("times",), 1, 1, bias=False)]
    weights = {"conv.weight": np.ones((1, 1, 2, 1), np.float32), "head.weight": np.ones((1, 1), np.float32)}
    return Network("adding", "test", "standard", spec, tuple(nodes), weights)


def summed(steps, frames):
    """Oracle: the same steps in int64, and the largest value on the way; a sum that wraps has passed 2^31 before."""
    maps, largest = [frames.astype(np.int64)], [int(frames.max())]
    for step in steps:
        if step == "pool":
            padded = np.pad(maps[-1], ((0, 0), (0, 0), (1, 1), (1, 1)))
            windows = [padded[..., y : y + 3, x : x + 3] for y in range(3) for x in range(3)]
            maps.append(np.max(windows, axis=0))
        else:
            maps.append(maps[-1] + maps[min(step, len(maps) - 1)])
        largest.append(int(maps[-1].max()))
    return maps[-1], max(largest)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.just("pool"), st.integers(0, 40)), min_size=1, max_size=40),
    st.sampled_from([0, 1, 2, 255, 256, 70_000, 2**30, LARGEST]),
    st.integers(0, 2**32 - 1),
)
def test_sums_of_counts_equal_int64_or_are_refused(steps, most, seed):
    """Sums on the edges are int64's; refused are those alone that a full map of the largest count would overflow."""
    frames = np.random.default_rng(seed).integers(0, most, (2, 2, 3, 3), endpoint=True)
    frames[0, 0, 0, 0] = most
    network = adding(steps)
    if summed(steps, np.full_like(frames, most))[1] > LARGEST:
        with pytest.raises(RecordingError, match="counts reach"):
            api.simulate(network, frames)
        return
    expected, _ = summed(steps, frames)
    assert int(api.simulate(network, frames).counts.layer("conv").input_sum.sum()) == int(expected.sum())


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_few_counts_doubled_often_are_refused(dtype):
    """One event, doubled 31 times, is beyond 2^31 - 1: refused where it happens; 30 times is exact."""
    frames = np.ones((2, 2, 3, 3), dtype)
    simulator = Simulator(adding(range(31)))
    for _ in range(2):  # what passed once is not taken for granted
        assert np.isfinite(simulator.run(0 * frames)).all()
        with pytest.raises(RecordingError, match="counts reach 2147483648 at a30"):
            simulator.run(frames)
    run = api.simulate(adding(range(30)), frames)
    assert int(run.counts.layer("conv").input_sum.sum()) == 2**30 * 36


def test_spikes_of_an_image_doubled_often_are_refused():
    """The same for spikes + spikes + ... in a network of images, before any image is given."""
    with pytest.raises(NetworkError, match="counts reach 2147483648 at a30"):
        Simulator(adding(range(31), "image"))
    frames = np.full((2, 3, 3), 2.0, np.float32)
    assert int(api.simulate(adding(range(30), "image"), frames).counts.layer("conv").input_sum.sum()) == 2**30 * 36


def test_a_recording_of_another_length_names_the_option():
    """Frames of another T than the run's are refused, and the option that takes them is data of the error."""
    with pytest.raises(RecordingError) as error:
        api.simulate(adding(["pool"]), np.zeros((5, 2, 3, 3), np.uint8))
    assert error.value.options == ("timesteps",)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs shared/cases beside the checkout")
def test_the_hostile_case_is_refused():
    """doubles_35_times.h5 on ones: refused by one line, where it gave logits of 0."""
    text = refused("run", SHARED / "doubles_35_times.h5", "--input", SHARED / "ones_1_2_2_2.npy")
    assert "counts reach 2147483648 at a30" in text


def attending(order):
    """Return a network in which counts of 2 positions and 2 channels attend to themselves."""
    nodes = (
        Input("input", (), 2, 1, 2, "integers"),
        SpikingSelfAttention("ssa", ("input",) * 3, 1, 1.0, order),
        TokenMean("tokens", ("ssa",)),
        TimeMean("times", ("tokens",)),
    )
    return Network("attending", "test", "standard", InputSpec("events", 2, 1, 2, 2), nodes, {})


@pytest.mark.parametrize("order", ["q(kv)", "(qk)v"])
@pytest.mark.parametrize("count", [1, 1000, 2**16, 2**17, 2**21, 2**25, LARGEST])
def test_attention_on_counts_is_exact_or_refused(order, count):
    """Operations of a head up to 2^53 are counted to the last; beyond, one line names the attention before the run."""
    network, frames = attending(order), np.full((2, 2, 1, 2), count)
    both = 2 * 2 * 2 * 2 * count**3  # two outputs of two tokens, each of two tokens and two channels
    operations = 8 * count**2 + both
    if operations > 2**53:
        with pytest.raises(RecordingError, match=f"counts up to {count} give a head of ssa more operations"):
            api.simulate(network, frames, precision="float64")
        return
    run = api.simulate(network, frames, precision="float64")
    assert run.counts.layer("ssa").acs_unrolled.tolist() == [operations] * 2
    assert run.logits.tolist() == [both // 4] * 2


def test_few_spikes_are_not_taken_for_many():
    """Sums of spikes are bounded by how many there can be: pools of them add up to little, and run."""
    nodes = [Input("input", (), 2, 3, 3, "real"), LIF("lif", ("input",), 1.0), TokenSum("sum", ("lif",))]
    for i in range(6):
        nodes.append(SumPool(f"pool{i}", (nodes[-1].name,), 2, 1, 1))
    nodes += [TokenMean("tokens", (nodes[-1].name,)), TimeMean("times", ("tokens",))]
    spec = InputSpec("image", 2, 3, 3, 2, (0.0, 0.0), (1.0, 1.0))
    network = Network("pools", "test", "standard", spec, tuple(nodes), {})
    logits = api.simulate(network, np.ones((2, 3, 3)), precision="float64").logits
    np.testing.assert_allclose(logits, 9 * 4**6 / 7**2, rtol=1e-12)  # each pool adds a row, a column and a factor of 4

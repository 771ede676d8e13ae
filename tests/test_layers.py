"""Networks that no family makes but a model.h5 can hold: residual additions of any stream, and limits."""

from __future__ import annotations

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import channels, seeds

from evsim.engine import Simulator
from evsim.errors import NetworkError
from evsim.inputspec import InputSpec
from evsim.kernels.threads import Workers
from evsim.layers.attention import Attention
from evsim.layers.context import Context
from evsim.layers.synapses import Synapses
from evsim.network import (
    LIF,
    Add,
    Conv2d,
    Input,
    Linear,
    MaxPool,
    Network,
    Shape,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
)
from evsim.spikes import SpikeMap

CLASSES = 3
TIMESTEPS = 3


@st.composite
def residuals(draw):
    """Return a network that adds a layer to its input or a pool of it, its weights, and what it was drawn from.

    The layer reads the stream itself, or the spikes of neurons that read it.
    """
    count, height, width = draw(channels), draw(st.integers(2, 6)), draw(st.integers(2, 6))
    pooled, spiking, first = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
    kernel, padding = draw(st.sampled_from([((1, 1), (0, 0)), ((3, 3), (1, 1))]))
    nodes = [Input("input", (), count, height, width, "real")]
    if pooled:
        nodes.append(MaxPool("pool", ("input",), 2, 1, 0))
    stream = nodes[-1].name
    if spiking:
        nodes.append(LIF("lif", (stream,), 2.0, 0.25))
    nodes.append(Conv2d("conv", (nodes[-1].name,), count, count, kernel, (1, 1), padding, batch_norm=False))
    nodes.append(Add("add", ("conv", stream) if first else (stream, "conv")))
    nodes += [TokenMean("tokens", ("add",)), TimeMean("times", ("tokens",)), Linear("head", ("times",), count, CLASSES)]
    rng = np.random.default_rng(draw(seeds))
    weights = {
        f"{node.name}.{key}": rng.standard_normal(shape).astype(np.float32)
        for node in nodes
        for key, shape in node.parameters().items()
    }
    spec = InputSpec("image", count, height, width, TIMESTEPS, (0.5,) * count, (0.5,) * count)
    return Network("residual", "test", "standard", spec, tuple(nodes), weights), pooled, spiking, padding, rng


def dense_logits(weights, frames, pooled, spiking, padding):
    """Run such a network densely, in float64, on frames [T, C, H, W]."""
    maps = np.moveaxis(frames, 1, -1)
    stream = naive.max_pool(maps, 2, 1, 0) if pooled else maps
    read = naive.lif(stream, 2.0, 0.25).astype(float) if spiking else stream
    dense = naive.conv(read, weights["conv.weight"].astype(float), (1, 1), padding)
    mean = (dense + weights.get("conv.bias", 0.0) + stream).mean(axis=(0, 1, 2))
    return mean @ weights["head.weight"].astype(float) + weights["head.bias"]


@settings(max_examples=60, deadline=None)
@given(residuals(), st.booleans(), st.sampled_from(["layer", "time"]), st.integers(1, 2))
def test_a_residual_addition_takes_the_input_as_its_stream(residual, static, schedule, threads):
    """The stream is the input or a pool of it, an image or frames, of any width: logits are those of a dense run."""
    network, *shape, rng = residual
    spec = network.spec
    frames = rng.standard_normal((TIMESTEPS, spec.channels, spec.height, spec.width))
    if static:
        frames[:] = frames[0]
    want = dense_logits(network.weights, frames, *shape)
    simulator = Simulator(network, precision="float64", schedule=schedule, threads=threads)
    for _ in range(2):  # what is kept of an image must not outlive its sample
        got = simulator.run(frames[0] if static else frames)
        np.testing.assert_allclose(got, want, atol=1e-9 * (1 + np.abs(want).max()))


@pytest.mark.parametrize("tokens", [2**16 - 1, 2**16, 2**16 + 1])
def test_attention_counts_every_token_or_refuses(tokens):
    """Tokens are counted in 16 bits: 65535 are attended to exactly, more are refused before the run."""
    shape = Shape("real", 1, 1, tokens)
    context = Context(np.dtype(np.float64), Workers(), streaming=False)
    node = SpikingSelfAttention("ssa", ("q", "k", "v"), 1, 1.0)
    if tokens >= 2**16:
        with pytest.raises(NetworkError, match=f"{tokens} tokens; evsim attends to at most 65535"):
            Attention(node, shape, context)
        return
    ones = SpikeMap.from_dense(np.ones((1, tokens, 1), np.bool_), 1, tokens)
    got = Attention(node, shape, context).step(ones, ones, ones)
    assert (got.values[..., 0] == tokens).all()


def test_padding_behind_a_window_of_one_position_adds_a_row_and_a_column():
    """A 1 x 1 convolution with padding behind keeps every position in its place, and gives 0 where there is none."""
    rng = np.random.default_rng(0)
    node = Conv2d("conv", ("x",), 70, 40, batch_norm=False, padding_after=(1, 2))
    source = Shape("spikes", 70, 3, 5)
    weights = {"weight": rng.integers(-3, 4, (1, 1, 70, 40)).astype(np.float32)}
    layer = Synapses(node, source, node.infer((source,)), weights, Context(np.dtype(np.float32), Workers(), False))
    spikes = rng.random((2, 15, 70)) < 0.4
    out = layer.step(SpikeMap.from_dense(spikes, 3, 5))
    maps = spikes.reshape(2, 3, 5, 70).astype(np.float32)
    wanted = naive.conv(maps, weights["weight"], after=(1, 2))
    assert np.array_equal(out.values[..., :40], wanted.reshape(2, -1, 40))

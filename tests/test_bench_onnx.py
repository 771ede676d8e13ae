"""The dense ONNX graph that other runtimes are timed with computes what the network does, whatever the network."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import dense
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import networks, sources

from evsim.converters.registry import PRESETS
from evsim.network import LIF
from evsim.primitives import MultiSpike
from evsim.synthesis import synthesize

WHY = "make test-opponents runs it"
pytest.importorskip("onnx", reason=f"onnx is not installed: {WHY}")
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it would write to the home folder
onnxruntime = pytest.importorskip("onnxruntime", reason=f"ONNX Runtime is not installed: {WHY}")
sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from onnxgraph import Graph, integer_weights  # noqa: E402
from onnxprimitives import FORWARD  # noqa: E402
from quantized import rounded  # noqa: E402

KNOWN = {"Input", "Conv2d", "Linear", "LIF", *FORWARD}
NEAR = 1e-3
"""Potentials of float32 nearer than this to a threshold may fall to the other side of it."""


def emitted(network, source, form="float32", batch=1):
    """Return logits [batch, classes], and what each layer of neurons emits, [T * batch, C, H, W], by ONNX Runtime."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    model = Graph(network, batch, form, watched=True).model().SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    x = source[None] if source.ndim == 3 else source
    names = [output.name for output in session.get_outputs()]
    got = dict(zip(names, session.run(names, {"x": np.repeat(x, batch, axis=0).astype(np.float32)}), strict=True))
    return got.pop("logits"), got


def hold(network, maps, logits, got):
    """Compare with what the dense oracle gives."""
    neurons = [node.name for node in network.nodes if isinstance(node, LIF | MultiSpike)]
    assert got.keys() == set(neurons)
    for name in neurons:
        wanted = np.moveaxis(maps[name], -1, 1)
        np.testing.assert_array_equal(np.broadcast_to(got[name], wanted.shape), wanted, name)
    wanted = maps[network.nodes[-1].name].ravel()
    np.testing.assert_allclose(logits[0], wanted, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(wanted).max()))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_random_networks(data):
    """Every primitive that has an ONNX form, in any graph."""
    network = data.draw(networks())
    assume(all(type(node).__name__ in KNOWN for node in network.nodes))
    source = data.draw(sources(network))
    assume(source.ndim == 3 or network.spec.kind != "image")
    maps, margins = dense.run(network, source, network.spec.timesteps)
    assume(min(margins.values(), default=1.0) > NEAR)
    hold(network, maps, *emitted(network, source))


SMALL = replace(PRESETS["spikformer-2-256-dvs128"], dim=32, heads=4, timesteps=3)
IMAGE = replace(PRESETS["spikingformer-8-512-imagenet"], dim=32, depth=1, heads=4, timesteps=3, image_size=32)


@pytest.mark.parametrize("preset", [SMALL, IMAGE], ids=["integers", "spikes"])
@pytest.mark.parametrize("form", ["qdq", "integer"])
def test_integer_weights_are_those_of_the_network(preset, form):
    """A network of int8 weights gives the same in both forms of integers and in the oracle."""
    synthetic = synthesize(preset, 0.2)
    network = rounded(synthetic.network)
    maps, _ = dense.run(network, synthetic.sample, network.spec.timesteps)
    hold(network, maps, *emitted(network, synthetic.sample, form))


def test_integers_of_rounded_weights_are_found_again():
    """What was rounded is rounded no more: integers of the scale, 127 the largest of each channel."""
    network = rounded(synthesize(IMAGE, 0.2).network)
    weight = network.weights["block.0.mlp.mlp1_conv.weight"].transpose(3, 2, 0, 1)
    integers, scale = integer_weights(weight)
    assert integers.dtype == np.int8
    assert (np.abs(integers).max((1, 2, 3)) == 127).all()
    np.testing.assert_allclose(integers * scale[:, None, None, None], weight, rtol=1e-12)


def test_a_batch_is_as_many_samples():
    """Samples of one batch do not mix, for timesteps lie behind each other in it."""
    synthetic = synthesize(SMALL, 0.2)
    network = synthetic.network
    one, _ = emitted(network, synthetic.sample)
    three, _ = emitted(network, synthetic.sample, batch=3)
    assert three.shape == (3, one.shape[1])
    np.testing.assert_allclose(three, np.repeat(one, 3, axis=0), rtol=1e-5, atol=1e-5)

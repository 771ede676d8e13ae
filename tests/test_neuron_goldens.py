"""Neurons of snnTorch, Norse, sinabs and SpikingJelly: a `Neuron` emits what theirs emitted, spike by spike.

The file is made by `tests/reference/make_neurons.py`, which says what each is in terms of a `Neuron`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evsim.api import simulate
from evsim.inputspec import InputSpec
from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.membrane import Neurons
from evsim.network import Network
from evsim.primitives import Add, Delay, Input, Linear, Neuron, Shape, TimeReduction
from evsim.spikes import IntegerMap, RealMap, SpikeMap

GOLDENS = np.load(Path(__file__).parent / "data" / "neurons.npz")
CASES = sorted({key.split("|")[0] for key in GOLDENS.files if "|" in key})


def running(name, *, streaming, **changes):
    """Return the running form of a case's neurons."""
    fields = json.loads(str(GOLDENS[f"{name}|fields"])) | changes
    arrays = {key: np.array(fields.pop(key)) for key in fields.get("by_channel", ())}
    fields["by_channel"] = tuple(fields.get("by_channel", ()))
    size = GOLDENS["currents"].shape[1]
    node = Neuron("n", ("x",), channels=size if arrays else 0, **fields)
    shape = node.infer((Shape("real", size, 1, 1),))
    layer = Neurons(node, shape, arrays, Context(np.dtype(np.float64), Workers(1), streaming))
    layer.reset()
    return layer


def emitted(layer, currents):
    """Return what neurons emit of currents [T, n], all timesteps at once or one by one."""
    steps, size = currents.shape
    cuts = [slice(t, t + 1) for t in range(steps)] if layer.context.streaming else [slice(0, steps)]
    out = []
    for cut in cuts:
        part = currents[cut]
        packet = layer.step(RealMap(cut.start, len(part), part[:, np.newaxis].copy(), size, 1, 1))
        dense = packet.dense() if isinstance(packet, SpikeMap) else packet.values
        out.append(dense[:, 0, :size])
    return np.concatenate(out)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_a_frameworks_neuron(name, streaming):
    """In float64 all spikes are the framework's own, all timesteps at once and one by one."""
    layer = running(name, streaming=streaming)
    got = emitted(layer, GOLDENS["currents"])
    if layer.node.emits == "potential":
        assert np.array_equal(got, GOLDENS[f"{name}|potentials"])
        return
    spikes = GOLDENS[f"{name}|spikes"]
    assert np.array_equal(got, spikes)
    assert spikes.any()
    assert not spikes.all()


@pytest.mark.parametrize("name", [name for name in CASES if f"{name}|potentials" in GOLDENS.files])
def test_potentials_are_the_frameworks_own(name):
    """What they keep at the end of each timestep is the framework's potential, to the last bit."""
    got = emitted(running(name, streaming=False, emits="potential"), GOLDENS["currents"])
    assert np.array_equal(got, GOLDENS[f"{name}|potentials"])


def test_every_framework_is_here():
    """No framework is left out, and ties with thresholds occur."""
    assert {name.split(".")[0] for name in CASES} == {"norse", "sinabs", "snntorch", "spikingjelly"}
    assert isinstance(running("sinabs.IAF", streaming=False).step(
        RealMap(0, 1, GOLDENS["currents"][:1, np.newaxis].copy(), 6, 1, 1)), IntegerMap)  # fmt: skip
    several = GOLDENS["sinabs.IAF|spikes"]
    assert several.max() > 1


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("RLeaky", {"reset": "subtract", "reset_at": "after-charge"}),
        ("RSynaptic", {"reset": "value", "reset_at": "after-charge", "synapse": "decay-add", "syn": 0.6}),
    ],
)
def test_recurrent_neurons(name, fields):
    """A cycle through a delay of one step fires as snnTorch's recurrent neurons, and its synapses count what fired."""
    counts, feed = GOLDENS["recurrent/counts"], GOLDENS["recurrent/feed"]
    spikes = GOLDENS[f"recurrent/{name}/spikes"]
    steps, size = spikes.shape
    inputs = counts.shape[1]
    nodes = (
        Input("input", (), inputs, 1, 1, "integers"), Linear("feed", ("input",), inputs, size, bias=False),
        Delay("back", ("n",)), Linear("rec", ("back",), size, size), Add("sum", ("feed", "rec")),
        Neuron("n", ("sum",), leak=0.85, strict=True, **fields), TimeReduction("count", ("n",)),
    )  # fmt: skip
    own = {key: GOLDENS[f"recurrent/{name}/{key}"] for key in ("weight", "bias")}
    weights = {"feed.weight": feed.T.copy(), "rec.weight": own["weight"].T.copy(), "rec.bias": own["bias"]}
    net = Network("r", "test", "standard", InputSpec("events", inputs, 1, 1, steps), nodes, weights)
    run = simulate(net, counts.reshape(steps, inputs, 1, 1), precision="float64", record_spikes=True)
    packed, _ = run.spikes.packed["n"]
    assert np.array_equal(np.unpackbits(packed, count=spikes.size).reshape(spikes.shape), spikes)
    assert run.logits.tolist() == spikes.sum(axis=0).tolist()
    assert run.counts.layer("rec").sops.tolist() == [0, *(size * spikes[:-1].sum(axis=1)).tolist()]
    assert spikes.sum() > steps

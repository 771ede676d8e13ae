"""Neurons of snnTorch, Norse, sinabs and SpikingJelly: a `Neuron` emits what theirs emitted, spike by spike.

The file is made by `tests/reference/make_neurons.py`, which says what each is in terms of a `Neuron`.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.membrane import Neurons
from evsim.primitives import Neuron, Shape
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

"""Holds a traced network against the module that it came from: spikes by the proof, counts by brute force."""

from __future__ import annotations

import copy
import pickle

import numpy as np
from brute import counted

import evsim


def hold(model, example, *, run=None, sample=None, timesteps=None, names=None, firing=1):
    """Trace a model and hold every count against brute force on the module in float64; return network and run.

    `run` runs the module, in float64, from its start; `sample` is the example as the network takes it, where its axes
    are not the usual; at least `firing` layers of neurons must fire, or little would be proven.
    """
    network = evsim.from_torch(model, example, timesteps=timesteps, names=names)
    assert "0 flips" in network.provenance["proof"]
    own = copied(model).double().eval()
    expected = counted(own, run or (lambda module: module(example.double())))
    values = sample if sample is not None else sample_of(network, example)
    outcome = evsim.simulate(network, values, precision="float64")
    rows = {layer.name: layer for layer in outcome.counts.layers if layer.kind in ("conv", "linear")}
    assert {name: int(row.sops.sum() + row.macs.sum()) for name, row in rows.items()} == dict(expected)
    fires = [layer.name for layer in outcome.counts.layers if layer.kind == "lif" and layer.spikes.sum()]
    assert len(fires) >= firing, fires
    return network, outcome


def copied(model):
    """Return a copy of a module, some of which only pickling copies (sinabs' recurrent neurons)."""
    try:
        return copy.deepcopy(model)
    except AttributeError:
        return pickle.loads(pickle.dumps(model))  # noqa: S301 - what was written the moment before


def sample_of(network, example):
    """Return the example as the network takes it, from the usual axes."""
    values, spec = example.double().numpy(), network.spec
    size = (spec.channels, spec.height, spec.width)
    if spec.kind == "image":
        return values[0].reshape(size)
    if values.ndim in (3, 5):
        values = values[:, 0]
    return np.ascontiguousarray(values.reshape(spec.timesteps, *size))

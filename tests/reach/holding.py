"""Holds a traced network against the module that it came from: spikes by the proof, counts by brute force."""

from __future__ import annotations

import copy

import numpy as np
import torch
from brute import counted

import evsim


def hold(model, example, *, run=None, sample=None, timesteps=None, names=None, least=1):
    """Trace a model, and compare every count with brute force on the module in float64; return network and run."""
    network = evsim.from_torch(model, example, timesteps=timesteps, names=names)
    assert "0 flips" in network.provenance["proof"]
    own = copy.deepcopy(model).double().eval()
    expected = counted(own, run or (lambda module: module(example.double())))
    values = sample if sample is not None else sample_of(network, example)
    outcome = evsim.simulate(network, values, precision="float64")
    rows = {layer.name: layer for layer in outcome.counts.layers if layer.kind in ("conv", "linear")}
    got = {name: int(rows[name].sops.sum() + rows[name].macs.sum()) for name in rows}
    assert got == {name: count for name, count in expected.items() if name in got}
    assert set(expected) == set(got)
    assert len(got) >= least
    return network, outcome


def sample_of(network, example):
    """Return the example as the network takes it, from the usual axes."""
    values = example.double().numpy()
    spec = network.spec
    size = (spec.channels, spec.height, spec.width)
    if spec.kind == "image":
        return values[0].reshape(size)
    if values.ndim in (3, 5):
        values = values[:, 0]
    return np.ascontiguousarray(values.reshape(spec.timesteps, *size))


def fires(run):
    """Return the mean firing rate of each layer of neurons."""
    return {layer.name: float(layer.spikes.sum()) for layer in run.counts.layers if layer.kind == "lif"}


__all__ = ["fires", "hold", "torch"]

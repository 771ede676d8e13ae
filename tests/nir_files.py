"""Tiny NIR graphs written by h5py alone, and the plain simulation of their equations."""

from __future__ import annotations

from itertools import pairwise

import h5py
import numpy as np


def write(path, nodes, edges, version="1.0.8"):
    """Write a graph: name to (type, parameters); a sub-graph is ("NIRGraph", (nodes, edges))."""
    with h5py.File(path, "w") as file:
        file.create_dataset("version", data=version, dtype=h5py.string_dtype())
        _graph(file.create_group("node"), nodes, edges)
    return path


def _graph(group, nodes, edges):
    group.create_dataset("type", data="NIRGraph", dtype=h5py.string_dtype())
    pairs = np.array(edges, dtype=object).reshape(-1, 2)
    group.create_dataset("edges", data=pairs, dtype=h5py.string_dtype(), shape=pairs.shape)
    inside = group.create_group("nodes")
    for name, (kind, values) in nodes.items():
        node = inside.create_group(name)
        if kind == "NIRGraph":
            _graph(node, *values)
            continue
        node.create_dataset("type", data=kind, dtype=h5py.string_dtype())
        for key, value in values.items():
            if isinstance(value, str):
                node.create_dataset(key, data=value, dtype=h5py.string_dtype())
            else:
                node.create_dataset(key, data=value)


def chain(*nodes):
    """Return nodes and edges of a graph in a row: (name, type, parameters) each."""
    names = [name for name, _, _ in nodes]
    return {name: (kind, values) for name, kind, values in nodes}, list(pairwise(names))


def ends(inputs, outputs):
    """Return the Input and the Output of a graph in a row."""
    return ("input", "Input", {"shape": np.array(inputs)}), ("output", "Output", {"shape": np.array(outputs)})


class Cell:
    """One of NIR's neurons, step by step, by the equations as docs/nir.md writes them; float64."""

    def __init__(self, kind, values, dt, exact=False, several=False, subtract=False, fire=False, floor=None):
        self.kind, self.values, self.dt, self.exact = kind, values, dt, exact
        self.several, self.subtract, self.fire, self.floor = several, subtract, fire, floor
        self.v = self.i = 0.0

    def share(self, key):
        """Return the share of the way that a quantity goes."""
        tau = np.asarray(self.values[key], float)
        return 1.0 - np.exp(-self.dt / tau) if self.exact else self.dt / tau

    def step(self, x):
        """Return what it emits."""
        values = {key: np.asarray(value, float) for key, value in self.values.items()}
        if self.kind == "Threshold":
            return (x > values["threshold"]).astype(float)
        if self.kind in ("IF", "I"):
            self.v = self.v + values["r"] * x
        elif self.kind in ("LIF", "LI"):
            self.v = self.v + self.share("tau") * ((values["v_leak"] - self.v) + values["r"] * x)
        else:
            part = self.share("tau_syn")
            self.i = (1.0 - part) * self.i + part * values["w_in"] * x
            self.v = self.v + self.share("tau_mem") * ((values["v_leak"] - self.v) + values["r"] * self.i)
        if self.kind in ("I", "LI", "CubaLI"):
            return self.v
        limit, rest = values["v_threshold"], values.get("v_reset", np.zeros_like(values["v_threshold"]))
        if self.several:
            spikes = np.where(self.v > 0.0, np.floor(self.v / limit), 0.0)
        else:
            spikes = (self.v >= limit if self.fire else self.v > limit).astype(float)
        self.v = self.v - spikes * limit if self.subtract else np.where(spikes > 0, rest, self.v)
        if self.floor is not None:
            self.v = np.maximum(self.v, self.floor)
        return spikes


def trains(run):
    """Return the recorded spikes of a run, [T, C, H, W] counts, by node."""
    taken = {}
    for name, (packed, shape) in run.spikes.packed.items():
        bits = np.unpackbits(packed)[: int(np.prod(shape))].reshape(run.timesteps, -1, *shape[1:])
        taken[name] = bits.sum(axis=1)
    return taken

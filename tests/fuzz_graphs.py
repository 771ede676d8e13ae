"""NIR graphs and spike trains, for the fuzzer: whole files, and how they are read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import h5py
import numpy as np
from nir_files import chain, ends, write

from evsim import api
from evsim.converters import NirOptions, convert
from evsim.inputspec import InputSpec
from evsim.network import Input, Network
from evsim.primitives import TimeReduction

CHANNELS = 4


def graphs():
    """Return a recurrent graph with a sub-graph, and a convolutional one."""
    number = np.array([CHANNELS])
    cell = {
        key: np.full(CHANNELS, value)
        for key, value in (("tau", 2e-3), ("r", 1.0), ("v_leak", 0.0), ("v_threshold", 1.0))
    }
    inner = ({"in": ("Input", {"shape": number}), "n": ("LIF", cell), "w": ("Linear", {"weight": np.eye(CHANNELS)}),
              "out": ("Output", {"shape": number})}, [("in", "n"), ("n", "w"), ("w", "n"), ("n", "out")])  # fmt: skip
    first, last = ends([CHANNELS], [CHANNELS])
    delay = ("d", "Delay", {"delay": np.full(CHANNELS, 2e-3)})
    conv = {"weight": np.ones((2, 1, 2, 2), np.float32), "bias": np.ones(2), "groups": 1}
    conv |= {"stride": 1, "padding": "same", "dilation": 2, "input_shape": np.array([4, 4])}
    pool = {"kernel_size": np.array([2, 2]), "stride": np.array([2, 2]), "padding": np.array([0, 0])}
    maps = [("c", "Conv2d", conv), ("p", "SumPool2d", pool), ("f", "Flatten", {"start_dim": 0, "end_dim": -1})]
    wide, flat = ends([1, 4, 4], [8])
    return [
        _bytes(*chain(first, ("g", "NIRGraph", inner), delay, last)),
        _bytes(*chain(wide, *maps, ("i", "IF", {"r": np.ones(8), "v_threshold": np.ones(8)}), flat)),
    ]


def _bytes(nodes, edges):
    with tempfile.TemporaryDirectory() as folder:
        return write(Path(folder) / "a.nir", nodes, edges).read_bytes()


def read_a_graph(path, rng):
    """Read a graph; whatever was read is a network that knows its weights."""
    options = NirOptions(timestep=rng.choice((1e-3, 1e-4)), discretisation=rng.choice(("euler", "exact")))
    network = convert(path, options).network
    for name in network.weights:
        assert np.isfinite(network.weights[name]).all()


def trains():
    """Return spike trains of SHD's layout, and plain ones."""
    files = []
    with tempfile.TemporaryDirectory() as folder:
        for form in ("shd", "plain"):
            path = Path(folder) / f"{form}.h5"
            with h5py.File(path, "w") as file:
                for key, dtype in (("times", np.float64), ("units", np.uint16)):
                    values = np.arange(CHANNELS).astype(dtype) / (1 if key == "units" else 1000)
                    if form == "plain":
                        file[key] = values
                        continue
                    lists = file.create_dataset(f"spikes/{key}", (2,), h5py.vlen_dtype(dtype))
                    lists[0], lists[1] = values[:1], values
                if form == "shd":
                    file["labels"] = np.array([3, 4])
            files.append(path.read_bytes())
    return files


def read_trains(path, rng):
    """Read a spike train as counts; each is whole and not negative."""
    nodes = (Input("input", (), CHANNELS, 1, 1, "integers"), TimeReduction("out", ("input",)))
    spec = InputSpec("events", CHANNELS, 1, 1, 8, frames="bin", bin_us=1000, open_time=rng.random() < 0.5)
    network = Network("n", "fuzz", "one", spec, nodes, {})
    sample = api.read(path, network, options=api.ReadOptions(sample=rng.choice((None, 0, 1))))
    assert sample.values.dtype.kind == "i"
    assert (sample.values >= 0).all()

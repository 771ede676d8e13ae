"""A small model of every primitive, and a run of it: the whole files that the fuzzer damages."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from evsim import api
from evsim.inputspec import InputSpec
from evsim.network import (
    LIF,
    Add,
    Conv2d,
    Input,
    Linear,
    MaxPool,
    Network,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
)

SIZE = 6
CHANNELS = 4


@cache
def small_network():
    """Return a network of every primitive."""
    n = CHANNELS
    nodes = (
        Input("input", (), 2, SIZE, SIZE, "integers"),
        Conv2d("conv", ("input",), 2, n, (3, 3), (1, 1), (1, 1)),
        LIF("lif", ("conv",), 2.0, 0.5),
        MaxPool("pool", ("lif",)),
        *(Conv2d(f"{x}_conv", ("pool",), n, n, bias=True) for x in "qkv"),
        *(LIF(f"{x}_lif", (f"{x}_conv",), 2.0, 0.25, "tokens") for x in "qkv"),
        SpikingSelfAttention("ssa", ("q_lif", "k_lif", "v_lif"), 2),
        LIF("ssa_lif", ("ssa",), 2.0, 0.5),
        Add("add", ("pool", "ssa_lif")),
        Linear("fc", ("add",), n, n, batch_norm=True),
        Add("stream", ("fc", "add")),
        TokenMean("tokens", ("stream",)),
        TimeMean("times", ("tokens",)),
        Linear("head", ("times",), n, 3),
    )
    rng = np.random.default_rng(1)
    weights = {
        f"{node.name}.{key}": rng.standard_normal(shape).astype("f8" if key.startswith("bn") else "f4")
        for node in nodes
        for key, shape in node.parameters().items()
    }
    spec = InputSpec("events", 2, SIZE, SIZE, 2)
    return Network("small", "test", "standard", spec, nodes, weights, ("a", "b", "c"), {"heads": "2, an option"})


@cache
def small_run():
    """Run that network."""
    frames = np.random.default_rng(2).integers(0, 3, (2, 2, SIZE, SIZE))
    return api.simulate(small_network(), frames, detail=True)


def saved(save):
    """Return, as a list, the one file that `save` writes."""
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "x.h5")
        return [(Path(folder) / "x.h5").read_bytes()]

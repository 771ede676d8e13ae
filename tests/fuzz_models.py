"""Small models that hold every primitive, and runs of them: the whole files that the fuzzer damages."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from evsim import api
from evsim.inputspec import InputSpec
from evsim.network import Network
from evsim.primitives import (
    LIF,
    AdaptiveAveragePool,
    Add,
    And,
    AveragePool,
    Concatenate,
    Conv2d,
    Delay,
    Flatten,
    HeadProduct,
    HeadSum,
    IAnd,
    Input,
    Linear,
    Mask,
    MaxPool,
    MultiSpike,
    Neuron,
    Pad,
    Scale,
    Slice,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TimeReduction,
    TokenMean,
    TokenSum,
    Vote,
)
from evsim.quantizing import quantize

SIZE = 6
CHANNELS = 4
POSITIVE = ("v_threshold", "leak")


@cache
def small_network():
    """Return a network of every primitive that schema 1 knows."""
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
    return _network("small", nodes)


@cache
def later_network():
    """Return a network of the other primitives, and of what else schema 2 alone can say."""
    n = CHANNELS
    nodes = (
        Input("input", (), 2, SIZE, SIZE, "integers"),
        Conv2d("conv", ("input",), 2, n, (3, 3), (1, 1), (1, 1), groups=2),
        LIF("if", ("conv",), decay_input=False, decay=1.0, strict=True, soft_reset=True, channels=n),
        Conv2d("other", ("input",), 2, n, (1, 1)),
        LIF("plif", ("other",), parametric=True, view=(2, 2, SIZE, SIZE)),
        And("and", ("if", "plif")),
        IAnd("iand", ("if", "plif")),
        HeadSum("by_token", ("plif",), 2, (("mask_spikes", "if"),)),
        LIF("token_lif", ("by_token",), v_threshold=0.5),
        Mask("kept", ("if", "token_lif")),
        TokenSum("by_channel", ("iand",), 2),
        LIF("channel_lif", ("by_channel",)),
        Mask("masked", ("kept", "channel_lif")),
        MaxPool("heads", ("masked",), 3, 1, 1, heads=2),
        MaxPool("small", ("heads",)),
        SumPool("sums", ("and",)),
        AveragePool("means", ("masked",)),
        Pad("border", ("sums",), n),
        AdaptiveAveragePool("even", ("border",), 3, 3),
        *(MultiSpike(f"{x}_spike", ("even",), 4, 4.0) for x in "qk"),
        MultiSpike("v_spike", ("even",), 4, 4.0, "half-even"),
        SpikingSelfAttention("ssa", ("q_spike", "k_spike", "v_spike"), 2, 0.25, "(qk)v"),
        Linear("rows", ("small",), n, 2 * n),
        HeadProduct("product", ("small", "rows"), 2, "channels"),
        LIF("product_lif", ("product",)),
        AdaptiveAveragePool("one", ("ssa",), 1, 1),
        Flatten("flat", ("product_lif",)),
        Linear("wide", ("flat",), 9 * 18, n),
        TokenMean("mean", ("means",)),
        Add("first", ("one", "wide")),
        Add("stream", ("first", "mean")),
        MultiSpike("integrating", ("stream",), 3, 1.0, "half-up", integrates=True),
        Linear("head", ("integrating",), n, 6),
        Vote("vote", ("head",), 2),
        TimeMean("times", ("vote",)),
    )
    return _network("later", nodes)


@cache
def framework_network():
    """Return a network of what other frameworks compute: neurons of their equations, a cycle, parts of maps."""
    n = CHANNELS
    nodes = (
        Input("input", (), 2, SIZE, SIZE, "integers"),
        Conv2d("conv", ("input",), 2, n, (3, 3), (1, 1), (2, 2), dilation=(2, 2)),
        Delay("back", ("fires",), 1, n, SIZE, SIZE),
        Linear("recurrent", ("back",), n, n),
        Add("current", ("conv", "recurrent")),
        Neuron(
            "fires", ("current",), "add-decay", syn=0.5, leak=0.75, reset="subtract", reset_at="after-charge",
        ),
        Neuron(
            "many", ("conv",), "none", "relax", levels=3, reset="subtract", floored=True, v_floor=-1.0,
            channels=n, height=SIZE, width=SIZE, by_channel=("leak",), by_neuron=("v_threshold",),
        ),
        Scale("scaled", ("many",), channels=n, by_channel=("scale",), shift=0.5),
        Concatenate("both", ("scaled", "fires")),
        Slice("part", ("both",), 1, n + 2),
        Neuron("potential", ("part",), charge="drain", leak=0.25, reset="none", emits="potential"),
        TimeReduction("last", ("potential",), "last"),
        TokenMean("mean", ("last",)),
        Linear("head", ("mean",), n + 1, 3),
    )  # fmt: skip
    return _network("framework", nodes)


@cache
def integer_network():
    """Return the first of them in integers."""
    return quantize(small_network()).network


def _network(name, nodes):
    """Return the network of those nodes, with random weights."""
    rng = np.random.default_rng(1)
    weights = {
        f"{node.name}.{key}": np.abs(values) if key in POSITIVE else values
        for node in nodes
        for key, shape in node.parameters().items()
        for values in [rng.standard_normal(shape).astype("f8" if key.startswith("bn") else "f4")]
    }
    spec = InputSpec("events", 2, SIZE, SIZE, 2)
    return Network(name, "test", "standard", spec, nodes, weights, ("a", "b", "c"), {"heads": "2, an option"})


MODELS = (small_network, later_network, framework_network, integer_network)


@cache
def run(network):
    """Run that network."""
    frames = np.random.default_rng(2).integers(0, 3, (2, 2, SIZE, SIZE))
    return api.simulate(network(), frames, detail=True)


def saved(*saves):
    """Return the files that those write, each one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.h5"
        files = []
        for save in saves:
            save(path)
            files.append(path.read_bytes())
        return files

"""What a run needs is worked out before it is allocated, never too low, and refused above what a file justifies."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from commands import evsim, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from evsim import api, modelfile
from evsim.audit.check import check
from evsim.converters import convert, load_model
from evsim.engine import Simulator
from evsim.errors import NetworkError, OptionError
from evsim.inputspec import InputSpec
from evsim.kernels.threads import MOST_THREADS
from evsim.layers.plan import groups
from evsim.needs import FACTOR, JUSTIFIED, check_needs, machine_memory, needs
from evsim.network import (
    LIF,
    Add,
    Conv2d,
    Input,
    Linear,
    MaxPool,
    Network,
    Origin,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
)
from evsim.primitives import Concatenate, Delay, Neuron, Scale, Slice, TimeReduction
from evsim.quantizing import quantize
from evsim.sizes import parsed_size

GOLDEN = sorted((Path(__file__).parent / "data" / "golden").glob("spikingformer-*"))
SLACK = 500_000
"""Python's own objects: events, packets, code that is loaded at the first run."""


def network_of(body, size, timesteps, kind="integers", classes=2):
    """Return a network: its input of ``size`` [C, H, W], a body of nodes, and a readout; its weights are 1."""
    channels, height, width = size
    nodes = [Input("input", (), channels, height, width, kind), *body]
    last = nodes[-1].name
    nodes += [TokenMean("tokens", (last,)), TimeMean("times", ("tokens",))]
    spec = InputSpec("events", channels, height, width, timesteps)
    if kind == "real":
        spec = InputSpec("image", channels, height, width, timesteps, (0.5,) * channels, (0.5,) * channels)
    shapes = {}
    for node in nodes:
        shapes[node.name] = node.infer(tuple(shapes[name] for name in node.inputs))
    nodes.append(Linear("head", ("times",), shapes["times"].channels, classes, bias=False))
    weights = {
        f"{node.name}.{key}": np.broadcast_to(np.float32(1.0), shape)
        for node in nodes
        for key, shape in node.parameters().items()
    }
    return Network("made", "test", "standard", spec, tuple(nodes), weights)


def measured(network, source, **options):
    """Return the most bytes that NumPy and Python held in a run, with all that it was given."""
    api.simulate(network, source, **options)  # compile
    tracemalloc.start()
    try:
        api.simulate(network, source, **options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@st.composite
def bodies(draw):
    """Draw a body of convolutions, neurons, pools, residual additions and attention."""
    channels = draw(st.sampled_from([1, 2, 33, 64, 130]))
    wide = draw(st.sampled_from([31, 64, 200]))
    body, source = [], "input"
    if draw(st.booleans()):  # the input itself as the stream of a residual addition
        body += [Conv2d("conv0", ("input",), channels, channels, batch_norm=False), Add("res", ("conv0", "input"))]
        source = "res"
    body += [
        Conv2d("conv1", (source,), channels, wide, (3, 3), (1, 1), (1, 1), batch_norm=False),
        LIF("lif1", ("conv1",), 2.0, 1e-3),
    ]
    if draw(st.booleans()):
        body.append(MaxPool("pool", ("lif1",), 2, 2, 0))
    if draw(st.booleans()):
        body.append(Add("twice", (body[-1].name, body[-1].name)))
    source = body[-1].name
    if draw(st.booleans()):
        body += [Conv2d("conv2", (source,), wide, wide, (1, 1), batch_norm=False)]
        body += [Add("add", ("conv2", source))]
    if draw(st.booleans()):
        body += [LIF("lif2", (body[-1].name,), 2.0, 1e-3)]
        body += [SpikingSelfAttention("ssa", ("lif2", "lif2", "lif2"), 1)]
    return network_of(body, (channels, draw(st.integers(4, 24)), draw(st.integers(4, 24))), draw(st.integers(1, 6)),
                      draw(st.sampled_from(["integers", "real"])))  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(bodies(), st.sampled_from(["float32", "float64"]), st.sampled_from(["layer", "time"]), st.integers(1, 2))
def test_no_run_takes_more_than_it_was_said_to_need(network, precision, schedule, threads):
    """Where every neuron fires at every timestep, the bytes really held stay below the estimate, and near to it."""
    spec = network.spec
    shape = (spec.channels, spec.height, spec.width)
    source = np.ones(shape if spec.kind == "image" else (spec.timesteps, *shape), np.float32)
    need = needs(network, None, precision, schedule, threads).total
    held = measured(network, source, precision=precision, schedule=schedule, threads=threads)
    assert held <= need + SLACK
    assert need <= 8 * held + SLACK


BY_NEURON = ("leak", "v_start", "v_reset")
CONV = Conv2d("conv", ("input",), 33, 70, (3, 3), (1, 1), (1, 1), batch_norm=False)
LOW = {"v_threshold": 1e-3}
LATE = {
    "neurons": [CONV, Neuron("lif", ("conv",), by_neuron=BY_NEURON, channels=70, height=20, width=20, **LOW)],
    "currents": [CONV, Neuron("lif", ("conv",), synapse="jump", syn=0.5, levels=9, **LOW)],
    "potentials": [CONV, Neuron("li", ("conv",), emits="potential", reset="none")],
    "delay": [CONV, LIF("lif", ("conv",), 2.0, 1e-3), Delay("late", ("lif",), 4)],
    "delay of reals": [CONV, Delay("late", ("conv",), 2), Scale("scaled", ("late",), scale=0.5)],
    "parts": [CONV, LIF("lif", ("conv",), 2.0, 1e-3), Slice("part", ("lif",), 0, 50),
              Concatenate("two", ("lif", "part"))],
    "cycle": [CONV, Delay("back", ("lif",), 3), replace(CONV, name="rec", inputs=("back",), in_channels=70),
              Add("both", ("conv", "rec")), Neuron("lif", ("both",), **LOW)],
}  # fmt: skip


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("schedule", ["layer", "time"])
@pytest.mark.parametrize("name", LATE)
def test_neurons_delays_and_cycles_take_no_more(name, schedule, precision):
    """The same for what keeps more than a potential, for what waits in the queue, and for copies of maps."""
    body = LATE[name]
    ends = [TokenMean("tokens", (body[-1].name,)), TimeReduction("sum", ("tokens",))]
    nodes = (Input("input", (), 33, 20, 20, "integers"), *body, *ends)
    weights = {
        f"{node.name}.{key}": np.ones(shape, np.float32) for node in nodes for key, shape in node.parameters().items()
    }
    network = Network("late", "test", "standard", InputSpec("events", 33, 20, 20, 6), nodes, weights)
    source = np.ones((6, 33, 20, 20), np.float32)
    need = needs(network, None, precision, schedule).total
    held = measured(network, source, precision=precision, schedule=schedule)
    assert held <= need + SLACK
    assert need <= 8 * held + SLACK


@pytest.mark.parametrize("schedule", ["layer", "time"])
@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_the_needs_of_the_goldens_hold(folder, schedule):
    """The same for whole models of each tokenizer."""
    network = convert(folder / "checkpoint.pth.tar").network
    source = np.load(folder / "input.npy")
    assert measured(network, source, schedule=schedule) <= needs(network, schedule=schedule).total + SLACK


def wide(timesteps=1, kernel=(1, 1), padding=(0, 0), channels=1, height=2):
    """Return a network whose convolution makes a large map of a small input."""
    return network_of(
        [Conv2d("large", ("input",), 1, channels, kernel, (1, 1), padding, batch_norm=False)], (1, height, height),
        timesteps,
    )  # fmt: skip


def dense_heads():
    """Return a network whose attention has one head of 16384 channels: 1 GB for k^T v."""
    body = [LIF("lif", ("input",)), SpikingSelfAttention("ssa", ("lif", "lif", "lif"), 1)]
    return network_of(body, (2**14, 1, 1), 1)


def many_rows():
    """Return a network of 2000 layers of one neuron each that runs 65536 timesteps: 20 GB of counters."""
    body = [LIF("lif0", ("input",))]
    for i in range(1, 2000):
        body.append(LIF(f"lif{i}", (body[-1].name,)))
    return network_of(body, (1, 1, 1), 65536)


GREEDY = {
    "a map by padding": lambda: wide(padding=(3500, 3500)),
    "many timesteps": lambda: wide(timesteps=65536, padding=(15, 15)),
    "many channels": lambda: wide(timesteps=2, channels=2**15, height=40),
    "attention": dense_heads,
    "counters": many_rows,
}


@pytest.mark.parametrize("case", GREEDY)
def test_a_small_file_that_asks_for_much_memory_is_refused(case, tmp_path):
    """Whatever part of a run it is that takes the memory: one line with bytes and file, before anything is read."""
    network = GREEDY[case]()
    modelfile.save(network, tmp_path / "m.h5")
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00")  # never looked at
    text = refused("run", tmp_path / "m.h5", "--input", tmp_path / "x.npy")
    assert str(tmp_path / "m.h5") in text
    assert "bytes" in text
    assert "--allow-memory" in text
    loaded = modelfile.load(tmp_path / "m.h5")
    for streaming in ("layer", "time"):
        if needs(loaded, schedule=streaming).total > JUSTIFIED + FACTOR * loaded.file.size:
            with pytest.raises(NetworkError, match=r"`allow_memory=[0-9.]+[MGT]B`"):
                Simulator(loaded, schedule=streaming)


def test_what_is_allowed_runs(tmp_path):
    """The size that the refusal names is enough, as text and as number; less is not."""
    small = wide(padding=(40, 40))
    modelfile.save(small, tmp_path / "m.h5")
    np.save(tmp_path / "x.npy", np.ones((1, 1, 2, 2), np.int32))
    run = ("run", tmp_path / "m.h5", "--input", tmp_path / "x.npy")
    text = refused(*run, "--allow-memory", "0.01MB")
    enough = text.split("--allow-memory ")[1].strip()
    assert evsim(*run, "--allow-memory", enough).code == 0
    need = needs(api.load(tmp_path / "m.h5")).total
    assert api.simulate(api.load(tmp_path / "m.h5", allow_memory=need), tmp_path / "x.npy").logits.shape == (2,)
    with pytest.raises(NetworkError, match=f"more than is allowed \\({need - 1}\\)"):
        api.simulate(api.load(tmp_path / "m.h5", allow_memory=need - 1), tmp_path / "x.npy")


def test_what_a_person_asks_for_raises_the_limit():
    """More timesteps than the model's own and float64 are the person's choice; the model's own T is the file's."""
    network = replace(wide(timesteps=2, padding=(300, 300)), file=Origin("m.h5", 1000))
    assert JUSTIFIED / 2 < needs(network).total < JUSTIFIED
    check_needs(network, 8, "float64")
    with pytest.raises(NetworkError, match="justifies"):
        check_needs(replace(network, spec=replace(network.spec, timesteps=8)))


@pytest.mark.parametrize(("weights", "stands"), [("int8", 4), ("int16", 2)])
def test_integers_justify_what_their_floats_would(weights, stands, monkeypatch):
    """The file of an integer network is a quarter or a half of the floats', which are what it is run by."""
    network = replace(quantize(wide(padding=(4, 4)), weights).network, file=Origin("m.h5", 1000))
    for precision in (weights, "float32"):
        need = needs(network, precision=precision).total
        monkeypatch.setattr("evsim.needs.JUSTIFIED", need - FACTOR * stands * 1000)
        check_needs(network, precision=precision)
        monkeypatch.setattr("evsim.needs.JUSTIFIED", need - FACTOR * stands * 1000 - 1)
        with pytest.raises(NetworkError, match="a model of 1000 bytes justifies"):
            check_needs(network, precision=precision)


def test_frames_for_an_image_model_are_measured_apart():
    """An image's maps are the same at each timestep, those of frames are not: refused when they come."""
    network = network_of(
        [Conv2d("large", ("input",), 1, 64, padding=(270, 270), batch_norm=False)], (1, 2, 2), 8, "real"
    )
    network = replace(network, file=Origin("m.h5", 1000))
    assert needs(network, static=False).total > JUSTIFIED
    simulator = Simulator(network)
    assert simulator.run(np.ones((1, 2, 2))).shape == (2,)
    with pytest.raises(NetworkError, match="`allow_memory"):
        simulator.run(np.ones((8, 1, 2, 2)))


def test_every_network_of_a_file_knows_it():
    """A checkpoint that is converted has the limit of its file, by whatever way it was loaded."""
    path = GOLDEN[0] / "checkpoint.pth.tar"
    for network in (convert(path).network, load_model(path).network, api.load(path)):
        assert network.file == Origin(str(path), path.stat().st_size)
    assert load_model(path, "2GB").network.file.allow_memory == 2_000_000_000


def test_what_cannot_be_planned_names_its_file(tmp_path):
    """A layer that cannot run is refused with the file that holds it, before an input is read or not."""
    attention = SpikingSelfAttention("ssa", ("lif", "lif", "lif"), 1, 0.125)
    network = network_of([LIF("lif", ("input",)), attention], (1, 256, 256), 1)
    modelfile.save(network, tmp_path / "m.h5")
    loaded = api.load(tmp_path / "m.h5", allow_memory="8GB")
    with pytest.raises(NetworkError, match=f"{tmp_path}/m.h5: ssa has 65536 tokens"):
        Simulator(loaded)


def test_a_network_made_in_python_may_have_the_machine(monkeypatch):
    """No file justifies or limits anything: what the machine has is the limit, for those from files too."""
    network = wide(padding=(2500, 2500))
    check_needs(network)
    monkeypatch.setattr("evsim.needs.machine_memory", lambda: 10**6)
    for each in (network, replace(network, file=Origin("m.h5", 10**9))):
        with pytest.raises(NetworkError, match="this machine has"):
            check_needs(each)
    check_needs(replace(network, file=Origin("m.h5", 10**9, 10**12)))


def test_the_machine_has_memory():
    """What the machine has is a number of bytes that can be true."""
    assert 2**28 < machine_memory() <= 2**63


@pytest.mark.parametrize(
    ("text", "size"),
    [("32GB", 32 * 10**9), ("0.5 gb", 5 * 10**8), ("7", 7), ("10MB", 10**7), ("1TB", 10**12), (5, 5), (None, None)],
)
def test_sizes(text, size):
    """Sizes are numbers with a unit of 1000s."""
    assert parsed_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "3 parsecs", "-1GB", "0", "1e9", 0, "1GB 2GB", "nan", "9" * 400 + "GB", "1e400"]
)
def test_what_is_no_size(text):
    """What is no size is refused by the option's name."""
    with pytest.raises(OptionError, match="allow_memory"):
        parsed_size(text)


def test_planning_is_linear(monkeypatch):
    """A row of 5000 nodes asks who reads whom a fixed number of times: each was asked for all of them, for 52 s."""
    body = [LIF("lif0", ("input",))]
    for i in range(1, 5000):
        body.append(LIF(f"lif{i}", (body[-1].name,)))
    network = network_of(body, (2, 2, 2), 1)
    asked = []
    consumers = Network.consumers
    monkeypatch.setattr(Network, "consumers", lambda self: asked.append(self) or consumers(self))
    assert len(groups(network, streaming=False)) == 5003
    assert len(asked) == 1


def test_chains_of_additions_are_counted_not_listed():
    """Checking a network that doubles a spike train 60 times counts 2^60 summands and lists none."""
    body = [LIF("lif", ("input",))]
    for i in range(60):
        body.append(Add(f"add{i}", (body[-1].name, body[-1].name)))
    body.append(Conv2d("conv", (body[-1].name,), 1, 1, batch_norm=False))
    layers = {layer.name: layer for layer in check(network_of(body, (1, 1, 1), 1)).layers}
    assert f"{2**60} spike trains so far" in layers["conv"].cause


@pytest.mark.parametrize("threads", [0, -1, MOST_THREADS + 1, 10**8])
def test_threads_are_bounded(threads):
    """A number of threads that no machine has is refused before one is started."""
    network = wide()
    bound = str(MOST_THREADS) if threads > 0 else "at least 1"
    with pytest.raises(OptionError, match=bound):
        Simulator(network, threads=threads)
    with pytest.raises(OptionError, match=bound):
        api.check_run(threads)


@pytest.mark.parametrize(
    "node",
    [
        Conv2d("node", ("input",), 1, 1, (1, 1), (2**64, 2**64), (2**64, 2**64), batch_norm=False),
        Conv2d("node", ("input",), 1, 1, (1, 1), (2**62, 1), (0, 0), batch_norm=False),
        MaxPool("node", ("input",), 2**62, 1, 2**61),
        MaxPool("node", ("input",), 1, 2**64, 0),
    ],
)
def test_extents_that_no_kernel_can_reckon_with(node):
    """Kernels, strides and paddings beyond 2^20 are refused by the layer's name."""
    with pytest.raises(NetworkError, match=r"node: .* must be at most 1048576"):
        network_of([node], (1, 2, 2), 1)


def test_groups_are_what_the_simulator_plans():
    """What is measured is what runs: the groups are the stages."""
    network = convert(GOLDEN[0] / "checkpoint.pth.tar").network
    for schedule in ("layer", "time"):
        stages = Simulator(network, schedule=schedule).stages
        assert [(stage.nodes, stage.sources) for stage in stages] == [
            (group.nodes, group.sources) for group in groups(network, schedule == "time")
        ]

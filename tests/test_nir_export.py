"""Networks as NIR graphs: written, read again by NIR's own package and by evsim, with the same spikes."""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from beside import SHARED
from commands import evsim, refused
from nir_files import chain, ends, trains, write
from test_nir import DT, drive, of_neurons, recurrent

from evsim import api, modelfile
from evsim.converters import NirOptions, convert
from evsim.converters.nir.build import PASSES, RUNS
from evsim.converters.nir.export import export
from evsim.converters.nir.options import CHOICES
from evsim.errors import NetworkError, OptionError
from evsim.inputspec import InputSpec
from evsim.network import LIF, Add, Conv2d, Input, Linear, MaxPool, Network, TimeMean, TokenMean
from evsim.primitives import Flatten, MultiSpike, Neuron, Scale, SumPool, TimeReduction, Vote

nir = pytest.importorskip("nir")


def again(network, tmp_path, **more):
    """Write a network as a graph, check it by NIR's own reader, and read it again as the export says."""
    path = tmp_path / "again.nir"
    told = export(network, path)
    nir.read(path)  # which checks types and shapes
    habits = {name: float(value) if name == "floor" else value for name, value in told.habits.items()}
    return convert(path, NirOptions(timestep=told.timestep, **(habits | more))).network, told


def same_spikes(one, other, values):
    """Run both; every train of spikes must be the same, and there must be spikes."""
    first, second = (api.simulate(network, values, precision="float64", record_spikes=True) for network in (one, other))
    mine, theirs = trains(first), trains(second)
    assert mine.keys() == theirs.keys()
    for name, train in mine.items():
        assert np.array_equal(train, theirs[name]), name
    assert sum(train.sum() for train in mine.values()) or not mine
    return first, second


@pytest.mark.parametrize("kind", ["IF", "LIF", "CubaLIF", "Threshold", "I", "LI", "CubaLI"])
def test_every_neuron_comes_back(kind, tmp_path):
    """Graph to network to graph to network: the same spikes, or potentials."""
    first, last = ends([6], [6])
    path = write(tmp_path / "a.nir", *chain(first, ("n", kind, of_neurons(kind)), last))
    network = convert(path, NirOptions(timestep=DT)).network
    back, _ = again(network, tmp_path)
    one, other = same_spikes(network, back, drive()[:, :, np.newaxis, np.newaxis])
    np.testing.assert_allclose(one.logits, other.logits, rtol=1e-9)


@pytest.mark.parametrize("options", [{"spikes": "several", "reset": "subtract"}, {"floor": -0.05}])
def test_what_the_graph_does_not_tell_is_told_beside(options, tmp_path):
    """Several spikes, resets and floors come back by the options that the export names."""
    first, last = ends([6], [6])
    values = of_neurons("LIF") | {"v_reset": np.zeros(6)}
    path = write(tmp_path / "a.nir", *chain(first, ("n", "LIF", values), last))
    network = convert(path, NirOptions(timestep=DT, **options)).network
    back, told = again(network, tmp_path)
    assert {name: told.habits[name] for name in options} == {name: str(value) for name, value in options.items()}
    same_spikes(network, back, drive(most=6)[:, :, np.newaxis, np.newaxis])


@pytest.mark.parametrize("inner", [False, True])
def test_a_recurrent_network_comes_back(inner, tmp_path):
    """The delay of a cycle is a Delay of the graph."""
    graph, *_ = recurrent(inner)
    network = convert(write(tmp_path / "a.nir", *graph), NirOptions(timestep=DT)).network
    back, _ = again(network, tmp_path)
    same_spikes(network, back, drive(channels=3)[:, :, np.newaxis, np.newaxis])


def made(nodes, weights, spec=None):
    """Return a network of events [2, 6, 6]."""
    return Network("made", "test", "one", spec or InputSpec("events", 2, 6, 6, 12), tuple(nodes), weights)


def cnn(**changes):
    """Return nodes and weights of a convolutional network as converters make them: BatchNorm, sums, means, votes."""
    rng = np.random.default_rng(11)
    nodes = [
        Input("input", (), 2, 6, 6, "integers"),
        Conv2d("c1", ("input",), 2, 4, (3, 3), (1, 1), (1, 1), bias=True),
        LIF("n1", ("c1",), 2.0, 0.7),
        Conv2d("c2", ("n1",), 4, 4, (3, 3), (1, 1), (1, 1)),
        LIF("n2", ("c2",), 2.0, 0.6, channels=4),
        Add("sum", ("n1", "n2")),
        SumPool("pool", ("sum",)),
        Linear("point", ("pool",), 4, 8, batch_norm=True),
        LIF("n3", ("point",), 3.0, 0.8),
        Flatten("flat", ("n3",)),
        Linear("fc", ("flat",), 72, 20),
        LIF("n4", ("fc",), 2.0, 0.3),
        Vote("vote", ("n4",), 5),
        TimeMean("mean", ("vote",)),
    ]
    nodes = [changes.get(node.name, node) for node in nodes]
    weights = {}
    for node in nodes:
        for key, shape in node.parameters().items():
            values = rng.normal(0.15, 0.4, shape)
            values = np.abs(values) + 0.4 if key in ("bn_scale", "v_threshold") else values
            weights[f"{node.name}.{key}"] = values if key.startswith("bn") else values.astype(np.float32)
    return nodes, weights


def test_a_convolutional_network_comes_back(tmp_path):
    """BatchNorm folds in, sums become edges, a linear layer on each position a convolution: the same spikes."""
    network = made(*cnn())
    back, told = again(network, tmp_path, timesteps=12)
    values = np.random.default_rng(4).integers(0, 3, (12, 2, 6, 6))
    one, other = same_spikes(network, back, values)
    np.testing.assert_allclose(12 * one.logits, other.logits, rtol=1e-9)
    assert told.habits == {"reset": "zero", "at_threshold": "fire", "readout": "sum"}
    assert any("T times as much" in note for note in told.notes)


@pytest.mark.parametrize(("kernel", "groups"), [((3, 2), 1), ((3, 3), 2), ((1, 3), 4)])
def test_kernels_whose_shapes_the_package_mistakes_come_back(kernel, groups, tmp_path):
    """Kernels that are not square, and groups, are written and read, and a note says how the package reads them."""
    rng = np.random.default_rng(8)
    size = (8, 9 - kernel[0], 8 - kernel[1])
    conv = {
        "weight": rng.uniform(-0.5, 0.9, (8, 4 // groups, *kernel)), "bias": rng.uniform(-0.1, 0.1, 8),
        "stride": np.array([1, 1]), "padding": np.array([0, 0]), "dilation": np.array([1, 1]), "groups": groups,
        "input_shape": np.array([8, 7]),
    }  # fmt: skip
    neurons = {"r": np.ones(size), "v_threshold": rng.uniform(0.4, 0.9, size), "v_reset": np.zeros(size)}
    first, last = ends((4, 8, 7), size)
    path = write(tmp_path / "g.nir", *chain(first, ("conv", "Conv2d", conv), ("fire", "IF", neurons), last))
    network = convert(path, NirOptions(timestep=DT)).network
    told = export(network, tmp_path / "again.nir")
    assert any("type_check=False" in note for note in told.notes)
    assert nir.read(tmp_path / "again.nir", type_check=False).nodes.keys() >= {"conv", "fire"}
    back = convert(tmp_path / "again.nir", NirOptions(timestep=told.timestep, **told.habits)).network
    same_spikes(network, back, rng.integers(0, 3, (12, 4, 8, 7)))


def test_padding_of_the_same_size_comes_back(tmp_path):
    """A convolution that pads more behind than before is NIR's padding "same", where it is that."""
    nodes, weights = cnn()
    nodes[3] = Conv2d("c2", ("n1",), 4, 4, (2, 2), (1, 1), (0, 0), padding_after=(1, 1))
    weights["c2.weight"] = weights["c2.weight"][:2, :2]
    network = made(nodes, weights)
    back, _ = again(network, tmp_path)
    same_spikes(network, back, np.random.default_rng(4).integers(0, 3, (12, 2, 6, 6)))


def test_a_mean_over_the_map_comes_back(tmp_path):
    """A readout over positions becomes a pool of the map's size; what follows the mean over time stands before it."""
    nodes, weights = cnn()
    head = [TokenMean("tokens", ("n3",)), TimeMean("mean", ("tokens",)), Linear("head", ("mean",), 8, 5)]
    nodes = [*nodes[:9], *head]
    rng = np.random.default_rng(3)
    weights = {key: value for key, value in weights.items() if not key.startswith(("fc.", "n4."))}
    weights |= {
        "head.weight": rng.normal(size=(8, 5)).astype(np.float32),
        "head.bias": rng.normal(size=5).astype(np.float32),
    }
    network = made(nodes, weights)
    back, _ = again(network, tmp_path)
    one, other = same_spikes(network, back, rng.integers(0, 3, (12, 2, 6, 6)))
    np.testing.assert_allclose(12 * one.logits, other.logits, rtol=1e-6)


REFUSED = {
    "pool": (MaxPool("pool", ("sum",), 2, 2, 0), "pool is a MaxPool, for which NIR has no node"),
    "c2": (Conv2d("c2", ("n1",), 4, 4, (3, 3), (1, 1), (0, 0), padding_after=(2, 2)), "c2 pads otherwise behind"),
    "n3": (MultiSpike("n3", ("point",)), "n3 is a MultiSpike"),
    "n2": (LIF("n2", ("c2",), 2.0, 0.6, soft_reset=True), "differ in reset (subtract, zero)"),
    "n4": (Neuron("n4", ("fc",), reset_at="after-charge"), "n4 has a reset at the next timestep"),
    "sum": (Add("sum", ("n1", "n1")), "pool adds n1 to itself"),
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_nir_cannot_say_is_refused_by_name(name, tmp_path):
    """One line names the node; no file appears."""
    node, said = REFUSED[name]
    nodes, weights = cnn(**{name: node})
    if name == "sum":
        nodes, weights = (
            [n for n in nodes if n.name not in ("c2", "n2")],
            {key: value for key, value in weights.items() if not key.startswith(("c2.", "n2."))},
        )
    with pytest.raises(NetworkError) as caught:
        export(made(nodes, weights), tmp_path / "a.nir")
    assert said in str(caught.value)
    assert not (tmp_path / "a.nir").exists()


NEURONS = [
    ({"charge": "box", "leak": 0.5}, "a charge by box"),
    ({"synapse": "jump", "syn": 0.5}, "a synaptic current by jump"),
    ({"v_start": 0.5}, "a potential at the start"),
    ({"emits": "potential"}, "a potential as output and a reset"),
    ({"reset": "none"}, "keeps its potential when it fires"),
    ({"synapse": "decay-add", "syn": 1.0, "leak": 0.5}, "that does not decay; NIR has no tau_syn"),
    ({"leak": 1.5}, "keeps less than nothing or more than all"),
]


@pytest.mark.parametrize(("fields", "said"), NEURONS)
def test_equations_that_nir_lacks_are_refused_by_name(fields, said, tmp_path):
    """A neuron of another framework that NIR has no equation for."""
    nodes = [Input("input", (), 2, 6, 6, "integers"), Scale("s", ("input",), scale=0.5), Neuron("n", ("s",), **fields)]
    ending = [Flatten("f", ("n",)), TimeReduction("out", ("f",))]
    with pytest.raises(NetworkError, match=f"^n .*{said}"):
        export(made([*nodes, *ending], {}), tmp_path / "a.nir")


def test_a_shift_and_a_late_maximum_are_refused(tmp_path):
    """A constant added to a map, and layers behind a maximum over time."""
    first = Input("input", (), 2, 6, 6, "integers")
    ending = [Flatten("f", ("s",)), TimeReduction("out", ("f",))]
    with pytest.raises(NetworkError, match=r"^s adds a constant"):
        export(made([first, Scale("s", ("input",), shift=1.0), *ending], {}), tmp_path / "a.nir")
    head = [TimeReduction("t", ("f",), "max"), Linear("head", ("t",), 72, 3, bias=False)]
    nodes = [first, Scale("s", ("input",)), Flatten("f", ("s",)), *head]
    with pytest.raises(NetworkError, match=r"^t is a maximum over time"):
        export(made(nodes, {"head.weight": np.ones((72, 3), np.float32)}), tmp_path / "a.nir")


def test_the_command_tells_how_to_read_it_again(tmp_path):
    """`evsim export` writes, and prints the command that makes the same network of it; that command runs."""
    modelfile.save(made(*cnn()), tmp_path / "m.h5")
    outcome = evsim("export", tmp_path / "m.h5", tmp_path / "a.nir", "--timestep", "2ms")
    assert outcome.code == 0, outcome.err
    assert "--timestep 2000us --reset zero --at-threshold fire --readout sum" in outcome.out
    words = outcome.out.strip().split("again by: ")[1].split()[1:]
    assert evsim(*[str(tmp_path / "m2.h5") if word == "model.h5" else word for word in words]).code == 0
    assert modelfile.load(tmp_path / "m2.h5").spec.bin_us == 2000
    assert "--timestep takes a time" in refused("export", tmp_path / "m.h5", tmp_path / "b.nir", "--timestep", "2")


def test_the_commands_of_the_document_run(tmp_path, monkeypatch):
    """Each command of docs/nir.md runs as it stands, on a graph and a spike train of one's own."""
    text = (Path(__file__).parents[1] / "docs" / "nir.md").read_text(encoding="utf-8")
    lines = [line.split() for line in re.findall(r"^\$ (evsim .*)$", text, re.MULTILINE)]
    assert [words[1] for words in lines] == ["convert", "run", "export"]
    monkeypatch.chdir(tmp_path)
    first, last = ends([6], [6])
    write(tmp_path / "graph.nir", *chain(first, ("n", "CubaLIF", of_neurons("CubaLIF")), last))
    np.savez("train.npz", t=np.linspace(0.0, 0.05, 60), i=np.arange(60) % 6)
    for words in lines:
        outcome = evsim(*words[1:])
        assert outcome.code == 0, outcome
    rows = re.findall(r"^\| ([A-Z][\w, ]*) \|", text, re.MULTILINE)
    assert set(RUNS) | set(PASSES) | {"NIRGraph"} == {name for row in rows for name in row.split(", ")}


def test_every_option_stands_in_the_document():
    """docs/nir.md has each option of a graph, with its default, and nothing that is none."""
    text = (Path(__file__).parents[1] / "docs" / "nir.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`--([a-z-]+)`", text.split("## What each node becomes")[0]))
    assert told == {field.name.replace("_", "-") for field in fields(NirOptions)}
    for name, choice in CHOICES.items():
        if name != "polarity":
            assert f"| `--{name.replace('_', '-')}` | `{get_args(choice)[0]}` |" in text


def test_a_graph_runs_without_a_model_in_between(tmp_path):
    """`evsim run graph.nir` converts on the fly, and says so; what it lacks is asked for, with the command for it."""
    first, last = ends([6], [6])
    np.savez(tmp_path / "t.npz", t=np.linspace(0.0, 0.05, 60), i=np.arange(60) % 6)
    path = write(tmp_path / "a.nir", *chain(first, ("n", "IF", of_neurons("IF")), last))
    outcome = evsim("run", path, "--input", tmp_path / "t.npz", "--bin", "1ms")
    assert outcome.code == 0, outcome.err
    assert "is a NIR graph: converted on the fly" in outcome.err
    path = write(tmp_path / "b.nir", *chain(first, ("n", "LIF", of_neurons("LIF")), last))
    assert f"convert it first: evsim convert {path} model.h5" in refused("run", path, "--input", tmp_path / "t.npz")


def test_the_package_is_asked_for(tmp_path, monkeypatch):
    """Without the package nir, one line says what to install; reading a graph does not need it."""
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(OptionError, match=r"pip install nir"):
        export(made(*cnn()), tmp_path / "a.nir")
    first, last = ends([6], [6])
    convert(write(tmp_path / "a.nir", *chain(first, ("n", "IF", of_neurons("IF")), last)))


@pytest.mark.skipif(not (SHARED / "nir").is_dir(), reason="../shared absent")
@pytest.mark.parametrize(("name", "channels", "timestep"), [("cnn_sinabs", 0, 1e-3), ("braille_recurrent", 12, 1e-4)])
def test_real_graphs_come_back(name, channels, timestep, tmp_path):
    """The paper's networks: import, export, import; the same spikes."""
    network = convert(SHARED / "nir" / f"{name}.nir", NirOptions(timestep=timestep, reset="subtract")).network
    back, _ = again(network, tmp_path)
    rng = np.random.default_rng(8)
    values = (rng.random((60, channels, 1, 1) if channels else (60, 2, 34, 34)) < 0.2).astype(int)
    same_spikes(network, back, values)

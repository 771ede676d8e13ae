"""`evsim check`: which layers read other values than 0/1, why, how often, and at what share of the energy."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from beside import goldens, needed
from commands import evsim

from evsim import modelfile
from evsim.api import Sample
from evsim.audit.check import InputWatcher, check
from evsim.converters import ConvertOptions, convert
from evsim.converters.presets import Preset
from evsim.engine import Simulator
from evsim.network import LIF
from evsim.report.audit import check_report
from evsim.spikes import IntegerMap
from evsim.synthesis import skeleton, synthesize

GOLDEN = Path(__file__).parent / "data" / "golden"
FOLDERS = [*sorted(GOLDEN.glob("spik*")), *goldens("spik*")]
SMALL = Preset("imagenet", 32, 2, 4, 4, 10, 32, mean=(0.5,) * 3, std=(0.2,) * 3)


def network_of(folder):
    """Convert a golden's checkpoint."""
    family = folder.name.split("-")[0]
    variant = "cml" if folder.name.endswith("cml") else None
    return convert(needed(folder) / "checkpoint.pth.tar", ConvertOptions(family=family, variant=variant)).network


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_names_the_layers_whose_input_is_not_binary(folder):
    """A run names exactly the layers that PyTorch saw other values than 0/1 enter; no Spikingformer fails."""
    found = check(network_of(folder), Sample(np.load(folder / "input.npy")))
    golden = json.loads((folder / "exact_counts.json").read_text())
    expected = {name for name, layer in golden.items() if "input_binary" in layer and not layer["input_binary"]}
    assert {layer.name for layer in found.layers if not layer.spikes} == expected
    assert found.spike_driven is folder.name.startswith("spikingformer")
    first = {layer.name for layer in found.layers if layer.role == "first"}
    assert {layer.name for layer in found.offenders} == expected - first - {"head"}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_graph_alone_tells_as_much(folder):
    """Without an input the same layers are named, by the declared kinds."""
    network = network_of(folder)
    seen = check(network, Sample(np.load(folder / "input.npy")))
    assert [layer.name for layer in check(network).offenders] == [layer.name for layer in seen.offenders]
    assert check(network).run is None


def test_values_and_shares_are_those_of_the_run():
    """Ranges equal PyTorch's, histograms sum up to the input, shares of all layers to the whole energy."""
    folder = GOLDEN / "spikformer-imagenet"
    found = check(network_of(folder), Sample(np.load(folder / "input.npy")))
    golden = json.loads((folder / "exact_counts.json").read_text())
    for layer in found.layers:
        assert layer.values.high == pytest.approx(golden[layer.name]["input_max"], abs=1e-6)
        if layer.kind != "real":
            counts = {int(value): n for value, n in layer.values.histogram.items()}
            assert sum(counts.values()) == golden[layer.name]["input_size"]
            assert sum(n for value, n in counts.items() if value) == golden[layer.name]["input_nonzeros"]
    attention = 1.0 - sum(layer.share["exact"] for layer in found.layers)
    assert 0.0 < attention < 0.1
    assert set(found.layers[0].share) == {"exact", "paper (binary-only)", "paper (integer-as-events)"}


@pytest.mark.parametrize("name", ["spikingformer-imagenet", "spikformer-dvs"])
def test_every_histogram_counts_all_timesteps(name):
    """A histogram holds as many values as the run counts inputs: those of a static image T times."""
    found = check(network_of(GOLDEN / name), Sample(np.load(GOLDEN / name / "input.npy")))
    sizes = {layer.name: int(layer.input_size.sum()) for layer in found.run.counts.layers}
    for layer in found.layers:
        assert sum(layer.values.histogram.values()) == sizes[layer.name], layer.name


def test_huge_event_counts_take_no_memory():
    """One event count of 2^30 is a value like any other; no table of all values up to it is made."""
    network = network_of(GOLDEN / "spikingformer-dvs")
    frames = np.load(GOLDEN / "spikingformer-dvs" / "input.npy")
    watcher = InputWatcher(network)
    values = np.array([[[0, 3, 3, 1 << 30]]], np.int32)
    stage = next(stage for stage in Simulator(network).stages if stage.nodes[0].name == "patch_embed.proj_conv")
    tracemalloc.start()
    watcher.observe(stage, (IntegerMap(0, values, 1, 1),), None)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    seen = watcher.values("patch_embed.proj_conv")
    assert seen.histogram == {"0": 1, "3": 2, str(1 << 30): 1}
    assert (seen.low, seen.high) == (0, 1 << 30)
    assert peak < 1 << 20
    many = frames.copy()
    many.reshape(-1)[:100] = np.arange(100)
    assert "greater values" in str(check_report(check(network, Sample(many))))


@pytest.mark.parametrize("option", ["--timesteps", "--threads"])
@pytest.mark.parametrize("value", ["0", "-3"])
def test_options_are_checked_without_an_input(option, value, tmp_path):
    """Numbers that no run can have are refused even where there is no run."""
    modelfile.save(network_of(GOLDEN / "spikingformer-imagenet"), tmp_path / "model.h5")
    outcome = evsim("check", tmp_path / "model.h5", option, value)
    assert outcome.code == 2
    assert f"{option} must be at least 1, got {value}" in outcome.err


def test_the_cause_names_the_residual_and_its_bound():
    """Each offending layer of Spikformer is traced to the addition before it, and no value exceeds its summands."""
    found = check(skeleton(replace(SMALL, family="spikformer", depth=8)))
    causes = {layer.name: layer.cause for layer in found.offenders}
    assert len(causes) == 32
    assert "patch_embed.add adds spikes to spikes: 2 spike trains" in causes["block.0.attn.q_conv"]
    assert "block.7.attn.add adds spikes to spikes: 17 spike trains" in causes["block.7.mlp.fc1_conv"]


def test_a_stream_without_neurons_is_caught():
    """A Spikingformer that lost the neurons before its MLP fails, and the message names the addition."""
    network = skeleton(SMALL)
    lost = "block.1.mlp.mlp1_lif"
    (source,) = network.node(lost).inputs
    nodes = tuple(
        replace(node, inputs=tuple(source if name == lost else name for name in node.inputs))
        for node in network.nodes
        if node.name != lost
    )
    found = check(replace(network, nodes=nodes))
    assert [layer.name for layer in found.offenders] == ["block.1.mlp.mlp1_conv"]
    assert found.offenders[0].cause.startswith("residual block.1.attn.add adds real values")
    assert isinstance(network.node(lost), LIF)


def test_integers_that_happen_to_be_binary_still_offend():
    """A graph that can emit 2 is not spike-driven, whatever one quiet run shows; the report says both."""
    made = synthesize(replace(SMALL, family="spikformer"), 0.2)
    silent = dict(made.network.weights) | {"patch_embed.rpe_conv.bn_shift": np.full(32, -1e3)}
    found = check(replace(made.network, weights=silent), Sample(made.sample))
    assert [layer.name for layer in found.offenders if layer.spikes] == [f"block.0.attn.{x}_conv" for x in "qkv"]
    assert {layer.name for layer in found.offenders} == {
        layer.name for layer in found.layers if layer.kind == "integers"
    }
    assert not found.spike_driven
    assert "0/1 here" in str(check_report(found))


@pytest.mark.parametrize(("family", "code"), [("spikingformer", 0), ("spikformer", 1)])
def test_exit_codes_and_json(family, code, tmp_path):
    """0 if spike-driven, 1 if not, with the same verdict in JSON; first convolution and head are listed apart."""
    made = synthesize(replace(SMALL, family=family), 0.2)
    modelfile.save(made.network, tmp_path / "model.h5")
    np.save(tmp_path / "input.npy", made.sample)
    arguments = ("check", tmp_path / "model.h5", "--input", tmp_path / "input.npy")
    outcome = evsim(*arguments, "--json", "-")
    assert outcome.code == code
    document = json.loads(outcome.out)
    assert document["spike_driven"] is (code == 0)
    roles = {layer["name"]: layer["role"] for layer in document["layers"]}
    assert roles["patch_embed.proj_conv"] == "first"
    assert roles["head"] == "head"
    offending = [layer for layer in document["layers"] if layer["offending"]]
    assert bool(offending) is (code == 1)
    assert all(layer["cause"] and layer["values"]["histogram"] for layer in offending)
    outcome = evsim(*arguments)
    assert outcome.code == code
    text = outcome.out
    assert ("NOT spike-driven" in text) is (code == 1)
    assert "apart from these, by design" in text


def test_errors_exit_with_2(tmp_path):
    """A missing model is an error, not a verdict."""
    outcome = evsim("check", tmp_path / "none.h5")
    assert outcome.code == 2
    assert "does not exist" in outcome.err

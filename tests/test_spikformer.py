"""Spikformer, whose residual adds spikes to spikes: equal to PyTorch, counted both ways, told apart from its kin."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import h5py
import numpy as np
import pytest
from beside import goldens, needed

from evsim import modelfile
from evsim.converters import ConvertOptions, convert
from evsim.converters.checkpoint import read_checkpoint
from evsim.converters.presets import Preset
from evsim.converters.registry import PRESETS
from evsim.energy import Options, charge, paper
from evsim.engine import Simulator
from evsim.errors import CheckpointError, OptionError
from evsim.observers import Counter, SpikeRecorder
from evsim.synthesis import save_state, synthesize

OWN = sorted((Path(__file__).parent / "data" / "golden").glob("spikformer-*"))
GOLDENS = pytest.mark.parametrize("folder", OWN + goldens("spikformer-*"), ids=lambda path: path.name)
IMAGENET = next(folder for folder in OWN if folder.name == "spikformer-imagenet")
CIFAR = next(folder for folder in OWN if folder.name == "spikformer-cifar")


def network_of(folder, tmp_path):
    """Convert a golden's checkpoint, store it and load it again."""
    done = convert(needed(folder) / "checkpoint.pth.tar", ConvertOptions(family="spikformer"))
    modelfile.save(done.network, tmp_path / "model.h5")
    return modelfile.load(tmp_path / "model.h5")


def run(network, folder, **options):
    """Run a golden's input; return logits, counts and spikes."""
    simulator = Simulator(network, **options)
    counter, recorder = Counter(network, simulator.timesteps), SpikeRecorder(network)
    logits = simulator.run(np.load(folder / "input.npy"), [counter, recorder])
    return logits, counter.counts(), recorder.trains


def flips(trains, folder):
    """Return how many spikes differ from the golden's, of how many."""
    different = total = 0
    with h5py.File(folder / "golden.h5") as file:
        assert set(trains) == set(file["spikes_float64"])
        for name, golden in file["spikes_float64"].items():
            packed, shape = trains[name]
            assert shape == (golden.attrs["shape"][0], *golden.attrs["shape"][2:]), name
            different += int(np.bitwise_count(packed ^ golden[()]).sum())
            total += int(np.prod(shape))
    return different, total


@pytest.mark.parametrize("schedule", ["layer", "time"])
@GOLDENS
def test_float64_equals_pytorch(folder, schedule, tmp_path):
    """In float64 no spike differs, logits agree to 1e-9, in both schedules."""
    logits, _, trains = run(network_of(folder, tmp_path), folder, precision="float64", schedule=schedule)
    with h5py.File(folder / "golden.h5") as file:
        np.testing.assert_allclose(logits, file["logits_float64"][0], rtol=0, atol=1e-9)
    assert flips(trains, folder)[0] == 0


@GOLDENS
def test_counts_equal_the_oracle(folder, tmp_path):
    """SOPs, MACs, nonzeros and both orders of attention agree to the integer; integers are marked as such."""
    _, counts, _ = run(network_of(folder, tmp_path), folder, precision="float64")
    expected = json.loads((folder / "exact_counts.json").read_text())
    for name, golden in expected.items():
        layer = counts.layer(name)
        if name.endswith(".ssa"):
            order = golden.get("order")
            if order is not None:
                assert layer.sops_per_head.tolist() == golden[order]
                other = next(key for key in ("q(kv)", "(qk)v") if key != order)
                assert layer.sops_other_order_per_head.tolist() == golden[other]
            continue
        assert int(layer.sops.sum() + layer.macs.sum()) == golden["accumulates_in_bounds"], name
        assert int(layer.input_nonzeros.sum()) == golden["input_nonzeros"], name
        assert bool(layer.binary_samples) is golden["input_binary"], name
        graded = name.split(".")[-1].split("_")[0] in ("q", "k", "v", "fc1")
        frames = name == "patch_embed.proj_conv" and folder.name.startswith("spikformer-dvs")
        assert (layer.input_kind == "integers") is (graded or frames), name


@GOLDENS
def test_paper_view_equals_the_tool(folder, tmp_path):
    """Both ways of charging integers give the tool's totals and rows."""
    _, counts, _ = run(network_of(folder, tmp_path), folder, precision="float64")
    golden = json.loads((folder / "paper_tool.json").read_text())
    cases = {"binary-only": golden} | (
        {"integer-as-events": golden["integer_as_events"]} if "integer_as_events" in golden else {}
    )
    for nonspike, expected in cases.items():
        energy, rows = charge(counts, "paper", options=Options(nonspike=nonspike)), paper.estimate(counts, nonspike)
        assert energy.energy_mj == pytest.approx(expected["energy_mJ"], rel=1e-9)
        totals = [total / 1e9 for total in paper.totals(counts, nonspike)]
        assert totals == pytest.approx([expected["gacs"], expected["gmacs"]], rel=1e-9)
        for name, row in expected["per_layer"].items():
            if "_lif" not in name:
                assert rows[name].acs == pytest.approx(row["acs"], rel=1e-9), name
                assert rows[name].macs == pytest.approx(row["macs"], rel=1e-9), name


@GOLDENS
def test_unrolled_accumulates_are_the_sum_of_values(folder, tmp_path):
    """A 1x1 layer on integers does value-many accumulates per output: the sum of its input times the fan-out."""
    _, counts, _ = run(network_of(folder, tmp_path), folder)
    for layer in counts.layers:
        if layer.input_kind == "integers" and layer.geometry.kernel == (1, 1):
            fan_out = layer.geometry.out_channels
            assert layer.acs_unrolled.tolist() == (layer.input_sum * fan_out).tolist()
            assert layer.macs.tolist() == (layer.input_nonzeros * fan_out).tolist()


@GOLDENS
def test_float32_predicts_the_same(folder, tmp_path):
    """In float32 hardly any spike differs, and no result depends on threads."""
    network = network_of(folder, tmp_path)
    first, _, trains = run(network, folder)
    second, _, _ = run(network, folder, threads=2, schedule="time")
    different, total = flips(trains, folder)
    assert different <= 1e-4 * total
    assert (first == second).all()
    with h5py.File(folder / "golden.h5") as file:
        assert first.argmax() == file["logits_float64"][0].argmax()


def test_keys_alone_decide_only_for_cifar():
    """Linear layers are Spikformer's; the other keys are also those of old Spikingformers and need --family."""
    assert convert(CIFAR / "checkpoint.pth.tar").network.family == "spikformer"
    with pytest.raises(OptionError, match="`family`"):
        convert(IMAGENET / "checkpoint.pth.tar")
    old = convert(IMAGENET / "checkpoint.pth.tar", ConvertOptions(family="spikingformer", heads=2, timesteps=4))
    assert old.network.family == "spikingformer"


def test_a_preset_names_the_family():
    """A preset decides where keys cannot, and is refused where they are another family's."""
    with pytest.raises(OptionError, match="dim"):
        convert(IMAGENET / "checkpoint.pth.tar", ConvertOptions(preset="spikformer-8-512-imagenet"))
    with pytest.raises(OptionError, match="not of spikingformer"):
        convert(CIFAR / "checkpoint.pth.tar", ConvertOptions(preset="spikingformer-4-384-cifar10"))


def test_contradictions_are_refused():
    """A tokenizer, preset or variant that the keys contradict is an error that says so."""
    for options, message in (
        (ConvertOptions(family="spikformer", tokenizer="cifar"), "tokenizer"),
        (ConvertOptions(family="spikformer", preset="spikformer-8-512-imagenet"), "dim"),
        (ConvertOptions(family="spikformer", variant="cml"), "variant"),
    ):
        with pytest.raises(OptionError, match=message):
            convert(IMAGENET / "checkpoint.pth.tar", options)


def test_missing_and_unknown_keys_are_named(tmp_path):
    """A lost layer or a stray key is named."""
    state = dict(read_checkpoint(IMAGENET / "checkpoint.pth.tar").tensors)
    options = ConvertOptions(family="spikformer", heads=2, timesteps=4, image_size=64)
    for change, message in (
        ({"patch_embed.proj_conv2.weight": None}, r"patch_embed\.proj_conv2\.weight"),
        ({"block.0.mlp.fc2_bn.bias": None}, r"block\.0\.mlp\.fc2_bn\.bias"),
        ({"block.0.attn.extra.weight": np.ones(3, np.float32)}, r"block\.0\.attn\.extra\.weight"),
    ):
        kept = {key: value for key, value in (state | change).items() if value is not None}
        save_state(kept, tmp_path / "state.h5")
        with pytest.raises(CheckpointError, match=message):
            convert(tmp_path / "state.h5", options)


@pytest.mark.parametrize("tokenizer", ["imagenet", "cifar", "dvs"])
def test_synthetic_spikformers_fire_as_told(tokenizer):
    """A synthetic Spikformer of any form reaches its rates; its stream holds integers above 1."""
    names = {"imagenet": "spikformer-8-512-imagenet", "cifar": "spikformer-4-384-cifar10"}
    base = PRESETS[names.get(tokenizer, "spikformer-2-256-dvs128")]
    sizes = {"dim": 64, "depth": 2, "heads": 4, "timesteps": 4, "image_size": 64, "classes": 10}
    small = Preset(**({f.name: getattr(base, f.name) for f in fields(base)} | sizes))
    made = synthesize(small, 0.2)
    assert all(rate.reached == pytest.approx(0.2, rel=0.02) for rate in made.rates)
    counter = Counter(made.network, 4)
    Simulator(made.network, precision="float64").run(made.sample, [counter])
    last = counter.counts().layer(f"block.1.mlp.fc1_{'linear' if tokenizer == 'cifar' else 'conv'}")
    assert last.input_kind == "integers"
    assert int(last.input_sum.sum()) > int(last.input_nonzeros.sum())

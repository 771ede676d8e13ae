"""Synthetic models: random weights that fire at published rates, the same in evsim and as a state_dict."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from commands import evsim

from evsim import modelfile
from evsim.converters import ConvertOptions, convert
from evsim.converters.presets import Preset
from evsim.converters.registry import PRESETS
from evsim.data import published
from evsim.engine import Simulator
from evsim.errors import OptionError
from evsim.network import LIF, MaxPool
from evsim.observers import Counter, SpikeRecorder
from evsim.synthesis import synthesize
from evsim.synthesis.calibration import calibrate
from evsim.synthesis.fitting import MARGIN
from evsim.synthesis.graph import Graph

SMALL = Preset("imagenet", 64, 2, 4, 4, 10, 64, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
CIFAR = "spikingformer-4-384-cifar10"
EVENTS = Preset("dvs", 32, 1, 4, 6, 11, 32, "spikformer")


def rates_of(network, sample, precision):
    """Run a network and return the rate of every LIF, after the max-pool that alone reads it."""
    recorder = SpikeRecorder(network)
    simulator = Simulator(network, precision=precision)
    simulator.run(sample, [recorder])
    rates = {}
    for name, (packed, shape) in recorder.trains.items():
        spikes = np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape)
        if any(isinstance(network.node(reader), MaxPool) for reader in network.consumers()[name]):
            height, width = shape[-2:]
            padded = np.pad(spikes, ((0, 0), (0, 0), (1, 1), (1, 1)))
            windows = [padded[..., i : i + height : 2, j : j + width : 2] for i in range(3) for j in range(3)]
            spikes = np.max([w[..., : (height + 1) // 2, : (width + 1) // 2] for w in windows], axis=0)
        rates[name] = float(spikes.mean())
    return rates


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("preset", ["spikingformer-4-384-cifar10", "spikingformer-2-256-dvs128"])
def test_every_neuron_layer_fires_at_its_target(preset, precision):
    """All rates of a run are within 2 % of their targets, in both precisions."""
    made = synthesize(preset)
    reached = rates_of(made.network, made.sample, precision)
    assert {rate.name for rate in made.rates} == set(reached)
    for rate in made.rates:
        assert reached[rate.name] == pytest.approx(rate.target, rel=0.02), rate


def test_targets_are_the_published_rates_of_the_layers_read():
    """In a model of published depth every LIF's target is the published input rate of the layer behind it."""
    made = synthesize(Preset("imagenet", 64, 8, 4, 4, 10, 32, mean=(0.5,) * 3, std=(0.2,) * 3))
    log = published("spikingformer-8-512")
    by_name = {layer["name"].replace("fc", "mlp"): layer["rate"] for layer in log["layers"]}
    targets = {rate.name: rate.target for rate in made.rates}
    assert targets["patch_embed.proj1_lif"] == by_name["patch_embed.proj_conv1"]
    assert targets["patch_embed.proj4_lif"] == by_name["patch_embed.rpe_conv"]
    for i in range(8):
        assert targets[f"block.{i}.attn.proj_lif"] == by_name[f"block.{i}.attn.q_conv"]
        assert targets[f"block.{i}.attn.v_lif"] == log["ssa"]["rates"][i]["v"]
        assert targets[f"block.{i}.attn.attn_lif"] == by_name[f"block.{i}.attn.proj_conv"]
        assert targets[f"block.{i}.mlp.mlp2_lif"] == by_name[f"block.{i}.mlp.mlp2_conv"]


@pytest.mark.parametrize("scale", [0.5, 2.0, 50.0])
def test_scaled_rates_are_capped(scale):
    """A scale multiplies every target, up to 0.9; the same seed gives the same weights."""
    base, scaled = synthesize(SMALL, 0.1), synthesize(SMALL, 0.1, scale)
    assert all(rate.target == pytest.approx(min(0.9, 0.1 * scale)) for rate in scaled.rates)
    np.testing.assert_array_equal(base.state["head.weight"], scaled.state["head.weight"])
    np.testing.assert_array_equal(base.sample, scaled.sample)


def test_seeds_give_other_weights():
    """The seed decides weights and input, wholly."""
    first, again, other = synthesize(SMALL, 0.2), synthesize(SMALL, 0.2), synthesize(SMALL, 0.2, seed=1)
    assert all((first.state[key] == again.state[key]).all() for key in first.state)
    largest = synthesize(SMALL, 0.2, seed=2**64 - 1)
    for seeded in (other, largest):
        assert (first.state["head.weight"] != seeded.state["head.weight"]).any()
        assert (first.sample != seeded.sample).any()
    assert "seed 1 (Philox 4x32-10)" in other.network.provenance["checkpoint"]


@pytest.mark.parametrize(
    ("model", "rates", "digest"),
    [
        (SMALL, 0.1, "e145731698b3cdaf4da50c7b64489fa856e87af021aa21ced3fcd4b54b64e4cf"),
        (EVENTS, 0.2, "54c0999de94e4b5d2f4835c92de994f79e8e3cd5c4b693c6318a2d6c2094c84c"),
        (
            "spikingformer-4-384-cifar10",
            "published",
            "669191ae3e7f4ecb7156e3b607cdf88a0d182f5147ca44917d6b21e0dee4015c",
        ),
    ],
)
def test_weights_are_the_same_everywhere(model, rates, digest):
    """Weights and sample are these bits under every NumPy, SciPy, Numba and CPU; run in each by `make`."""
    made = synthesize(model, rates)
    found = hashlib.sha256()
    for key, value in sorted((made.state | {"": made.sample}).items()):
        found.update(key.encode())
        found.update(value.astype(value.dtype.newbyteorder("<")).tobytes())
    assert found.hexdigest() == digest


def test_sums_are_exact_so_that_their_order_is_free():
    """Weights and sample are whole multiples of powers of two: float64 adds up their products exactly."""
    made = synthesize(SMALL, 0.1)
    weights = made.state["patch_embed.proj1_conv.weight"].astype(np.float64)
    spread = np.sqrt(2 / np.prod(weights.shape[1:]))
    step = 2.0 ** (np.frexp(spread)[1] - 14)
    assert weights.std() == pytest.approx(spread, rel=0.05)
    np.testing.assert_array_equal(weights / step, np.rint(weights / step))
    assert 2**13 <= spread / step < 2**14
    np.testing.assert_array_equal(made.sample * 4096, np.rint(made.sample * 4096))


@pytest.mark.parametrize(("model", "rates"), [(SMALL, 0.1), (EVENTS, 0.2), ("spikformer-4-384-cifar10", "published")])
def test_no_membrane_comes_near_its_threshold(model, rates):
    """Thresholds moved by less than the margin give the same spikes, and float32 those of float64."""
    made = synthesize(model, rates)
    attention = Graph(made.network).attention
    trains = []
    for margin, precision in (
        (0.0, "float64"),
        (-0.99 * MARGIN, "float64"),
        (0.99 * MARGIN, "float64"),
        (0.0, "float32"),
    ):
        nodes = [
            replace(node, v_threshold=node.v_threshold + margin)
            if isinstance(node, LIF) and node.name not in attention
            else node
            for node in made.network.nodes
        ]
        moved = replace(made.network, nodes=tuple(nodes))
        recorder = SpikeRecorder(moved)
        Simulator(moved, precision=precision).run(made.sample, [recorder])
        trains.append({name: packed.tobytes() for name, (packed, _) in recorder.trains.items()})
    assert trains[0] == trains[1] == trains[2] == trains[3]


def test_state_dict_and_model_are_one(tmp_path):
    """The state_dict, converted by its preset, gives the spikes of the model.h5 beside it."""
    names = ["model.h5", "state.h5", "input.npy", "again.h5"]
    model, state, sample, again = (tmp_path / name for name in names)
    preset = "spikingformer-2-384-cifar10"
    options = ("--rates", "0.15", "-o", model, "--state-dict", state, "--sample", sample)
    assert evsim("synthesize", preset, *options).code == 0
    modelfile.save(convert(state, ConvertOptions(preset=preset)).network, again)
    trains = []
    for path in (model, again):
        network = modelfile.load(path)
        recorder, counter = SpikeRecorder(network), Counter(network, 4)
        Simulator(network).run(np.load(sample), [recorder, counter])
        trains.append(recorder.trains)
    assert all((trains[0][name][0] == trains[1][name][0]).all() for name in trains[0])
    assert "synthetic" in modelfile.load(model).provenance["checkpoint"]
    assert evsim("run", model, "--input", sample).code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("spikingformer-9", "0.1"), "no preset is named spikingformer-9"),
        ((SMALL, "often"), "`rates` must be published or a number"),
        ((SMALL, 0.95), "`rates` must be"),
        ((SMALL, 0.1, 0.0), "`scale_rates"),
        ((SMALL, 0.1, 1.0, -1), "`seed` must be from 0"),
        ((SMALL, 0.1, 1.0, 2**64), "`seed` must be from 0"),
        ((Preset("imagenet", 100, 2, 4, 4, 10, 64), 0.1), "multiple of 8"),
    ],
)
def test_nonsense_is_refused(arguments, message):
    """Unknown presets, rates outside (0, 0.9] and sizes that do not divide are errors of one line."""
    with pytest.raises(OptionError, match=message):
        synthesize(*arguments)


def test_a_bad_preset_exits_with_2(tmp_path):
    """The command line names the presets that are near, else all, and writes nothing."""
    outcome = evsim("synthesize", "spikformer-8-999-imagenet", "-o", tmp_path / "m.h5")
    assert outcome.code == 2
    assert "near are spikformer-8-" in outcome.err
    assert "csnn-dvs128" not in outcome.err
    outcome = evsim("synthesize", "resnext", "-o", tmp_path / "m.h5")
    assert outcome.code == 2
    assert "known are csnn-dvs128" in outcome.err
    assert not list(tmp_path.iterdir())


def test_a_missed_target_is_said(tmp_path, monkeypatch):
    """Where attention cannot fire as often as asked, a warning names it, and the model keeps what was reached."""
    out = tmp_path / "m.h5"
    preset = "spikingformer-2-256-dvs128"
    monkeypatch.setitem(PRESETS, preset, replace(PRESETS[preset], dim=32, heads=4, image_size=32))
    outcome = evsim("synthesize", preset, "--scale-rates", "0.01", "-o", out)
    assert outcome.code == 0
    warning = next(line for line in outcome.err.splitlines() if line.startswith("warning: "))
    assert "missed its target at" in warning
    made = synthesize(preset, scale_rates=0.01)
    worst = made.missed[0]
    assert abs(worst.error) == max(abs(rate.error) for rate in (*made.rates, *made.rates_float32))
    assert f"{worst.name} wanted {worst.target:.4%}, reached {worst.reached:.4%}" in warning
    told = modelfile.load(out).provenance["calibration"]
    assert f"worst error of a rate {abs(worst.error):.2%}" in told
    assert "MISSED" in told
    kept = synthesize(SMALL, 0.1)
    assert not kept.missed
    assert "MISSED" not in kept.network.provenance["calibration"]


def test_targets_out_of_reach_are_not_tried_forever(monkeypatch):
    """Calibration is drawn twice, not eight times, where the target is missed by far in float64 already."""
    draws = []

    def counted(*arguments):
        draws.append(1)
        return calibrate(*arguments)

    monkeypatch.setattr("evsim.synthesis.model.calibrate", counted)
    made = synthesize(SMALL, 0.003)
    assert made.missed[0].error < -0.1
    assert len(draws) == 2


@pytest.mark.parametrize("model", ["spikformer-4-384-cifar10", SMALL])
def test_facts_are_said_to_come_from_the_preset(model):
    """Provenance names the preset, not options of the converter that nobody gave."""
    provenance = synthesize(model, 0.2).network.provenance
    assert provenance["family"].endswith("(from the preset)")
    assert not [text for text in provenance.values() if "from --" in text]


def test_no_layer_is_silent_at_a_low_rate():
    """With one low rate for all, no LIF is silent."""
    made = synthesize(SMALL, 0.05)
    reached = rates_of(made.network, made.sample, "float64")
    silent = [node.name for node in made.network.nodes if isinstance(node, LIF) and reached[node.name] == 0.0]
    assert not silent

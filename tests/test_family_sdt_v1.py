"""Spike-driven Transformer V1: equal to the authors' code and to a plain forward pass, in every mode it has."""

from __future__ import annotations

from dataclasses import replace

import families
import numpy as np
import plain
import pytest
from commands import evsim, refused
from torch_files import Namespace, as_tensors, write_checkpoint

from evsim import modelfile
from evsim.converters import ConvertOptions, convert
from evsim.converters.presets import Preset
from evsim.converters.sdt_v1 import FAMILY
from evsim.network import LIF
from evsim.synthesis import skeleton, synthesize
from evsim.synthesis.rates import published_rate

FILES = {
    ("sdt-imagenet-2-64", "state_dict.h5"): {"timesteps": 4, "image_size": 64, "pooling_stat": "1111"},
    ("sdt-imagenet-2-64", "checkpoint.pth.tar"): {},
    ("sdt-cifar10dvs-2-48", "state_dict.h5"): {
        "timesteps": 4, "image_size": 64, "pooling_stat": "0011", "dvs_mode": True
    },
    ("sdt-cifar10dvs-2-48", "checkpoint.pth.tar"): {},
    ("sdt-cifar-2-128", "state_dict.h5"): {"timesteps": 4, "pooling_stat": "0011"},
}  # fmt: skip
SMALL = {
    "imagenet": Preset("imagenet", 32, 2, 4, 3, 5, 26, "sdt-v1", pooling_stat="1111"),
    "ratio 1": Preset("cifar", 32, 2, 4, 3, 5, 12, "sdt-v1", pooling_stat="0011", mlp_ratio=1),
    "dvs": Preset("dvs", 32, 2, 4, 4, 5, 18, "sdt-v1", pooling_stat="0111", dvs_mode=False),
    "dvs mode": Preset("dvs", 32, 2, 4, 4, 5, 15, "sdt-v1", pooling_stat="0011", dvs_mode=True),
    "plif, dvs mode": Preset("dvs", 32, 1, 4, 4, 5, 12, "sdt-v1", pooling_stat="1000", dvs_mode=True),
}
UNUSED = ("patch_embed.rpe_lif", "block.0.attn.attn_lif")


def trained(state, seed=5):
    """Return a state_dict with a time constant for every layer of neurons, those that nothing reads too."""
    blocks = sorted({key.split(".")[1] for key in state if key.startswith("block.")})
    names = [f"patch_embed.proj_lif{i}" for i in ("", "1", "2", "3")] + ["patch_embed.rpe_lif", "head_lif"]
    attention = ("shortcut", "q", "k", "v", "attn", "talking_heads")
    names += [f"block.{block}.attn.{name}_lif" for block in blocks for name in attention]
    names += [f"block.{block}.mlp.{name}_lif" for block in blocks for name in ("fc1", "fc2")]
    rng = np.random.default_rng(seed)
    return state | {f"{name}.w": np.float32(rng.normal(0.3, 0.5)) for name in names}


def small(which, **other):
    """Return a small model's sizes, and a random state_dict of them."""
    preset = replace(SMALL[which], **other)
    form, sizes = FAMILY.sizes(preset)
    state = families.random_state(FAMILY.form(form), sizes, seed=11)
    return preset, trained(state) if "plif" in which else state


def options_of(preset):
    """Return what a state_dict does not tell, as options."""
    return ConvertOptions(
        timesteps=preset.timesteps, image_size=preset.image_size, pooling_stat=preset.pooling_stat,
        dvs_mode=preset.dvs_mode,
    )  # fmt: skip


@pytest.mark.parametrize(("name", "file"), FILES)
def test_every_file_of_the_authors_runs_as_their_code(name, file, tmp_path):
    """No spike differs, logits agree, counts are equal to the integer, by both schedules and thread counts."""
    folder = families.golden(name)
    network = convert(folder / file, ConvertOptions(**FILES[name, file])).network
    families.check_golden(folder, network, tmp_path)


@pytest.mark.parametrize("which", SMALL)
def test_a_random_model_runs_as_a_plain_forward_pass(which, tmp_path):
    """Pooling of any stages, dvs mode, PLIF, an MLP that does not widen: every spike and the logits."""
    preset, state = small(which)
    path = families.write_state(tmp_path / "s.h5", state)
    modelfile.save(convert(path, options_of(preset)).network, tmp_path / "m.h5")
    network = modelfile.load(tmp_path / "m.h5")
    rng, side = np.random.default_rng(3), preset.image_size
    if preset.tokenizer == "dvs":
        sample = rng.poisson(0.4, (preset.timesteps, 2, side, side)).astype(np.float32)
        frames = sample.transpose(0, 2, 3, 1).astype(np.float64)
    else:
        sample = rng.normal(0.0, 1.0, (3, side, side)).astype(np.float32)
        frames = np.repeat(sample.transpose(1, 2, 0)[None].astype(np.float64), preset.timesteps, axis=0)
    spikes, logits = plain.sdt(state, frames, preset.heads, preset.pooling_stat, bool(preset.dvs_mode))
    families.check_plain(network, sample, spikes, logits)


def test_pooling_is_asked_for_and_dvs_mode_is_assumed_off(tmp_path):
    """Keys tell neither; the one has no usual value, the other has, which is said."""
    preset, state = small("dvs mode")
    path = families.write_state(tmp_path / "s.h5", state)
    given = ("--timesteps", preset.timesteps, "--image-size", preset.image_size)
    text = refused("convert", path, tmp_path / "m.h5", *given)
    assert "does not tell pooling stat: give it by --pooling-stat" in text
    outcome = evsim("convert", path, tmp_path / "m.h5", *given, "--pooling-stat", "0011")
    assert " False (assumed: off in all published models but those of CIFAR10-DVS)" in outcome.out
    assert "image size: give it" in refused(
        "convert", path, tmp_path / "m.h5", "--timesteps", 4, "--pooling-stat", "0011"
    )


@pytest.mark.parametrize(
    ("dataset", "chosen", "wanted"),
    [
        ("cifar10-dvs", None, "True (assumed: args.dataset is cifar10-dvs)"),
        ("cifar10-dvs-tet", None, "True (assumed: args.dataset is cifar10-dvs-tet)"),
        ("gesture", None, "False (assumed: args.dataset is gesture)"),
        ("gesture", True, "True (from --dvs-mode True)"),
        ("cifar10-dvs", False, "False (from --dvs-mode False)"),
    ],
)
def test_the_data_set_tells_the_dvs_mode(dataset, chosen, wanted, tmp_path):
    """As in the authors' script, and an option goes before it."""
    _, state = small("dvs mode")
    args = Namespace(
        model="sdt", dataset=dataset, time_steps=4, img_size=16, num_heads=4, pooling_stat="0011", spike_mode="lif"
    )
    path = write_checkpoint(tmp_path / "c.pth.tar", {"state_dict": as_tensors(state), "args": args})
    network = convert(path, ConvertOptions(dvs_mode=chosen)).network
    told = network.provenance["dvs_mode"]
    assert told.split(" (")[0] == wanted.split(" (")[0]
    assert told == wanted or chosen is not None
    assert any(node.name.endswith("kv_pool") for node in network.nodes) == wanted.startswith("True")


def test_plif_is_told_by_the_keys(tmp_path):
    """A w by every layer of neurons makes PLIF; what is unused is left out; one that is missing is named."""
    preset, state = small("plif, dvs mode")
    path = families.write_state(tmp_path / "s.h5", state)
    converted = convert(path, replace(options_of(preset), neuron="plif"))
    assert converted.network.provenance["neuron"] == "plif (from the keys)"
    assert {node.neuron for node in converted.network.nodes if hasattr(node, "neuron")} == {"plif"}
    assert not any(key.startswith(UNUSED) for key in converted.network.weights)
    given = ("--timesteps", 4, "--image-size", 12, "--pooling-stat", "1000")
    lost = {key: value for key, value in state.items() if key != "block.0.mlp.fc2_lif.w"}
    path = families.write_state(tmp_path / "t.h5", lost)
    assert "lacks block.0.mlp.fc2_lif.w" in refused("convert", path, tmp_path / "m.h5", *given)
    path = families.write_state(tmp_path / "s.h5", state)
    for option, why in (
        (("--neuron", "lif"), "--neuron lif contradicts the checkpoint, whose weights say plif"),
        (("--tau", 2.0), "--tau means nothing for PLIF neurons"),
    ):
        assert why in refused("convert", path, tmp_path / "m.h5", *given, *option)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--family", "spikformer"), "its keys are those of sdt-v1, not of spikformer"),
        (("--heads", 8), "--heads 8 contradicts the checkpoint, whose weights say 4"),
        (("--pooling-stat", "11"), "--pooling-stat must be one of 0000, 0001,"),
        (("--neuron", "if"), "--neuron must be one of lif, plif, got if"),
        (("--tokenizer", "dvs"), "tokenizer dvs (from --tokenizer) makes no sense"),
        (("--preset", "sdt-2-256-cifar10"), "--preset sdt-2-256-cifar10 says dim 256"),
    ],
)
def test_what_does_not_fit_is_refused(options, why, tmp_path):
    """The wrong family, number of heads, pooling or neuron is named in one line."""
    path = families.write_state(tmp_path / "s.h5", small("imagenet")[1])
    given = ("--timesteps", 3, "--image-size", 32, *(() if "--pooling-stat" in options else ("--pooling-stat", "1111")))
    assert why in refused("convert", path, tmp_path / "m.h5", *given, *options)


def test_options_that_repeat_what_the_keys_say_are_taken(tmp_path):
    """Family, heads, neuron and dvs mode may be said again."""
    path = families.write_state(tmp_path / "s.h5", small("imagenet")[1])
    said = ("--family", "sdt-v1", "--heads", 4, "--neuron", "lif", "--no-dvs-mode", "--variant", "standard")
    given = ("--timesteps", 3, "--image-size", 32, "--pooling-stat", "1111")
    outcome = evsim("convert", path, tmp_path / "m.h5", *said, *given)
    assert (outcome.code, outcome.err) == (0, "")
    assert "no forward pass reads them: 2 tensors" in outcome.out
    assert " 0.95 (assumed: as the authors' scripts)" in outcome.out


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("sdt-8-384", 16.817), ("sdt-6-512", 23.374), ("sdt-8-512", 29.690), ("sdt-10-512", 36.006),
        ("sdt-8-768", 66.339), ("sdt-2-256-cifar10", 2.567), ("sdt-2-512-cifar10", 10.234),
    ],
)  # fmt: skip
def test_presets_have_the_published_sizes(name, millions):
    """Weights, biases and BatchNorm's gain and shift amount to the published number of parameters."""
    assert round(families.parameters(FAMILY, name) / 1e6, 3) == millions


@pytest.mark.parametrize("which", [which for which in SMALL if "plif" not in which])
def test_a_synthetic_model_fires_as_it_is_told(which):
    """Every layer of neurons but the masks, which fire as they do, reaches its rate; so does the head's."""
    made = synthesize(families.seen(SMALL[which]), 0.2)
    lifs = {node.name for node in made.network.nodes if isinstance(node, LIF)}
    masks = {name for name in lifs if name.endswith("talking_heads_lif")}
    assert {rate.name for rate in made.rates} == lifs - masks
    assert "head_lif" in lifs
    assert masks
    assert all(abs(rate.error) < 0.05 for rate in made.rates)


def test_neurons_have_the_rates_of_their_place():
    """Every layer of neurons of each published model has a rate of Spikingformer's; that of the head is assumed."""
    for name, preset in FAMILY.presets.items():
        lifs = [node.name for node in skeleton(name).nodes if isinstance(node, LIF)]
        rates = {lif: published_rate(lif, preset, FAMILY) for lif in lifs if not lif.endswith("talking_heads_lif")}
        assert all(0.0 < rate < 0.9 for rate in rates.values()), name
        assert rates["head_lif"] == 0.15

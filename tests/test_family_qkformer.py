"""QKFormer in its three forms: equal to the authors' code and to a plain forward pass, with its facts and refusals."""

from __future__ import annotations

from dataclasses import replace

import families
import numpy as np
import plain
import pytest
from commands import evsim, refused
from torch_files import Namespace, as_tensors, write_checkpoint

from evsim.converters import ConvertOptions, convert
from evsim.converters.presets import Preset
from evsim.converters.qkformer import FAMILY
from evsim.errors import OptionError
from evsim.network import LIF
from evsim.synthesis import skeleton, synthesize
from evsim.synthesis.rates import published_rate

FILES = {
    ("qkformer-imagenet-5-48", "state_dict.h5"): {"heads": 6, "timesteps": 4, "image_size": 64},
    ("qkformer-imagenet-5-48", "checkpoint-199.pth"): {"heads": 6},
    ("qkformer-dvs-2-64", "state_dict.h5"): {"timesteps": 5, "image_size": 64},
    ("qkformer-dvs-2-64", "checkpoint_max_test_acc1.pth"): {"heads": 16, "image_size": 64},
    ("qkformer-cifar-4-128", "state_dict.h5"): {"timesteps": 4},
}
SMALL = {
    "imagenet": Preset("imagenet", 64, 4, 4, 3, 5, 32, "qkformer"),
    "cifar": Preset("cifar", 64, 3, 8, 3, 5, 12, "qkformer"),
    "dvs": Preset("dvs", 64, 2, 16, 4, 5, 26, "qkformer", mlp_ratio=1),
}


def small(form, **other):
    """Return a small model's sizes, and a random state_dict of them."""
    preset = replace(SMALL[form], **other)
    name, sizes = FAMILY.sizes(preset)
    return preset, families.random_state(FAMILY.form(name), sizes, seed=7)


@pytest.mark.parametrize(("name", "file"), FILES)
def test_every_file_of_the_authors_runs_as_their_code(name, file, tmp_path):
    """No spike differs, logits agree, counts are equal to the integer, by both schedules and thread counts."""
    folder = families.golden(name)
    network = convert(folder / file, ConvertOptions(**FILES[name, file])).network
    families.check_golden(folder, network, tmp_path)


@pytest.mark.parametrize("form", SMALL)
def test_a_random_model_runs_as_a_plain_forward_pass(form, tmp_path):
    """Each form, in sizes that no pool halves evenly: every spike and the logits."""
    preset, state = small(form)
    path = families.write_state(tmp_path / "s.h5", state)
    options = ConvertOptions(heads=preset.heads, timesteps=preset.timesteps, image_size=preset.image_size)
    network = convert(path, options).network
    assert network.name == f"qkformer-{preset.depth}-{preset.dim}"
    rng = np.random.default_rng(3)
    side = preset.image_size
    if form == "dvs":
        sample = rng.poisson(0.4, (preset.timesteps, 2, side, side)).astype(np.float32)
        frames = sample.transpose(0, 2, 3, 1).astype(np.float64)
    else:
        sample = rng.normal(0.0, 1.0, (3, side, side)).astype(np.float32)
        frames = np.repeat(sample.transpose(1, 2, 0)[None].astype(np.float64), preset.timesteps, axis=0)
    families.check_plain(network, sample, *plain.qkformer(state, frames, preset.heads))


def test_other_heads_are_another_model(tmp_path):
    """Heads decide what the mask lets through, so they are asked for where the code does not fix them."""
    preset, state = small("imagenet")
    path = families.write_state(tmp_path / "s.h5", state)
    assert "does not tell heads" in refused("convert", path, tmp_path / "m.h5", "--timesteps", 3, "--image-size", 32)
    sample = np.random.default_rng(3).normal(0.0, 1.0, (32, 32, 3)).astype(np.float32)
    frames = np.repeat(sample[None].astype(np.float64), preset.timesteps, axis=0)
    masks = [plain.qkformer(state, frames, heads)[0]["stage1.0.tssa.proj_lif"] for heads in (4, 2)]
    assert (masks[0] != masks[1]).any()


@pytest.mark.parametrize(("form", "heads"), [("cifar", 8), ("dvs", 16)])
def test_heads_that_the_code_fixes_are_assumed_and_said(form, heads, tmp_path):
    """CIFAR's and DVS's code has its own number, whatever args say; an option goes before."""
    _, state = small(form)
    args = Namespace(model="QKFormer", num_heads=3, T=3, time_step=3, img_size=16)
    path = write_checkpoint(tmp_path / "c.pth", {"state_dict": as_tensors(state), "args": args})
    facts = convert(path, ConvertOptions()).network.provenance
    assert facts["heads"].startswith(f"{heads} (assumed: fixed in the authors' code")
    assert facts["timesteps"] == "3 (from the checkpoint's args.time_step)"
    assert convert(path, ConvertOptions(heads=4)).network.provenance["heads"] == "4 (from --heads)"


def test_the_authors_function_tells_the_heads(tmp_path):
    """``args.model`` QKFormer_10_384 with that dimension says 6; with another dimension it says nothing."""
    preset = Preset("imagenet", 384, 4, 6, 1, 5, 32, "qkformer")
    name, sizes = FAMILY.sizes(preset)
    state = families.random_state(FAMILY.form(name), sizes, seed=1)
    args = Namespace(model="QKFormer_10_384", time_step=4, input_size=32, nb_classes=5)
    path = write_checkpoint(tmp_path / "c.pth", {"model": as_tensors(state), "args": args})
    network = convert(path, ConvertOptions()).network
    assert network.provenance["heads"] == "6 (assumed: that of the authors' QKFormer_10_384)"
    assert (network.spec.timesteps, network.spec.height, network.spec.crop_pct) == (4, 32, 0.875)
    path = write_checkpoint(tmp_path / "d.pth", {"model": as_tensors(small("imagenet")[1]), "args": args})
    assert "does not tell heads" in refused("convert", path, tmp_path / "m.h5")


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--family", "spikformer"), "its keys are those of qkformer, not of spikformer"),
        (("--family", "sdt-v1"), "its keys are those of qkformer, not of sdt-v1"),
        (("--tokenizer", "cifar"), "--tokenizer cifar contradicts the checkpoint, whose weights say imagenet"),
        (("--variant", "cml"), "--variant must be one of standard"),
        (("--pooling-stat", "1111"), "--pooling-stat means nothing for qkformer"),
        (("--dvs-mode",), "--dvs-mode means nothing for qkformer"),
        (("--heads", 5), "16 channels do not divide into 5 heads"),
        (("--preset", "qkformer-4-384-cifar10"), "--preset qkformer-4-384-cifar10 says tokenizer cifar"),
    ],
)
def test_what_does_not_fit_is_refused(options, why, tmp_path):
    """The wrong family, form, option or number of heads is named in one line."""
    path = families.write_state(tmp_path / "s.h5", small("imagenet")[1])
    given = ("--timesteps", 3, "--image-size", 32, *(() if "--heads" in options else ("--heads", 4)))
    assert why in refused("convert", path, tmp_path / "m.h5", *given, *options)


def test_options_that_repeat_what_the_keys_say_are_taken(tmp_path):
    """Family, variant and tokenizer may be said again."""
    path = families.write_state(tmp_path / "s.h5", small("dvs")[1])
    said = ("--family", "qkformer", "--variant", "standard", "--tokenizer", "dvs", "--heads", 16, "--timesteps", 4)
    outcome = evsim("convert", path, tmp_path / "m.h5", *said)
    assert (outcome.code, outcome.err) == (0, "")
    assert "image_size   128 (assumed: size of the published dvs models)" in outcome.out


def test_a_lost_tensor_is_named(tmp_path):
    """A weight, BatchNorm or bias that every QKFormer has is asked for."""
    _, state = small("cifar")
    for lost in ("stage1.0.tssa.k_conv.weight", "stage2.0.tssa.proj_conv.bias", "patch_embed2.proj_res_bn.running_var"):
        path = families.write_state(tmp_path / "s.h5", {key: value for key, value in state.items() if key != lost})
        assert f"lacks {lost}" in refused("convert", path, tmp_path / "m.h5", "--timesteps", 3)


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("qkformer-10-384-imagenet", 16.474),
        ("qkformer-10-512-imagenet", 29.079),
        ("qkformer-10-768-imagenet", 64.963),
    ],
)
def test_presets_have_the_published_sizes(name, millions):
    """Weights, biases and BatchNorm's gain and shift amount to the published number of parameters."""
    assert round(families.parameters(FAMILY, name) / 1e6, 3) == millions


@pytest.mark.parametrize("change", [{"dim": 40}, {"depth": 2}, {"heads": 7}])
def test_sizes_that_make_no_sense_are_refused(change):
    """A preset of one's own says why it is none."""
    with pytest.raises(OptionError, match="makes no sense"):
        FAMILY.sizes(replace(SMALL["imagenet"], **change))


@pytest.mark.parametrize("form", SMALL)
def test_a_synthetic_model_fires_as_it_is_told(form):
    """Every layer of neurons but the masks, which count spikes and fire as they do, reaches its rate."""
    made = synthesize(families.seen(SMALL[form]), 0.2)
    lifs = {node.name for node in made.network.nodes if isinstance(node, LIF)}
    masks = {name for name in lifs if name.endswith("tssa.attn_lif")}
    assert {rate.name for rate in made.rates} == lifs - masks
    assert masks
    assert all(abs(rate.error) < 0.05 for rate in made.rates)


def test_neurons_have_the_rates_of_their_place():
    """Every layer of neurons of each published model has a rate of Spikingformer's, or the residual's."""
    for name, preset in FAMILY.presets.items():
        lifs = [node.name for node in skeleton(name).nodes if isinstance(node, LIF)]
        rates = {lif: published_rate(lif, preset, FAMILY) for lif in lifs if not lif.endswith("tssa.attn_lif")}
        assert all(0.0 < rate < 0.9 for rate in rates.values()), name
        assert {rates[lif] for lif in rates if lif.endswith(("proj_res_lif", "mlp2_lif", "fc2_lif"))} == {0.15}

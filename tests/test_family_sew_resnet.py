"""SEW-ResNet: equal to the code of the authors and of SpikingJelly; what keys cannot tell is asked for or assumed."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from beside import needed
from commands import evsim, refused
from resnets import SHARED, Drawn, Plain, join, resnet_state, run, same_as, same_as_golden
from torch_files import as_tensors, write_checkpoint

from evsim import modelfile
from evsim.converters import ConvertOptions, convert
from evsim.converters.registry import PRESETS
from evsim.errors import CheckpointError, OptionError
from evsim.synthesis import save_state, skeleton, synthesize

IMAGE = np.random.default_rng(3).standard_normal((3, 40, 40)).astype(np.float32)
GOLDENS = {
    "sew-resnet18-4": {"connect": "add", "image_size": 64},
    "sew-resnet18-sj-4": {"connect": "add", "image_size": 64, "family": "sew-resnet"},
    "sew-dvsgesture-8": {"connect": "add"},
}


def converted(tmp_path, state, args=None, **options):
    """Convert a state_dict, store the network and load it again."""
    content = {"model": as_tensors(state)} | ({"args": Namespace(**args)} if args else {})
    path = write_checkpoint(tmp_path / "c.pth", content)
    told = ConvertOptions(**({"timesteps": 3} | options))
    conversion = convert(path, told)
    modelfile.save(conversion.network, tmp_path / "m.h5")
    return replace(conversion, network=modelfile.load(tmp_path / "m.h5"))


def repeated(image, timesteps=3):
    """Return an image at every timestep."""
    return np.repeat(image[np.newaxis], timesteps, 0)


@pytest.mark.parametrize("form", ["checkpoint_max_test_acc1.pth", "state_dict.h5"])
@pytest.mark.parametrize("name", GOLDENS)
def test_the_authors_code_gives_the_same(name, form):
    """No spike differs in float64, logits agree, counts are equal to the integer, by schedule and threads."""
    folder = needed(SHARED / name)
    told = GOLDENS[name] | ({} if form.endswith("pth") else {"timesteps": 4})
    if form.endswith("pth"):
        told = {key: value for key, value in told.items() if key != "connect"}  # args tell
    same_as_golden(convert(folder / form, ConvertOptions(**told)).network, folder)


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("keys", ["authors", "jelly"])
def test_every_block_and_function_equals_a_plain_pass(keys, deep, connect, tmp_path):
    """Both blocks, in both spellings of keys, joined by each function, give the spikes of a plain forward pass."""
    state = resnet_state(keys, False, deep=deep)
    plain = Plain(state)
    logits = plain.resnet(repeated(IMAGE), keys, False, connect=connect)
    network = converted(tmp_path, state, family="sew-resnet", connect=connect, image_size=40).network
    same_as(plain, logits, run(network, IMAGE))


def test_iand_of_spikingjellys_newer_bottleneck_is_turned(tmp_path):
    """SpikingJelly 0.0.0.0.14, and single-step 0.0.0.0.12, compute out (1 - shortcut) there; a note says so."""
    state = resnet_state("jelly", False, deep=True)
    plain = Plain(state)
    logits = plain.resnet(repeated(IMAGE), "jelly", False, connect="iand", turned=True)
    options = {"family": "sew-resnet", "connect": "iand", "image_size": 40}
    conversion = converted(tmp_path, state, **options, first_conv="every-step")
    same_as(plain, logits, run(conversion.network, IMAGE))
    assert any("out * (1 - shortcut)" in note for note in conversion.notes)
    assert not any("IAND" in note for note in converted(tmp_path, state, **options).notes)


@pytest.mark.parametrize("neuron", ["if", "lif", "plif"])
def test_neurons_are_those_that_keys_or_option_say(neuron, tmp_path):
    """IF is assumed, LIF is said, a learned leak stands in the keys; each gives the spikes of a plain pass."""
    state = resnet_state("jelly", False, learned=neuron == "plif")
    plain = Plain(state, neuron)
    logits = plain.resnet(repeated(IMAGE), "jelly", False)
    told = {"neuron": "lif"} if neuron == "lif" else {}
    network = converted(tmp_path, state, family="sew-resnet", connect="add", image_size=40, **told).network
    same_as(plain, logits, run(network, IMAGE))
    source = {"if": "assumed", "lif": "from --neuron", "plif": "from the keys"}[neuron]
    assert network.provenance["neuron"].startswith(f"{neuron} ({source}")
    if neuron != "plif":
        with pytest.raises(OptionError, match="no learned time constants"):
            converted(tmp_path, state, family="sew-resnet", connect="add", image_size=40, neuron="plif")
    else:
        with pytest.raises(OptionError, match="contradicts the checkpoint"):
            converted(tmp_path, state, family="sew-resnet", connect="add", image_size=40, neuron="if")


def test_grouped_bottlenecks_run(tmp_path):
    """ResNeXt's grouped convolution is read off its shape."""
    state = resnet_state("jelly", False, deep=True, groups=2)
    plain = Plain(state)
    logits = plain.resnet(repeated(IMAGE), "jelly", False)
    network = converted(tmp_path, state, family="sew-resnet", connect="add", image_size=40).network
    same_as(plain, logits, run(network, IMAGE))
    assert network.provenance["bottleneck"] == "width 4 in 2 groups (from the keys)"


def test_the_first_convolution_is_counted_as_often_as_it_runs(tmp_path):
    """Once: in timestep 0 alone; at every step: T times. Spikes are the same."""
    state = resnet_state("authors", False)
    once, each = (
        run(converted(tmp_path, state, connect="add", image_size=40, first_conv=when).network, IMAGE)
        for when in ("once", "every-step")
    )
    macs = int(each.counts.layer("conv1").macs[0])
    assert once.counts.layer("conv1").macs.tolist() == [macs, 0, 0]
    assert each.counts.layer("conv1").macs.tolist() == [macs] * 3
    assert all(np.array_equal(once.spikes[name], each.spikes[name]) for name in each.spikes)


def dvs_state(units, *, side=32, kind="sew", classes=3):
    """Draw an authors' DVS net: of its units, a number is a convolution to that width, "b" a block, "p" a pool."""
    state, width = Drawn(5), 2
    for number, unit in enumerate(units):
        path = f"conv.{number}"
        if unit == "p":
            side //= 2
        elif unit == "b":
            names = [(f"{path}.conv.0.0", f"{path}.conv.0.1"), (f"{path}.conv.1.0", f"{path}.conv.1.1")]
            if kind == "basic":
                names[1] = (f"{path}.conv.1", f"{path}.sn")
            for (name, neurons), shape in zip(names, ((width + 1, width, 3, 3), (width, width + 1, 3, 3)), strict=True):
                state.conv(f"{name}.module.0", f"{name}.module.1", *shape)
                state.learned(neurons)
        else:
            kernel, width_new = (3, -unit) if unit < 0 else (1, unit)
            state.conv(f"{path}.0.module.0", f"{path}.0.module.1", width_new, width, kernel, kernel)
            state.learned(f"{path}.1")
            width = width_new
    state.linear("out", classes, width * side * side)
    return state


def dvs_forward(plain, frames, units, kind, connect="add"):
    """Return the logits of an authors' DVS net."""
    x = frames.transpose(0, 2, 3, 1).astype(np.float64)
    for number, unit in enumerate(units):
        path = f"conv.{number}"
        if unit == "p":
            x = naive_pool(x)
        elif unit == "b":
            first, second = f"{path}.conv.0.0.module", f"{path}.conv.1{'' if kind == 'basic' else '.0'}.module"
            out = plain.fire(f"{path}.conv.0.1", plain.conv(x, f"{first}.0", f"{first}.1"))
            out = plain.conv(out, f"{second}.0", f"{second}.1")
            if kind == "basic":
                x = plain.fire(f"{path}.sn", x + out)
                continue
            out = plain.fire(f"{path}.conv.1.1", out)
            x = out if kind == "plain" else join(connect, x, out)
        else:
            x = plain.fire(f"{path}.1", plain.conv(x, f"{path}.0.module.0", f"{path}.0.module.1"))
    return plain.linear(x.transpose(0, 3, 1, 2).reshape(len(x), -1).mean(axis=0), "out")


def naive_pool(x):
    """Pool maps by 2 x 2."""
    steps, height, width, channels = x.shape
    return x.reshape(steps, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))


FRAMES = np.random.default_rng(8).poisson(0.6, (4, 2, 32, 32)).astype(np.float32)
NUMBERED = {
    "pool at the end": (4, "b", "p", "b", "p", 6, "b", "p"),
    "no pool at the end": (4, "b", "b", "p", 6, "b"),
    "two pools on end, a 3 x 3 entry": (-4, "b", "p", "p", "b", "p"),
}


@pytest.mark.parametrize("units", NUMBERED.values(), ids=NUMBERED)
@pytest.mark.parametrize(
    ("kind", "connect"), [("sew", "add"), ("sew", "and"), ("sew", "iand"), ("plain", None), ("basic", None)]
)
def test_dvs_nets_of_any_numbering_equal_a_plain_pass(units, kind, connect, tmp_path):
    """Pools stand where numbers are left out, and behind the last block as the last layer's width tells."""
    state = dvs_state(units, kind=kind)
    plain = Plain(state, "plif")
    logits = dvs_forward(plain, FRAMES, units, kind, connect)
    told = {"connect": connect, "timesteps": 4, "image_size": 32} | ({"variant": "plain"} if kind == "plain" else {})
    network = converted(tmp_path, state, **told).network
    done = run(network, FRAMES)
    np.testing.assert_allclose(done.logits, logits, rtol=0, atol=1e-9)
    for name, spikes in plain.spikes.items():
        assert np.array_equal(done.spikes.packed[name][0], np.packbits(spikes)), name


def test_dvs_nets_say_what_they_assume(tmp_path):
    """SEWBlock is assumed unless args name the net; a block told by keys, or without a function, refuses options."""
    units = NUMBERED["pool at the end"]
    state, told = dvs_state(units), {"timesteps": 4, "image_size": 32}
    facts = converted(tmp_path, state, connect="add", **told).network.provenance
    assert facts["variant"].startswith("standard (assumed: SEWBlock")
    args = {"model": "PlainNet", "connect_f": "ADD", "T": 4}
    network = converted(tmp_path, state, args, image_size=32).network
    assert (network.variant, network.provenance["variant"]) == ("plain", "plain (assumed: as args.model PlainNet)")
    for options, message in (
        ({}, "does not tell connect: give it by `connect`"),
        ({"connect": "add", "first_conv": "once"}, "`first_conv` means nothing"),
        ({"connect": "add", "heads": 8}, "`heads` means nothing"),
        ({"connect": "add", "variant": "plain"}, "`connect` means nothing"),
        ({"connect": "add", "variant": "basic"}, "variant basic"),
        ({"connect": "add", "tau": 2.0}, "`tau` means nothing for PLIF neurons"),
        ({"connect": "or"}, "`connect` must be one of add, and, iand, got or"),
    ):
        with pytest.raises(OptionError, match=message):
            converted(tmp_path, state, **told | options)
    with pytest.raises(OptionError, match="`variant=standard` contradicts"):
        converted(tmp_path, dvs_state(units, kind="basic"), variant="standard", **told)
    with pytest.raises(CheckpointError, match="`image_size`"):
        converted(tmp_path, state, connect="add", timesteps=4, image_size=64)
    with pytest.raises(CheckpointError, match="one position is left"):
        converted(tmp_path, state, connect="add", timesteps=4, image_size=2)
    lost = {key: value for key, value in state.items() if key != "conv.1.conv.0.1.w"}
    with pytest.raises(CheckpointError, match=r"lacks conv\.1\.conv\.0\.1\.w"):
        converted(tmp_path, lost, connect="add", **told)


def test_keys_of_an_ann_are_never_taken_for_a_spiking_one(tmp_path):
    """Of torchvision's keys the family must be said, whatever args say; the authors' keys tell it."""
    args = {"model": "multi_step_sew_resnet18", "T": 3, "connect_f": "ADD"}
    with pytest.raises(OptionError, match="say which by `family`"):
        converted(tmp_path, resnet_state("jelly", False), args, image_size=40)
    assert converted(tmp_path, resnet_state("authors", False), args, image_size=40).network.family == "sew-resnet"
    args["model"] = "multi_step_spiking_resnet18"
    with pytest.raises(OptionError, match=r"args\.model is multi_step_spiking_resnet18.*mend `family`"):
        converted(tmp_path, resnet_state("jelly", False), args, family="sew-resnet", image_size=40)
    with pytest.raises(OptionError, match="not of spiking-resnet"):
        converted(tmp_path, resnet_state("authors", False), family="spiking-resnet", image_size=40)
    with pytest.raises(OptionError, match="those of sew-resnet, not of spikformer"):
        converted(tmp_path, resnet_state("authors", False), family="spikformer", image_size=40)


def test_facts_are_asked_for_or_assumed_with_a_note(tmp_path):
    """Asked: T, size, connect. Assumed: IF, the first convolution once, how pictures are cut; args may tell more."""
    state = resnet_state("authors", False)
    save_state(state, tmp_path / "s.h5")
    assert "give it by --connect" in refused("convert", tmp_path / "s.h5", tmp_path / "m.h5")
    some = ("convert", tmp_path / "s.h5", tmp_path / "m.h5", "--connect", "iand")
    assert "give it by --timesteps" in refused(*some)
    assert "give it by --image-size" in refused(*some, "--timesteps", 3)
    told = (*some, "--timesteps", 3, "--image-size", 40)
    assert "every-step (from --first-conv)" in evsim(*told, "--first-conv", "every-step").out
    assert "must be one of once, every-step, got never" in refused(*told, "--first-conv", "never")
    assert "--tau means nothing" in refused(*told, "--tau", 2)
    out = evsim(*told).out
    for fact in ("neuron", "first_conv", "crop_pct", "interpolation", "v_threshold"):
        assert any(fact in line and "assumed" in line for line in out.splitlines()), fact
    conversion = converted(tmp_path, state, {"connect_f": "IAND", "T": 3}, connect="and", image_size=40, crop_pct=1.0)
    facts = conversion.network.provenance
    assert facts["connect"] == "and (from --connect, though args.connect_f is iand)"
    assert (conversion.network.spec.crop_pct, conversion.network.spec.interpolation) == (1.0, "bilinear")
    other = Path(__file__).parent / "data" / "golden" / "spikformer-imagenet" / "checkpoint.pth.tar"
    with pytest.raises(OptionError, match="`connect` means nothing for spikformer"):
        convert(other, ConvertOptions(family="spikformer", connect="add"))


def test_presets_have_the_published_sizes(tmp_path):
    """Parameters in millions, as published; a preset of another size is refused."""
    published = {18: 11.69, 34: 21.80, 50: 25.56, 101: 44.55, 152: 60.19}
    for depth, millions in published.items():
        network = skeleton(f"sew-resnet-{depth}-imagenet")
        numbers = sum(int(np.prod(shape)) for node in network.nodes for shape in node.parameters().values())
        assert round(numbers / 1e6, 2) == millions
    for name, width, pools in (("sew-resnet-dvs128", 32, 7), ("sew-resnet-cifar10dvs", 128, 7)):
        network = skeleton(name)
        assert network.shapes[network.nodes[-3].name].channels == width
        assert sum(type(node).__name__ == "MaxPool" for node in network.nodes) == pools
    with pytest.raises(OptionError, match="depth 18"):
        converted(tmp_path, resnet_state("authors", False), preset="sew-resnet-18-imagenet")


@pytest.mark.parametrize("preset", ["sew-resnet-18-imagenet", "sew-resnet-50-imagenet", "sew-resnet-cifar10dvs"])
def test_synthetic_models_fire_as_told(preset):
    """A synthetic model reaches its rates, neurons of a learned leak among them."""
    base = PRESETS[preset]
    small = replace(base, dim=8, timesteps=3, image_size=64 if base.tokenizer == "imagenet" else 128)
    assert all(rate.reached == pytest.approx(0.2, rel=0.05) for rate in synthesize(small, 0.2).rates)

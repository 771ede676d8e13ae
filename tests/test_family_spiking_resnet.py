"""Spiking ResNet: equal to SpikingJelly's code and to a plain pass in the authors' keys; told from its kin."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
from beside import needed
from resnets import SHARED, Plain, resnet_state, run, same_as, same_as_golden
from torch_files import as_tensors, write_checkpoint

from evsim.converters import ConvertOptions, convert
from evsim.converters.registry import PRESETS
from evsim.errors import OptionError
from evsim.synthesis import skeleton, synthesize

IMAGE = np.random.default_rng(4).standard_normal((3, 40, 40)).astype(np.float32)


def network_of(tmp_path, state, args=None, **options):
    """Convert a state_dict."""
    content = {"model": as_tensors(state)} | ({"args": Namespace(**args)} if args else {})
    path = write_checkpoint(tmp_path / "c.pth", content)
    return convert(path, ConvertOptions(timesteps=3, image_size=40, **options)).network


@pytest.mark.parametrize("form", ["checkpoint_max_test_acc1.pth", "state_dict.h5"])
def test_spikingjellys_code_gives_the_same(form):
    """No spike differs in float64, logits agree, counts are equal to the integer, by schedule and threads."""
    folder = needed(SHARED / "spiking-resnet18-sj-4")
    options = ConvertOptions(family="spiking-resnet", image_size=64, timesteps=4)
    same_as_golden(convert(folder / form, options).network, folder)


@pytest.mark.parametrize("neuron", ["if", "lif", "plif"])
@pytest.mark.parametrize("deep", [False, True])
@pytest.mark.parametrize("keys", ["authors", "jelly"])
def test_every_block_equals_a_plain_pass(keys, deep, neuron, tmp_path):
    """Both blocks, in both spellings of keys, with each kind of neuron, give the spikes of a plain forward pass."""
    state = resnet_state(keys, True, deep=deep, groups=1 + deep, learned=neuron == "plif")
    plain = Plain(state, neuron)
    logits = plain.resnet(np.repeat(IMAGE[np.newaxis], 3, 0), keys, True)
    told = {"family": "spiking-resnet"} if keys == "jelly" else {}
    network = network_of(tmp_path, state, neuron=neuron, **told)
    done = run(network, IMAGE)
    same_as(plain, logits, done)
    synaptic = [row for row in done.counts.layers if row.kind == "conv"]
    assert [row.name for row in synaptic if row.input_kind != "spikes"] == ["conv1"]


def test_two_channels_are_frames_of_events(tmp_path):
    """A ResNet whose first convolution was trained on events takes frames, and runs it at every step."""
    state = resnet_state("jelly", True, channels=2)
    frames = np.random.default_rng(6).poisson(0.5, (3, 2, 40, 40)).astype(np.float32)
    plain = Plain(state)
    logits = plain.resnet(frames, "jelly", True)
    same_as(plain, logits, run(network_of(tmp_path, state, family="spiking-resnet"), frames))
    with pytest.raises(OptionError, match="`first_conv` means nothing"):
        network_of(tmp_path, state, family="spiking-resnet", first_conv="once")


def test_it_is_told_from_its_kin(tmp_path):
    """SEW-ResNet's options and checkpoints are refused; of torchvision's keys the family must be said."""
    state = resnet_state("jelly", True)
    with pytest.raises(OptionError, match="say which by `family`"):
        network_of(tmp_path, state, {"model": "multi_step_spiking_resnet18"})
    with pytest.raises(OptionError, match="`connect` means nothing for spiking-resnet"):
        network_of(tmp_path, state, family="spiking-resnet", connect="add")
    with pytest.raises(OptionError, match="which is no spiking-resnet"):
        network_of(tmp_path, state, {"model": "multi_step_sew_resnet34"}, family="spiking-resnet")
    with pytest.raises(OptionError, match="not of sew-resnet"):
        network_of(tmp_path, resnet_state("authors", True), family="sew-resnet")
    assert network_of(tmp_path, resnet_state("authors", True), variant="standard").family == "spiking-resnet"


def test_synthetic_models_have_published_sizes_and_fire_as_told():
    """Parameters as published; a synthetic model reaches its rates."""
    network = skeleton("spiking-resnet-34-imagenet")
    numbers = sum(int(np.prod(shape)) for node in network.nodes for shape in node.parameters().values())
    assert round(numbers / 1e6, 2) == 21.80
    small = replace(PRESETS["spiking-resnet-18-imagenet"], dim=8, timesteps=3, image_size=64)
    assert all(rate.reached == pytest.approx(0.2, rel=0.05) for rate in synthesize(small, 0.2).rates)

"""Families whose integers meet more than the bundled model's: held against the twin, golden by golden."""

from __future__ import annotations

from pathlib import Path

import fixed_twin
import golden_families
import numpy as np
import pytest
from beside import needed
from test_family_spiking_vgg import image, saved
from test_integer_engine import Outputs

from evsim.converters import ConvertOptions, convert
from evsim.engine import Simulator
from evsim.primitives import LIF
from evsim.quantizing import quantize

SPIKFORMERS = sorted((Path(__file__).parent / "data" / "golden").glob("spikformer-*"))
VGG = golden_families.FOLDER / "spiking-vgg11-bn-4"
WEIGHTS = pytest.mark.parametrize("weights", ["int8", "int16"])


def agrees(network, weights, source):
    """Hold every map and the logits of a network's integers against the twin, in both orders of events."""
    steps = network.spec.timesteps
    integers = quantize(network, weights, largest=max(1, int(np.abs(source).max())), timesteps=steps).network
    maps = fixed_twin.run(integers, source, steps)
    for schedule, threads in (("layer", 1), ("time", 2)):
        simulator, outputs = Simulator(integers, schedule=schedule, threads=threads), Outputs()
        logits = simulator.run(source, [outputs])
        assert simulator.precision == weights
        assert np.array_equal(logits, fixed_twin.logits(integers, maps))
        for name, frames in outputs.maps.items():
            for t, frame in frames.items():
                wanted = maps[name][t if len(maps[name]) > 1 else 0]
                assert np.array_equal(frame, wanted.reshape(frame.shape).astype(np.int64)), (name, t)
    firing = [bool(maps[node.name].any()) for node in integers.nodes if isinstance(node, LIF)]
    assert sum(firing) > len(firing) / 2


@WEIGHTS
@pytest.mark.parametrize("folder", SPIKFORMERS, ids=lambda folder: folder.name)
def test_a_spikformer_is_the_twin(folder, weights):
    """Its residual adds spikes to spikes: layers read integers, attention spikes."""
    network = convert(folder / "checkpoint.pth.tar", ConvertOptions(family="spikformer")).network
    agrees(network, weights, np.load(folder / "input.npy"))


@WEIGHTS
@pytest.mark.parametrize(("depth", "norm", "neuron"), [(11, True, "lif"), (13, False, "plif")])
def test_a_spiking_vgg_is_the_twin(depth, norm, neuron, weights, tmp_path):
    """Its max-pooling and adaptive mean come between convolutions, and neurons of any kind."""
    path, _, _ = saved(tmp_path, depth, norm, neuron == "plif")
    options = ConvertOptions(family="spiking-vgg", neuron=neuron, timesteps=3, image_size=32)
    agrees(convert(path, options).network, weights, np.clip(image(32), -7.9, 7.9))


@WEIGHTS
def test_the_golden_of_a_spiking_vgg_is_the_twin(weights):
    """So it is of the weights that SpikingJelly made."""
    options = ConvertOptions(family="spiking-vgg", neuron="lif", timesteps=4, image_size=32)
    network = convert(needed(VGG / "state_dict.h5"), options).network
    agrees(network, weights, np.clip(np.load(VGG / "input.npy"), -7.9, 7.9))

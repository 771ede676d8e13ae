"""Synthetic models of every family: all of evsim's presets have rates, and what sets them is there in every form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from commands import evsim

from evsim import api, modelfile
from evsim.converters.registry import BUILT_IN, PRESETS
from evsim.data import published
from evsim.errors import OptionError
from evsim.synthesis import skeleton, synthesize
from evsim.synthesis.graph import Graph
from evsim.synthesis.levers import grown
from evsim.synthesis.rates import published_rate, source_of_rates
from evsim.workload import rows

SMALL = {
    "sdt-v3-t-imagenet": {"dim": 64, "widths": (16, 32, 32, 64), "heads": 4, "image_size": 160},
    "spikingresformer-ti-imagenet": {"dim": 64, "widths": (16, 32, 64), "heads": 4, "image_size": 64},
    "ms-resnet-104-imagenet": {"dim": 8, "image_size": 64},
    "sew-resnet-18-imagenet": {"dim": 8, "image_size": 64},
    "spiking-resnet-50-imagenet": {"dim": 8, "image_size": 64},
    "spiking-vgg-11-imagenet": {"dim": 8, "image_size": 64},
    "spiking-vgg-11-bn-imagenet": {"dim": 8, "image_size": 64},
    "csnn-dvs128": {"dim": 8, "image_size": 64, "timesteps": 4},
    "csnn-plif-nmnist": {"dim": 16},
    "csnn-plif-mnist": {"dim": 16},
    "sdt-2-256-cifar10": {"dim": 64, "neuron": "plif"},
    "qkformer-4-384-cifar10": {"dim": 64, "neuron": "plif"},
}
"""A preset of each kind of network, and what makes it small."""

PARAMETERS = {
    "qkformer-10-384-imagenet": 16.474, "qkformer-10-512-imagenet": 29.079, "qkformer-10-768-imagenet": 64.963,
    "sdt-8-384": 16.817, "sdt-6-512": 23.374, "sdt-8-512": 29.690, "sdt-10-512": 36.006, "sdt-8-768": 66.339,
    "sdt-2-256-cifar10": 2.567, "sdt-2-512-cifar10": 10.234,
    "sdt-v3-t-imagenet": 2.702, "sdt-v3-s-imagenet": 5.106, "sdt-v3-m-imagenet": 10.023, "sdt-v3-l-imagenet": 18.988,
    "spikingresformer-ti-imagenet": 11.181, "spikingresformer-s-imagenet": 17.814,
    "spikingresformer-m-imagenet": 35.601, "spikingresformer-l-imagenet": 60.376, "spikingresformer-cifar10": 10.793,
    "spikingresformer-dvs128": 2.71,
    "sew-resnet-18-imagenet": 11.69, "sew-resnet-34-imagenet": 21.80, "sew-resnet-50-imagenet": 25.56,
    "sew-resnet-101-imagenet": 44.55, "sew-resnet-152-imagenet": 60.19,
    "ms-resnet-18-imagenet": 11.694, "ms-resnet-34-imagenet": 21.802, "ms-resnet-104-imagenet": 77.351,
    "spiking-vgg-11-bn-imagenet": 132.87, "csnn-dvs128": 1.699,
    "sdt-v2-8-384-imagenet": 31.334, "sdt-v2-8-512-imagenet": 55.350, "sdt-v3-12-768-imagenet": 170.97,
}  # fmt: skip
"""Millions of parameters, as the papers, their code and torchvision have them."""

DENSE = {
    "sew-resnet-18-imagenet": 1.81, "sew-resnet-34-imagenet": 3.66, "sew-resnet-50-imagenet": 4.09,
    "sew-resnet-101-imagenet": 7.80, "sew-resnet-152-imagenet": 11.51, "spiking-resnet-18-imagenet": 1.81,
    "spiking-vgg-11-imagenet": 7.61, "spiking-vgg-13-imagenet": 11.31, "spiking-vgg-16-imagenet": 15.47,
    "spiking-vgg-19-imagenet": 19.63,
}  # fmt: skip
"""Billions of multiply-accumulates of one pass, as torchvision documents them for the networks of the same layers."""


@pytest.mark.parametrize("name", SMALL)
def test_every_family_fires_at_its_rates(name):
    """A run in float32 fires as often as the preset's rates say, in all layers of neurons whose rate can be set."""
    made = synthesize(replace(PRESETS[name], **SMALL[name]))
    assert {rate.name for rate in made.rates} == set(Graph(made.network).neurons)
    for rate in made.rates_float32:
        # behind a product of real rows, and of few tokens, only so many neurons can fire
        assert rate.reached == pytest.approx(rate.target, rel=0.05) or "activation_out" in rate.name, rate
    assert [rate.reached for rate in made.rates] == [rate.reached for rate in made.rates_float32]
    assert "assumed" in made.network.provenance["rates"]


def test_rates_of_integers_are_their_mean_in_the_greatest():
    """A rate of 0.2 is a mean of 0.8 where the integers go up to 4."""
    name = "sdt-v3-t-imagenet"
    made = synthesize(replace(PRESETS[name], **SMALL[name]), 0.2)
    run = api.simulate(made.network, made.sample, precision="float64", record_spikes=True)
    neurons = Graph(made.network).neurons["ConvBlock1_1.0.spike2"]
    packed, shape = run.spikes.packed[neurons.name]
    assert neurons.levels == 4
    assert np.unpackbits(packed, count=int(np.prod(shape))).mean() == pytest.approx(0.2, rel=0.01)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_rate_for_all_neurons(name):
    """Every neuron of every preset has a published rate, or one that is assumed and said to be."""
    preset = PRESETS[name]
    family, neurons = BUILT_IN[preset.family], Graph(skeleton(name)).neurons
    assert neurons
    assert all(0.0 < published_rate(neuron, preset, family) < 0.5 for neuron in neurons)
    own = name in ("spikingformer-8-512-imagenet", "spikingformer-8-768-imagenet")
    assert source_of_rates(preset, family).startswith("published" if own else "assumed: none are published")


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_the_published_ones(name):
    """A preset's state_dict has as many parameters as its paper says, to the last digit that is given."""
    preset = PRESETS[name]
    family, millions = BUILT_IN[preset.family], PARAMETERS[name]
    form, sizes = family.sizes(preset)
    numbers = family.form(form).parameters(sizes)
    digits = len(str(millions).partition(".")[2])
    assert numbers / 1e6 == pytest.approx(millions, abs=0.6 * 10.0**-digits)


@pytest.mark.parametrize("name", DENSE)
def test_dense_operations_are_torchvisions(name):
    """Convolutions and linear layers do as much as in the networks that they are spiking forms of."""
    dense = sum(row.dense_macs for _, row in rows(skeleton(name)) if row.synaptic)
    assert round(dense / 1e9, 2) == DENSE[name]


@pytest.mark.parametrize("name", ["spikingformer-8-512", "spikingformer-8-768"])
def test_dense_operations_are_those_of_the_authors_log(name):
    """Each convolution of Spikingformer does as much as the authors' log says, which adds biases and BatchNorm."""
    mine = [row.dense_macs for _, row in rows(skeleton(f"{name}-imagenet")) if row.synaptic and row.kind == "conv"]
    log = [layer["dense_ops"] / layer["steps"] for layer in published(name)["layers"] if layer["kind"] == "conv"]
    np.testing.assert_allclose(mine, log, rtol=0.005)


def test_neurons_without_batch_norm_are_set_by_bias_or_weights():
    """A plain VGG's convolutions keep their weights up to a power of two; a CSNN's linear layers are scaled."""
    vgg = replace(PRESETS["spiking-vgg-11-imagenet"], **SMALL["spiking-vgg-11-imagenet"])
    low, high = synthesize(vgg, 0.1), synthesize(vgg, 0.3)
    ratio = low.state["features.3.weight"] / high.state["features.3.weight"]
    assert np.unique(np.abs(np.log2(ratio)) % 1.0).tolist() == [0.0]
    assert (low.state["features.3.bias"] != high.state["features.3.bias"]).all()
    csnn = replace(PRESETS["csnn-plif-nmnist"], **SMALL["csnn-plif-nmnist"])
    low, high = synthesize(csnn, 0.1), synthesize(csnn, 0.3)
    assert "fc.2.bias" not in low.state
    grew = high.state["fc.2.weight"].std() / low.state["fc.2.weight"].std()
    assert grew > 1.1


def test_grown_weights_stay_on_a_grid():
    """Weights times a factor are whole multiples of a power of two, near enough, so that their sums are exact."""
    rng = np.random.default_rng(0)
    weight, factors = rng.normal(0, 0.1, (8, 20)).astype(np.float32), rng.uniform(0.5, 3.0, 8)
    result = grown(weight, factors)
    np.testing.assert_allclose(result, weight * factors[:, np.newaxis], atol=1e-4)
    step = 2.0 ** (np.frexp(np.sqrt(np.mean(weight.astype(np.float64) ** 2)) * factors.max())[1] - 14)
    np.testing.assert_array_equal(result / step, np.rint(result / step))
    assert (grown(np.zeros((2, 3), np.float32), np.ones(2)) == 0.0).all()


def test_facts_that_say_otherwise_than_the_preset():
    """How a block joins its spikes, T and the neurons can be told; the provenance says which were."""
    small = replace(PRESETS["sew-resnet-18-imagenet"], dim=8, image_size=64)
    made = synthesize(small, 0.2, facts={"connect": "iand", "timesteps": 3, "neuron": "lif", "tokenizer": None})
    kinds = {type(node).__name__ for node in made.network.nodes}
    assert "IAnd" in kinds
    assert "Add" not in kinds
    assert made.network.spec.timesteps == 3
    assert {node.neuron for node in Graph(made.network).neurons.values()} == {"lif"}
    assert all(rate.reached == pytest.approx(0.2, rel=0.05) for rate in made.rates)
    assert synthesize(small, 0.2).network.spec.timesteps == 4
    with pytest.raises(OptionError, match="`connect` must be one of"):
        synthesize(small, 0.2, facts={"connect": "or"})


def test_layers_that_stay_apart_fire_as_folded_ones():
    """RepConv is calibrated as the one convolution that it is; apart, its neurons fire as often."""
    preset = replace(PRESETS["sdt-v2-8-384-imagenet"], dim=64, widths=(16, 32, 32, 64), heads=4, image_size=64)
    one, apart = synthesize(preset, 0.2), synthesize(preset, 0.2, facts={"fold": False})
    assert len(apart.network.nodes) > len(one.network.nodes)
    counts = [api.simulate(made.network, made.sample, precision="float64").counts for made in (one, apart)]
    fired = [{row.name: int(row.spikes.sum()) for row in each.layers if row.kind == "lif"} for each in counts]
    assert fired[0].keys() == fired[1].keys()
    for name, spikes in fired[0].items():
        assert fired[1][name] == pytest.approx(spikes, rel=0.05, abs=5), name


def test_the_command_takes_facts(tmp_path):
    """`evsim synthesize` has the options of `evsim convert` for how a network computes, and T."""
    out = tmp_path / "m.h5"
    told = ("--neuron", "plif", "--timesteps", 2, "--rates", 0.2)
    outcome = evsim("synthesize", "sdt-2-256-cifar10", *told, "-o", out)
    assert outcome.code == 0, outcome.err
    network = modelfile.load(out)
    assert network.spec.timesteps == 2
    assert network.provenance["timesteps"] == "2 (from --timesteps)"
    assert network.provenance["neuron"].startswith("plif")
    assert {node.neuron for node in Graph(network).neurons.values()} == {"plif"}
    refused = evsim("synthesize", "sdt-2-256-cifar10", "--connect", "add", "-o", tmp_path / "n.h5")
    assert refused.code == 2
    assert "--connect means nothing for sdt-v1" in refused.err

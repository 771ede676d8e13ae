"""Networks of SpikingJelly 0.0.0.0.12 (`clock_driven`), as its authors wrote them."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings(action="ignore"):  # the libraries' own
    torch = pytest.importorskip("torch")
    pytest.importorskip("spikingjelly.clock_driven.neuron", exc_type=ImportError)

    from brute import settle
    from holding import hold
    from spikingjelly.clock_driven import functional, neuron
    from spikingjelly.clock_driven.model import parametric_lif_net as plif
    from spikingjelly.clock_driven.model import sew_resnet, spiking_resnet, spiking_vgg

STEPS = 3


def image():
    """Return an image of 32 x 32."""
    return torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def frames():
    """Return frames of events of 128 x 128."""
    return (torch.rand(STEPS, 1, 2, 128, 128, generator=torch.Generator().manual_seed(2)) < 0.2).float()


def many(x, *, apart=False):
    """Return what runs a model from its start, timestep by timestep where `apart`."""

    def run(model):
        functional.reset_net(model)
        if not apart:
            model(x.double())
        for step in range(STEPS if apart else 0):
            model((x if x.ndim == 4 else x[step]).double())

    return run


@pytest.mark.parametrize("connect", ["ADD", "AND", "IAND"])
def test_multi_step_sew_resnet(connect):
    """SEW-ResNet-18 of all connections, given frames, equals PyTorch's in spikes and counts."""
    model = sew_resnet.multi_step_sew_resnet18(
        T=STEPS, cnf=connect, multi_step_neuron=neuron.MultiStepIFNode, num_classes=10
    )
    x = image().unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)
    network, _ = hold(settle(model, share=1.5), x, run=many(x), firing=12)
    kinds = {type(node).__name__ for node in network.nodes}
    assert {"ADD": "Add", "AND": "And", "IAND": "IAnd"}[connect] in kinds


def test_multi_step_resnet_on_an_image():
    """A model that repeats an image itself behind its first convolution runs that once."""
    model = spiking_resnet.multi_step_spiking_resnet18(
        T=STEPS, multi_step_neuron=neuron.MultiStepLIFNode, num_classes=10
    )
    network, _ = hold(settle(model, share=2.0), image(), run=many(image()), firing=12)
    assert network.node("conv1").repeated
    assert network.spec.timesteps == STEPS


def test_single_step_sew_resnet():
    """A model of one timestep is run T times, and rolled up: each step is the same graph."""
    model = sew_resnet.sew_resnet18(cnf="ADD", single_step_neuron=neuron.IFNode, num_classes=10)
    network, _ = hold(settle(model), image(), run=many(image(), apart=True), timesteps=STEPS, firing=12)
    assert network.spec.kind == "image"


def test_vgg():
    """Spiking VGG-11 with BatchNorm: adaptive pooling, flattening, dropout and three linear layers."""
    model = spiking_vgg.multi_step_spiking_vgg11_bn(T=STEPS, multi_step_neuron=neuron.MultiStepLIFNode, num_classes=10)
    x = image().unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)
    hold(settle(model, share=2.0), x, run=many(x), firing=6)


@pytest.mark.parametrize("several", [False, True])
def test_gesture_net(several):
    """DVSGestureNet of LIF neurons step by step, and of PLIF neurons all at once; its vote becomes a Vote."""
    if several:
        model = plif.MultiStepDVSGestureNet(channels=8, multi_step_neuron=neuron.MultiStepParametricLIFNode)
    else:
        model = plif.DVSGestureNet(channels=8, single_step_neuron=neuron.LIFNode)
    network, _ = hold(settle(model, share=3.0), frames(), run=many(frames(), apart=not several), firing=4)
    assert {type(node).__name__ for node in network.nodes} >= {"Vote", "Flatten", "TimeMean"}
    assert network.spec.kind == "events"


@pytest.mark.parametrize("kind", ["spikingformer", "spikformer"])
@pytest.mark.parametrize("tokenizer", ["imagenet", "cifar", "dvs"])
def test_reference_by_tracing_equals_by_keys(kind, tokenizer, tmp_path):
    """Spikingformer and Spikformer by tracing count, spike and answer as the same weights converted by their keys."""
    import numpy as np
    from models import build
    from parts import Config

    import evsim
    from evsim.converters import ConvertOptions, convert

    size = 16 if tokenizer == "cifar" else 64
    config = Config(family=kind, tokenizer=tokenizer, dim=32, depth=1, heads=4, timesteps=2, image_size=size, classes=5)
    model = build(
        config, neuron=lambda tau, threshold: neuron.MultiStepLIFNode(tau=tau, v_threshold=threshold, detach_reset=True)
    )
    settle(model, share=2.0)
    dice = torch.Generator().manual_seed(3)
    x = torch.rand(1, 3, size, size, generator=dice)
    if tokenizer == "dvs":
        x = (torch.rand(2, 1, 2, size, size, generator=dice) < 0.3).float()
    traced, run = hold(model, x, run=many(x), firing=6)
    torch.save(model.state_dict(), tmp_path / "state.pth")
    facts = {"heads": 4, "timesteps": 2, "image_size": size}
    keyed = convert(tmp_path / "state.pth", ConvertOptions(family=kind, variant="standard", **facts)).network
    sample = x[:, 0].numpy() if tokenizer == "dvs" else x[0].numpy()
    other = evsim.simulate(keyed, sample, precision="float64", record_spikes=True)
    again = evsim.simulate(traced, sample, precision="float64", record_spikes=True)
    np.testing.assert_allclose(run.logits, other.logits, rtol=0, atol=1e-9)
    assert again.spikes.keys() == other.spikes.keys()
    for name, (packed, shape) in other.spikes.packed.items():
        assert again.spikes.packed[name][1] == shape, name
        assert (again.spikes.packed[name][0] == packed).all(), name
    assert run.counts.sops == other.counts.sops
    for row, wanted in zip(run.counts.layers, other.counts.layers, strict=True):
        assert (row.name, row.kind) == (wanted.name, wanted.kind)
    assert run.exact().energy_mj == pytest.approx(other.exact().energy_mj, rel=1e-12)

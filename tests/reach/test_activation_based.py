"""Networks of SpikingJelly 0.0.0.0.14 and 2.x (`activation_based`), as its authors wrote them."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings(action="ignore"):  # the libraries' own
    torch = pytest.importorskip("torch")
    pytest.importorskip("spikingjelly.activation_based.neuron", exc_type=ImportError)

    from brute import settle
    from holding import hold
    from spikingjelly.activation_based import functional, neuron
    from spikingjelly.activation_based.model import parametric_lif_net as plif
    from spikingjelly.activation_based.model import sew_resnet, spiking_resnet, spiking_vgg
    from torch import nn

STEPS = 3


def model_of(name):
    """Return a module of models that only newer releases have."""
    return pytest.importorskip(f"spikingjelly.activation_based.model.{name}", exc_type=ImportError)


def image(size=32):
    """Return an image."""
    return torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1))


def frames():
    """Return an image of 32 x 32 for each timestep."""
    return image().unsqueeze(0).repeat(STEPS, 1, 1, 1, 1)


def events():
    """Return frames of events of 128 x 128."""
    return (torch.rand(STEPS, 1, 2, 128, 128, generator=torch.Generator().manual_seed(2)) < 0.2).float()


def several(model):
    """Let a model take all timesteps at once."""
    functional.set_step_mode(model, "m")
    return model


def run(x):
    """Return what runs a model on frames from its start."""

    def start(model):
        functional.reset_net(model)
        model(x.double())

    return start


@pytest.mark.parametrize("connect", ["ADD", "AND", "IAND"])
def test_sew_resnet(connect):
    """SEW-ResNet-18 of all connections equals PyTorch's in spikes and counts."""
    model = several(sew_resnet.sew_resnet18(spiking_neuron=neuron.IFNode, cnf=connect, num_classes=10))
    hold(settle(model, share=1.5), frames(), run=run(frames()), firing=12)


def test_bottlenecks():
    """SEW-ResNet-50 has bottlenecks, whose shortcuts have neurons of their own."""
    model = several(sew_resnet.sew_resnet50(spiking_neuron=neuron.LIFNode, cnf="ADD", num_classes=10))
    hold(settle(model, share=2.0), frames(), run=run(frames()), firing=30)


def test_resnet_of_learned_constants():
    """Spiking ResNet-18 of PLIF neurons keeps their w."""
    model = several(spiking_resnet.spiking_resnet18(spiking_neuron=neuron.ParametricLIFNode, num_classes=10))
    network, _ = hold(settle(model, share=2.0), frames(), run=run(frames()), firing=12)
    assert {node.neuron for node in network.nodes if type(node).__name__ == "LIF"} == {"plif"}


def test_vgg():
    """Spiking VGG-11 with BatchNorm."""
    model = several(spiking_vgg.spiking_vgg11_bn(spiking_neuron=neuron.LIFNode, num_classes=10))
    hold(settle(model, share=2.0), frames(), run=run(frames()), firing=6)


@pytest.mark.parametrize("kind", [neuron.ParametricLIFNode, neuron.LIFNode, neuron.IFNode])
@pytest.mark.parametrize("reset", [0.0, None, -0.25])
@pytest.mark.parametrize("decay_input", [True, False])
def test_thresholds_of_each_channel(kind, reset, decay_input):
    """Thresholds that a user sets as a tensor, fixed or learned, by channel or neuron, where the release takes them."""
    torch.manual_seed(5)
    facts = {"v_reset": reset} | ({} if kind is neuron.IFNode else {"decay_input": decay_input})
    model = nn.Sequential(nn.Conv2d(2, 6, 3), kind(**facts), nn.Flatten(), nn.Linear(600, 10), kind(**facts))
    model[1].v_threshold = 0.2 + torch.rand(1, 6, 1, 1)
    model[4].v_threshold = nn.Parameter(0.1 + 0.2 * torch.rand(10))
    x = 3.0 * torch.rand(STEPS, 1, 2, 12, 12)

    def start(own):
        functional.reset_net(own)
        for frame in x.double():
            own(frame)

    model.double().eval()
    try:
        with torch.no_grad():
            model(x[0].double())
    except RuntimeError:
        pytest.skip("this release runs these neurons with one threshold alone")
    functional.reset_net(model)
    network, _ = hold(model, x, run=start)
    assert network.node("1").by_channel == ("v_threshold",)


@pytest.mark.parametrize("reset", [0.0, None, -0.25])
@pytest.mark.parametrize("decay_input", [True, False])
def test_gesture_net(reset, decay_input):
    """DVSGestureNet with every kind of reset: to 0, by subtraction, to another value."""
    model = several(
        plif.DVSGestureNet(channels=8, spiking_neuron=neuron.LIFNode, tau=3.0, decay_input=decay_input, v_reset=reset)
    )
    hold(settle(model, share=3.0), events(), run=run(events()), firing=3)


@pytest.mark.parametrize("kind", ["IFNode", "ParametricLIFNode"])
@pytest.mark.parametrize("reset", [None, 0.25])
def test_step_by_step(kind, reset):
    """The same net timestep by timestep, whose neurons keep their state between the calls."""
    model = plif.DVSGestureNet(channels=8, spiking_neuron=getattr(neuron, kind), v_reset=reset)

    def start(own):
        functional.reset_net(own)
        for frame in events():
            own(frame.double())

    hold(settle(model, share=3.0), events(), run=start, firing=3)


def test_spikformer():
    """The library's own Spikformer: queries, keys and values are slices of one layer of neurons."""
    spikformer = model_of("spikformer")
    model = spikformer.Spikformer(
        T=STEPS, img_size_h=32, img_size_w=32, patch_size=4, embed_dims=64, num_heads=4, depths=1, num_classes=10
    )
    network, _ = hold(settle(model, share=2.0), image(), run=run(image()), firing=6)
    assert sum(type(node).__name__ == "SpikingSelfAttention" for node in network.nodes) == 1
    assert network.spec.timesteps == STEPS


@pytest.mark.parametrize(
    ("name", "builder", "facts", "kind"),
    [
        ("qkformer", "QKFormer", {"num_heads": (1, 2, 4), "depths": (1, 1, 1)}, "HeadSum"),
        ("spike_driven_transformer", "SpikeDrivenTransformer", {"num_heads": 4, "depths": 1}, "TokenSum"),
        ("maxformer", "MaxFormer", {"depths": (1, 1, 1)}, "SpikingSelfAttention"),
    ],
)
def test_transformers(name, builder, facts, kind):
    """QKFormer, Spike-driven Transformer and MaxFormer as the library has them."""
    build = getattr(model_of(name), builder)
    model = build(T=STEPS, embed_dims=64, num_classes=10, **facts)
    network, _ = hold(settle(model, share=2.0), image(64), run=run(image(64)), firing=6)
    assert kind in {type(node).__name__ for node in network.nodes}


def test_ms_resnet():
    """MS-ResNet-18, whose shortcuts carry potentials."""
    model = model_of("ms_resnet").ms_resnet18(T=STEPS, num_classes=10)
    hold(settle(model, share=2.0), image(), run=run(image()), firing=12)

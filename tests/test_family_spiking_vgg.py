"""SpikingJelly's spiking VGG: equal to its code, in all depths to a plain forward; never taken for it by keys alone."""

from __future__ import annotations

import golden_families
import numpy as np
import plain_cnn
import pytest
from commands import evsim, refused
from torch_files import Namespace, as_tensors, write_checkpoint

from evsim import api, modelfile
from evsim.converters import ConvertOptions, convert
from evsim.errors import CheckpointError, OptionError
from evsim.synthesis import skeleton

GOLDEN = golden_families.files_of("spiking-vgg11-bn-4")
T = 3
CFG = {
    11: "a M b M c c M d d M d d M",
    13: "a a M b b M c c M d d M d d M",
    16: "a a M b b M c c c M d d d M d d d M",
    19: "a a M b b M c c c c M d d d d M d d d d M",
}
WIDTHS = {"a": 3, "b": 4, "c": 5, "d": 6}
HIDDEN = 12


def modules(depth, norm):
    """Return the modules of torchvision's VGG with neurons for ReLUs, and the shapes of their weights."""
    kinds, shapes, inner = [], {}, 3
    for step in CFG[depth].split():
        if step == "M":
            kinds.append("pool")
            continue
        shapes[f"features.{len(kinds)}"] = (WIDTHS[step], inner, 3, 3)
        inner = WIDTHS[step]
        kinds += ["conv", *["bn"] * norm, "neuron"]
    classifier = ("linear", "neuron", "dropout", "linear", "neuron", "dropout", "linear")
    sizes = [49 * inner, HIDDEN, HIDDEN, 10]
    shapes |= {f"classifier.{i}": (sizes[j + 1], sizes[j]) for j, i in enumerate((0, 3, 6))}
    head = plain_cnn.sequence("classifier", classifier)
    return [*plain_cnn.sequence("features", kinds), ("avgpool", "adaptive"), ("flatten", "flatten"), *head], shapes


def saved(tmp_path, depth=11, norm=True, plif=False, args=None, seed=3):
    """Write a checkpoint of random weights; return its path, its modules and its state."""
    tree, shapes = modules(depth, norm)
    state = plain_cnn.parameters(np.random.default_rng(seed), tree, shapes, shapes, plif)
    held = {"model": as_tensors(state)} | ({"args": Namespace(**args)} if args else {})
    return write_checkpoint(tmp_path / "c.pth", held), tree, state


def image(size):
    """Return an image as the network takes it, normalised."""
    return np.random.default_rng(2).normal(0, 1, (3, size, size)).astype(np.float32)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_equals_spikingjelly(path, tmp_path):
    """No spike, logit or count differs from the golden's, whichever of its files is converted."""
    options = ConvertOptions(family="spiking-vgg", neuron="lif", timesteps=4, image_size=32)
    assert golden_families.check(path, options, tmp_path).name == "spiking-vgg-11-bn"


@pytest.mark.parametrize(
    ("depth", "norm", "neuron", "size", "first"),
    [
        (11, True, "lif", 64, "once"),  # 2 x 2 positions before the pool to 7 x 7: real means
        (11, False, "if", 32, "every-step"),
        (13, True, "plif", 32, "once"),
        (16, False, "plif", 32, "every-step"),
        (19, True, "if", 32, "once"),
    ],
)
def test_equals_a_plain_forward(depth, norm, neuron, size, first, tmp_path):
    """Every depth, with BatchNorm and without, of each neuron, gives a plain forward's spikes, logits and counts."""
    path, tree, state = saved(tmp_path, depth, norm, neuron == "plif")
    options = ("--family", "spiking-vgg", "--neuron", neuron, "--timesteps", T, "--image-size", size)
    assert evsim("convert", path, tmp_path / "m.h5", *options, "--first-conv", first).code == 0
    network, sample = modelfile.load(tmp_path / "m.h5"), image(size)
    assert network.name == f"spiking-vgg-{depth}" + "-bn" * norm
    frames = np.repeat(sample[None], T, axis=0)
    oracle = plain_cnn.forward(tree, state, frames, neuron, once=first == "once")
    plain_cnn.check(api.simulate, network, sample, oracle)


def test_tau_and_threshold_are_options(tmp_path):
    """Another time constant and another threshold than SpikingJelly's defaults make another network."""
    path, tree, state = saved(tmp_path)
    facts = {"family": "spiking-vgg", "neuron": "lif", "timesteps": T, "image_size": 32}
    network = convert(path, ConvertOptions(**facts, tau=3.0, v_threshold=0.8)).network
    frames = np.repeat(image(32)[None], T, axis=0)
    oracle = plain_cnn.forward(tree, state, frames, once=True, tau=3.0, threshold=0.8)
    plain_cnn.check(api.simulate, network, image(32), oracle)


def test_keys_alone_decide_nothing(tmp_path):
    """Keys that an ANN of torchvision has too need the option, PLIF's learned numbers or a name in the arguments."""
    facts = ("--neuron", "lif", "--timesteps", T, "--image-size", 32)
    path, _, _ = saved(tmp_path)
    assert "an ANN of torchvision" in refused("convert", path, tmp_path / "m.h5", *facts)
    path, _, _ = saved(tmp_path, args={"model": "multi_step_spiking_vgg11_bn", "T": 5})
    said = evsim("convert", path, tmp_path / "m.h5", "--neuron", "lif", "--image-size", 32)
    assert "5 (from the checkpoint's args.T)" in said.out
    path, _, _ = saved(tmp_path, plif=True)
    assert evsim("convert", path, tmp_path / "m.h5", "--timesteps", T, "--image-size", 32).code == 0


def test_what_keys_cannot_tell_is_asked_for_or_assumed(tmp_path):
    """Neuron and T are asked for; that the first convolution runs once, tau and threshold are assumed, and said."""
    path, _, _ = saved(tmp_path)
    out, family = tmp_path / "m.h5", ("--family", "spiking-vgg")
    assert "give it by --neuron" in refused("convert", path, out, *family, "--timesteps", T)
    assert "--timesteps" in refused("convert", path, out, *family, "--neuron", "if")
    said = evsim("convert", path, out, *family, "--neuron", "lif", "--timesteps", T, "--image-size", 32).out
    for fact in ("once (assumed", "2.0 (assumed", "1.0 (assumed"):
        assert fact in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neuron": "plif"}, "no learned time constants"),
        ({"neuron": "if", "tau": 2.0}, "`tau` means nothing for IF"),
        ({"variant": "plain"}, "`variant=plain` contradicts"),
        ({"pool": "average"}, "`pool` means nothing"),
        ({"heads": 8}, "`heads` means nothing"),
        ({"family": "ms-resnet"}, "not of ms-resnet"),
    ],
)
def test_wrong_options_are_refused(options, message, tmp_path):
    """What the keys contradict, or means nothing here, is refused by name."""
    path, _, _ = saved(tmp_path)
    facts = {"family": "spiking-vgg", "neuron": "lif", "timesteps": T, "image_size": 32}
    with pytest.raises(OptionError, match=message):
        convert(path, ConvertOptions(**facts | options))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "lacks features.6.w"),
        ((3,), r"\[3\] for features.6.w"),
        (np.nan, "features.6.w holds NaN"),
        (-99.0, "features.6.w is"),
    ],
)
def test_a_plif_without_its_number_is_refused(value, message, tmp_path):
    """Where one layer of PLIF neurons has no learned number, several, or none that is a number, it is named."""
    tree, shapes = modules(11, True)
    state = plain_cnn.parameters(np.random.default_rng(3), tree, shapes, shapes, plif=True)
    if value is None:
        del state["features.6.w"]
    else:
        state["features.6.w"] = (
            np.full((), value, np.float32) if isinstance(value, float) else np.zeros(value, np.float32)
        )
    path = write_checkpoint(tmp_path / "c.pth", as_tensors(state))
    with pytest.raises(CheckpointError, match=message):
        convert(path, ConvertOptions(timesteps=T, image_size=32))


@pytest.mark.parametrize(("preset", "millions"), [("11-bn", 132.87), ("11", 132.86), ("16-bn", 138.37), ("19", 143.67)])
def test_presets_have_torchvisions_number_of_parameters(preset, millions):
    """A preset is of torchvision's size."""
    network = skeleton(f"spiking-vgg-{preset}-imagenet")
    shapes = [shape for node in network.nodes for shape in node.parameters().values()]
    assert round(sum(map(np.prod, shapes)) / 1e6, 2) == millions

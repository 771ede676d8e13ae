"""The PLIF paper's CSNNs: equal to SpikingJelly's code, in all namings of their keys to a plain forward."""

from __future__ import annotations

from itertools import pairwise

import golden_families
import numpy as np
import plain_cnn
import pytest
from commands import evsim, refused
from torch_files import as_tensors, write_checkpoint

from evsim import api, modelfile
from evsim.converters import ConvertOptions, convert
from evsim.errors import CheckpointError, OptionError
from evsim.synthesis import skeleton

GOLDEN = golden_families.files_of("dvsgesture-csnn-sj-8")
T, WIDTH, HIDDEN = 3, 4, 40
BLOCK = ["conv", "bn", "neuron", "pool"]
CIFAR = [*BLOCK[:3], *BLOCK[:3], *BLOCK] * 2
HEAD = ["flatten", "dropout", "linear", "neuron", "dropout", "linear", "neuron"]


def conv_fc(kinds):
    """Return the modules of SpikingJelly 0.0.0.0.14: one nn.Sequential."""
    return plain_cnn.sequence("conv_fc", [*kinds, *HEAD, "vote"])


def authors(kinds):
    """Return the modules of the authors' nets for events, and of the example of their time."""
    return [*plain_cnn.sequence("conv", kinds), *plain_cnn.sequence("fc", HEAD), ("boost", "vote")]


def static(kinds, head):
    """Return the modules of the authors' nets for images, whose first convolution stands apart."""
    first = plain_cnn.sequence("static_conv", kinds[:2])
    return [*first, *plain_cnn.sequence("conv", kinds[2:]), *plain_cnn.sequence("fc", head), ("boost", "vote")]


def numbered(kinds):
    """Return the modules of SpikingJelly 0.0.0.0.12: attributes with numbers."""
    names = {"conv": "conv", "bn": "bn", "neuron": "sn", "pool": "pool"}
    tree, number = [], 0
    for kind in kinds:
        number += kind == "conv"
        tree.append((f"{names[kind]}{number}", kind))
    first, second = number + 1, number + 2
    head = [(f"fc{first}", "linear"), (f"sn{first}", "neuron"), (f"fc{second}", "linear"), (f"sn{second}", "neuron")]
    return [*tree, ("flatten", "flatten"), *head, ("voting", "vote")]


def cuda(layers):
    """Return the modules of the example for CUDA: convolution and BatchNorm in a container."""
    tree = []
    for i in range(0, 3 * layers, 3):
        tree += [(f"conv.{i}.0", "conv"), (f"conv.{i}.1", "bn"), (f"conv.{i + 1}", "neuron"), (f"conv.{i + 2}", "pool")]
    head = [(f"fc.{i}" + ".0" * (kind == "linear"), kind) for i, kind in enumerate(HEAD)]
    return [*tree, *head, ("vote", "vote")]


SHORT = [kind for i, kind in enumerate(HEAD) if i != 4]
NETS = {
    "gesture": (conv_fc(BLOCK * 5), 2, 128, True),
    "nmnist": (conv_fc(BLOCK * 2), 2, 34, True),
    "mnist": (conv_fc(BLOCK * 2), 1, 28, True),
    "cifar10": (conv_fc(CIFAR), 3, 32, True),
    "numbered-gesture": (numbered(BLOCK * 5), 2, 128, True),
    "numbered-cifar10dvs": (numbered(BLOCK * 4), 2, 128, True),
    "numbered-nmnist": (numbered(BLOCK * 2), 2, 34, True),
    "numbered-cifar10": (numbered(CIFAR), 3, 32, True),
    "authors-gesture": (authors(BLOCK * 5), 2, 128, False),
    "authors-nmnist": (authors(BLOCK * 2), 2, 34, False),
    "cuda-gesture": (cuda(5), 2, 128, False),
    "static-mnist": (static(BLOCK * 2, HEAD), 1, 28, False),
    "static-cifar10": (static(CIFAR, SHORT), 3, 32, False),
}
"""Name to modules, input channels, image size, and whether linear layers have biases."""


def shapes_of(name, classes=10):
    """Return the shapes of weights by the names of layers."""
    tree, channels, size, _ = NETS[name]
    convs = [key for key, kind in tree if kind == "conv"]
    linears = [key for key, kind in tree if kind == "linear"]
    side = size >> sum(kind == "pool" for _, kind in tree)
    shapes = {key: (WIDTH, WIDTH if i else channels, 3, 3) for i, key in enumerate(convs)}
    sizes = (WIDTH * side * side, HIDDEN, 10 * classes)
    return shapes | {key: (out, inner) for key, (inner, out) in zip(linears, pairwise(sizes), strict=True)}


def saved(name, tmp_path, plif=False, classes=10):
    """Write a checkpoint of random weights; return its path, its modules and its state."""
    tree, _, _, biased = NETS[name]
    shapes = shapes_of(name, classes)
    wide = name in ("numbered-gesture", "numbered-cifar10dvs")
    bias = [key for key, shape in shapes.items() if (len(shape) == 2 and biased) or (len(shape) == 4 and wide)]
    state = plain_cnn.parameters(np.random.default_rng(9), tree, shapes, bias, plif)
    return write_checkpoint(tmp_path / "c.pth", {"net": as_tensors(state)}), tree, state


def sample_of(name):
    """Return an input, and the same at each timestep."""
    _, channels, size, _ = NETS[name]
    rng = np.random.default_rng(4)
    if channels == 2:
        frames = rng.poisson(0.3, (T, 2, size, size)).astype(np.float32)
        return frames, frames
    image = rng.normal(0, 1, (channels, size, size)).astype(np.float32)
    return image, np.repeat(image[None], T, axis=0)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_equals_spikingjelly(path, tmp_path):
    """No spike, logit or count differs from the golden's, whichever of its files is converted."""
    network = golden_families.check(path, ConvertOptions(neuron="lif", timesteps=4), tmp_path)
    assert network.family == "csnn"


@pytest.mark.parametrize("neuron", ["lif", "plif"])
@pytest.mark.parametrize("name", NETS)
def test_equals_a_plain_forward(name, neuron, tmp_path):
    """Each data set's net, under each naming of its keys, gives a plain forward's spikes, logits and counts."""
    path, tree, state = saved(name, tmp_path, neuron == "plif")
    options = ("--family", "csnn", "--neuron", neuron, "--timesteps", T)
    assert evsim("convert", path, tmp_path / "m.h5", *options).code == 0
    network = modelfile.load(tmp_path / "m.h5")
    sample, frames = sample_of(name)
    once = len(sample.shape) == 3 and name.startswith(("numbered", "static"))
    plain_cnn.check(api.simulate, network, sample, plain_cnn.forward(tree, state, frames, neuron, once=once))


@pytest.mark.parametrize("name", ["authors-nmnist", "static-cifar10"])
def test_average_pools_are_an_option(name, tmp_path):
    """With average pools quarters reach the next convolution, as in the authors' ablation."""
    path, tree, state = saved(name, tmp_path)
    options = ConvertOptions(family="csnn", neuron="if", timesteps=T, pool="average", first_conv=None)
    sample, frames = sample_of(name)
    oracle = plain_cnn.forward(tree, state, frames, "if", "average", once=name.startswith("static"))
    plain_cnn.check(api.simulate, convert(path, options).network, sample, oracle)


def test_the_first_convolution_of_an_image_runs_as_often_as_said(tmp_path):
    """Once or at every timestep: the same spikes, T times the work."""
    path, tree, state = saved("static-mnist", tmp_path)
    sample, frames = sample_of("static-mnist")
    for rule in ("once", "every-step"):
        options = ConvertOptions(neuron="lif", timesteps=T, first_conv=rule)
        oracle = plain_cnn.forward(tree, state, frames, once=rule == "once")
        plain_cnn.check(api.simulate, convert(path, options).network, sample, oracle)


def test_what_keys_cannot_tell_is_asked_for_or_assumed(tmp_path):
    """Neuron and T are asked for; max-pools, the image's size, tau and threshold are assumed, and said."""
    path, _, _ = saved("gesture", tmp_path, classes=11)
    out = tmp_path / "m.h5"
    assert "give it by --neuron" in refused("convert", path, out, "--timesteps", T)
    assert "--timesteps" in refused("convert", path, out, "--neuron", "lif")
    said = evsim("convert", path, out, "--neuron", "lif", "--timesteps", T).out
    for fact in ("max (assumed", "128 (assumed", "2.0 (assumed", "1.0 (assumed", "11 (from the keys)"):
        assert fact in said
    path, _, _ = saved("gesture", tmp_path, plif=True)
    said = evsim("convert", path, out, "--timesteps", T).out
    assert "plif (from the keys)" in said
    assert "\ntau" not in said


def test_keys_that_an_ann_has_too_need_the_family(tmp_path):
    """Plain names of layers are no spiking model's unless the option or learned time constants say so."""
    facts = ("--neuron", "lif", "--timesteps", T)
    for name in ("numbered-gesture", "authors-gesture", "cuda-gesture"):
        path, _, _ = saved(name, tmp_path)
        assert "say which by --family" in refused("convert", path, tmp_path / "m.h5", *facts)
        path, _, _ = saved(name, tmp_path, plif=True)
        assert evsim("convert", path, tmp_path / "m.h5", "--timesteps", T).code == 0


def test_logits_of_the_authors_nets_are_said_to_be_means(tmp_path):
    """Their code adds spikes up over T; what evsim gives is the mean, and a note says so."""
    path, _, _ = saved("authors-nmnist", tmp_path)
    notes = convert(path, ConvertOptions(family="csnn", neuron="lif", timesteps=T)).notes
    assert any("3 times as much" in note for note in notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neuron": "plif"}, "no learned time constants"),
        ({"neuron": "if", "tau": 2.0}, "`tau` means nothing for IF"),
        ({"first_conv": "once"}, "`first_conv` means nothing for a model of events"),
        ({"image_size": 64}, "give `image_size=34`"),
        ({"tokenizer": "cifar"}, "`tokenizer=cifar` contradicts"),
        ({"heads": 2}, "`heads` means nothing"),
        ({"decay": 0.5}, "`decay` means nothing"),
        ({"family": "spiking-vgg"}, "not of spiking-vgg"),
        ({"preset": "csnn-dvs128"}, "dim"),
    ],
)
def test_wrong_options_are_refused(options, message, tmp_path):
    """What the keys contradict, or means nothing here, is refused by name."""
    path, _, _ = saved("nmnist", tmp_path)
    with pytest.raises(OptionError, match=message):
        convert(path, ConvertOptions(**{"neuron": "lif", "timesteps": T} | options))


def test_another_size_of_the_same_map_is_an_option(tmp_path):
    """N-MNIST cut to 32 x 32 leaves the same map of 8 x 8 as its 34 x 34, and is taken where it is said."""
    path, tree, state = saved("nmnist", tmp_path)
    network = convert(path, ConvertOptions(neuron="lif", timesteps=T, image_size=32)).network
    sample = sample_of("nmnist")[0][:, :, :32, :32]
    plain_cnn.check(api.simulate, network, sample, plain_cnn.forward(tree, state, sample))


def test_input_channels_of_no_csnn_are_refused(tmp_path, monkeypatch):
    """An input that is neither image nor events is refused by the layer that reads it."""
    monkeypatch.setitem(NETS, "odd", (NETS["mnist"][0], 5, 28, True))
    path, _, _ = saved("odd", tmp_path)
    with pytest.raises(CheckpointError, match=r"conv_fc\.0 reads 5 channels"):
        convert(path, ConvertOptions(neuron="lif", timesteps=T))


@pytest.mark.parametrize(
    ("preset", "millions"), [("csnn-dvs128", 1.699), ("csnn-plif-dvs128", 1.698), ("csnn-plif-cifar10", 36.718)]
)
def test_presets_have_the_number_of_parameters_of_the_code(preset, millions):
    """A preset is of the size that the authors' code builds."""
    shapes = [shape for node in skeleton(preset).nodes for shape in node.parameters().values()]
    assert round(sum(map(np.prod, shapes)) / 1e6, 3) == millions

"""MS-ResNet: equal to the authors' code, in all its forms to a plain forward; its facts asked for, assumed, refused."""

from __future__ import annotations

from dataclasses import replace

import golden_families
import numpy as np
import plain_cnn
import pytest
from commands import evsim, refused
from plain_cnn import convolved, fired, normalised
from torch_files import as_tensors, write_checkpoint

from evsim import api, modelfile
from evsim.audit.sweep import SweepOptions, sweep
from evsim.converters import ConvertOptions, convert
from evsim.converters.registry import PRESETS
from evsim.document import document
from evsim.energy import charge
from evsim.errors import CheckpointError, OptionError
from evsim.synthesis import skeleton, synthesize

GOLDEN = golden_families.files_of("ms-resnet18-4")
SIDE, T = 64, 3
FACTS = ("--timesteps", T, "--image-size", SIDE)
PLAIN, DEEP = (2, 1, 2, 1), (1, 2, 1, 1)


def modules(blocks, deep, width=4):
    """Return the layers with weights of the authors' module tree: key, its BatchNorm's key, shape."""
    if deep:
        stem = [(f"conv1.{i}", "conv1.3.bn" if i == 2 else "", (width, width if i else 3, 3, 3)) for i in range(3)]
    else:
        stem = [("conv1.0", "conv1.1.bn", (width, 3, 7, 7))]
    layers, inner = stem, width
    for stage, count in enumerate(blocks):
        outer = width * 2**stage
        for block in range(count):
            p = f"conv{stage + 2}_x.{block}"
            for i, read in ((1, inner), (4, outer)):
                norm = f"{p}.residual_function.{i + 1}.bn"
                layers.append((f"{p}.residual_function.{i}", norm, (outer, read, 3, 3)))
            if block == 0:
                at = f"{p}.shortcut.{int(deep)}"
                layers.append((at, f"{p}.shortcut.{int(deep) + 1}.bn", (outer, inner, 1, 1)))
            inner = outer
    return layers


def weights(blocks, deep, seed=5):
    """Return a random state_dict."""
    rng = np.random.default_rng(seed)
    state = {}
    for key, norm, shape in modules(blocks, deep):
        chain = [(key, "conv"), *([(norm, "bn")] if norm else [])]
        bias = [key] if deep and key.startswith("conv1.") else []
        state |= plain_cnn.parameters(rng, chain, {key: shape}, bias)
    return state | plain_cnn.parameters(rng, [("fc", "linear")], {"fc": (10, shape[0])}, ["fc"])


def oracle(state, blocks, deep, image, decay=0.25, threshold=0.5):
    """Return mean logits, spikes and counts of a forward pass as the authors' code does it."""
    spikes, counts = {}, {}

    def conv(key, norm, x, stride=1):
        """Convolution, bias and BatchNorm."""
        x, counts[key] = convolved(x, state[f"{key}.weight"], stride)
        if f"{key}.bias" in state:
            x = x + state[f"{key}.bias"].astype(np.float64)[:, None, None]
        return normalised(x, state, norm) if norm else x

    def fire(name, x):
        """Fire above the threshold alone; what does not fire leaks by a factor."""
        spikes[name] = fired(x, ((lambda v, now: decay * v + now), (lambda v: v > threshold)))
        return spikes[name]

    x = np.repeat(image.astype(np.float64)[None], T, axis=0)
    if deep:
        x = conv("conv1.2", "conv1.3.bn", conv("conv1.1", "", conv("conv1.0", "", x, 2)))
    else:
        x = conv("conv1.0", "conv1.1.bn", x, 2)
    for stage, count in enumerate(blocks):
        for block in range(count):
            p, stride = f"conv{stage + 2}_x.{block}", 1 if block else 2
            r, s = f"{p}.residual_function", f"{p}.shortcut"
            y = conv(f"{r}.1", f"{r}.2.bn", fire(f"{r}.0", x), stride)
            y = conv(f"{r}.4", f"{r}.5.bn", fire(f"{r}.3", y))
            if block == 0:
                x = plain_cnn.pooled(x, np.mean) if deep else x
                x = conv(f"{s}.{int(deep)}", f"{s}.{int(deep) + 1}.bn", x, 1 if deep else 2)
            x = y + x
    mean = fire("mem_update", x).mean(axis=(0, 2, 3))
    return mean @ state["fc.weight"].astype(np.float64).T + state["fc.bias"], spikes, counts


@pytest.fixture
def image():
    """Return an image as the network takes it, normalised."""
    return np.random.default_rng(1).normal(0, 1, (3, SIDE, SIDE)).astype(np.float32)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.name)
def test_equals_the_authors_code(path, tmp_path):
    """No spike, logit or count differs from the golden's, whichever of its files is converted."""
    network = golden_families.check(path, ConvertOptions(timesteps=6, image_size=SIDE), tmp_path)
    assert network.family == "ms-resnet"


@pytest.mark.parametrize(("blocks", "deep"), [(PLAIN, False), (DEEP, True)])
def test_equals_a_plain_forward(blocks, deep, image, tmp_path):
    """Both forms of the keys, in depths of any kind, give the spikes, logits and counts of a plain forward."""
    state = weights(blocks, deep)
    path = write_checkpoint(tmp_path / "c.pth", as_tensors({f"module.{key}": value for key, value in state.items()}))
    assert evsim("convert", path, tmp_path / "m.h5", *FACTS).code == 0
    network = modelfile.load(tmp_path / "m.h5")
    assert network.name == f"ms-resnet-{2 * sum(blocks) + 2}-4"
    plain_cnn.check(api.simulate, network, image, oracle(state, blocks, deep, image))
    other = convert(path, ConvertOptions(timesteps=T, image_size=SIDE, decay=0.5, v_threshold=0.75)).network
    plain_cnn.check(api.simulate, other, image, oracle(state, blocks, deep, image, 0.5, 0.75))


def test_real_values_meet_convolutions_in_stem_and_shortcuts_alone(image, tmp_path):
    """Stem and shortcuts are MACs, all else is additions; every row of neurons says what it is."""
    path = write_checkpoint(tmp_path / "c.pth", as_tensors(weights(DEEP, True)))
    run = api.simulate(convert(path, ConvertOptions(timesteps=T, image_size=SIDE)).network, image)
    real = {row.name for row in run.counts.layers if row.kind == "conv" and row.macs.any()}
    assert real == {key for key, _, _ in modules(DEEP, True) if key.startswith("conv1.") or "shortcut" in key}
    assert charge(run.counts, "exact").energy_mj > 0
    assert {row["neuron"] for row in document(run)["layers"] if row["kind"] == "lif"} == {"lif"}


def test_what_keys_cannot_tell_is_asked_for_or_assumed(tmp_path):
    """T and the image's size are asked for; the neuron's constants are assumed, and said to be."""
    path, out = write_checkpoint(tmp_path / "c.pth", as_tensors(weights(PLAIN, False))), tmp_path / "m.h5"
    assert "timesteps" in refused("convert", path, out, "--image-size", SIDE)
    assert "image size" in refused("convert", path, out, "--timesteps", T)
    said = evsim("convert", path, out, *FACTS).out
    assert "0.25 (assumed: constant of ms-resnet)" in said
    assert "0.5 (assumed: constant of ms-resnet)" in said
    assert "bilinear (assumed" in said


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 8}, "`heads` means nothing"),
        ({"tau": 2.0}, "`tau` means nothing"),
        ({"neuron": "if"}, "`neuron` must be one of lif, got if"),
        ({"variant": "cml"}, "`variant` must be one of standard"),
        ({"decay": 1.5}, "decay 1.5 .* makes no sense"),
        ({"v_threshold": 0.0}, "v threshold 0.0 .* makes no sense"),
        ({"family": "spikingformer"}, "not of spikingformer"),
        ({"family": "csnn"}, "not of csnn"),
        ({"preset": "ms-resnet-18-imagenet"}, "dim"),
    ],
)
def test_wrong_options_are_refused(options, message, tmp_path):
    """An option that means nothing here, or what the keys contradict, is refused by name."""
    path = write_checkpoint(tmp_path / "c.pth", as_tensors(weights(PLAIN, False)))
    with pytest.raises(OptionError, match=message):
        convert(path, ConvertOptions(**{"timesteps": T, "image_size": SIDE} | options))


def test_the_neuron_that_it_has_is_accepted(tmp_path):
    """An option that only repeats what the model has changes nothing."""
    path = write_checkpoint(tmp_path / "c.pth", as_tensors(weights(PLAIN, False)))
    told, silent = (
        convert(path, ConvertOptions(timesteps=T, image_size=SIDE, neuron=n)).network for n in ("lif", None)
    )
    assert told.nodes == silent.nodes


def test_what_is_missing_is_named(tmp_path):
    """A layer that the blocks lack is an error by its key."""
    state = weights(PLAIN, False)
    del state["conv4_x.0.shortcut.0.weight"]
    path = write_checkpoint(tmp_path / "c.pth", as_tensors(state))
    with pytest.raises(CheckpointError, match=r"lacks conv4_x\.0\.shortcut\.0\.weight"):
        convert(path, ConvertOptions(timesteps=T, image_size=SIDE))


@pytest.mark.parametrize(("depth", "millions"), [(18, 11.694), (34, 21.802), (104, 77.351)])
def test_presets_have_the_published_number_of_parameters(depth, millions):
    """A preset is of the published size."""
    network = skeleton(f"ms-resnet-{depth}-imagenet")
    shapes = [shape for node in network.nodes for shape in node.parameters().values()]
    assert round(sum(map(np.prod, shapes)) / 1e6, 3) == millions


@pytest.mark.parametrize("depth", [18, 104])
def test_a_synthetic_model_fires_as_asked(depth, monkeypatch):
    """Random weights of a preset's form are calibrated to a rate in every layer of neurons."""
    small = replace(PRESETS[f"ms-resnet-{depth}-imagenet"], dim=8, image_size=64)
    monkeypatch.setitem(PRESETS, "small", small)
    assert not synthesize("small", rates=0.2).missed


def test_a_model_without_heads_can_be_swept(monkeypatch):
    """Widths of a model that has no heads need divide into none."""
    monkeypatch.setitem(PRESETS, "small", replace(PRESETS["ms-resnet-18-imagenet"], image_size=32))
    rows = list(sweep([18], [8, 16], SweepOptions("small", rates=0.2)))
    assert [(row.model, row.heads) for row in rows] == [("ms-resnet-18-8", 0), ("ms-resnet-18-16", 0)]
    assert rows[0].dense_macs < rows[1].dense_macs
    with pytest.raises(OptionError, match="18, 34, 104 layers, not 19"):
        list(sweep([19], [8], SweepOptions("small", rates=0.2)))

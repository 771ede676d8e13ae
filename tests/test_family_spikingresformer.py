"""SpikingResformer: the authors' checkpoints against the goldens of their code; generated ones against plain NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import evsim, refused
from resformers import Model
from torch_files import as_tensors, write_checkpoint

from evsim import api, countsfile, modelfile, synthesis
from evsim.converters import ConvertOptions, convert
from evsim.converters.facts import Facts
from evsim.converters.presets import Preset
from evsim.converters.registry import BUILT_IN
from evsim.errors import CheckpointError, NetworkError, OptionError
from evsim.network import LIF
from evsim.workload import workload

SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden-families"
GOLDENS = ("spikingresformer-imagenet-32", "spikingresformer-cifar-24")

FORMS = {
    "imagenet": Model(),
    "heads": Model(layers=("DG", "DGDG", "DG"), planes=(8, 12, 16), heads=(2, 3, 4), patches=(4, 2, 1), size=64),
    "odd": Model(size=37, patches=(2, 2)),
    "cifar": Model(wide=False, size=12, patches=(4, 2)),
    "dvs": Model(wide=False, size=16, plif=True, patches=(4, 2), planes=(6, 12), group=3),
    "order": Model(layers=("GD", "D", "GG"), planes=(4, 8, 8), heads=(1, 2, 4), patches=(2, 1, 1), convs=2),
    "two channels": Model(channels=2, plif=True, size=32),
}
"""State_dicts in every form, sizes and orders of modules; patches cover a side that they do not divide in part."""


def saved(model, path):
    """Write a state_dict as the authors' script does."""
    return write_checkpoint(path, {"model": as_tensors(model.state), "optimizer": {}, "epoch": 3, "max_acc1": 71.5})


def converted(model, tmp_path, **options):
    """Convert a model's checkpoint, and return the network as its file holds it."""
    told = {"timesteps": model.steps, "image_size": model.size} | options
    modelfile.save(convert(saved(model, tmp_path / "c.pth"), ConvertOptions(**told)).network, tmp_path / "m.h5")
    return modelfile.load(tmp_path / "m.h5")


def told(name, which):
    """Return a JSON file of a golden."""
    content = json.loads((SHARED / name / f"{which}.json").read_text(encoding="utf-8"))
    return content.get("layers", content) if which != "config" else content


def runs(network, sample):
    """Return runs in float64 by both schedules and by one thread and three, of which nothing may differ."""
    first, *others = (
        api.simulate(network, sample, precision="float64", record_spikes=True, schedule=schedule, threads=threads)
        for schedule in ("layer", "time")
        for threads in (1, 3)
    )
    for other in others:
        assert np.array_equal(first.logits, other.logits)
        for row, again in zip(first.counts.layers, other.counts.layers, strict=True):
            assert (row.sops.tolist(), row.macs.tolist()) == (again.sops.tolist(), again.macs.tolist()), row.name
        for name, (packed, _) in first.spikes.packed.items():
            assert np.array_equal(packed, other.spikes.packed[name][0]), name
    return first


@pytest.mark.skipif(not SHARED.exists(), reason="../shared absent")
@pytest.mark.parametrize("container", ["checkpoint_max_acc1.pth", "state_dict.h5"])
@pytest.mark.parametrize("name", GOLDENS)
def test_goldens_are_met_to_the_spike(name, container, tmp_path):
    """Both files of a golden convert, and give the authors' spikes, logits and counts."""
    config, out = told(name, "config"), tmp_path / "m.h5"
    path = SHARED / name / container
    outcome = evsim("convert", path, out, "--timesteps", config["T"], "--image-size", config["image_size"])
    assert outcome.code == 0, outcome.err
    assert "spikingresformer (from the keys)" in outcome.out
    run = runs(modelfile.load(out), np.load(SHARED / name / "input.npy"))
    with h5py.File(SHARED / name / "golden.h5") as file:
        np.testing.assert_allclose(run.logits, file["logits_float64"][()].reshape(-1), rtol=0, atol=1e-9)
        assert list(run.spikes) == config["lif_order"]
        for neurons, spikes in file["spikes_float64"].items():
            packed, shape = run.spikes.packed[neurons]
            assert np.array_equal(packed, spikes[()]), neurons
            steps, _, *rest = spikes.attrs["shape"].tolist()
            assert list(shape) == [steps, *rest], neurons
    run.save_counts(tmp_path / "c.h5")
    for counts in (run.counts, countsfile.load(tmp_path / "c.h5").counts):
        check_counts(name, counts)


def check_counts(name, counts):
    """Hold every row of layers and products against the golden's."""
    exact, products = told(name, "exact_counts"), told(name, "attention_counts")
    assert {row.name for row in counts.layers if row.kind != "lif"} == {*exact, *products}
    for layer, wanted in exact.items():
        row = counts.layer(layer)
        assert int((row.sops + row.macs).sum()) == wanted["accumulates_in_bounds"], layer
        assert bool(row.macs.sum()) != wanted["input_binary"], layer
        assert row.dense_macs == wanted["dense_macs_with_padding"], layer
        assert int(row.input_nonzeros.sum()) == wanted["input_nonzeros"], layer
        assert int(row.input_size.sum()) == wanted["input_size"], layer
    for product, wanted in products.items():
        row = counts.layer(product)
        assert row.named_operations["accumulates"].tolist() == wanted["accumulates"], product
        assert row.dense_macs == wanted["dense_macs"], product


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_plain_forward_pass(form, tmp_path):
    """Spikes of every layer, logits and the products' counts equal those of the module written in NumPy."""
    model = FORMS[form]
    sample = np.random.default_rng(1).normal(size=(model.steps, model.channels, model.size, model.size))
    options = {} if model.plif or model.channels == 3 else {"tokenizer": "dvs"}
    run = runs(converted(model, tmp_path, **options), sample)
    np.testing.assert_allclose(run.logits, model.forward(sample), rtol=0, atol=1e-9)
    assert set(run.spikes) == set(model.spikes)
    for name, spikes in model.spikes.items():
        packed, shape = run.spikes.packed[name]
        assert shape == spikes.shape, name
        assert np.array_equal(packed, np.packbits(spikes)), name
        assert 0.005 < spikes.mean() < 0.9, name
    for name in model.spikes:
        if name.endswith("activation_attn"):
            path = name.rpartition(".")[0]
            fed, attn = model.spikes[f"{path}.activation_in"], model.spikes[name]
            rows, width = attn.shape[2], fed.shape[1] // attn.shape[1]
            first, second = (run.counts.layer(f"{path}.matmul{i}") for i in (1, 2))
            assert int(first.sops.sum()) == fed.sum() * rows
            assert int(second.sops.sum()) == attn.sum() * width
            assert (first.kind, first.attention) == ("attention", "dssa")


def test_another_size_than_built_for_keeps_the_scale(tmp_path):
    """The second product is scaled by the patches that the model was built for: the image's, if nothing says more."""
    model = Model(layers=("D",), planes=(8,), heads=(2,), patches=(2,), wide=False, size=12)
    scales = {
        built: converted(model, tmp_path, built_size=built).weights["layers.0.0.matmul2.scale"]
        for built in (None, 12, 24, 13)
    }
    rate = model.state["layers.0.0.firing_rate_attn"].reshape(2).astype(np.float64)
    np.testing.assert_array_equal(scales[None], 1.0 / np.sqrt(rate * 36))
    for built, rows in ((12, 36), (13, 36), (24, 144)):
        np.testing.assert_array_equal(scales[built], 1.0 / np.sqrt(rate * rows))
    for options in ({"built_size": 1}, {"built_size": 0}):
        with pytest.raises(OptionError, match="built_size"):
            converted(model, tmp_path, **options)
    path = saved(model, tmp_path / "c.pth")
    told = evsim("convert", path, tmp_path / "m.h5", "--timesteps", 3, "--image-size", 12, "--built-size", 24)
    assert "built_size   24 (from --built-size)" in told.out, told


def test_what_the_keys_tell_is_told_and_the_rest_asked_or_assumed(tmp_path):
    """Heads, sizes and PLIF come from the keys; T and ImageNet's size are asked for; each assumption is said."""
    model = FORMS["imagenet"]
    path, out = saved(model, tmp_path / "c.pth"), tmp_path / "m.h5"
    assert "does not tell timesteps: give it by --timesteps" in refused("convert", path, out)
    assert "does not tell image size: give it by --image-size" in refused("convert", path, out, "--timesteps", 3)
    given = ("--timesteps", 3, "--image-size", 32)
    lines = evsim("convert", path, out, *given).out
    for line in (
        "heads          1, 3 (from the keys, whose", "widths         8, 12 (from the keys)", "lif (assumed: as in all",
        "tokenizer      imagenet (assumed: as the published models with such a", "crop_pct       0.95 (assumed",
    ):  # fmt: skip
        assert line in lines, lines
    alike = ("--heads", 3, "--family", "spikingresformer", "--neuron", "lif", "--variant", "standard", "--tau", 2.0)
    assert evsim("convert", path, out, *given, *alike).code == 0
    spec = convert(path, ConvertOptions(timesteps=3, image_size=32, tokenizer="cifar")).network.spec
    assert (spec.kind, spec.mean, spec.crop_pct) == ("image", (0.4914, 0.4822, 0.4465), 1.0)
    assert spec.std == (0.2023, 0.1994, 0.2010)
    framed = convert(path, ConvertOptions(timesteps=3, tokenizer="dvs")).network.spec
    assert (framed.kind, framed.height, framed.interpolation) == ("frames", 128, "bilinear")
    learned = saved(FORMS["dvs"], tmp_path / "d.pth")
    conversion = convert(learned, ConvertOptions(timesteps=3, neuron="plif"))
    assert (conversion.network.spec.kind, conversion.network.spec.height) == ("frames", 64)
    assert any("trained time constants (PLIF) of 13 layers of neurons: tau" in note for note in conversion.notes)
    picture = convert(learned, ConvertOptions(timesteps=3, image_size=16, tokenizer="cifar")).network
    assert picture.spec.kind == "image"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"heads": 2}, "`heads=2` contradicts the checkpoint, whose weights say 3"),
        ({"neuron": "plif"}, "`neuron=plif` contradicts the checkpoint, which has no learned time constants"),
        ({"neuron": "if"}, "`neuron` must be one of lif, plif, got if"),
        ({"variant": "cml"}, "`variant` must be one of standard"),
        ({"family": "spikformer"}, "its keys are those of spikingresformer, not of spikformer"),
        ({"orientation": "jaer"}, "`orientation` means nothing for a model of images"),
        ({"tokenizer": "dvs", "mean": (0.1, 0.1, 0.1)}, "`mean` means nothing for a model of events"),
        ({"preset": "spikingresformer-ti-imagenet"}, "says widths"),
        ({"image_size": 4}, "has no patch at that size; give a greater one by `built_size` or `image_size`"),
        ({"tau": 0.5}, "tau 0.5"),
    ],
)
def test_options_that_contradict_are_refused(options, text, tmp_path):
    """One line says what an option contradicts."""
    with pytest.raises((OptionError, NetworkError)) as caught:
        converted(FORMS["imagenet"], tmp_path, **options)
    assert text in str(caught.value)


def test_a_preset_of_another_first_convolution_is_refused(tmp_path):
    """CIFAR's model has the widths of ImageNet's smallest, and another prologue."""
    path = saved(FORMS["cifar"], tmp_path / "c.pth")
    with pytest.raises(OptionError, match="whose first convolution is of 7 x 7, but the checkpoint's is of 3 x 3"):
        convert(path, ConvertOptions(preset="spikingresformer-ti-imagenet"))
    with pytest.raises(OptionError, match="`tau` means nothing for PLIF neurons"):
        convert(saved(FORMS["dvs"], tmp_path / "d.pth"), ConvertOptions(timesteps=3, tau=2.0))
    with pytest.raises(OptionError, match="`built_size` means nothing for spikingformer"):
        Facts(ConvertOptions(built_size=3), {}).choose_among("spikingformer", BUILT_IN["spikingformer"].choices)


DAMAGE = {
    "layers.0.0.firing_rate_x": (np.zeros((1, 1, 1, 1, 1), np.float32), "firing_rate_x is not positive in every head"),
    "layers.1.1.firing_rate_attn": (np.full((1, 1, 3, 1, 1), np.nan, np.float32), "firing_rate_attn"),
    "layers.1.1.firing_rate_x": (np.ones((1, 1, 2, 1, 1), np.float32), "layers.1.1.firing_rate_"),
    "layers.0.0.W.weight": (None, "lacks layers.0.0.W.weight"),
    "layers.0.1.conv.0.1.weight": (None, "lacks layers.0.1.conv.0.1.weight"),
    "layers.0.1.conv.0.2.bn.bias": (None, "lacks layers.0.1.conv.0.2.bn.bias"),
    "layers.0.0.W.bias": (np.zeros(7, np.float32), "layers.0.0.W.bias has shape [7]"),
    "prologue.0.weight": (np.zeros((8, 3, 5, 5), np.float32), "begins with one of 7 or 3"),
    "layers.1.0.conv.weight": (np.zeros((12, 7, 3, 3), np.float32), "layers.1.0.conv.weight has shape [12, 7, 3, 3]"),
    "prologue.3.weight": (np.zeros((8, 3, 5, 5), np.float32), "weights that no layer takes: prologue.3.weight"),
    "layers.0.0.activation_in.w": (np.zeros((), np.float32), "lacks layers.0.0.activation_attn.w"),
    "layers.0.1.conv.7.1.weight": (np.zeros((16, 4, 3, 3), np.float32), "lacks layers.0.1.conv.1.1.weight"),
    "layers.9000.0.W.weight": (np.zeros((16, 8, 2, 2), np.float32), "lacks layers.2.0.firing_rate_x"),
    "layers.0.9000.W.weight": (np.zeros((16, 8, 2, 2), np.float32), "lacks layers.0.2.firing_rate_x"),
    "layers.1.4.W.weight": (np.zeros((24, 12, 1, 1), np.float32), "lacks layers.1.3.firing_rate_x"),
}
"""A tensor of the ImageNet form replaced, taken away (None) or added, and what the message says."""


@pytest.mark.parametrize("key", DAMAGE)
def test_damage_is_named(key, tmp_path):
    """A tensor that is missing, misshapen or unsound is named by its key, in one line."""
    value, text = DAMAGE[key]
    state = dict(FORMS["imagenet"].state)
    state.pop(key, None)
    if value is not None:
        state[key] = value
    path = write_checkpoint(tmp_path / "c.pth", {"model": as_tensors(state)})
    said = refused("convert", path, tmp_path / "m.h5", "--timesteps", 3, "--image-size", 32)
    assert text in said
    assert not (tmp_path / "m.h5").exists()


@pytest.mark.parametrize("w", [np.float32(np.nan), np.float32(-200.0)])
def test_unsound_time_constants_are_refused(w, tmp_path):
    """A PLIF's number from which no time constant comes is named."""
    state = FORMS["dvs"].state | {"layers.1.2.down.0.w": np.array(w)}
    path = write_checkpoint(tmp_path / "c.pth", {"model": as_tensors(state)})
    assert "layers.1.2.down.0.w" in refused("convert", path, tmp_path / "m.h5", "--timesteps", 3)


EMPTY = {"layers.0.0.W.weight": (16, 8, 0, 0), "layers.0.1.conv.0.1.weight": (16, 0, 3, 3)}
EMPTY |= {"layers.0.0.firing_rate_x": (1, 1, 0, 1, 1)}


@pytest.mark.parametrize("key", EMPTY)
def test_tensors_without_values_are_refused(key, tmp_path):
    """Sizes of 0, by which nothing divides, are none of a model."""
    state = dict(FORMS["imagenet"].state)
    state[key] = np.zeros(EMPTY[key], np.float32)
    if "firing_rate" in key:
        state["layers.0.0.firing_rate_attn"] = state[key]
    path = write_checkpoint(tmp_path / "c.pth", {"model": as_tensors(state)})
    said = refused("convert", path, tmp_path / "m.h5", "--timesteps", 3, "--image-size", 32)
    assert "has tensors without values" in said


def test_a_stage_that_does_not_narrow_is_refused(tmp_path):
    """The authors' code has one layer of stride 2 at the begin of each stage but the first."""
    state = {key.replace("layers.1.", "layers.0.2."): value for key, value in FORMS["imagenet"].state.items()}
    state |= {key: value for key, value in FORMS["imagenet"].state.items() if not key.startswith("layers.1.0")}
    path = write_checkpoint(tmp_path / "c.pth", {"model": as_tensors(state)})
    with pytest.raises(CheckpointError, match=r"layers\.1"):
        convert(path, ConvertOptions(timesteps=3, image_size=32))


PARAMETERS = {
    "ti-imagenet": 11.181,
    "s-imagenet": 17.814,
    "m-imagenet": 35.601,
    "l-imagenet": 60.376,
    "cifar10": 10.793,
}


@pytest.mark.parametrize("preset", PARAMETERS)
def test_presets_have_the_published_sizes(preset):
    """Parameters, in millions, are those of the authors' models."""
    network = synthesis.skeleton(f"spikingresformer-{preset}")
    number = sum(work.parameters for work in workload(network).values())
    assert number / 1e6 == pytest.approx(PARAMETERS[preset], abs=6e-4)


@pytest.mark.parametrize("preset", BUILT_IN["spikingresformer"].presets)
def test_every_preset_stands_for_a_network(preset):
    """Each has a graph of its size, T, classes and input."""
    told, network = BUILT_IN["spikingresformer"].presets[preset], synthesis.skeleton(preset)
    spec = network.spec
    assert (spec.timesteps, spec.height, network.classes) == (told.timesteps, told.image_size, told.classes)
    assert spec.kind == ("frames" if "dvs" in preset else "image")
    assert spec.mean == told.mean
    plif = {node.parametric for node in network.nodes if isinstance(node, LIF)}
    assert plif == {preset == "spikingresformer-dvs128"}


@pytest.mark.parametrize("neuron", ["lif", "plif"])
def test_synthetic_models_fire_at_their_rate(neuron):
    """Random weights fire at the rate asked for, neurons behind products by the firing rates of the state_dict."""
    dvs = neuron == "plif"
    sizes = Preset(
        "dvs" if dvs else "imagenet", 32, 6, 2, 3, 10, 32 if dvs else 64, "spikingresformer",
        mean=() if dvs else (0.485, 0.456, 0.406), std=() if dvs else (0.229, 0.224, 0.225),
        widths=(16, 16, 32), neuron=neuron,
    )  # fmt: skip
    model = synthesis.synthesize(sizes, 0.2)
    assert not model.missed, model.missed
    neurons = [node for node in model.network.nodes if isinstance(node, LIF)]
    assert [rate.name for rate in model.rates] == [node.name for node in neurons]
    run = api.simulate(model.network, model.sample, precision="float64", record_spikes=True)
    for rate in model.rates:
        packed, shape = run.spikes.packed[rate.name]
        fired = np.unpackbits(packed)[: int(np.prod(shape))].mean()
        assert fired == pytest.approx(rate.reached, abs=1e-12)
        assert fired == pytest.approx(0.2, rel=0.01), rate.name
    rates = [float(value.min()) for key, value in model.state.items() if "firing_rate" in key]
    assert len(rates) == 12
    assert min(rates) > 0.0
    if dvs:
        assert np.array_equal(model.sample[:, 2], model.sample[:, 0] + model.sample[:, 1])


def test_sizes_that_make_no_sense_are_refused():
    """A preset of one's own says the widths of its stages, which heads of one size divide."""
    for sizes in ({"widths": ()}, {"widths": (16, 16, 31)}, {"depth": 4}, {"widths": (15, 16, 32)}):
        told = {"widths": (16, 16, 32), "depth": 6} | sizes
        with pytest.raises(OptionError, match="makes no sense: give 3 widths"):
            synthesis.skeleton(
                Preset("imagenet", 32, told["depth"], 2, 4, 10, 64, "spikingresformer", widths=told["widths"])
            )

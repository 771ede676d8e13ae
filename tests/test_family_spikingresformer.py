"""SpikingResformer: the authors' checkpoints against the goldens of their code; generated ones against plain NumPy."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import evsim
from resformers import Model
from torch_files import as_tensors, write_checkpoint

from evsim import api, countsfile, modelfile
from evsim.converters import ConvertOptions, convert

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
        for name, (packed, _) in first.spikes.items():
            assert np.array_equal(packed, other.spikes[name][0]), name
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
            packed, shape = run.spikes[neurons]
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
        packed, shape = run.spikes[name]
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

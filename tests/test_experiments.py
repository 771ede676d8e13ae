"""The open experiments: the document shows the kept figures, and a model without attention is that and no more."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import evsim
from evsim.audit.check import check
from evsim.converters import ConvertOptions, convert

REFERENCE = Path(__file__).parent / "reference"
GOLDEN = Path(__file__).parent / "data" / "golden"


@pytest.fixture
def reference(monkeypatch):
    """Let the scripts of tests/reference be imported."""
    monkeypatch.syspath_prepend(REFERENCE)


@pytest.mark.usefixtures("reference")
def test_the_document_shows_the_kept_figures():
    """docs/experiments.md is what `make experiments WRITE=--write` writes of experiments.json."""
    from experiment_tables import DOCUMENT, FIGURES, written

    figures, text = json.loads(FIGURES.read_text()), DOCUMENT.read_text()
    assert written(text, figures) == text
    assert "digits" in figures
    for name in figures:
        assert all(row["apart"] < 1e-9 for row in figures[name]["models"].values())
        for model, row in figures[name]["models"].items():
            assert f"| {model} | {row['parameters']:,} | {', '.join(map(str, row['right']))} |" in text
            assert sum(row["right"]) / len(row["right"]) / figures[name]["samples"] == pytest.approx(
                row["means"]["correct"][0]
            )


@pytest.mark.usefixtures("reference")
@pytest.mark.parametrize("family", ["spikingformer", "spikformer"])
def test_a_model_without_attention_lacks_it_alone(family):
    """Every other node and weight stays; the MLP reads what the attention read; its residual keeps its kind."""
    from experiments import without_attention

    options = ConvertOptions(family=family)
    whole = convert(GOLDEN / f"{family}-cifar" / "checkpoint.pth.tar", options).network
    net = without_attention(whole)
    assert [n.name for n in net.nodes] == [n.name for n in whole.nodes if ".attn." not in n.name]
    assert set(net.weights) == {key for key in whole.weights if ".attn." not in key}
    add = net.node("block.0.mlp.add")
    assert whole.node("block.0.attn.add").inputs[0] in add.inputs
    assert check(net).spike_driven == (family == "spikingformer")
    image = np.random.default_rng(0).standard_normal((net.spec.channels, net.spec.height, net.spec.width))
    run = evsim.simulate(net, image.astype(np.float32))
    assert run.logits.shape == (net.classes,)
    assert not [row for row in run.counts.layers if row.kind == "attention"]


@pytest.mark.usefixtures("reference")
def test_digits_are_enlarged_four_times():
    """Each pixel of a digit becomes 4 x 4 equal ones in three equal colours, 16 becoming 255."""
    from sklearn.datasets import load_digits
    from small_data import pixels

    large, small = pixels(np.array([0, 5])), load_digits().images[[0, 5]]
    assert large.shape == (2, 32, 32, 3)
    assert np.array_equal(large[:, 3::4, ::4, 1], np.rint(small * 255 / 16).astype(np.uint8))
    assert (large.reshape(2, 8, 4, 8, 4, 3) == large[:, ::4, None, ::4, None, :1].reshape(2, 8, 1, 8, 1, 1)).all()

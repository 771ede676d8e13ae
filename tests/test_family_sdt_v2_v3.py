"""Spike-driven Transformer V2 and V3: the authors' code spike by spike, and what keys tell, ask for and refuse."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from beside import SHARED, needed

from evsim import api, modelfile
from evsim.converters import ConvertOptions, convert

GOLDENS = {"sdt-v2-16": "sdt-v2", "sdt-v3-8": "sdt-v3", "sdt-v3-large-32": "sdt-v3"}
RUNS = [("layer", 1), ("time", 1), ("layer", 3), ("time", 3)]


def folder_of(name):
    """Return a golden's folder, or skip."""
    return needed(SHARED / "golden-families" / name)


def told(name, which):
    """Return a JSON file of a golden, its layers where it names them so; empty if it has none."""
    path = folder_of(name) / f"{which}.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content.get("layers", content)


def asked(name):
    """Return what the keys of a golden cannot tell."""
    config = told(name, "config")
    return {"heads": config["heads"], "image_size": config["image_size"], "timesteps": config["T"]}


def stored(conversion, tmp_path):
    """Return a network as its model.h5 holds it."""
    modelfile.save(conversion.network, tmp_path / "model.h5")
    return modelfile.load(tmp_path / "model.h5")


@pytest.mark.parametrize("fold", [None, False], ids=["folded", "apart"])
@pytest.mark.parametrize("name", GOLDENS)
def test_spikes_logits_and_counts_are_the_authors_own(name, fold, tmp_path):
    """In float64 no spike differs, folded or apart; logits agree, and counts to the integer in every way to run."""
    folder = folder_of(name)
    options = ConvertOptions(GOLDENS[name], **asked(name), fold=fold)
    network = stored(convert(folder / "state_dict.h5", options), tmp_path)
    sample = np.load(folder / "input.npy")
    runs = [
        api.simulate(
            network, sample, precision="float64", schedule=schedule, threads=threads, record_spikes=True, detail=True
        )
        for schedule, threads in RUNS
    ]
    for run in runs:
        with h5py.File(folder / "golden.h5") as golden:
            np.testing.assert_allclose(run.logits, golden["logits_float64"][()].reshape(-1), rtol=0, atol=1e-9)
            assert set(run.spikes) == set(golden["spikes_float64"])
            for neurons, spikes in golden["spikes_float64"].items():
                packed, shape = run.spikes[neurons]
                whole = tuple(int(n) for n in spikes.attrs["shape"])
                assert tuple(shape) == whole[:1] + tuple(n for n in whole[1:] if n > 1), neurons
                assert np.array_equal(packed, spikes[()]), neurons
        check_counts(name, run.counts, apart=fold is False)


def check_counts(name, counts, apart):
    """Hold layers, attention and folded layers against the golden; apart, all rows are the golden's."""
    exact, attention = told(name, "exact_counts"), told(name, "attention_counts")
    rows = {row.name: row for row in counts.layers}
    both = exact.keys() & rows.keys()
    synaptic = {row.name for row in counts.layers if row.kind in ("conv", "linear")}
    folded = attention.get("folded", {})
    assert synaptic - exact.keys() == (set() if apart else {layer for layer in folded if "+" not in layer})
    assert exact.keys() <= rows.keys() or not apart
    for layer in both:
        row, wanted = rows[layer], exact[layer]
        assert int((row.sops + row.macs).sum()) == wanted["accumulates_in_bounds"], layer
        assert row.dense_macs == wanted["dense_macs_with_padding"], layer
        assert int(row.input_nonzeros.sum()) == wanted["input_nonzeros"], layer
        assert int(row.input_size.sum()) == wanted["input_size"], layer
    for layer in synaptic - exact.keys():
        row, wanted = rows[layer], folded[layer]
        assert int((row.sops + row.macs).sum()) == wanted["accumulates_in_bounds"], layer
        assert row.dense_macs == wanted.get("dense_macs_with_padding", wanted.get("dense_macs")), layer
        weighted = wanted.get("accumulates_value_weighted")
        assert weighted is None or int(row.acs_unrolled.sum()) == weighted, layer
    for layer, wanted in told(name, "unrolled_counts").items():
        assert layer not in rows or int(rows[layer].acs_unrolled.sum()) == wanted["accumulates_value_weighted"], layer
    for module, wanted in attention.get("attention", attention).items():
        row = rows[f"{module}.ssa"]
        pairs = wanted.get("nonzero_pairs", wanted)
        assert row.geometry.order == wanted["code_order"]
        other = "(qk)v" if wanted["code_order"] == "q(kv)" else "q(kv)"
        assert row.sops_per_head.tolist() == pairs[wanted["code_order"]]
        assert row.sops_other_order_per_head.tolist() == pairs[other]
        print(row.named_operations.keys(), row.acs_unrolled, wanted)

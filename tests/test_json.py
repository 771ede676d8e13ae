"""The JSON of a run, key by key: other tools rely on it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import evsim

GOLDEN = Path(__file__).parent / "data" / "golden"
NAMES = ["spikingformer-dvs", "spikingformer-imagenet"]
DOCUMENT = Path(__file__).parents[1] / "docs" / "json.md"
INT, FLOAT, TEXT, NONE = int, float, str, type(None)

TOP = ["schema", "model", "input", "prediction", "run", "layers", "totals", "profile", "anytime"]
MODEL = {"name": [TEXT], "family": [TEXT], "timesteps": [INT], "precision": [TEXT]}
INPUT = {
    "path": [TEXT],
    "kind": [TEXT],
    "events": [INT, NONE],
    "events_fed": [INT, NONE],
    "events_in_file": [INT, NONE],
    "events_left_out": [dict],
    "shape": [list],
}
PREDICTION = {"class": [INT], "label": [TEXT, NONE], "logits": [list]}
LAYER = {
    "name": [TEXT],
    "kind": [TEXT],
    "input_kind": [TEXT],
    "input_nonzeros": [INT],
    "input_size": [INT],
    "sops": [INT],
    "sops_other_order": [INT, NONE],
    "macs": [INT],
    "acs_unrolled": [INT, NONE],
    "dense_macs": [INT],
    "spikes": [INT, NONE],
    "per_timestep": [dict],
    "per_head": [dict, NONE],
    "neuron": [TEXT, NONE],
    "levels": [INT, NONE],
    "attention": [TEXT, NONE],
    "operations": [dict, NONE],
    "paper": [dict],
    "energy_mj": [FLOAT],
}
PAPER_ROW = {"acs": [FLOAT], "macs": [FLOAT], "firing_rate": [FLOAT], "energy_mj": [FLOAT]}
TOTALS = {
    "sops": [INT],
    "macs": [INT],
    "dense_macs": [INT],
    "dense_macs_with_attention": [INT],
    "energy_mj": [FLOAT],
    "paper": [dict],
    "paper_by_nonspike": [dict],
    "other": [dict],
}
PAPER = {"gacs": [FLOAT], "gmacs": [FLOAT], "energy_mj": [FLOAT]}
SETTINGS = ["binary-only", "integer-as-events"]
OTHER = ["residual_adds", "pool_comparisons", "mean_adds", "bias_adds", "neuron_updates"]
PROFILE = {"name": [TEXT], "e_ac_pj": [FLOAT], "e_mac_pj": [FLOAT]}


@pytest.fixture(scope="module")
def runs():
    """Run each golden once, in float64, and parse what is on standard output."""
    outcomes = {}
    for name in NAMES:
        folder = GOLDEN / name
        outcome = evsim(
            "run",
            folder / "checkpoint.pth.tar",
            "--input",
            folder / "input.npy",
            "--precision",
            "float64",
            "--json",
            "-",
        )
        assert outcome.code == 0
        outcomes[name] = json.loads(outcome.out)
    return outcomes


def holds(value, fields):
    """Assert that a JSON object has exactly these fields, in this order, of these types."""
    assert list(value) == list(fields)
    for key, kinds in fields.items():
        assert type(value[key]) in kinds, (key, value[key])


@pytest.mark.parametrize("name", NAMES)
def test_every_field_has_its_type(name, runs):
    """Schema 1: all fields are there, in the documented order, of the documented types, and no others."""
    run = runs[name]
    assert list(run) == TOP
    assert run["schema"] == 1
    holds(run["model"], MODEL)
    holds(run["input"], INPUT)
    holds(run["prediction"], PREDICTION)
    holds(run["totals"], TOTALS)
    holds(run["totals"]["paper"], PAPER | {"nonspike": [TEXT]})
    assert list(run["totals"]["paper_by_nonspike"]) == SETTINGS
    for view in run["totals"]["paper_by_nonspike"].values():
        holds(view, PAPER)
    holds(run["run"], {"threads": [INT]})
    holds(run["profile"], PROFILE)
    assert list(run["totals"]["other"]) == OTHER
    for row in run["layers"]:
        holds(row, LAYER)
        holds(row["paper"], PAPER_ROW)
        assert list(row["per_timestep"]) == ["sops", "macs"]


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_pytorch_modules_in_order_of_execution(name, runs):
    """One row per conv, linear, attention and LIF, named as in PyTorch; pools, additions and means have none."""
    rows = [row["name"] for row in runs[name]["layers"]]
    counted = json.loads((GOLDEN / name / "exact_counts.json").read_text())
    with h5py.File(GOLDEN / name / "golden.h5") as file:
        assert set(rows) == set(counted) | set(file["spikes_float64"])
    assert rows[:4] == [f"patch_embed.{part}" for part in ("proj_conv", "proj1_lif", "proj1_conv", "proj2_lif")]
    block = [row.removeprefix("block.0.") for row in rows if row.startswith("block.0.")]
    attention = ["proj_lif", "q_conv", "q_lif", "k_conv", "k_lif", "v_conv", "v_lif", "ssa", "attn_lif", "proj_conv"]
    mlp = ["mlp1_lif", "mlp1_conv", "mlp2_lif", "mlp2_conv"]
    assert block == [f"attn.{part}" for part in attention] + [f"mlp.{part}" for part in mlp]
    assert rows[-1] == "head"


@pytest.mark.parametrize("name", NAMES)
def test_values_are_the_reference_counts(name, runs):
    """Counts and spikes of every row are those of the PyTorch reference."""
    run, folder = runs[name], GOLDEN / name
    config = json.loads((folder / "config.json").read_text())
    rows = {row["name"]: row for row in run["layers"]}
    for layer, expected in json.loads((folder / "exact_counts.json").read_text()).items():
        row = rows[layer]
        if layer.endswith(".ssa"):
            other = {"q(kv)": "(qk)v", "(qk)v": "q(kv)"}[expected["order"]]
            assert row["per_head"]["sops"] == expected[expected["order"]]
            assert row["sops"] == np.sum(expected[expected["order"]])
            assert row["sops_other_order"] == np.sum(expected[other])
            tokens, width = (config["image_size"] // 16) ** 2, config["dim"] // config["heads"]
            inner = width if expected["order"] == "q(kv)" else tokens
            assert row["dense_macs"] == config["timesteps"] * config["heads"] * tokens * inner * width * 2
            assert row["per_timestep"]["sops"] == np.sum(expected[expected["order"]], axis=1).tolist()
            continue
        assert row["sops"] + row["macs"] == expected["accumulates_in_bounds"]
        assert (row["sops"] == 0) == (row["input_kind"] != "spikes")
        assert row["dense_macs"] == expected["dense_macs_with_padding"]
        assert row["input_nonzeros"] == expected["input_nonzeros"]
        assert row["input_size"] == expected["input_size"]
        assert row["per_head"] is row["sops_other_order"] is row["spikes"] is None
        assert (row["acs_unrolled"] is None) == (row["input_kind"] != "integers")
    with h5py.File(folder / "golden.h5") as file:
        for layer, train in file["spikes_float64"].items():
            assert rows[layer]["spikes"] == train.attrs["count_per_timestep"].sum()
            assert rows[layer]["kind"] == "lif"
        np.testing.assert_allclose(run["prediction"]["logits"], file["logits_float64"][0], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_totals_are_the_sums_of_the_rows(name, runs):
    """Totals sum the rows, dense MACs with and without attention; energy is what the prices make of the counts."""
    run = runs[name]
    rows, totals, profile = run["layers"], run["totals"], run["profile"]
    for key in ("sops", "macs"):
        assert totals[key] == sum(row[key] for row in rows)
        for row in rows:
            assert row[key] == sum(row["per_timestep"][key])
            assert len(row["per_timestep"][key]) == run["model"]["timesteps"]
    assert totals["dense_macs"] == sum(row["dense_macs"] for row in rows if row["kind"] in ("conv", "linear"))
    assert totals["dense_macs_with_attention"] == sum(row["dense_macs"] for row in rows)
    for row in [*rows, totals]:
        expected = (row["sops"] * profile["e_ac_pj"] + row["macs"] * profile["e_mac_pj"]) * 1e-9
        assert row["energy_mj"] == pytest.approx(expected, rel=1e-12)
    paper = totals["paper"]
    assert paper["gacs"] == pytest.approx(sum(row["paper"]["acs"] for row in rows) / 1e9, rel=1e-12)
    assert paper["gmacs"] == pytest.approx(sum(row["paper"]["macs"] for row in rows) / 1e9, rel=1e-12)
    assert paper["energy_mj"] == pytest.approx(0.9 * paper["gacs"] + 4.6 * paper["gmacs"], rel=1e-12)
    assert all(0.0 <= row["paper"]["firing_rate"] <= 1.0 for row in rows)


def test_input_kinds_are_the_declared_ones(runs):
    """Frames of events are integers, an image and the readout's mean are real, a LIF's output is spikes."""
    for name, first in (("spikingformer-dvs", "integers"), ("spikingformer-imagenet", "real")):
        kinds = {row["name"]: row["input_kind"] for row in runs[name]["layers"] if row["kind"] != "lif"}
        assert kinds.pop("patch_embed.proj_conv") == first
        assert kinds.pop("head") == "real"
        assert set(kinds.values()) == {"spikes"}


def test_integers_have_their_unrolled_count(runs):
    """Event frames: a value of k is one MAC per output reached, or k accumulates."""
    row = runs["spikingformer-dvs"]["layers"][0]
    frames = np.load(GOLDEN / "spikingformer-dvs" / "input.npy")
    reach = np.full(48, 3)
    reach[[0, -1]] = 2
    fan_out = np.multiply.outer(reach, reach) * 2  # two output channels
    assert row["macs"] == int(((frames != 0) * fan_out).sum())
    assert row["acs_unrolled"] == int((frames * fan_out).sum())


def test_a_static_image_counts_once_per_timestep(runs):
    """An image is convolved once by evsim, and counted T times, as the model declares it."""
    row = runs["spikingformer-imagenet"]["layers"][0]
    assert row["per_timestep"]["macs"] == [row["macs"] // 4] * 4


def test_rows_are_null_and_zero_where_the_document_says(runs):
    """docs/json.md tells of each field and kind of row whether it is null, always 0, or a number; runs agree."""
    table = DOCUMENT.read_text(encoding="utf-8").split("| field | `conv`, `linear` |")[1].split("\n\n")[0]
    fields = {}
    for line in table.splitlines()[2:]:
        names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        for name in re.findall(r"`([\w.]+)`", names):
            fields[name] = dict(zip(("conv", "attention", "lif"), cells, strict=True))
    plain = {"name", "kind", "input_kind", "input_size"}
    assert {name.split(".")[0] for name in fields} == set(LAYER) - plain
    cases = set()
    for row in (row for run in runs.values() for row in run["layers"]):
        for name, cells in fields.items():
            value, cell = value_of(row, name), cells["conv" if row["kind"] == "linear" else row["kind"]]
            if cell.startswith("number for integer"):
                integers = row["neuron"] in ("i-lif", "i-if") if row["neuron"] else row["input_kind"] == "integers"
                cell = "number" if integers else "null"
            assert value_is(value, cell), (row["name"], name, cell)
            cases.add((name, row["kind"], cell))
    assert {("acs_unrolled", "conv", "number"), ("acs_unrolled", "conv", "null")} <= cases
    assert {kind for _, kind, _ in cases} == {"conv", "linear", "attention", "lif"}


def value_of(row, name):
    """Return a field by its path."""
    for part in name.split("."):
        row = row[part]
    return row


def value_is(value, word):
    """Whether a value is what the document calls null, 0, given or a number; numbers may lie in lists and objects."""
    if word == "0":
        return not any(value) if isinstance(value, list) else value is not None and value == 0
    return word in ("null", "number", "given") and (value is None) == (word == "null")


def test_the_document_names_every_field():
    """docs/json.md explains each field of the JSON, and its schema version."""
    text = DOCUMENT.read_text(encoding="utf-8")
    groups = (TOP, MODEL, INPUT, PREDICTION, LAYER, PAPER_ROW, TOTALS, PAPER, OTHER, PROFILE)
    names = {"nonspike", *SETTINGS, *(name for group in groups for name in group)}
    assert "Schema 1" in text
    assert [name for name in sorted(names) if f"`{name}`" not in text] == []

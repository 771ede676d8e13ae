"""The paper's estimate and the exact view: equal to the authors' tool, the published logs, and themselves."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from energy_cases import FOLDERS, golden_run, published_counts
from energy_cases import layer as row_of

from evsim.counters import Counts
from evsim.energy import Options, charge, exact, load_profile, paper
from evsim.energy.paper import attention_acs
from evsim.workload import Geometry

DATA = Path(__file__).parent / "data"
PINNED = json.loads((DATA / "energy" / "pinned.json").read_text())
PUBLISHED = json.loads((resources.files("evsim.data") / "published.json").read_text())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_paper_equals_the_authors_tool(folder):
    """Every layer's ACs and MACs, and the total in mJ, equal the authors' tool to 1e-6."""
    run, tool = golden_run(folder), json.loads((folder / "paper_tool.json").read_text())
    rows = paper.estimate(run.counts)
    if "error" in tool:
        assert run.paper().energy_mj > 0
        return
    for name, expected in tool["per_layer"].items():
        assert rows[name].acs == pytest.approx(expected["acs"], rel=1e-6), name
        assert rows[name].macs == pytest.approx(expected["macs"], rel=1e-6), name
    assert run.paper().energy_mj == pytest.approx(tool["energy_mJ"], rel=1e-6)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_views_keep_their_last_digit(folder):
    """Totals and rows of both views are the very floats that they were when the views were written."""
    run, pinned = golden_run(folder), PINNED[folder.name]
    assert run.exact().energy_mj == pinned["exact_mj"]
    assert exact.layers_mj(run.counts, load_profile()) == pinned["exact_rows"]
    for setting in ("binary-only", "integer-as-events"):
        (acs, macs), wanted = paper.totals(run.counts, setting), pinned[setting]
        total = run.paper(nonspike=setting).energy_mj
        assert [total, acs / 1e9, macs / 1e9] == [wanted[k] for k in ("energy_mj", "gacs", "gmacs")]
        rows, energies = paper.estimate(run.counts, setting), paper.layers_mj(run.counts, load_profile(), setting)
        assert {k: [r.acs, r.macs, r.firing_rate, energies[k]] for k, r in rows.items()} == wanted["rows"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_exact_is_counts_times_prices(folder):
    """The exact view equals the golden's own counts times 0.9 and 4.6 pJ, and attention counted by brute force."""
    run = golden_run(folder)
    counted = json.loads((folder / "exact_counts.json").read_text())
    energies = exact.layers_mj(run.counts, load_profile())
    for layer in run.counts.layers:
        if layer.kind in ("conv", "linear"):
            price = 0.9 if layer.input_kind == "spikes" else 4.6
            by_hand = counted[layer.name]["accumulates_in_bounds"] * price * 1e-9
            assert energies[layer.name] == pytest.approx(by_hand, rel=1e-12), layer.name
        elif layer.kind == "attention":
            by_hand = attention_by_hand(run, layer) * 0.9 * 1e-9
            assert energies[layer.name] == pytest.approx(by_hand, rel=1e-12), layer.name
    assert run.exact().energy_mj == pytest.approx(sum(energies.values()), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "total"), [("spikingformer-8-512", 7.463502602), ("spikingformer-8-768", 13.658864952)]
)
def test_published_totals_follow_from_published_layers(name, total):
    """ACs and MACs of the logs, and attention by evsim's rule with the log's heads, give the published energy."""
    entry = PUBLISHED[name]
    acs = sum(layer["acs"] for layer in entry["layers"]) + published_attention(entry)
    macs = sum(layer["macs"] for layer in entry["layers"])
    assert (0.9 * acs + 4.6 * macs) * 1e-9 == pytest.approx(total, abs=1e-8)
    assert entry["totals"]["energy_mj"] == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "total"), [("spikingformer-8-512", 7.463502602), ("spikingformer-8-768", 13.658826977)]
)
def test_published_totals_follow_from_rates_and_geometry(name, total):
    """Firing rates times dense operations, by evsim's `paper` code on counts of that geometry, give the same energy."""
    energy = charge(published_counts(PUBLISHED[name]), "paper")
    assert energy.energy_mj == pytest.approx(total, abs=1e-8)


@pytest.mark.parametrize("reads_input", [True, False])
def test_integers_are_events_but_in_the_first_layer(reads_input):
    """`integer-as-events` charges values as accumulates, but in the layer that reads the frames, however wide."""
    each = np.ones(2, np.int64)
    row = row_of(
        "conv", "conv", Geometry("Conv2d", 2, 4, 3, 3, 3, 3, (3, 3), (1, 1), (1, 1)), 2, input_kind="integers",
        input_nonzeros=6 * each, input_sum=9 * each, input_size=18 * each, reads_input=reads_input,
    )  # fmt: skip
    counts = Counts(2, (row,))
    view = paper.estimate(counts, "integer-as-events")["conv"]
    dense = 2 * 9 * 4 * 2 * 9
    assert (view.acs, view.macs) == ((0, dense) if reads_input else (dense / 2, 0))
    notes = charge(counts, "paper", options=Options(nonspike="integer-as-events")).notes
    assert any("by binary-only (`nonspike=binary-only`) it is" in note for note in notes) is not reads_input


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_one_layer_reads_the_input(folder):
    """The tokenizer's first convolution reads image or frames, and no other layer does."""
    layers = golden_run(folder).counts.layers
    assert [row.name for row in layers if row.reads_input] == [layers[0].name]


def attention_by_hand(run, row):
    """Count the operations of both products of attention by dense products of recorded spikes."""
    size, operands = row.geometry, []
    for letter in "qkv":
        name = row.name.replace(".ssa", f".{letter}_lif")
        packed, shape = run.spikes.packed[name]
        spikes = np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(int)
        tokens_first = run.network.node(name).layout == "rows"
        spikes = spikes if tokens_first else spikes.reshape(*spikes.shape[:2], -1).transpose(0, 2, 1)
        operands.append(spikes.reshape(row.steps, size.tokens, size.heads, size.head_dim).transpose(0, 2, 1, 3))
    q, k, v = operands
    if size.order == "q(kv)":
        first = k.swapaxes(2, 3) @ v
        return first.sum() + (q @ (first > 0)).sum()
    first = q @ k.swapaxes(2, 3)
    return first.sum() + ((first > 0) @ v).sum()


def published_attention(entry):
    """Return the ACs of all attention blocks of a log."""
    ssa = entry["ssa"]
    sizes = (ssa["timesteps"], ssa["heads"], ssa["tokens"], ssa["embed_dim"] // ssa["heads"])
    return sum(attention_acs(*sizes, (rate["q"], rate["k"], rate["v"])) for rate in ssa["rates"])

"""The paper's estimate and the exact view: equal to the authors' tool, the published logs, and themselves."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from energy_cases import FOLDERS, golden_run, published_counts
from energy_cases import layer as row_of

from evsim.counters import Counts, Geometry
from evsim.energy import load_profile, paper_view
from evsim.energy.paper import attention_acs

DATA = Path(__file__).parent / "data"
PINNED = json.loads((DATA / "energy" / "pinned.json").read_text())
PUBLISHED = json.loads((resources.files("evsim.data") / "published.json").read_text())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_paper_equals_the_authors_tool(folder):
    """Every layer's ACs and MACs, and the total in mJ, equal the authors' tool to 1e-6."""
    view, tool = golden_run(folder).paper(), json.loads((folder / "paper_tool.json").read_text())
    if "error" in tool:
        assert view.energy_mj > 0
        return
    for name, expected in tool["per_layer"].items():
        assert view.rows[name].acs == pytest.approx(expected["acs"], rel=1e-6), name
        assert view.rows[name].macs == pytest.approx(expected["macs"], rel=1e-6), name
    assert view.energy_mj == pytest.approx(tool["energy_mJ"], rel=1e-6)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_views_keep_their_last_digit(folder):
    """Totals and rows of both views are the very floats that they were when the views were written."""
    run, pinned = golden_run(folder), PINNED[folder.name]
    assert run.exact().energy_mj == pinned["exact_mj"]
    assert run.exact().rows == pinned["exact_rows"]
    for setting in ("binary-only", "integer-as-events"):
        view, wanted = run.paper(nonspike=setting), pinned[setting]
        assert [view.energy_mj, view.gacs, view.gmacs] == [wanted[k] for k in ("energy_mj", "gacs", "gmacs")]
        assert {k: [r.acs, r.macs, r.firing_rate, r.energy_mj] for k, r in view.rows.items()} == wanted["rows"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_exact_is_counts_times_prices(folder):
    """The exact view equals the golden's own counts times 0.9 and 4.6 pJ, and attention counted by brute force."""
    run = golden_run(folder)
    counted = json.loads((folder / "exact_counts.json").read_text())
    for layer in run.counts.layers:
        if layer.kind in ("conv", "linear"):
            price = 0.9 if layer.input_kind == "spikes" else 4.6
            by_hand = counted[layer.name]["accumulates_in_bounds"] * price * 1e-9
            assert run.exact().rows[layer.name] == pytest.approx(by_hand, rel=1e-12), layer.name
        elif layer.kind == "attention":
            by_hand = attention_by_hand(run, layer) * 0.9 * 1e-9
            assert run.exact().rows[layer.name] == pytest.approx(by_hand, rel=1e-12), layer.name
    assert run.exact().energy_mj == pytest.approx(sum(run.exact().rows.values()), rel=1e-12)


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
    view = paper_view(published_counts(PUBLISHED[name]), load_profile())
    assert view.energy_mj == pytest.approx(total, abs=1e-8)


@pytest.mark.parametrize("reads_input", [True, False])
def test_integers_are_events_but_in_the_first_layer(reads_input):
    """`integer-as-events` charges values as accumulates, but in the layer that reads the frames, however wide."""
    each = np.ones(2, np.int64)
    row = row_of(
        "conv", "conv", Geometry("Conv2d", 2, 4, 3, 3, 3, 3, (3, 3), (1, 1), (1, 1)), 2, input_kind="integers",
        input_nonzeros=6 * each, input_sum=9 * each, input_size=18 * each, reads_input=reads_input,
    )  # fmt: skip
    view = paper_view(Counts(2, (row,)), load_profile(), "integer-as-events").rows["conv"]
    dense = 2 * 9 * 4 * 2 * 9
    assert (view.acs, view.macs) == ((0, dense) if reads_input else (dense / 2, 0))


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
        packed, shape = run.spikes[name]
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

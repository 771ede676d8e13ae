"""`evsim paper` and `evsim sweep`: the published table recomputed, and energy over depth and width."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from commands import evsim
from shown import narrow

from evsim import countsfile
from evsim.api import simulate
from evsim.audit.paper import dense_operations_of, paper_table
from evsim.audit.published import published_energies
from evsim.audit.sweep import SweepOptions, sweep
from evsim.converters.presets import Preset
from evsim.data import published
from evsim.energy import load_profile
from evsim.energy.paper import estimate
from evsim.errors import OptionError
from evsim.report.published import published_parts
from evsim.report.tables import Report
from evsim.synthesis import skeleton, synthesize

TABLE = paper_table()
BY_MODEL = {entry.model: entry for entry in (*TABLE.recomputed, *TABLE.implied)}


def test_published_rates_give_the_published_energies():
    """8-512 comes out equal, 8-768 within the error of rates averaged over batches; operations too."""
    first, second = TABLE.recomputed
    assert first.energy_mj == pytest.approx(7.463502602, rel=1e-9)
    assert first.gacs == pytest.approx(6.517540941, rel=1e-9)
    assert first.gmacs == pytest.approx(0.347329512, rel=1e-9)
    assert second.energy_mj == pytest.approx(13.658826977, rel=1e-9)
    assert second.log_mj == pytest.approx(13.658864952, rel=1e-9)
    assert second.own_heads_mj == pytest.approx(13.674620, abs=5e-7)
    assert round(second.own_heads_mj, 2) == pytest.approx(13.67)


def test_every_layer_equals_the_log():
    """Dense operations times rate equal the log's own column, layer by layer."""
    for entry in TABLE.recomputed:
        assert len(entry.layers) == 54
        for name, (_, _, ours, theirs) in entry.layers.items():
            assert ours == pytest.approx(theirs, rel=2e-5), name


def test_what_totals_imply():
    """8-384's accumulates equal the table's column; Spikformer-8-512 implies 19.14 G AC and cannot be binary-only."""
    assert BY_MODEL["spikingformer-8-384"].gacs == pytest.approx(3.88, abs=0.005)
    spikformer = BY_MODEL["spikformer-8-512"]
    assert spikformer.gacs == pytest.approx(19.14, abs=0.005)
    assert spikformer.graded_mj == pytest.approx(53.0, abs=0.05)
    assert spikformer.graded_mj > spikformer.table_mj
    assert TABLE.saving == pytest.approx(0.6034, abs=5e-5)
    assert TABLE.saving_if_binary_only > TABLE.saving


def test_the_residual_rate_gives_the_published_energy():
    """Put back into plain sums over the layers, the implied rate gives the implied accumulates."""
    log = published("spikingformer-8-512")
    rate = BY_MODEL["spikformer-8-512"].residual_rate
    tokens, dim, steps = 196, 512, 4
    layers = {entry["name"]: entry for entry in log["layers"]}
    total = sum(layers[f"patch_embed.{name}"]["acs"] for name in ("proj_conv1", "proj_conv2", "proj_conv3", "rpe_conv"))
    stream = layers["patch_embed.rpe_conv"]["rate"] + rate
    for i in range(8):
        total += stream * 3 * steps * tokens * dim * dim
        q, k, v = (log["ssa"]["rates"][i][letter] for letter in "qkv")
        total += steps * 8 * tokens * 64 * 64 * (min(k, v) + q)
        total += layers[f"block.{i}.attn.proj_conv"]["acs"]
        stream += rate
        total += stream * steps * tokens * (dim + 1) * 4 * dim
        total += layers.get(f"block.{i}.mlp.fc2_conv", layers.get(f"block.{i}.mlp.mlp2_conv"))["acs"]
        stream += rate
    assert total / 1e9 == pytest.approx(BY_MODEL["spikformer-8-512"].gacs, rel=1e-6)


def test_dense_operations_are_the_tools():
    """A conv's bias counts per output, a linear layer's per timestep, the head once; the first conv T times."""
    dense = dense_operations_of(skeleton("spikingformer-8-512-imagenet"))
    assert dense["patch_embed.proj_conv"] == 3 * 64 * 9 * 224 * 224 * 4
    assert dense["head"] == 513_000
    assert dense["block.0.attn.proj_conv"] == 4 * 196 * 512 * 513
    linear = dense_operations_of(skeleton("spikformer-4-384-cifar10"))
    assert linear["block.0.attn.q_linear"] == 4 * 384 * (64 * 384 + 1)


def test_a_layer_whose_every_input_fires_is_charged():
    """At a rate of 100 % spikes are spikes: all dense operations are accumulates (the authors' tool drops them)."""
    made = synthesize(Preset("imagenet", 32, 1, 4, 4, 10, 32, mean=(0.5,) * 3, std=(0.2,) * 3), 0.2)
    loud = dict(made.network.weights) | {"patch_embed.proj_conv.bn_shift": np.full(4, 1e3)}
    run = simulate(replace(made.network, weights=loud), made.sample)
    row = estimate(run.counts)["patch_embed.proj1_conv"]
    assert row.firing_rate == 1.0
    assert row.acs == 4 * 16 * 16 * 8 * 4 * 9
    assert row.macs == 0.0


def test_what_other_families_publish_follows_their_own_rules():
    """SpikingResformer's two published columns agree; its first conv would add what it is left out for; SEW's rates."""
    entries = {entry.model: entry for entry in TABLE.published}
    assert not entries.keys() & {f"{model}-imagenet" for model in BY_MODEL}
    for model in ("spikingresformer-ti-imagenet", "spikingresformer-m-imagenet"):
        (reading,) = entries[model].readings
        assert reading.first == "never"
        assert reading.gacs == pytest.approx(entries[model].sops_g, abs=0.01)
    first = 3 * 64 * 49 * 112 * 112
    assert entries["spikingresformer-ti-imagenet"].left_out_mj == pytest.approx(4 * first * 4.6e-9)
    for depth in (34, 50, 101, 152):
        (reading,) = entries[f"sew-resnet-{depth}-imagenet"].readings
        assert reading.first_mj == pytest.approx(first * 4.6e-9)
        energy = reading.first_mj + 0.9 * reading.gacs
        assert energy == pytest.approx(entries[f"sew-resnet-{depth}-imagenet"].energy_mj)
        assert reading.mean_rate == pytest.approx(reading.gacs / entries[f"sew-resnet-{depth}-imagenet"].dense_gops)
        assert 0.25 < reading.mean_rate < 0.31
    once, every = entries["sdt-8-384"].readings
    assert every.first_mj == pytest.approx(4 * once.first_mj) == pytest.approx(4 * 3 * 48 * 9 * 224 * 224 * 4.6e-9)
    assert {model for model, entry in entries.items() if "energy_mj" in entry.unread} >= {"ms-resnet-18-imagenet"}


def test_an_energy_that_the_first_convolution_alone_needs_implies_nothing():
    """At a dear multiply-accumulate the published energy leaves no accumulates, and the table shows none."""
    entries = published_energies(load_profile().priced(e_mac_pj=46.0))
    sdt = next(entry for entry in entries if entry.model == "sdt-8-384")
    assert sdt.readings[1].gacs is sdt.readings[1].mean_rate is None
    table, *_ = published_parts(entries)
    assert any(row[-2:] == ("-", "-") for row in table.rows)


def test_the_table_of_other_families_fits_a_terminal():
    """80 columns, a mark behind what is unread, each family's source and what its rule leaves out."""
    text = narrow(Report((), published_parts(TABLE.published)))
    assert max(map(len, text.splitlines())) <= 80
    text = text.replace("\n", " ")
    assert "15.12?" in text
    for family in {entry.family for entry in TABLE.published}:
        assert f"{family}: " in text


def test_paper_command():
    """The command prints the table and the headline's condition; JSON holds every layer."""
    outcome = evsim("paper")
    assert outcome.code == 0
    text = outcome.out
    assert "7.463503" in text
    assert "13.674620" in text
    assert "60.34%" in text
    assert "integer-as-events" in text
    assert "11.5220" in text
    row = next(line.split() for line in text.splitlines() if line.startswith("spikingformer-8-768"))
    assert row[-4:] == ["13.68", "-0.15%", "13.674620", "-0.04%"]
    outcome = evsim("paper", "--json", "-")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    for entry in document["recomputed"]:
        assert entry["table_difference"] == pytest.approx(entry["energy_mj"] / entry["table_mj"] - 1.0)
        assert entry["own_heads_difference"] == pytest.approx(entry["own_heads_mj"] / entry["table_mj"] - 1.0)
    assert document["implied"][2]["graded_gops"] == pytest.approx(4 * 8 * 196 * (3 * 512**2 + 2048 * 513) / 1e9)
    assert len(document["recomputed"][0]["layers"]) == 54


def test_sweep_grows_with_depth_and_width():
    """At one rate for all, operations, energy and parameters grow with both; rates are held."""
    options = SweepOptions("spikingformer-2-384-cifar10", rates=0.1, heads=4)
    rows = {(row.depth, row.dim): row for row in sweep([1, 2], [32, 64], options)}
    assert list(rows) == [(1, 32), (1, 64), (2, 32), (2, 64)]
    for small, large in (((1, 32), (1, 64)), ((1, 32), (2, 32)), ((1, 64), (2, 64)), ((2, 32), (2, 64))):
        for name in ("parameters", "dense_macs", "sops", "exact_mj", "paper_mj"):
            assert getattr(rows[small], name) < getattr(rows[large], name), name
    assert all(row.worst_rate_error < 0.02 for row in rows.values())
    assert all(row.paper_mj == row.paper_events_mj for row in rows.values())


def test_parameters_are_those_of_pytorch():
    """8-512 has the 29.69 M parameters of its layers (the log's 29.71 M count LayerNorms that nothing reads)."""
    network = skeleton("spikingformer-8-512-imagenet")
    count = 0
    for node in network.nodes:
        for shape in node.parameters().values():
            size = 1
            for n in shape:
                size *= n
            count += size
    assert count == 29_705_768 - 8 * 2 * 2 * 512


@pytest.mark.parametrize(
    ("depths", "dims", "options", "message"),
    [
        ([0], [64], SweepOptions(), "`depths` must be at least 1, got 0"),
        ([1], [-8], SweepOptions(), "`dims` must be at least 1, got -8"),
        ([1], [60], SweepOptions(), "`dims` must be a multiple of 8, got 60"),
        ([1], [64], SweepOptions(threads=0), "`threads` must be at least 1, got 0"),
        ([1], [64], SweepOptions(heads=7), "7 heads"),
        ([1], [64], SweepOptions(preset="none"), "`preset=none`"),
    ],
)
def test_bad_sizes_are_refused_before_any_run(depths, dims, options, message):
    """Nonsense is an error at once, with its option."""
    with pytest.raises(OptionError, match=message):
        sweep(depths, dims, options)


def test_sweep_command(tmp_path):
    """The command writes CSV and JSON with the same rows; Spikformers show both settings."""
    out = tmp_path / "sweep.csv"
    arguments = (
        "--depth",
        "1",
        "--dim",
        "32,64",
        "--rates",
        "0.2",
        "--preset",
        "spikformer-2-384-cifar10",
        "--heads",
        "4",
    )
    outcome = evsim(
        "sweep", *arguments, "--csv", out, "--json", tmp_path / "sweep.json", "--counts", tmp_path / "counts"
    )
    assert outcome.code == 0  # fmt: skip
    assert "as events (" in outcome.out
    table = list(csv.DictReader(out.read_text().splitlines()))
    rows = json.loads((tmp_path / "sweep.json").read_text())["rows"]
    assert [int(row["sops"]) for row in table] == [row["sops"] for row in rows]
    assert [row["model"] for row in table] == ["spikformer-1-32", "spikformer-1-64"]
    kept = [countsfile.load(tmp_path / "counts" / f"{row['model']}.counts.h5") for row in rows]
    assert [stored.counts.sops for stored in kept] == [row["sops"] for row in rows]
    outcome = evsim("sweep", "--depth", "a", "--dim", "64")
    assert outcome.code == 2
    assert "--depth takes whole numbers" in outcome.err


def test_preset_sizes_can_be_ones_own():
    """A skeleton takes sizes that no preset has."""
    own = Preset("dvs", 64, 3, 4, 8, 5, 64)
    assert skeleton(own).classes == 5

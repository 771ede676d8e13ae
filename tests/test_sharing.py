"""Shared sums and weights that are 0, against plain NumPy that compares every set and every row; and end to end."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace

import dense
import h5py
import numpy as np
import plain_sharing
import pytest
from commands import evsim, refused
from energy_cases import FOLDERS, golden_run, layer_c
from evaluations import GOLDEN, folder
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import networks, sources
from strategies import seeds

from evsim import api, countscheck, countsfile, modelfile
from evsim.counters import SynapseCounts, merged
from evsim.energy import Options, charge, load_profile
from evsim.errors import EvsimError, OptionError
from evsim.geometry import Geometry
from evsim.kernels.quads import ANY, ROOM
from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.segments import quads
from evsim.sharedsums import ON_REQUEST
from evsim.sharing import shared_sums
from evsim.spikes import SpikeMap

PAIRS = ((1, 3), (0, 2), (1, 2))
"""Least and greatest of stride, padding and dilation."""


@st.composite
def layers(draw):
    """Draw spikes [T, H, W, C] in which neighbours have something in common, and a convolution's geometry."""
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 11))
    channels, groups = draw(st.sampled_from([(1, 1), (3, 1), (18, 1), (130, 1), (200, 1), (6, 3), (4, 4), (160, 2)]))
    steps = draw(st.integers(1, 3))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    stride, padding, dilation = ((draw(st.integers(low, high)), draw(st.integers(low, high))) for low, high in PAIRS)
    spans = zip((height, width), padding, kernel, stride, dilation, strict=True)
    out = tuple((n + 2 * p - (k - 1) * d - 1) // s + 1 for n, p, k, s, d in spans)
    assume(min(out) > 0)
    random = np.random.default_rng(draw(seeds))
    rates = random.random(channels) ** draw(st.sampled_from([1, 3, 12]))
    spikes = random.random((steps, height, width, channels)) < rates
    return spikes, out, (kernel, stride, padding, dilation), groups


def counted(spikes, out, window, groups):
    """Return what evsim counts of a layer, [6, T]."""
    steps, height, width, channels = spikes.shape
    kernel, stride, padding, dilation = window
    size = Geometry(
        "Conv2d", channels, groups, height, width, *out, kernel, stride, padding, groups=groups, dilation=dilation
    )
    return shared_sums(SpikeMap.from_dense(spikes.reshape(steps, -1, channels), height, width).words, size)


@settings(max_examples=60, deadline=None)
@given(case=layers())
def test_quads_equal_sets(case):
    """What quads share equals sets of channels, quad by quad, tap by tap."""
    spikes, out, window, groups = case
    assert counted(*case)[:3].tolist() == plain_sharing.by_quads(spikes, out, *window, groups).tolist()


@settings(max_examples=60, deadline=None)
@given(case=layers())
def test_products_equal_rows(case):
    """Product sparsity equals the comparison of every row of a tile with every other."""
    spikes, out, window, groups = case
    assert counted(*case)[3:].tolist() == plain_sharing.by_products(spikes, out, *window, groups).tolist()


@pytest.mark.parametrize("rate", [0.05, 0.3, 0.9])
def test_tiles_of_many_rows(rate):
    """Rows share within tiles of 256 of them, and not beyond."""
    spikes = np.random.default_rng(1).random((4, 10, 17, 40)) < rate
    case = spikes, (10, 17), ((1, 1), (1, 1), (0, 0), (1, 1)), 1
    shared = counted(*case)
    assert shared[3:].tolist() == plain_sharing.by_products(spikes, *case[1:2], *case[2], 1).tolist()
    assert shared[:3].tolist() == plain_sharing.by_quads(spikes, *case[1:2], *case[2], 1).tolist()


def test_rows_by_hand():
    """Four rows worked by hand: 1001, 1101, 1001 and 1000 add 1, 1, 0 and 1 weights in place of 2, 3, 2 and 1."""
    rows = np.array([[1, 0, 0, 1], [1, 1, 0, 1], [1, 0, 0, 1], [1, 0, 0, 0]], bool)
    shared = counted(rows.reshape(1, 1, 4, 4), (1, 4), ((1, 1), (1, 1), (0, 0), (1, 1)), 1)
    weights, sums, kept = shared[3:, 0].tolist()
    assert (weights, sums, kept) == (3, 3, 2)  # the first row begins from the last, the others from the first
    # of all four: channel 0; of the first pair: channel 3; then 1 of the second row, 3 of the third
    assert shared[:3, 0].tolist() == [4, 3, 2]


def test_kernels_add_the_rows_that_are_counted():
    """Of a layer over tokens, the weights that quads add are the rows that evsim's own kernel is given to add."""
    spikes = np.random.default_rng(2).random((3, 37, 150)) < 0.4
    packet = SpikeMap.from_dense(spikes, 37, 1)
    parts = quads(packet, Context(np.dtype(np.float32), Workers(1), streaming=False), flat=True).parts
    size = Geometry("Linear", 150, 1, 37, 1, 37, 1)
    assert shared_sums(packet.words, size)[0].sum() == np.bitwise_count(parts.reshape(-1, ROOM)[:, :ANY]).sum()


def case_of(layer):
    """Return the numbers that the oracles take of a layer."""
    size = layer.geometry
    return (size.out_height, size.out_width), size.kernel, size.stride, size.padding, size.dilation, size.groups


def agrees(network, run, maps):
    """Hold what a run counted of every layer with weights against the oracles."""
    for layer in run.counts.layers:
        if not isinstance(layer, SynapseCounts):
            continue
        node = network.node(layer.name)
        values, when = maps[node.inputs[0]], slice(run.timesteps - len(maps[node.inputs[0]]), None)
        if getattr(node, "repeated", False):
            values, when = values[:1], slice(0, 1)
        weight = network.weights[f"{layer.name}.weight"]
        weight = weight if weight.ndim == 4 else weight[np.newaxis, np.newaxis]
        *window, groups = case_of(layer)
        operations = plain_sharing.nonzero_operations(values, weight, *window, groups)
        assert layer.nonzero_weight_operations[when].tolist() == operations.tolist(), layer.name
        assert layer.nonzero_weight_operations.sum() == operations.sum()
        for name, oracle in (("shared", plain_sharing.by_quads), ("product", plain_sharing.by_products)):
            own = [getattr(layer, f"{name}_{figure}") for figure in ("weights", "sums", "kept")]
            if values.dtype != bool:
                assert own == [None] * 3
                continue
            expected = oracle(values, *window, groups) * layer.geometry.row
            assert [each[when].tolist() for each in own] == expected.tolist(), layer.name
            assert (own[0] + own[1] <= layer.sops).all()


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data(), networks(kinds=["events", "image"]), seeds)
def test_any_network(data, network, seed):
    """In any network, some of whose weights are 0, the counts are those of the definitions, however it is run."""
    random = np.random.default_rng(seed)
    weights = {
        key: value * (random.random(value.shape) < 0.6) if key.endswith(".weight") else value
        for key, value in network.weights.items()
    }
    network = replace(network, weights=weights)
    source = data.draw(sources(network))
    maps, margins = dense.run(network, source, network.spec.timesteps)
    assume(min(margins.values(), default=1.0) > 1e-9)
    schedule, threads = data.draw(st.sampled_from([("layer", 1), ("time", 3)]))
    try:
        run = api.simulate(
            network, source, precision="float64", schedule=schedule, threads=threads, sharing=True, detail=True
        )
    except EvsimError:
        assume(False)  # sums that are not exact, which other tests look at
    agrees(network, run, maps)


@pytest.fixture(scope="module")
def shared_run():
    """Return the counts of a golden with shared sums."""
    run = golden_run(next(f for f in FOLDERS if f.name == "spikingformer-dvs"))
    return api.simulate(run.network, run.sample, precision="float64", sharing=True)


def test_nothing_else_changes(shared_run):
    """Counts with shared sums are those without, but for them; schedules and threads count the same."""
    network, sample = shared_run.network, shared_run.sample
    plain = api.simulate(network, sample, precision="float64")
    other = api.simulate(network, sample, precision="float64", sharing=True, schedule="time", threads=2)
    assert not plain.counts.shares
    for one, without, again in zip(shared_run.counts.layers, plain.counts.layers, other.counts.layers, strict=True):
        assert np.array_equal(one.sops, without.sops)
        assert np.array_equal(one.macs, without.macs)
        for key in ON_REQUEST if isinstance(one, SynapseCounts) else ():
            assert getattr(without, key) is None
            assert np.array_equal(getattr(one, key), getattr(again, key)), (one.name, key)
    with pytest.raises(OptionError, match="lack the shared sums"):
        plain.energy("sharing")


def test_dense_weights_meet_every_operation(shared_run):
    """Where no weight is 0, operations on nonzero weights are all operations."""
    for layer in shared_run.counts.layers:
        if isinstance(layer, SynapseCounts):
            assert np.array_equal(layer.nonzero_weight_operations, layer.sops + layer.macs), layer.name


def test_a_file_holds_shared_sums(shared_run, tmp_path):
    """counts.h5 gives back what was counted, of schema 2; without shared sums it is of schema 1, as it was."""
    with_sums, without = tmp_path / "with.h5", tmp_path / "without.h5"
    shared_run.save_counts(with_sums)
    again = countsfile.load(with_sums).counts
    for one, other in zip(shared_run.counts.layers, again.layers, strict=True):
        for key in ON_REQUEST if isinstance(one, SynapseCounts) else ():
            assert np.array_equal(getattr(one, key), getattr(other, key)), (one.name, key)
    api.simulate(shared_run.network, shared_run.sample, precision="float64").save_counts(without)
    with h5py.File(with_sums) as newer, h5py.File(without) as older:
        assert (newer.attrs["schema"], older.attrs["schema"]) == (2, 1)
        assert set(newer["counters"]) - set(older["counters"]) == set(ON_REQUEST)


def test_sums_of_samples(shared_run, tmp_path):
    """Counts of two samples add their shared sums up; where one lacks them, the sum has none, and a note says so."""
    twice = merged([shared_run.counts, shared_run.counts])
    assert twice.shares
    plain = api.simulate(shared_run.network, shared_run.sample, precision="float64")
    for one, both in zip(shared_run.counts.layers, twice.layers, strict=True):
        if isinstance(one, SynapseCounts) and one.shared_sums is not None:
            assert np.array_equal(2 * one.shared_sums, both.shared_sums)
    paths = tmp_path / "a.h5", tmp_path / "b.h5"
    shared_run.save_counts(paths[0])
    plain.save_counts(paths[1])
    for order in (paths, paths[::-1]):
        total, notes = countsfile.merge(order)
        assert not total.counts.shares
        assert any("shared sums are left out" in note for note in notes)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"shared_sums": 10**6}, "more shared_additions than operations"),
        ({"product_weights": 10**6}, "more product_additions than operations"),
        ({"nonzero_weight_operations": 10**6}, "more nonzero_weight_operations than operations"),
        ({"shared_kept": 30000}, "more shared_kept than shared_weights"),
        ({"product_kept": None}, "has of its shared sums"),
    ],
)
def test_what_no_run_counts_is_refused(changes, fault):
    """Shared sums that no run can have are told."""
    conv, lif = layer_c().layers
    arrays = {key: None if value is None else np.full(4, value) for key, value in changes.items()}
    assert fault in countscheck.fault(replace(layer_c(), layers=(replace(conv, **arrays), lif)))
    assert not countscheck.fault(layer_c())


def test_the_energy_of_layer_c():
    """Additions at 0.9 pJ; with a memory, each kept sum written once and read as often as one goes on from it."""
    counts = layer_c()
    assert charge(counts, "sharing").pj == pytest.approx(24000 * 0.9)
    assert charge(counts, "sharing", options=Options(sums="product")).pj == pytest.approx(12000 * 0.9)
    access = load_profile("45nm").sram.access(8 * 1024).value * 32 / 64
    kept = charge(counts, "sharing", options=Options(kept_kib=8))
    assert kept.by("cost")["kept sums"] == pytest.approx((2500 + 4000 + 2500) * access * 1e-9)
    kept = charge(counts, "sharing", options=Options(kept_kib=8, sums="product"))
    assert kept.by("cost")["kept sums"] == pytest.approx((1000 + 3000) * access * 1e-9)
    assert not any("registers" in note for note in kept.notes)


def test_from_the_command_line(tmp_path):
    """`evsim run --sharing` shows, writes and stores the counts, and `evsim energy --method sharing` charges them."""
    model, sample = (tmp_path / "demo" / name for name in ("model.h5", "dvs_sample.aedat"))
    evsim("demo", "--save", tmp_path / "demo")
    stored, told = tmp_path / "c.h5", tmp_path / "run.json"
    shown = evsim("run", model, "--input", sample, "--sharing", "--counts", stored, "--json", told).out
    assert "quads (M)  product (M)" in shown
    assert (
        "additions where sums are shared, of 13.7 M SOPs with weights:\n  quads            : 10.6 M  (0.773 " in shown
    )
    assert "nonzero weights" not in shown
    document = json.loads(told.read_text())
    counts = countsfile.load(stored).counts
    quads = sum(
        int(layer.shared_additions.sum()) for layer in counts.layers if layer.kind == "conv" and layer.sops.any()
    )
    totals = document["totals"]["sharing"]
    assert totals["quads"]["additions"] == quads == sum(
        row["sharing"]["quads"]["additions"] for row in document["layers"] if (row["sharing"] or {}).get("quads")
    )  # fmt: skip
    assert totals["product"]["additions"] < quads < totals["sops"] < document["totals"]["sops"]
    assert "sharing" in evsim("energy", stored, "--method", "sharing,exact").out
    rows = list(csv.DictReader(io.StringIO(evsim("traffic", stored, "--csv", "-").out)))
    assert sum(int(row["shared_weights"] or 0) + int(row["shared_sums"] or 0) for row in rows) == quads
    evsim("run", model, "--input", sample, "--counts", stored, "--json", told)
    assert "sharing" not in json.loads(told.read_text())["totals"]
    assert "a run with --sharing" in refused("energy", stored, "--method", "sharing")


def test_a_pruned_model_is_told(tmp_path):
    """Where weights are 0, the table has a column, and a line says how many operations meet one."""
    network = golden_run(FOLDERS[0]).network
    weights = {key: value * (np.arange(value.size).reshape(value.shape) % 2) for key, value in network.weights.items()}
    pruned = replace(
        network, weights={key: weights[key] if key.endswith(".weight") else network.weights[key] for key in weights}
    )
    modelfile.save(pruned, tmp_path / "m.h5")
    np.save(tmp_path / "x.npy", np.load(FOLDERS[0] / "input.npy"))
    shown = evsim("run", tmp_path / "m.h5", "--input", tmp_path / "x.npy", "--sharing", "--layers").out
    assert "nonzero weights" in shown
    assert "weights that are 0: 50" in shown


def test_evaluations_count_them_too(tmp_path):
    """`evsim eval --sharing` tells the sum over the samples, and its audit is charged as counts are."""
    data = folder(tmp_path / "data", 2)
    audit, told = tmp_path / "a.h5", tmp_path / "a.json"
    shown = evsim("eval", GOLDEN, data, "--sharing", "--out", audit, "--json", told).out
    assert "additions where sums are shared, of" in shown
    totals = json.loads(told.read_text())["sharing"]
    network = api.load(GOLDEN)
    runs = [api.simulate(network, path, sharing=True) for path in sorted(data.rglob("*.npy"))]
    for key, sums in (("quads", "shared_additions"), ("product", "product_additions")):
        each = [getattr(layer, sums) for run in runs for layer in run.counts.layers if isinstance(layer, SynapseCounts)]
        assert totals[key]["additions"] == sum(int(values.sum()) for values in each if values is not None)
    assert "sharing" in evsim("energy", audit, "--method", "sharing").out
    plain = tmp_path / "b.h5"
    evsim("eval", GOLDEN, data, "--out", plain, "--json", told)
    assert "sharing" not in json.loads(told.read_text())
    with h5py.File(plain) as file:
        assert "sharing" not in json.loads(file["header"].asstr()[()])

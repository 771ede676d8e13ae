"""Whole data sets: each sample's figures are its own run's, and what is said of all follows from them."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import fields
from importlib.util import find_spec

import numpy as np
import pytest
from evaluations import GOLDEN, folder, frames, told

import evsim
from evsim import countsfile
from evsim.counters import merged
from evsim.datasets import open_dataset
from evsim.energy.paper import layers_mj
from evsim.energy.profilefile import load_profile
from evsim.errors import OptionError, RecordingError
from evsim.evaluation.layout import counts_of
from evsim.evaluation.outcome import load_evaluation
from evsim.events import ReadOptions
from evsim.inputspec import InputSpec
from evsim.network import LIF, Input, Linear, Network, TokenMean
from evsim.primitives import TimeReduction


@pytest.fixture(scope="module")
def network():
    """Load the model."""
    return evsim.load(GOLDEN)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write the data set."""
    return folder(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def listed(data, network):
    """Open the data set."""
    return open_dataset(data, network.labels, classes=network.classes)


@pytest.fixture(scope="module")
def outcome(network, listed):
    """Evaluate it in memory, with traffic and shared sums."""
    return evsim.evaluate(network, listed, detail=True, sharing=True)


@pytest.fixture(scope="module")
def runs(network, listed):
    """Run each sample by itself."""
    samples = (listed.read(i, network) for i in range(len(listed.samples)))
    return [evsim.simulate(network, sample, detail=True, sharing=True) for sample in samples]


def same(one, other):
    """Whether two counts hold the same, field by field."""
    assert (one.timesteps, one.samples, len(one.layers)) == (other.timesteps, other.samples, len(other.layers))
    assert {key: values.tolist() for key, values in one.other.items()} == {
        key: values.tolist() for key, values in other.other.items()
    }
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        assert type(mine) is type(theirs)
        for part, whole in ((mine, theirs), (mine.traffic, theirs.traffic)):
            for f in fields(part) if part is not None else ():
                a, b = getattr(part, f.name), getattr(whole, f.name)
                if f.name == "traffic":
                    continue
                if f.name == "operations":
                    assert a.keys() == b.keys()
                    assert all(np.array_equal(a[key], b[key]) for key in a)
                else:
                    assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, (mine.name, f.name)
    return True


def test_every_sample_equals_its_own_run(outcome, runs):
    """Logits, counts and energies of each sample are those of `evsim run`, to the last bit."""
    profile = load_profile()
    for i, run in enumerate(runs):
        assert np.array_equal(outcome.logits[i], run.logits)
        assert outcome.predictions[i] == run.prediction
        assert same(outcome.counts_of(i), run.counts)
        assert outcome.energy_mj[i] == run.exact().energy_mj
        assert outcome.paper_energy_mj[i] == run.paper().energy_mj
        assert outcome.sops[i] == run.counts.sops
        exact, estimated = outcome.costs.layers_mj(profile)
        assert dict(zip([row.name for row in run.counts.layers], estimated[i].tolist(), strict=True)) == layers_mj(
            run.counts, profile
        )
        assert math.isclose(exact[i].sum(), run.exact().energy_mj)


def test_sums_are_those_of_counts_merge(outcome, runs, tmp_path):
    """The counts of all samples are `counts merge` of their files, and charged alike by every method."""
    paths = []
    for i, run in enumerate(runs):
        run.save_counts(tmp_path / f"{i}.h5")
        paths.append(tmp_path / f"{i}.h5")
    total, _ = countsfile.merge(paths)
    assert same(outcome.counts, total.counts)
    assert same(outcome.counts, merged([run.counts for run in runs]))
    outcome.save_counts(tmp_path / "all.h5")
    again = countsfile.load(tmp_path / "all.h5")
    assert same(again.counts, total.counts)
    assert [digest for _, digest in again.origin.inputs] == [digest for _, digest in total.origin.inputs]
    assert again.origin.model_digest == total.origin.model_digest
    for method in ("exact", "paper", "lemaire", "counted-memory", "bytes"):
        assert outcome.energy(method).energy_mj == evsim.Run.energy(_As(total.counts), method).energy_mj
        assert outcome.energies(method)[3] == runs[3].energy(method).energy_mj


class _As:
    """What stands for a run whose counts are charged."""

    def __init__(self, counts):
        self.counts = counts


def test_estimates_of_integers_as_events(network, listed, runs):
    """The other way to charge integers is that of the run too."""
    outcome = evsim.evaluate(network, listed, nonspike="integer-as-events")
    assert [run.paper(nonspike="integer-as-events").energy_mj for run in runs] == outcome.paper_energy_mj.tolist()


def test_accuracy_follows_from_the_logits(outcome, listed):
    """Top-1 and top-5, the table of classes and the confusion are those counted by hand."""
    labels = [sample.label for sample in listed.samples]
    order = np.argsort(-outcome.logits, axis=1, kind="stable")
    assert outcome.accuracy.top1.count == sum(order[i, 0] == label for i, label in enumerate(labels))
    assert outcome.accuracy.top5.count == sum(label in order[i, :5] for i, label in enumerate(labels))
    pairs = Counter(zip(labels, order[:, 0].tolist(), strict=True))
    assert outcome.confusion == tuple((a, b, n) for (a, b), n in sorted(pairs.items()))
    for row in outcome.classes:
        mine = [i for i, label in enumerate(labels) if label == row.index]
        assert row.accuracy.total == len(mine)
        assert row.accuracy.count == pairs[row.index, row.index]
        assert row.predicted == sum(order[:, 0] == row.index)
        if mine:
            assert row.energy_mj == pytest.approx(outcome.energy_mj[mine].mean())


def test_the_anytime_curve_is_what_shorter_runs_answer(network, outcome, listed):
    """The answer after t timesteps, and its operations, are those of a run that is fed the first t alone."""
    for i in (0, 5, 11):
        values = listed.read(i, network).values
        for t in range(1, network.spec.timesteps + 1):
            run = evsim.simulate(network, values[:t], timesteps=t)
            column = outcome.audit.arrays
            assert column["anytime/prediction"][i, t - 1] == run.prediction
            assert column["anytime/sops"][i, t - 1] == run.counts.sops
            assert column["anytime/macs"][i, t - 1] == run.counts.macs
            label = listed.samples[i].label
            rank = sorted(range(len(run.logits)), key=lambda c, run=run: (-run.logits[c], c)).index(label)
            assert column["anytime/rank"][i, t - 1] == rank
    last = outcome.anytime[-1]
    assert last.top1 == outcome.accuracy.top1
    assert last.energy_mj == pytest.approx(outcome.energy_mj.mean(), rel=1e-12)


@pytest.mark.parametrize("reduction", ["sum", "max", "last"])
def test_networks_that_end_otherwise_have_the_curve_too(reduction):
    """Sums, maxima and last potentials answer after each timestep as means do, spikes behind them counted as such."""
    nodes = (
        Input("input", (), 2, 6, 6, "integers"),
        TokenMean("pool", ("input",)),
        Linear("hidden", ("pool",), 2, 8),
        LIF("fires", ("hidden",), v_threshold=0.5),
        TimeReduction("end", ("fires",), reduction),
        Linear("behind", ("end",), 8, 8),
        LIF("once", ("behind",), v_threshold=0.2),
        Linear("head", ("once",), 8, 3),
    )
    rng = np.random.default_rng(3)
    sizes = {"hidden": (8, 2), "behind": (8, 8), "head": (3, 8)}
    weights = {f"{name}.weight": rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}
    weights |= {f"{name}.bias": np.zeros(size[0], np.float32) for name, size in sizes.items()}
    network = Network("ends", "by-hand", "", InputSpec("events", 2, 6, 6, 5), nodes, weights)
    inputs = [rng.poisson(1.0 + i, (5, 2, 6, 6)).astype(np.uint8) for i in range(4)]
    outcome = evsim.evaluate(network, [(values, i % 3) for i, values in enumerate(inputs)])
    columns, seen = outcome.audit.arrays, set()
    for i, values in enumerate(inputs):
        for t in range(1, 6):
            run = evsim.simulate(network, values[:t], timesteps=t)
            assert columns["anytime/prediction"][i, t - 1] == run.prediction
            assert columns["anytime/sops"][i, t - 1] == run.counts.sops
            assert columns["anytime/macs"][i, t - 1] == run.counts.macs
            seen.add(int(run.counts.layer("head").sops.sum()))
    assert len(seen) > 1
    assert all(moment.top1.total == 4 for moment in outcome.anytime)


def test_a_static_image_answers_at_every_timestep():
    """Models of images have the curve too: the same image, a shorter run."""
    network = evsim.load(GOLDEN.parents[1] / "spikformer-cifar" / "checkpoint.pth.tar")
    image = np.random.default_rng(0).standard_normal((3, 32, 32)).astype(np.float32)
    outcome = evsim.evaluate(network, [(image, 1), (image[:, ::-1], None)])
    for t in range(1, 5):
        run = evsim.simulate(network, image, timesteps=t)
        assert outcome.audit.arrays["anytime/prediction"][0, t - 1] == run.prediction
        assert outcome.audit.arrays["anytime/sops"][0, t - 1] == run.counts.sops
        assert outcome.audit.arrays["anytime/macs"][0, t - 1] == run.counts.macs
    assert outcome.accuracy.top1.total == 1
    assert outcome.labels.tolist() == [1, -1]


def test_the_document_is_whole(outcome, listed):
    """The JSON has what docs/evaluation.md promises; sums and extremes agree with the arrays."""
    document = outcome.to_dict()
    assert document["schema"] == 1
    assert document["data"] | {"digest": ""} == {
        "path": str(listed.path), "digest": "", "samples": 12, "labelled": 12, "classes": 10, "reading": {},
    }  # fmt: skip
    assert document["accuracy"]["total"] == 12
    assert document["totals"]["sops"]["mean"] == outcome.sops.mean()
    assert document["totals"]["energy_mj"]["least"] == outcome.energy_mj.min()
    assert document["totals"]["energy_mj"]["most"] == outcome.energy_mj.max()
    low, high = document["totals"]["energy_mj"]["interval"]
    assert document["totals"]["energy_mj"]["least"] <= low <= document["totals"]["energy_mj"]["mean"] <= high
    layers = document["layers"]
    assert [row["name"] for row in layers] == [layer.name for layer in outcome.counts.layers]
    assert sum(row["sops"]["mean"] for row in layers) == pytest.approx(document["totals"]["sops"]["mean"])
    neurons = [row for row in layers if row["kind"] == "lif"]
    assert all(row["density"] is None and 0 <= row["firing_rate"]["mean"] <= 1 for row in neurons)
    assert document["cheapest"][0]["energy_mj"] == outcome.energy_mj.min()
    assert document["dearest"][0]["energy_mj"] == outcome.energy_mj.max()
    assert document["calibration"]["paper_over_exact"]["mean"] == pytest.approx(
        (outcome.paper_energy_mj / outcome.energy_mj).mean()
    )
    assert document["calibration"]["correlation"] == pytest.approx(
        np.corrcoef(outcome.paper_energy_mj, outcome.energy_mj)[0, 1]
    )
    slope, intercept = np.polyfit(outcome.paper_energy_mj, outcome.energy_mj, 1)
    assert document["calibration"]["slope"] == pytest.approx(slope)
    assert document["calibration"]["intercept_mj"] == pytest.approx(intercept)
    assert document["throughput"]["samples"] == 12


def test_firing_rates_are_spikes_per_neuron_and_timestep(outcome, runs):
    """A layer's rate is what its run counted, over its neurons and timesteps."""
    for i, layer in enumerate(runs[0].counts.layers):
        if layer.kind == "lif":
            assert outcome.costs.rates[0, i] == layer.spikes.sum() / layer.input_size.sum()


def test_a_sample_that_cannot_be_read_is_left_out(network, tmp_path):
    """It is listed with its reason; figures are those of the others alone; strict stops there."""
    place = folder(tmp_path / "data", 6)
    (place / "0" / "bad.npy").write_bytes(b"\x93NUMPY broken")
    np.save(place / "2" / "wide.npy", np.zeros((3, 2, 9, 9), np.uint8))
    outcome = evsim.evaluate(network, str(place))
    assert [each.path for each in outcome.failed] == ["0/bad.npy", "2/wide.npy"]
    assert "bad.npy" in outcome.failed[0].reason
    assert "shape [3, 2, 9, 9]" in outcome.failed[1].reason
    document = outcome.to_dict()
    assert document["data"]["samples"] == document["accuracy"]["total"] == 6
    whole = evsim.evaluate(network, [(frames(seed), seed % 3) for seed in (0, 3, 1, 4, 2, 5)])
    assert document["totals"] == whole.to_dict()["totals"]
    assert same(outcome.counts, whole.counts)
    with pytest.raises(RecordingError, match=r"bad\.npy"):
        evsim.evaluate(network, str(place), strict=True)
    (tmp_path / "none" / "a").mkdir(parents=True)
    (tmp_path / "none" / "a" / "x.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(RecordingError, match=r"none of 1 samples.*x\.npy"):
        evsim.evaluate(network, str(tmp_path / "none"))


def test_options_reach_every_sample(network, listed):
    """T, precision and prices are those asked for."""
    values = [(listed.read(i, network).values[:2], listed.samples[i].label) for i in range(3)]
    outcome = evsim.evaluate(
        network, values, timesteps=2, precision="float64", profile=load_profile("45nm-int8"), threads=1
    )
    run = evsim.simulate(network, values[0][0], timesteps=2, precision="float64")
    assert outcome.logits.dtype == np.float64
    assert np.array_equal(outcome.logits[0], run.logits)
    assert outcome.energy_mj[0] == run.exact(load_profile("45nm-int8")).energy_mj
    assert outcome.audit.header.timesteps == 2


def test_the_seed_decides_the_intervals_alone(network, listed):
    """Another seed draws other resamples; the same seed the same, bit for bit."""
    one, again, other = (evsim.evaluate(network, listed, seed=seed).to_dict() for seed in (1, 1, 2))
    assert told(one) == told(again)
    assert one["totals"]["sops"]["interval"] != other["totals"]["sops"]["interval"]
    assert one["totals"]["sops"]["mean"] == other["totals"]["sops"]["mean"]
    assert other["bootstrap"]["seed"] == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"workers": 0}, "`workers`"),
        ({"workers": 2, "dask": "tcp://localhost:1"}, "`dask`"),
        ({"precision": "both"}, "`precision`"),
        ({"threads": 0}, "`threads`"),
        ({"timesteps": 0}, "timesteps"),
        ({"options": ReadOptions(split="duration", duration_us=1000)}, "`split=duration`"),
    ],
)
def test_what_no_evaluation_can_be_is_refused(network, listed, more, said):
    """One line names the option."""
    with pytest.raises(OptionError, match=said):
        evsim.evaluate(network, listed, **more)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], "no samples"),
        ([frames(0)], "no pair"),
        ([(frames(0), 10)], "class 10"),
        ([(frames(0), "cat")], "cat"),
        ([(["a"], 0)], "type"),
    ],
)
def test_samples_that_are_none_are_refused(network, samples, said):
    """One line names the sample."""
    with pytest.raises(OptionError, match=said):
        evsim.evaluate(network, samples)


def test_tables_of_other_libraries(outcome):
    """Columns are one row per sample; pandas and xarray hold them where they are installed, else one line says so."""
    columns = outcome.columns()
    assert {len(values) for values in columns.values()} == {12}
    assert columns["correct"] == [a == b for a, b in zip(columns["label"], columns["prediction"], strict=True)]
    for name, make in (("pandas", outcome.to_dataframe), ("xarray", outcome.to_xarray)):
        if find_spec(name) is None:
            with pytest.raises(OptionError, match=f"pip install {name}"):
                make()
        elif name == "pandas":
            assert make()["sops"].tolist() == outcome.sops.tolist()
        else:
            assert make()["sops"].sum("layer").values.tolist() == outcome.sops.tolist()


def test_a_finished_audit_is_read_back(network, listed, outcome, tmp_path):
    """What a file holds gives the same figures, and each sample's counts."""
    evsim.evaluate(network, listed, detail=True, sharing=True, out=tmp_path / "a.h5")
    again = load_evaluation(tmp_path / "a.h5")
    assert told(again.to_dict()) == told(outcome.to_dict())
    assert same(counts_of(again.audit.layout, again.audit.arrays, 4), outcome.counts_of(4))

"""Charts: their numbers are the JSON's, their pictures have the sizes of journals, files of strangers are refused."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import re
from xml.etree import ElementTree as ET

import h5py
import numpy as np
import pytest
from charted import DRAWN, NO_EXTRA, small_run
from commands import evsim, refused

from evsim import spikesfile
from evsim.audit.accounts import account
from evsim.charts import comparisons, drawing, evaluations, layers, spikes, theme, time
from evsim.charts.chart import Chart
from evsim.errors import EvsimError, OptionError
from evsim.report.breakdown import energy_document
from evsim.report.files import save_spikes
from evsim.report.plotting import KINDS, chart_of

NEURON = {"layer": "lif", "channel": 0, "y": 0, "x": 0, "threshold": 1.0}

drawn = pytest.mark.skipif(not DRAWN, reason=NO_EXTRA)


@pytest.fixture(scope="module")
def run():
    """Run a small transformer."""
    return small_run()


@pytest.fixture(scope="module")
def told(run):
    """Return its JSON, written and read again."""
    return json.loads(json.dumps(run.to_dict(), allow_nan=False))


@pytest.fixture(scope="module")
def files(run, told, tmp_path_factory):
    """Write what charts are drawn from."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "run.json").write_text(json.dumps(told))
    run.save_counts(folder / "counts.h5")
    save_spikes(run, folder / "spikes.h5")
    return folder


def test_energy_is_the_json_s(run, told):
    """Each layer's two energies are those of the JSON to the last digit; stripes are where no spikes are read."""
    rows = run.plot.energy().rows
    wanted = [layer for layer in told["layers"] if layer["kind"] != "lif"]
    assert [row["energy_mj"] for row in rows if row["view"] == "exact"] == [layer["energy_mj"] for layer in wanted]
    assert [row["energy_mj"] for row in rows[1::2]] == [layer["paper"]["energy_mj"] for layer in wanted]
    assert [row["layer"] for row in rows[::2]] == [layer["name"] for layer in wanted]
    striped = {row["layer"] for row in rows if "not spike-driven" in row["kind"]}
    assert striped == {layer["name"] for layer in wanted if layer["input_kind"] != "spikes"}
    assert 0 < len(striped) < len(wanted)


def test_many_layers_are_drawn_by_block(told):
    """Of more layers than fit, blocks are drawn, and nothing is lost."""
    many = [{**layer, "name": f"block.{i}.{layer['name']}"} for i in range(9) for layer in told["layers"]]
    chart = layers.energy(many, "many")
    assert [row["layer"] for row in chart.rows[::2]] == [f"block.{i}" for i in range(9)]
    total = sum(row["energy_mj"] for row in chart.rows if row["view"] == "exact")
    assert math.isclose(total, 9 * sum(layer["energy_mj"] for layer in told["layers"]), rel_tol=1e-12)


def test_rates_and_operations_are_the_json_s(run, told):
    """Rates are spikes over neurons and timesteps; operations SOPs and MACs, beside the dense ones."""
    rates = run.plot.rates().rows
    neurons = [layer for layer in told["layers"] if layer["kind"] == "lif"]
    assert [row["rate"] for row in rates] == [layer["spikes"] / layer["input_size"] for layer in neurons]
    assert [row["rate"] for row in rates] == [run.spikes[layer["name"]].mean() for layer in neurons]
    rows = run.plot.operations().rows
    others = [layer for layer in told["layers"] if layer["kind"] != "lif"]
    assert [row["operations"] for row in rows] == [layer["sops"] + layer["macs"] for layer in others]
    assert [row["dense_macs"] for row in rows] == [layer["dense_macs"] for layer in others]


def test_costs_are_the_json_s(run):
    """What each method charges by kind of cost adds up to its total."""
    models = energy_document(account("a", run.counts, ("paper", "exact", "counted-memory")))["models"]
    chart = layers.costs(models, "a")
    for model in models:
        mine = [row["energy_mj"] for row in chart.rows if row["method"] == model["model"]]
        assert mine == [each["energy_mj"] for each in model["by"]["cost"].values() if each["energy_mj"]]
        assert math.isclose(sum(mine), model["energy_mj"], rel_tol=1e-9)


def test_answers_over_time_are_the_json_s(run, told):
    """The last answer is the run's, its energy the whole; every logit drawn is the JSON's."""
    moments, rows = told["anytime"], run.plot.anytime().rows
    assert moments[-1]["logits"] == told["prediction"]["logits"]
    assert moments[-1]["energy_mj"] == told["totals"]["energy_mj"]
    assert [moment["timestep"] for moment in moments] == [1, 2, 3]
    leading = sorted(range(len(run.logits)), key=lambda i: -run.logits[i])[: time.MOST_CLASSES]
    assert [row["logit"] for row in rows] == [moment["logits"][i] for moment in moments for i in leading]
    assert [row["class"] for row in rows if row["timestep"] == 3 and row["answer"]] == [f"class {run.prediction}"]


def test_raster_marks_the_recorded_spikes(run):
    """Each mark is a spike of that neuron and timestep; none of those chosen is missing."""
    name = list(run.spikes)[-1]
    chart = run.plot.raster([name])
    train = run.spikes[name].reshape(len(run.spikes[name]), -1)
    marks = {(row["timestep"], row["neuron"]) for row in chart.rows}
    assert all(train[t, neuron] for t, neuron in marks)
    chosen = np.unique(np.linspace(0, train.shape[1] - 1, spikes.MOST_NEURONS).round().astype(int))
    assert len(marks) == train[:, chosen].sum() > 0
    with pytest.raises(OptionError, match="no spikes of nobody were recorded"):
        run.plot.raster(["nobody"])


def test_who_looks_at_whom(run):
    """A token is looked at by as many spikes as its key shares with all queries: counted one by one."""
    where = spikesfile.attentions(run.network)[0]
    q, k = run.spikes[where.q], run.spikes[where.k]
    tokens, per_head = where.height * where.width, q.shape[1] // where.heads
    q, k = (each.reshape(len(each), where.heads, per_head, tokens) for each in (q, k))
    seen = np.zeros((where.heads, tokens), np.int64)
    for t, h, c, n in np.argwhere(k):
        seen[h, n] += q[t, h, c].sum()
    looks = [row["looks"] for row in run.plot.attention().rows if row["attention"] == where.name]
    assert looks == seen.reshape(-1).tolist()
    assert seen.sum() > 0


def test_comparisons_are_the_json_s():
    """Compare, sweep and sensitivity draw the numbers of their JSON."""
    totals = dict.fromkeys(("sops", "macs", "exact_mj", "paper_mj", "paper_events_mj"), 0.0)
    both = {"a": {**totals, "exact_mj": 0.25}, "b": {**totals, "exact_mj": 0.5}, "ratio": None}
    told = {"models": ["one", "one"], "totals": both, "stages": {"head": both}}
    rows = comparisons.compare(told).rows
    assert [(row["model"], row["energy_mj"]) for row in rows if row["view"] == "exact"] == [
        ("A: one", 0.25),
        ("B: one", 0.5),
    ]
    assert [row["energy_mj"] for row in comparisons.stages(told).rows] == [0.25, 0.5]
    sizes = [{"depth": d, "dim": w, "exact_mj": d * w / 1e3, "paper_mj": d * w / 1e2} for d in (2, 4) for w in (64, 96)]
    drawn_sizes = comparisons.sweep({"rows": sizes}).rows
    assert [row["energy_mj"] for row in drawn_sizes[::2]] == [size["exact_mj"] for size in sizes]
    ratio = {"model": "exact", "variant": "", "profile": "45nm", "ratio": 0.5, "range": [0.4, 0.6]}
    chart = comparisons.sensitivity({"a": "x", "b": "y", "ratios": [ratio, {**ratio, "ratio": None}]})
    assert [(row["low"], row["ratio"], row["high"]) for row in chart.rows] == [(0.4, 0.5, 0.6)]
    assert "A needs less in 1, B in 0" in chart.summary


def test_accuracy_is_the_json_s():
    """Accuracy over time and by class draws the numbers of an evaluation's JSON."""
    moment = {"timestep": 1, "top1": 0.5, "interval": [0.2, 0.8], "sops": 5.0, "macs": 1.0, "energy_mj": 1e-6}
    unknown = {**moment, "top1": None, "interval": None}
    assert [row["top1"] for row in time.accuracy([unknown, moment], "m").rows] == [0.5]
    with pytest.raises(OptionError, match="no accuracy over time"):
        time.accuracy([unknown], "m")
    row = {"class": 0, "label": "a", "samples": 4, "top1": 0.75, "interval": [0.3, 0.9], "energy_mj": 1e-6}
    rows = [row, {**row, "class": 1, "label": "b", "top1": 0.25}, {**row, "class": 2, "samples": 0, "top1": None}]
    assert [(each["class"], each["top1"]) for each in evaluations.classes(rows, "m").rows] == [("b", 0.25), ("a", 0.75)]


def test_counts_and_json_give_the_same_chart(run, files):
    """A chart of counts.h5, of the run's JSON and of the run itself hold the same numbers."""
    for kind in ("energy", "rates", "operations"):
        charts = [chart_of(files / name, kind) for name in ("counts.h5", "run.json")]
        assert charts[0].rows == charts[1].rows == getattr(run.plot, kind)().rows
    for kind in ("raster", "attention"):
        assert chart_of(files / "spikes.h5", kind).rows == getattr(run.plot, kind)().rows


def test_spikes_survive_their_file(run, files):
    """spikes.h5 gives back every train as booleans, and where the attentions are."""
    recorded = spikesfile.load(files / "spikes.h5")
    assert list(recorded.spikes) == list(run.spikes), "in order of execution"
    for name, train in recorded.spikes.items():
        assert train.dtype == np.bool_
        assert np.array_equal(train, run.spikes[name])
        assert train.sum() == run.counts.layer(name).spikes.sum()
    assert recorded.attentions == spikesfile.attentions(run.network)


def test_damaged_spikes_are_refused(files, tmp_path):
    """A train that does not fit its shape, and attentions that are none, are one line."""
    for number, (change, words) in enumerate(
        (
            (lambda group: group["lif"].attrs.__setitem__("shape", (3, 99)), "no spike train of its shape"),
            (lambda group: group["lif"].attrs.__setitem__("shape", "abc"), "no spike train of its shape"),
            (lambda group: group.attrs.__setitem__("attention", "{"), "damaged"),
            (lambda group: group.attrs.__setitem__("attention", "{}"), "attention is no list"),
            (lambda group: group.attrs.__setitem__("attention", '[{"name": 1}]'), "damaged"),
        )
    ):
        path = tmp_path / f"{number}.h5"
        with h5py.File(path, "w") as file:
            group = file.create_group("spikes")
            group.create_dataset("lif", data=np.zeros(1, np.uint8)).attrs["shape"] = (2, 4)
            change(group)
        with pytest.raises(EvsimError, match=words):
            spikesfile.load(path)
    with pytest.raises(EvsimError, match="counts of a run"):
        spikesfile.load(files / "counts.h5")


@pytest.mark.parametrize(
    ("kind", "content", "words"),
    [
        ("energy", "[]", "nothing to draw as energy"),
        ("energy", '{"layers": [{}]}', "nothing to draw as energy"),
        ("energy", '{"layers": 5}', "nothing to draw"),
        ("energy", "{", "neither HDF5 nor JSON"),
        ("rates", '{"layers": []}', "no layers of neurons"),
        ("compare", '{"models": ["a"], "totals": {}}', "nothing to draw as compare"),
        ("sweep", '{"rows": [{"depth": 1e999, "dim": 1, "exact_mj": 1, "paper_mj": 1}]}', "nothing to draw as sweep"),
        ("sensitivity", '{"a": "x", "b": "y", "ratios": [{"ratio": "NaN"}]}', "nothing to draw as sensitivity"),
        ("anytime", '{"anytime": [{"timestep": 1}]}', "nothing to draw as anytime"),
        ("raster", '{"layers": []}', "nothing to draw as raster; give spikes.h5"),
        ("potential", '{"layers": []}', "nothing to draw as potential; give the JSON of a neuron"),
        ("arrivals", json.dumps({"neuron": NEURON, "steps": []}), "no timesteps to draw"),
        ("potential", json.dumps({"neuron": NEURON, "steps": [{"t": 0}]}), "nothing to draw as potential"),
    ],
)
def test_other_json_is_refused(kind, content, words, tmp_path):
    """JSON that holds nothing of a kind is one line that says what to give."""
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(EvsimError, match=words):
        chart_of(path, kind)


@drawn
def test_every_kind_is_drawn_on_the_command_line(files, tmp_path):
    """Evsim plot writes SVG, PDF and PNG of a journal's width, CSV of the numbers, and the description."""
    for name, kind, out in (
        ("counts.h5", "energy", "energy.pdf"),
        ("run.json", "rates", "rates.svg"),
        ("counts.h5", "costs", "costs.png"),
        ("spikes.h5", "raster", "raster.csv"),
        ("run.json", "anytime", "anytime.json"),
    ):
        outcome = evsim("plot", files / name, "--kind", kind, "-o", tmp_path / out)
        assert outcome.code == 0, outcome.err
        assert f"wrote {tmp_path / out}" in outcome.out
        assert "wrote" not in outcome.err, "told once"
    box = re.search(rb"MediaBox ?\[0 0 ([\d.]+)", (tmp_path / "energy.pdf").read_bytes())
    assert math.isclose(float(box[1]) * 25.4 / 72, 88, abs_tol=0.6)
    root = ET.parse(tmp_path / "rates.svg").getroot()  # noqa: S314 - our own
    assert math.isclose(float(root.get("width")) * 25.4 / 96, 88, abs_tol=1.5)
    assert (tmp_path / "costs.png").read_bytes()[:4] == b"\x89PNG"
    rows = list(csv.DictReader(io.StringIO((tmp_path / "raster.csv").read_text())))
    assert len(rows) == len(chart_of(files / "spikes.h5", "raster").rows)
    assert json.loads((tmp_path / "anytime.json").read_text())["$schema"].endswith("vega-lite/v6.json")
    assert "--kind takes" in refused("plot", files / "run.json", "--kind", "pie", "-o", tmp_path / "a.svg")
    assert "one of these endings" in refused("plot", files / "run.json", "--kind", "energy", "-o", tmp_path / "a.bmp")
    line = refused("plot", files / "run.json", "--kind", "energy", "-o", tmp_path / "a.svg", "--width", "9")
    assert "--width takes single, double or millimetres" in line
    assert not (tmp_path / "a.svg").exists()


@drawn
def test_stripes_are_drawn(run):
    """Layers that are not spike-driven are striped in the picture, and its marks keep what they say."""
    text = run.plot.energy().svg()
    assert text.count("<pattern") == 2
    assert "url(#stripes-" in text
    assert not any(light in text for light in theme.STRIPED)
    assert "not spike-driven: " in text
    other = drawing.unique(text, "a")
    assert set(re.findall(r"url\(#([^)]*)\)", other)) <= set(re.findall(r'id="([^"]*)"', other))
    assert ET.fromstring(drawing.file(text)).tag.endswith("svg")  # noqa: S314 - our own


def test_kinds_are_told_apart_for_colour_blind_people():
    """Any two colours of a series differ in lightness or hue under deuteranopia, protanopia and tritanopia."""
    simulate = {  # Machado, Oliveira, Fernandes 2009, severity 1
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
    }
    colours = [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in theme.SERIES[:3]]
    linear = [
        np.where(np.array(c) <= 0.04045, np.array(c) / 12.92, ((np.array(c) + 0.055) / 1.055) ** 2.4) for c in colours
    ]
    for matrix in simulate.values():
        seen = [np.clip(np.array(matrix) @ c, 0, 1) for c in linear]
        for i, a in enumerate(seen):
            for b in seen[:i]:
                assert np.linalg.norm(np.cbrt(a) - np.cbrt(b)) > 0.09


def test_a_run_is_told_in_short(run):
    """Repr is three lines, the card escapes what a model is called, the charts are the run's own."""
    assert len(repr(run).splitlines()) == 3
    assert f"{run.counts.sops:,} SOPs" in repr(run)
    assert "<script" not in run._repr_html_()
    assert run.network.name in run._repr_html_()
    chart = run.plot.energy()
    assert isinstance(chart, Chart)
    assert len(repr(chart)) < 100
    bundle = chart._repr_mimebundle_()
    assert bundle["application/vnd.vegalite.v6+json"]["data"]["values"] == [dict(row) for row in chart.rows]
    assert json.dumps(run.to_dict(), allow_nan=False)


def test_without_the_extra_one_line_says_what_to_install(run, monkeypatch, tmp_path):
    """Where vl-convert is missing, drawing says so before any work; numbers and descriptions need it not."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "vl_convert" else find(name))
    with pytest.raises(OptionError, match=r"extra report .*pip install vl-convert-python"):
        run.plot.energy().save(tmp_path / "a.svg")
    run.plot.energy().save(tmp_path / "a.csv")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == len(run.plot.energy().rows) + 1
    assert not (tmp_path / "a.svg").exists()
    assert set(KINDS) >= {"energy", "rates", "anytime", "raster", "attention", "compare", "sweep", "sensitivity"}

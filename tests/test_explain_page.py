"""The page of a neuron's life: its numbers are those of the JSON, its tree is the one of --why, and it is one file."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest
from charted import CHROMIUM, DRAWN, NO_EXTRA, browse
from commands import evsim, refused
from test_explain import spiking
from test_pages import outline, tables

from evsim import api, demo
from evsim.charts import drawing, neurons
from evsim.explain.address import parse
from evsim.explain.document import document
from evsim.explain.life import explain
from evsim.explain.page import life_page
from evsim.explain.reach import waves
from evsim.explain.text import head
from evsim.explain.why import way, why
from evsim.quantizing.quantizer import quantize
from evsim.report.plotting import chart_of

drawn = pytest.mark.skipif(not DRAWN, reason=NO_EXTRA)
browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
NEURON = "block.0.mlp.mlp2_lif:249@1,4"


@pytest.fixture(scope="module")
def life():
    """Return the life of a neuron of the bundled model."""
    network = api.load(demo.model_path())
    sample = api.read(next(iter(demo.recordings().values())), network)
    return explain(network, sample, parse(NEURON, network), whole=True)


@pytest.fixture(scope="module")
def told(life):
    """Return its JSON, written and read again."""
    return json.loads(json.dumps(document(life), allow_nan=False))


@pytest.fixture(scope="module")
def page(life):
    """Return its page with all that can be asked for."""
    address = life.address
    moved = waves(life.watched, address.layer, address.position, address.channel, life.focus, 2)
    return life_page(life, why(life), way(life), moved, ["<b>a note</b>"], "evsim explain model.h5")


def test_charts_hold_the_numbers_of_the_json(told):
    """Potentials are the JSON's; what raised, lowered and shifted a current adds up to it; costs are those told."""
    rows = neurons.potential(told).rows
    assert [row["v"] for row in rows] == [step["v"] for step in told["steps"]]
    assert [row["v_kept"] for row in rows] == [step["v_kept"] for step in told["steps"]]
    assert {row["threshold"] for row in rows} == {told["neuron"]["threshold"]} == {1.0}
    arrived = neurons.arrivals(told).rows
    for step in told["steps"]:
        here = [row for row in arrived if row["t"] == step["t"]]
        assert math.isclose(sum(row["sum"] for row in here), step["current"], rel_tol=1e-5)
        active = sum(len(added["products"]) for feed in step["sums"] for added in feed["additions"])
        assert sum(row["inputs"] for row in here) == active
        assert {row["kind"]: row["sum"] > 0 for row in here}[neurons.RAISED]
        assert all(row["sum"] <= 0 for row in here if row["kind"] == neurons.LOWERED)
    costs = neurons.costs(told).rows
    assert sum(row["pj"] for row in costs) == pytest.approx(sum(s["pj"] + s["out_pj"] for s in told["steps"]))
    assert f"fired at t = {', '.join(map(str, told['neuron']['spikes']))}" in neurons.potential(told).summary


def test_a_neuron_without_threshold_has_no_line():
    """One that emits its potential is drawn without threshold and without spikes."""
    step = {"t": 0, "v_before": 0.0, "v": -1.0, "v_kept": -1.0, "current": -1.0, "emitted": None}
    neuron = {"layer": "li", "channel": 0, "y": 0, "x": 0, "threshold": None}
    chart = neurons.potential({"neuron": neuron, "steps": [step]})
    assert "fire" not in chart.summary
    held = neurons.potential({"neuron": {**neuron, "threshold": 1.0}, "steps": [{**step, "emitted": 0}]})
    assert len(held.spec()["layer"]) == len(chart.spec()["layer"]) + 1
    assert held.spec()["layer"][0]["encoding"]["y"] == {"datum": 1.0}
    assert "it did not fire" in held.summary


def test_a_life_written_as_json_is_drawn(told, tmp_path):
    """Evsim plot draws potential and arrivals of the JSON, with the numbers of the page."""
    file = tmp_path / "life.json"
    file.write_text(json.dumps(told))
    assert chart_of(file, "potential").rows == neurons.potential(told).rows
    assert chart_of(file, "arrivals").rows == neurons.arrivals(told).rows
    outcome = evsim("plot", file, "--kind", "potential", "-o", tmp_path / "v.csv")
    assert outcome.code == 0, outcome.err
    assert len((tmp_path / "v.csv").read_text().splitlines()) == 1 + len(told["steps"])


@drawn
def test_page_is_one_file_with_the_numbers_of_the_json(page, told):
    """It asks nothing of a network; tables and charts hold what the JSON holds, names of strangers are text."""
    seen = outline(page)
    words = "".join(seen.words)
    assert all(link.startswith(("data:", "#")) for link in seen.links)
    assert "http" not in page.replace("http://www.w3.org/", "").replace("http-equiv", "")
    assert "<b>a note</b>" in words
    assert set(tables(page)) == {"potential", "arrivals", "costs"}
    assert [float(row["v"]) for row in tables(page)["potential"]] == [step["v"] for step in told["steps"]]
    for step in told["steps"]:
        for feed in step["sums"]:
            for added in feed["additions"]:
                assert all(f"{weight:.6g}" in words for weight in added["weights"])
    read = sum(step["pj"] for step in told["steps"])
    assert f"{read:.3g} pJ" in words
    for section in ("Why it fired", "Whom it reaches", "Whom its spike can move", "Energy by timestep"):
        assert f">{section}</h2>" in page


@drawn
def test_the_tree_is_the_one_of_why(page, life):
    """Each cause stands within the details of the one above it, with its push; the strongest way ends at the input."""
    tree = page.partition('<div class="tree">')[2].partition("</div>")[0]
    found = re.findall(r"<summary>(.*?)</summary>|<p>(.*?)</p>", tree)
    texts = [re.sub("<[^>]*>", "", "".join(token)) for token in found]

    def named(cause):
        yield f"{cause.push:+.4f}"
        for below in cause.causes:
            yield from named(below)

    root = why(life)
    pushes = [push for below in root.causes for push in named(below)]
    lines = [text for text in texts if text[:1] in ("+", "-") and ("@" in text)]
    assert [line.split()[0] for line in lines] == pushes
    assert tree.count("<details open>") == tree.count("</details>") == sum(1 for each in _every(root) if each.causes)
    assert way(life)[-1].place.layer == "input"
    down = page.partition("The strongest way down")[2].replace("<wbr>", "")
    assert f"input:{way(life)[-1].place.channel}@" in down


def _every(cause):
    yield cause
    for below in cause.causes:
        yield from _every(below)


@drawn
def test_many_additions_are_cut_and_told(monkeypatch):
    """A sum of more additions than a page holds shows the strongest, and says where the others are."""
    monkeypatch.setattr("evsim.explain.page.MOST_ROWS", 0)
    network, frames = spiking()
    text = life_page(explain(network, api.Sample(frames), parse("lif2", network)))
    cut = re.findall(r"The strongest 5 are shown; the JSON has ([\d,]+) more", text)
    assert cut
    assert all(int(number.replace(",", "")) > 0 for number in cut)


@drawn
def test_the_command_writes_a_page(tmp_path):
    """Beside what is printed; a place that cannot be written to, and another ending, are one line before any work."""
    model, recording = demo.save(tmp_path)
    line = ("explain", model, "--input", recording, "--neuron", NEURON)
    place = tmp_path / "life.html"
    outcome = evsim(*line, "--html", place)
    assert outcome.code == 0, outcome.err
    seen = outline(place.read_text())
    assert f"--html {place}" in "".join(seen.words)
    assert "Why it fired" not in "".join(seen.words)
    assert "give a file that ends in .html" in refused(*line, "--html", tmp_path / "a.txt")
    assert "there is no folder" in refused(*line, "--html", tmp_path / "none" / "a.html")


def test_without_the_extra_a_page_is_one_line(tmp_path, monkeypatch):
    """What to install is said before the run."""
    monkeypatch.setattr(drawing, "installed", lambda: False)
    line = refused("explain", "model.h5", "--input", "a.npy", "--neuron", "lif", "--html", tmp_path / "a.html")
    assert "pip install vl-convert-python" in line
    assert "--report" not in line, "an extra is no option"


def test_tables_of_a_life_take_the_forms_of_all(tmp_path):
    """Brief shows the headline; CSV has every digit, energies in mJ; a narrow terminal loses columns and says so."""
    model, recording = demo.save(tmp_path)
    line = ("explain", model, "--input", recording, "--neuron", NEURON)
    brief = evsim(*line, "--brief").out
    assert brief.splitlines()[0] == NEURON
    assert "v(t)" not in brief
    told = json.loads(evsim(*line, "--json", "-").out)
    rows = evsim(*line, "--format", "csv").out.splitlines()
    heads = rows[0].split(",")
    assert heads[-2:] == ["read (mJ)", "sent (mJ)"]
    for row, step in zip(rows[1:], told["steps"], strict=True):
        cells = dict(zip(heads, row.split(","), strict=True))
        assert float(cells["v"]) == step["v"]
        assert np.isclose(float(cells["read (mJ)"]), step["pj"] * 1e-9, rtol=1e-12)


def test_a_narrow_terminal_loses_columns(monkeypatch, tmp_path):
    """At 60 columns no line of the plot or the table is longer, and what left is named."""
    model, recording = demo.save(tmp_path)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.chdir(tmp_path)
    shown = evsim("explain", model.name, "--input", recording.name, "--neuron", NEURON).out
    assert max(map(len, shown.partition("additions, by")[0].splitlines())) <= 60
    assert "columns left out:" in shown


@drawn
@browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_chromium_shows_it(page, width, dark, tmp_path):
    """At each width, light and dark: no message on the console, nothing wider than the screen, three charts seen."""
    probe = (
        "<script>addEventListener('load',()=>{const d=document.documentElement;"
        "document.querySelectorAll('details').forEach(e=>{e.open=true});"
        "const seen=[...document.querySelectorAll('figure [role=img]')].filter(e=>e.offsetWidth>0);"
        "document.title=JSON.stringify([d.scrollWidth<=innerWidth,seen.length])})</script></body>"
    )
    place = tmp_path / "page.html"
    place.write_text(page.replace("</body>", probe))
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    options = (f"--window-size={width},900", "--enable-logging=stderr", "--log-level=0", "--dump-dom", *scheme)
    outcome = browse(place, tmp_path, *options)
    assert outcome.returncode == 0, outcome.stderr
    assert re.search(r"<title>\[true,3\]", outcome.stdout)
    assert "CONSOLE" not in outcome.stderr


def test_a_quantized_model_says_whose_run_it_is(life):
    """Terminal, JSON and page of a quantized model say that its weights ran as floats; those of others say nothing."""
    network = quantize(life.watched.network).network
    other = explain(network, life.watched.run.sample, parse(NEURON, network))
    says = "the model runs in int8; this is the run of its weights as floats, in float32"
    assert says in "\n".join(head(other))
    own = document(other)
    assert own["note"].startswith(says)
    assert (own["model"]["own_precision"], own["model"]["precision"]) == ("int8", "float32")
    if DRAWN:
        assert life_page(other).count(says[4:]) == 2, "under its name, and among the assumptions"
    assert document(life)["note"] is None
    assert document(life)["model"]["own_precision"] == "float32"
    assert "the model runs in" not in "\n".join(head(life))

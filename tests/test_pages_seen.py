"""What a newcomer sees of pages and figures: whole names, ticks that tell, panels that are filled, timesteps from 0."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from charted import DRAWN, NO_EXTRA, demo_run

from evsim import api, demo
from evsim.charts import layers, spikes, time
from evsim.charts.theme import MUTED
from evsim.explain.address import parse
from evsim.explain.life import explain
from evsim.explain.page import life_page
from evsim.report.page import NARROW, WIDE
from evsim.report.runpage import run_page
from evsim.spikesfile import Attention

pytestmark = pytest.mark.skipif(not DRAWN, reason=NO_EXTRA)
seen = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


def texts(svg):
    """Return what letters of a drawing say, each line of a label apart."""
    return re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", svg)


def row(name, operations, dense):
    """Return a layer as the JSON of a run holds it."""
    return {
        "name": name, "kind": "conv", "input_kind": "spikes", "sops": operations, "macs": 0, "dense_macs": dense,
        "energy_mj": operations * 9e-10, "paper": {"energy_mj": operations * 1e-9},
    }  # fmt: skip


@pytest.mark.parametrize("look", [NARROW, WIDE])
def test_names_of_layers_are_whole(look):
    """A long name goes on in a second line and loses no letter, on a phone and on a desk."""
    names = ["patch_embed.proj1_conv", "stage3.0.transformer_block.attn.token_mixer_conv", "a" * 30, "head"]
    rows = [row(name, 10 + i, 1000) for i, name in enumerate(names)]
    for chart in (layers.energy(rows, "m"), layers.operations(rows, "m")):
        drawn = texts(chart.svg(look))
        assert not any("…" in text for text in drawn)
        joined = "".join(drawn)
        assert all(name in joined for name in names)


@pytest.mark.parametrize("ends", [(11, 19), (2_000_000, 3_000_000), (1, 10**12), (1000, 1000)])
@pytest.mark.parametrize("look", [NARROW, WIDE])
def test_logarithmic_axis_has_ticks(ends, look):
    """However near or far the values are, two ticks at least tell the scale, and no more than find room."""
    drawn = texts(layers.operations([row("a", *ends)], "m").svg(look))
    ticks = [text for text in drawn if re.fullmatch(r"1?0*\d+( ?[kMGT])?", text)]
    assert 2 <= len(ticks) <= 9, ticks


def heights(svg):
    """Return top and bottom of the marks of a drawing."""
    marks = re.findall(r'd="M[-\d.]+,([-\d.]+)h[-\d.]+v([-\d.]+)h', svg)
    return {(float(top), float(top) + float(size)) for top, size in marks}


def test_ten_neurons_fill_their_panel():
    """Ten neurons that fire take the height of the panel, as 32 do; one alone is no block."""
    tall = {}
    for number in (1, 10, 32):
        svg = spikes.raster({"lif": np.ones((4, number), bool)}, "m").svg(WIDE)
        lines = {line for line in heights(svg) if line[1] - line[0] < 60}
        assert len(lines) == number
        tall[number] = max(end for _, end in lines) - min(begin for begin, _ in lines)
    assert tall[10] > 0.95 * tall[32]
    assert tall[1] < 0.3 * tall[32]


def test_timesteps_count_from_0():
    """A raster's first timestep is 0, as in JSON, files and `@t`; captions of frames say so too."""
    train = np.zeros((3, 2), bool)
    train[0, 0] = train[2, 1] = True
    assert [each["timestep"] for each in spikes.raster({"lif": train}, "m").rows] == [0, 2]
    page = run_page(demo_run())
    assert re.findall(r"<figcaption>(t = \d+)</figcaption>", page) == [f"t = {t}" for t in range(8)]
    assert "timestep 8" not in page


def test_numbers_of_timesteps_are_no_names_of_them():
    """What holds after so many timesteps says how many had run: `after 1 timestep`, not `after timestep 1`."""
    summary = demo_run().plot.anytime().summary
    assert re.search(r"after \d+ timesteps? the answer stays", summary)
    moment = {"timestep": 1, "top1": 0.5, "interval": [0.2, 0.8], "sops": 5.0, "macs": 1.0, "energy_mj": 1e-6}
    chart = time.accuracy([moment, {**moment, "timestep": 4, "energy_mj": 2e-6}], "m")
    assert "50.00% after 1 timestep at" in chart.summary
    assert "T = 4" in texts(chart.svg(WIDE))


def test_attention_maps_are_named_once():
    """Each attention has one heading, its maps only the head's number, in lines of one length."""
    drawn = texts(demo_run().plot.attention().svg(WIDE))
    assert drawn.count("block.0.attn") == drawn.count("block.1.attn") == 1
    assert drawn.count("head 7") == 2


def test_attention_heads_stand_in_order_of_their_numbers():
    """Heads are numbers: 2 stands before 10."""
    where = Attention("a.ssa", "q", "k", 12, 1, 2, "last")
    train = np.ones((2, 24, 2), bool)
    drawn = texts(spikes.attention({"q": train, "k": train}, [where], "m").svg(WIDE))
    assert [text for text in drawn if text.startswith("head ")] == [f"head {h}" for h in range(12)]


def test_page_says_which_layers_and_neurons_its_raster_leaves_out():
    """Words and summary say how many of the layers, neurons and timesteps are drawn."""
    run = demo_run()
    page, layers_of_it = run_page(run), len(run.spikes)
    assert f"{spikes.MOST_LAYERS} of the {layers_of_it} layers are shown" in page
    names = [row["layer"] for row in run.plot.raster().rows]
    every = sum(run.spikes[name][0].size for name in set(names))
    assert f"of {every:,} neurons, evenly spaced, of {spikes.MOST_LAYERS} of {layers_of_it} layers" in page
    few = {"lif": np.ones((4, 10), bool)}
    assert "over 4 timesteps: all 10 neurons of 1 layer fired 40 times" in spikes.raster(few, "m").summary


@seen
@pytest.mark.parametrize("dark", [False, True])
def test_reasons_are_read_on_a_phone(tmp_path, dark):
    """At 390 px the column of reasons lies within the screen, wide enough to read, with its numbers above it."""
    page = tmp_path / "run.html"
    page.write_text(run_page(demo_run()))
    with Browser(tmp_path, 390, 844, dark=dark, touch=True) as browser:
        browser.open(page, "document.readyState === 'complete'")
        inside = (
            "[...document.querySelectorAll('.cards tr > *')].filter(e => e.offsetWidth).every(e => {"
            "const b = e.getBoundingClientRect(); return b.left >= 0 && b.right <= innerWidth})"
        )
        assert browser.evaluate(inside)
        wide = "[...document.querySelectorAll('.cards td:last-child')].map(e => e.offsetWidth)"
        widths = browser.evaluate(wide)
        assert len(widths) == sum(layer["kind"] != "lif" for layer in demo_run().to_dict()["layers"])
        assert min(widths) > 250
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert browser.errors == []


@seen
def test_additions_are_read_on_a_phone(tmp_path):
    """At 390 px a neuron's page shows what each input added without scrolling aside."""
    run = demo_run()
    life = explain(run.network, api.read(run.sample.path, run.network), parse("block.0.attn.q_lif", run.network))
    page = tmp_path / "life.html"
    page.write_text(life_page(life))
    with Browser(tmp_path, 390, 844, touch=True) as browser:
        browser.open(page, "document.readyState === 'complete'")
        fits = "[...document.querySelectorAll('details[open] .scroll')].map(e => e.scrollWidth <= e.clientWidth + 1)"
        shown = browser.evaluate(fits)
        assert shown
        assert all(shown)


def test_energies_have_three_digits():
    """1.9 stands beside 17.7 and 99.4 as 1.90: a digit that is 0 is a digit; a point at the end is none."""
    shown = [layers.joules(mj) for mj in (1.9e-3, 17.7e-3, 100e-3, 2.0, 0.0, 1e-9)]
    assert shown == ["1.90 µJ", "17.7 µJ", "100 µJ", "2.00 mJ", "0 mJ", "1.00 pJ"]


def test_labels_of_energies_do_not_touch():
    """Lines of the chart of energies are as far apart as its letters are tall, or more."""
    rows = [row("a", 10, 100), row("b", 20, 100)]
    for look in (WIDE, NARROW):
        svg = layers.energy(rows, "m").svg(look)
        told = rf'<text[^>]*translate\([\d.]+,([\d.]+)\)"[^>]*fill="{MUTED}">[\d.]+ pJ<'  # those of the axis are black
        lines = sorted(float(place) for place in re.findall(told, svg))
        assert len(lines) == 4
        assert min(b - a for a, b in pairwise(lines)) >= look.letters


def test_prediction_says_that_classes_are_left_out():
    """Of ten classes eight are drawn, which the chart says; of three all are, which needs no word."""
    assert "The 8 greatest of 10 are drawn." in run_page(demo_run())
    assert "drawn" not in time.logits({"logits": [1.0, 2.0, 3.0]}, (), "m").summary


@seen
@pytest.mark.parametrize("width", [390, 1280])
def test_names_break_only_where_room_lacks(tmp_path, width):
    """A name in a table is one line on a screen; a title breaks behind a part of the name; tables show they scroll."""
    network = api.load(demo.model_path())
    watched = explain(
        network,
        api.read(next(iter(demo.recordings().values())), network),
        parse("block.0.attn.proj_lif:3@1,4", network),
    )
    page = tmp_path / "neuron.html"
    page.write_text(life_page(watched))
    with Browser(tmp_path, width, 900, touch=width < 600) as browser:
        browser.open(page, "document.readyState === 'complete'")
        assert "@<wbr>1,4" in browser.evaluate("document.querySelector('h1').innerHTML")
        lines = (
            "[...document.querySelectorAll('tbody th')].filter(e => e.offsetWidth).map(e => { const r = "
            "document.createRange(); r.selectNodeContents(e); "
            "return new Set([...r.getClientRects()].map(b => b.top)).size })"
        )
        assert width < 600 or set(browser.evaluate(lines)) == {1}
        shades = browser.evaluate(
            "getComputedStyle(document.querySelector('.scroll:not(:has(.cards))')).backgroundImage"
        )
        assert shades.count("gradient") == 4
        browser.shot(tmp_path / "page.png")

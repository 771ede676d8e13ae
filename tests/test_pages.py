"""Pages: whole in one file, their numbers the JSON's; seen by Chromium without a fault where it is installed."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from charted import CHROMIUM, DRAWN, GOLDEN, NO_EXTRA, browse, demo_run, small_run
from commands import evsim, refused
from evaluations import folder

from evsim import spikesfile
from evsim.charts.layers import joules
from evsim.report.reasons import reason
from evsim.report.runpage import run_page

pytestmark = pytest.mark.skipif(not DRAWN, reason=NO_EXTRA)
browser = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
AXE = os.environ.get("EVSIM_AXE", "")


class Outline(HTMLParser):
    """What a page holds: text, ids, addresses, tags that are left open."""

    VOID = ("meta", "link", "img", "br", "rect", "path", "line", "image", "wbr")

    def __init__(self):
        super().__init__()
        self.words, self.ids, self.links, self.open, self.images = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        """Take note of a tag that opens."""
        values = dict(attrs)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[key] for key in ("href", "src", "xlink:href") if key in values]
        self.images += [values.get("alt")] if tag == "img" else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        """Check that a tag closes the one that is open."""
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        """Keep text."""
        self.words.append(data)


def outline(page):
    """Return what a page holds; whatever is opened is closed, and no id stands twice."""
    seen = Outline()
    seen.feed(page)
    assert not seen.open
    assert len(set(seen.ids)) == len(seen.ids)
    return seen


def tables(page):
    """Return every CSV of a page by its name."""
    links = re.findall(r'download="([^"]*)\.csv" href="data:text/csv;base64,([^"]*)"', page)
    return {name: list(csv.DictReader(io.StringIO(base64.b64decode(code).decode()))) for name, code in links}


@pytest.fixture(scope="module")
def page():
    """Return the demo's page."""
    return run_page(demo_run(), notes=["<b>a note</b>"], command="evsim run model.h5 --html report.html")


def test_page_is_one_file(page):
    """The demo's page is below 2 MB, asks nothing of any network, and whatever it quotes is text."""
    assert len(page.encode()) < 2_000_000
    seen = outline(page)
    assert all(link.startswith(("data:", "#")) for link in seen.links)
    assert "http" not in page.replace("http://www.w3.org/", "").replace("http-equiv", "")
    assert {link[1:] for link in seen.links if link.startswith("#")} <= set(seen.ids)
    assert "<b>a note</b>" in "".join(seen.words)
    assert len(seen.images) == 8
    assert all(seen.images)
    assert "evsim run model.h5 --html report.html" in "".join(seen.words)


def test_numbers_of_a_page_are_the_json_s(page):
    """The headline and each chart's CSV hold what the JSON holds."""
    run = demo_run()
    told, charts = run.to_dict(), tables(page)
    words = "".join(outline(page).words)
    for value in (told["totals"]["energy_mj"], told["totals"]["paper"]["energy_mj"]):
        assert joules(value) in words
    assert f"{told['totals']['sops']:,} SOPs" in words
    share = told["totals"]["energy_mj"] / told["totals"]["paper"]["energy_mj"]
    assert f"the exact energy is {share:.1%} of this" in words
    assert f"class {run.prediction} (of 0 to 9)" in words
    rows = [layer for layer in told["layers"] if layer["kind"] != "lif"]
    assert [float(row["energy_mj"]) for row in charts["energy"][::2]] == [layer["energy_mj"] for layer in rows]
    assert [int(row["operations"]) for row in charts["operations"]] == [layer["sops"] + layer["macs"] for layer in rows]
    assert [float(row["logit"]) for row in charts["logits"]] == sorted(told["prediction"]["logits"])[::-1][:8]
    assert {float(row["energy_mj"]) for row in charts["anytime"]} == {each["energy_mj"] for each in told["anytime"]}
    assert set(charts) == {
        "logits", "energy", "costs", "rates", "operations", "anytime", "raster", "attention",
    }  # fmt: skip


def test_each_difference_has_its_reason():
    """The reason follows from the counts: the same where energies are, padding, pixels without events, attention."""
    told = {layer["name"]: layer for layer in demo_run().to_dict()["layers"]}
    assert "every value; exact only for the 6.0% that are not 0" in reason(told["patch_embed.proj_conv"])
    assert reason(told["patch_embed.proj4_conv"]) == "the paper also charges taps that fall into the padding"
    assert reason(told["block.0.mlp.mlp1_conv"]) == "the paper also charges biases by the firing rate"
    assert "every value, and biases; exact does so too, as none is 0" in reason(told["head"])
    nearly = {**told["patch_embed.proj_conv"], "input_nonzeros": told["patch_embed.proj_conv"]["input_size"] - 1}
    assert "exact only for the more than 99.9% that are not 0" in reason(nearly), "100.0% would be all"
    assert "which spikes meet" in reason(told["block.0.attn.ssa"])
    for layer in told.values():
        if layer["kind"] != "lif" and np.isclose(layer["energy_mj"], layer["paper"]["energy_mj"], rtol=1e-12, atol=0):
            assert reason(layer).startswith("the same")


def test_commands_write_pages(tmp_path):
    """run, compare, energy and eval write a page beside what they print; refusals leave nothing behind."""
    frames, counts = tmp_path / "a.npy", tmp_path / "counts.h5"
    np.save(frames, np.random.default_rng(4).poisson(0.06, (3, 2, 48, 48)).astype(np.uint8))
    data = folder(tmp_path / "data", 6)
    for name, arguments in (
        ("run", ("run", GOLDEN, "--input", frames, "--counts", counts)),
        ("energy", ("energy", counts, "--method", "all", "--against", "ann")),
        ("twice", ("energy", counts, counts)),
        ("compare", ("compare", GOLDEN, "--residual", "sew", "--input", frames)),
        ("eval", ("eval", GOLDEN, data, "--precision", "float64")),
    ):
        place = tmp_path / f"{name}.html"
        outcome = evsim(*arguments, "--html", place)
        assert outcome.code == 0, outcome.err
        assert outcome.err.count(f"wrote {place}\n") == 1
        assert (f"wrote {counts}\n" in outcome.err) == (name == "run")
        seen = outline(place.read_text())
        assert f"--html {place}" in "".join(seen.words)
        assert tables(place.read_text())
    line = refused("run", GOLDEN, "--input", frames, "--html", tmp_path / "a.txt")
    assert "--html writes a page; give a file that ends in .html" in line
    line = refused("run", GOLDEN, "--input", frames, "--html", tmp_path / "none" / "a.html")
    assert "there is no folder" in line
    assert spikesfile.attentions(small_run().network)


@browser
@pytest.mark.parametrize("width", [390, 768, 1440])
@pytest.mark.parametrize("dark", [False, True])
def test_chromium_draws_it(page, width, dark, tmp_path):
    """At each width, light and dark: no message on the console, nothing wider than the screen, charts that are seen."""
    probe = (
        "<script>addEventListener('load',()=>{const d=document.documentElement;"
        "const seen=[...document.querySelectorAll('figure [role=img]')].filter(e=>e.offsetWidth>0);"
        "document.title=JSON.stringify([d.scrollWidth<=innerWidth,seen.length,getComputedStyle(document.body)"
        ".backgroundColor,performance.now()|0])})</script></body>"
    )
    place = tmp_path / "page.html"
    place.write_text(page.replace("</body>", probe))
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    options = (f"--window-size={width},900", "--enable-logging=stderr", "--log-level=0", "--dump-dom", *scheme)
    outcome = browse(place, tmp_path, *options)
    assert outcome.returncode == 0, outcome.stderr
    fits, seen, ground, _ = re.search(r"<title>\[(true|false),(\d+),\"([^\"]*)\",(\d+)\]", outcome.stdout).groups()
    assert (fits, int(seen)) == ("true", 8)
    assert ground == ("rgb(20, 23, 27)" if dark else "rgb(255, 255, 255)")
    assert "CONSOLE" not in outcome.stderr


@browser
@pytest.mark.skipif(not AXE, reason="EVSIM_AXE names no folder with node_modules of axe-core and playwright-core")
@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_axe_finds_nothing_serious(page, tmp_path):
    """axe-core finds no fault at all, light and dark, with every table open; it does find one that is put in."""
    script = Path(__file__).parent / "axe.mjs"
    for text, faulty in ((page, False), (page.replace('<html lang="en">', "<html>"), True)):
        place = tmp_path / "page.html"
        place.write_text(text)
        outcome = subprocess.run(
            ["node", script, AXE, CHROMIUM, place], capture_output=True, text=True, check=False, timeout=240
        )
        assert (outcome.returncode != 0) == faulty, outcome.stdout + outcome.stderr

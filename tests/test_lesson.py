"""The page of `evsim lesson`: it is whole, its engine counts what evsim counts, and it can be used by hand."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser
from commands import evsim, refused

from evsim import api, demo
from evsim.engine import Simulator
from evsim.lesson import page
from evsim.lesson.page import model_of

ROOM = Path(str(resources.files("evsim.lesson")))
KNOWN = json.loads((ROOM / "digits.json").read_text(encoding="utf-8"))
NODE = shutil.which("node")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="chromium absent")
WIDTHS = pytest.mark.parametrize(("width", "dark"), [(390, True), (1280, False)], ids=["phone", "screen"])


@pytest.fixture(scope="module")
def network():
    """Return the bundled model."""
    return api.load(demo.model_path())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Return the page as the command writes it."""
    path = tmp_path_factory.mktemp("lesson") / "lesson.html"
    outcome = evsim("lesson", "-o", path)
    assert (outcome.code, outcome.err) == (0, "")
    assert str(path) in outcome.out
    return path


def test_page_stands_alone(file):
    """The page loads nothing: no address stands in an attribute, and its policy forbids every other source."""
    text = file.read_text(encoding="utf-8")
    assert text == page()
    assert not re.findall(r"""(?:src|href)\s*=\s*["']?(?!#)[^"'\s>]""", text.split("<script>")[0])
    assert "default-src 'none'" in text
    assert "/*data*/" not in text
    assert text.count("</script>") == 2


def test_page_of_another_suffix_is_refused(tmp_path):
    """A file name that says another format is refused in one line, and nothing is written."""
    assert "--html" in refused("lesson", "-o", tmp_path / "lesson.pdf")
    assert not list(tmp_path.iterdir())


def test_digits_are_counted_as_now(network):
    """What the page holds its counts against is what this evsim counts, of ten digits, one of each class."""
    sys.path.insert(0, str(Path(__file__).parent / "reference"))
    from bundle_lesson import counted

    simulator = Simulator(network, precision="float64")
    for digit in KNOWN["digits"][:10]:
        now = counted(simulator, digit["picture"])
        assert {"label": digit["label"], **now} == digit


def test_a_hundred_digits_ten_of_each_class():
    """The page carries 100 pictures of 8 x 8 greys, no two alike."""
    labels = [digit["label"] for digit in KNOWN["digits"]]
    assert sorted(labels) == sorted(list(range(10)) * 10)
    assert len({digit["picture"] for digit in KNOWN["digits"]}) == 100
    assert {len(digit["picture"]) for digit in KNOWN["digits"]} == {64}


def in_node(network, digits, folder):
    """Return what the page's engine says of digits, run in Node."""
    model, known = folder / "model.json", folder / "digits.json"
    model.write_text(json.dumps(model_of(network)), encoding="utf-8")
    known.write_text(json.dumps({**KNOWN, "digits": digits}), encoding="utf-8")
    line = [NODE, Path(__file__).parent / "lesson_check.js", ROOM, model, known]
    return json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(NODE is None, reason="node absent")
def test_engine_equals_evsim_to_the_bit(network, tmp_path):
    """Events, spikes neuron by neuron, operations by layer and every bit of the logits are evsim's in float64."""
    assert in_node(network, KNOWN["digits"][10:18], tmp_path) == {"digits": 8, "different": []}


@pytest.mark.skipif(NODE is None, reason="node absent")
def test_check_finds_one_spike_too_many(network, tmp_path):
    """The check can fail: a spike more in one layer, another neuron, an operation less are each named."""
    digit = KNOWN["digits"][0]
    spikes, prints, operations = (list(digit[name]) for name in ("spikes", "prints", "operations"))
    spikes[2] += 1
    prints[3] ^= 1
    operations[4] -= 1
    wrong = {**digit, "spikes": spikes, "prints": prints, "operations": operations}
    names, layers = KNOWN["neurons"], KNOWN["layers"]
    faults = [f"spikes of {names[2]}", f"neurons of {names[3]}", f"operations of {layers[4]}"]
    assert in_node(network, [wrong], tmp_path)["different"] == [[0, faults]]


def test_rates_were_measured_by_the_command_that_they_name():
    """The figures of the rate knob name an existing command, and rise in rate from 1 to 100 %."""
    rates = json.loads((ROOM / "rates.json").read_text(encoding="utf-8"))
    assert (Path(__file__).parents[1] / rates["command"].split()[1]).is_file()
    steps = [point["rate"] for point in rates["points"]]
    assert (steps[0], steps[-1]) == (0.01, 1.0)
    assert steps == sorted(steps)
    assert all(min(point[form] for form in ("event", "shared", "dense", "dense16")) > 0 for point in rates["points"])


@needs_browser
@WIDTHS
def test_a_class_clicks_through_the_page(file, tmp_path, width, dark):
    """By mouse and keyboard each step does what it says; nothing fails, nothing is wider than the screen."""
    with Browser(tmp_path, width, 900, dark=dark, touch=dark) as browser:
        browser.open(file, "state.outcome")
        assert browser.evaluate("document.getElementById('answer').textContent") == "3"
        pick_and_scrub(browser)
        touch_spikes(browser)
        switch_machine(browser)
        turn_knob(browser)
        draw(browser)
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert browser.errors == []


def text_of(browser, name):
    """Return the text of an element."""
    return browser.evaluate(f"document.getElementById({json.dumps(name)}).textContent")


def pick_and_scrub(browser):
    """Pick a 7, go to a timestep by its frame and by the slider's keys, let time play."""
    browser.click("#picks label:nth-child(8) input")
    browser.wait("document.getElementById('answer').textContent === '7'")
    browser.click("#frames button:nth-child(2)")
    assert browser.evaluate("state.t") == 1
    browser.evaluate("document.getElementById('time').focus()")
    browser.press("ArrowRight", "ArrowRight")
    assert browser.evaluate("state.t") == 3
    assert text_of(browser, "time-is") == "3", "timesteps count from 0, as everywhere"
    browser.click("#play")
    browser.wait("state.t === 5")
    browser.click("#play")


def touch_spikes(browser):
    """Choose a layer by mouse and keys, a spike on the map, and a weight; the text tells their additions."""
    browser.click('#heat button[data-row="9"][data-t="2"]')
    assert browser.evaluate("[state.layer.name, state.t]") == ["block.0.mlp.mlp1_lif", 2]
    browser.press("ArrowUp", "ArrowRight", "ArrowDown")
    assert browser.evaluate("[state.layer.name, state.t]") == ["block.0.mlp.mlp1_lif", 3]
    browser.evaluate("document.getElementById('map').focus()")
    before = browser.evaluate("state.index")
    browser.press("ArrowRight")
    assert browser.evaluate("state.index") != before
    assert "256 additions × 0.9 pJ = 230 pJ." in text_of(browser, "spike-says")
    browser.click("#weights", 0.9, 0.9)
    assert browser.evaluate("state.output") > 200
    browser.click("#before")
    assert browser.evaluate("state.index") == before
    # a spike under the finger is taken, and a silent neuron costs nothing
    browser.click("#map", 0.01, 0.01)
    fired = browser.evaluate("state.outcome.spikes[state.layer.name][state.t].includes(state.index)")
    assert fired or "0 additions" in text_of(browser, "spike-says")


def switch_machine(browser):
    """Dense and sparse show the totals of the counts, which are evsim's own."""
    digit = KNOWN["digits"][7]
    assert text_of(browser, "total-operations") == f"{sum(digit['operations']):,}"
    browser.click('[name="machine"][value="dense"]')
    dense = browser.evaluate("sum(COUNTED.map(denseOf))")
    assert text_of(browser, "total-operations") == f"{dense:,}"
    assert dense > 10 * sum(digit["operations"])
    browser.press("ArrowLeft")
    assert text_of(browser, "total-operations") == f"{sum(digit['operations']):,}"


def turn_knob(browser):
    """At 100 % the dense form in 16 bits is named the faster, at 1 % the slower; the browser measures itself."""
    for value, says in ((100, "slower than dense in 16 bits"), (0, "as fast as dense in 16 bits")):
        browser.evaluate(f"(knob => {{ knob.value = {value}; knob.dispatchEvent(new Event('input')) }})($('knob'))")
        assert says in text_of(browser, "rate-says")
    browser.click("#measure")
    browser.wait("Rate.measured() && !document.getElementById('measure').disabled")
    assert "This browser" in text_of(browser, "measure-says")


def draw(browser):
    """Draw a 1 by mouse, wipe it, draw it by keys; both are read."""
    browser.click("#clear")
    browser.drag("#pad", [(0.42, 0.3), (0.53, 0.18), (0.53, 0.82)])
    browser.wait("document.getElementById('answer').textContent === '1'")
    assert not browser.evaluate("document.querySelector('#picks input:checked')")
    browser.click("#clear")
    assert browser.evaluate("state.greys") is None
    nothing_is_read(browser)
    browser.evaluate("document.getElementById('pad').focus()")
    browser.press(*["ArrowUp"] * 12, " ", *["ArrowDown"] * 24, " ")
    browser.wait("state.greys && document.getElementById('answer').textContent === '1'")


def nothing_is_read(browser):
    """Expect no answer, no logits, and nothing of the old digit in the steps that follow it."""
    assert text_of(browser, "answer") == "–"
    assert text_of(browser, "logits") == ""
    shown = "[...document.querySelectorAll('section')].filter(s => s.querySelector('.waits')?.offsetHeight)"
    assert browser.evaluate(f"{shown}.map(s => s.id)") == ["see", "layers", "spike", "costs"]
    assert browser.evaluate(f"{shown}.every(s => [...s.children].filter(e => e.offsetHeight).length === 2)")
    assert browser.evaluate("$('rate-chart').childElementCount") == 1


@needs_browser
def test_sparse_bars_are_seen_on_a_phone(file, tmp_path):
    """At 390 px a dense bar has the width of the table, so that a sparse one is more than a sliver."""
    with Browser(tmp_path, 390, 900, touch=True) as browser:
        browser.open(file, "state.outcome")
        widths = "[...document.querySelectorAll('#bars .bar')].map(e => e.offsetWidth / $('bars').offsetWidth)"
        assert min(browser.evaluate(widths)) > 0.95
        over = "[...document.querySelectorAll('#bars tbody tr:not(.group)')].some(row => row.querySelector('.bar i')"
        over += ".getBoundingClientRect().top < row.querySelector('code').getBoundingClientRect().bottom)"
        assert not browser.evaluate(over), "a bar lies below its name"
        assert browser.evaluate("$('bars').offsetWidth <= $('bars').parentElement.clientWidth")
        browser.click('[name="machine"][value="dense"]')
        assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")


@needs_browser
def test_explanations_add_up_to_the_counts(file, tmp_path):
    """The additions told of each spike sum up to the layer's count; each neuron's life gives the spikes of the run."""
    with Browser(tmp_path) as browser:
        browser.open(file, "state.outcome")
        told = """(name, reader, roles) => network.byName.get(name) && sum(state.outcome.spikes[name].map((fired, t) =>
            sum(Array.from(fired).map((spike) => sum(Trace.causes(state.outcome, network.byName.get(name), t, spike)
            .filter((cause) => cause.layer.name === reader).map((cause) => cause.operations))))))"""
        for block in (0, 1):
            one = f"block.{block}."
            for source, reader in (("mlp.mlp1_lif", "mlp.mlp1_conv"), ("attn.proj_lif", "attn.v_conv")):
                own = browser.evaluate(f"({told})('{one}{source}', '{one}{reader}')")
                assert own == browser.evaluate(f"sum(state.outcome.operations['{one}{reader}'])")
            met = [browser.evaluate(f"({told})('{one}attn.{role}_lif', '{one}attn.ssa')") for role in "qkv"]
            assert met[0] == met[1]
            assert met[1] + met[2] == browser.evaluate(f"sum(state.outcome.operations['{one}attn.ssa'])")
        wrong = browser.evaluate(
            """NEURONS.flatMap((layer) => {
              const spikes = state.outcome.spikes[layer.name];
              const anywhere = Array.from({ length: 40 }, (_, i) => Math.floor(i * sizeOf(layer) / 40));
              const differs = (index) => Trace.life(state.outcome, layer, index, network.timesteps)
                .some((step) => step.fires !== spikes[step.t].includes(index));
              return anywhere.concat(...spikes[4].slice(0, 10)).filter(differs).map((index) => [layer.name, index]);
            })"""
        )
        assert wrong == []
        assert browser.errors == []


@needs_browser
def test_document_quotes_the_page(file, tmp_path):
    """What docs/lesson.md says of the first picture and of the rate where dense wins is what the page shows."""
    document = (Path(__file__).parents[1] / "docs" / "lesson.md").read_text(encoding="utf-8")
    document = re.sub("<!--.*?-->", "", document)  # how its numbers are held
    with Browser(tmp_path) as browser:
        browser.open(file, "state.outcome")
        fewer = round(browser.evaluate("sum(COUNTED.map(denseOf)) / sum(COUNTED.map(sparseOf))"))
        assert f"1/{fewer} of the operations, {text_of(browser, 'total-ratio')} of the energy" in document
        (rate,) = re.findall(r"only dense code can use, wins from (\d+) % on", text_of(browser, "rate-note"))
        assert f"dense bfloat16 does from {rate} % on" in document.replace("\n  ", " ")


@needs_browser
def test_100_digits_are_equal_in_the_browser(file, tmp_path):
    """The page's own check finds every spike and operation of 100 digits equal to evsim's."""
    with Browser(tmp_path) as browser:
        browser.open(file, "state.outcome")
        browser.click("#run-check")
        browser.wait("state.checked", 900)
        assert browser.evaluate("state.checked") == {"equal": 100, "different": []}
        assert "100 of 100 digits equal." in text_of(browser, "check-says")

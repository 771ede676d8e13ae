"""Ranges, notes, and the names of prices: what a comparison of energies must not leave out."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from commands import evsim, refused
from energy_cases import layer, layer_c, published_counts
from shown import three

from evsim import countsfile
from evsim.counters import Counts
from evsim.countsfile import Origin
from evsim.data import published
from evsim.energy import Options, charge, charge_baseline, load_profile, sensitivity
from evsim.energy.result import quotient
from evsim.workload import Geometry

MINE = 'name = "45nm"\n[e_ac_pj]\nvalue = [0.7, 1.1]\nsource = "me"\n[e_mac_pj]\nvalue = 4.6\nsource = "me"\n'


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Write counts of two networks as a.h5 and b.h5, and a profile mine.toml, into the current folder."""
    monkeypatch.chdir(tmp_path)
    a = layer_c()
    b = replace(a, layers=(replace(a.layers[0], sops=a.layers[0].sops * 3), a.layers[1]))
    for name, counts in (("a.h5", a), ("b.h5", b)):
        countsfile.save(name, counts, Origin("c", "c", ((name, name),), {}))
    (tmp_path / "mine.toml").write_text(MINE)
    return tmp_path


def attention():
    """Return counts of one attention layer."""
    return published_counts(published("spikingformer-8-512"), samples=1)


def test_a_quotient_has_the_ends_of_its_ranges():
    """The least ratio is the least of one over the greatest of the other; nothing over nothing is no number."""
    profile = load_profile().priced(e_ac_pj=[0.5, 1.5], e_mac_pj=[2.0, 6.0])
    energy, other = charge(layer_c(), "exact", profile), charge_baseline(layer_c(), "ann", "exact", profile)
    value, low, high = quotient(energy, other)
    assert value == energy.pj / other.pj
    assert low == energy.total[0] / other.total[1]
    assert high == energy.total[1] / other.total[0]
    nothing = charge_baseline(layer_c(), "ann", "exact", profile, Options(leave_out=("conv",)))
    assert quotient(energy, nothing)[2] == np.inf
    assert np.isnan(quotient(nothing, nothing)).all()


@pytest.mark.usefixtures("files")
def test_against_carries_ranges():
    """Ratio and saving against the dense network have both ends, in text and in JSON."""
    words = ("energy", "a.h5", "--model", "exact", "--against", "ann", "--e-ac", "0.7,1.1", "--e-mac", "3,5")
    found = json.loads(evsim(*words, "--json", "-").out)["counts"][0]
    own, other = found["models"][0], found["against"]["exact"]
    low, high = own["range_mj"][0] / other["range_mj"][1], own["range_mj"][1] / other["range_mj"][0]
    assert other["ratio"] == pytest.approx(own["energy_mj"] / other["energy_mj"])
    assert other["ratio_range"] == pytest.approx([low, high])
    assert other["saving"] == pytest.approx(1 - other["ratio"])
    assert other["saving_range"] == pytest.approx([1 - high, 1 - low])
    line = next(row for row in evsim(*words).out.splitlines() if row.startswith("exact against ann"))
    assert f"ratio {three(other['ratio'])} ({three(low)} to {three(high)})" in line
    savings = [three(100 * (1 - ratio)) for ratio in (other["ratio"], high, low)]
    assert "saving {} % ({} % to {} %)".format(*savings) in line


@pytest.mark.usefixtures("files")
def test_against_of_single_figures_shows_none_as_a_range():
    """Where no price is a range, text shows one ratio; where nothing is left of the network, JSON has null for it."""
    line = evsim("energy", "a.h5", "--model", "exact", "--against", "ann").out
    assert re.search(r"ratio 0\.\d{3,4}, saving -?\d+\.?\d* %$", line, re.MULTILINE)
    out = evsim("energy", "a.h5", "--against", "ann", "--set", "leave_out=conv", "--json", "-").out
    assert "NaN" not in out
    assert json.loads(out)["counts"][0]["against"]["exact"]["ratio"] is None


@pytest.mark.usefixtures("files")
def test_notes_of_the_dense_network_are_printed():
    """What a baseline leaves out stands in the report and in JSON, once."""
    countsfile.save("attention.h5", attention(), Origin("t", "t", (), {}))
    qnn = ("energy", "attention.h5", "--model", "qnn", "--against", "qnn", "--e-mac", "0.2")
    text = evsim(*qnn).out
    assert "note: qnn against bit-matched QNN: attention is not part of the quantised side" in text
    assert text.count("a reconstruction of arXiv 2409.08290, whose body") == 1
    text = evsim("energy", "attention.h5", "--model", "lemaire", "--against", "ann").out
    assert "note: lemaire against ann: attention of the dense network: its two products are charged" in text
    notes = json.loads(evsim(*qnn, "--json", "-").out)["counts"][0]["against"]["qnn"]["notes"]
    assert any("attention is not part" in note for note in notes)


def two(acs, macs):
    """Return counts with so many synaptic operations and multiply-accumulates."""
    one, size = np.ones(1, np.int64), Geometry("Linear", 10, 10, 1, 1, 1, 1)
    rows = (
        layer("a", "linear", size, 1, input_size=10 * one, input_nonzeros=one, sops=acs * one),
        layer("b", "linear", size, 1, input_kind="real", input_size=10 * one, input_nonzeros=one, macs=macs * one),
    )
    return Counts(1, rows)


def test_least_and_greatest_take_the_ends_of_ranges():
    """A profile whose range reaches further than every single figure is where A fares best and worst."""
    a, b = two(300, 10), two(100, 60)
    wide = load_profile().priced(e_ac_pj=[0.01, 50.0])
    found = sensitivity(a, b, profiles=[load_profile(), wide], methods=["exact"])
    assert found.least.profile == found.greatest.profile == wide.label
    assert found.least.low == min(ratio.low for ratio in found.ratios) < min(ratio.value for ratio in found.ratios)
    assert found.greatest.high == max(ratio.high for ratio in found.ratios) > max(r.value for r in found.ratios)


def test_the_report_names_the_ends(files):
    """Text and JSON give the least and greatest ratio by the ranges' ends."""
    words = ("energy", "a.h5", "b.h5", "--sensitivity", "--model", "bytes", "--profile", "mine2.toml")
    (files / "mine2.toml").write_text(MINE + '[e_byte_pj]\nvalue = [0.0, 30.0]\nsource = "me"\n')
    found = json.loads(evsim(*words, "--json", "-").out)
    own = next(row for row in found["ratios"] if "mine2.toml" in row["profile"])
    assert found["least"]["ratio"] == min(row["range"][0] for row in found["ratios"]) == own["range"][0]
    assert found["greatest"]["ratio"] == max(row["range"][1] for row in found["ratios"])
    assert f"A / B is least in bytes with 45nm (mine2.toml): {three(own['range'][0])}" in evsim(*words).out


@pytest.mark.usefixtures("files")
def test_own_prices_are_told_from_the_bundled():
    """One's own profile, though it takes a bundled one's name, and own prices have names of their own."""
    words = ("energy", "a.h5", "b.h5", "--sensitivity", "--model", "exact", "--json", "-")

    def labels(*more):
        return [row["profile"] for row in json.loads(evsim(*words, *more).out)["ratios"]]

    bundled = labels()
    assert "45nm" in bundled
    assert labels("--profile", "mine.toml") == [*bundled, "45nm (mine.toml)"]
    assert labels("--e-ac", "0.3") == [*bundled, "45 nm float32, e_ac_pj 0.3"]
    assert labels("--e-ac", "0.3", "--profile", "mine.toml") == [*bundled, "45nm, e_ac_pj 0.3 (mine.toml)"]
    assert labels("--profile", "45nm-float16") == bundled, "a bundled one is listed once"


@pytest.mark.usefixtures("files")
def test_sensitivity_keeps_to_the_models_asked_for():
    """--model restricts ratios, refusals and turning points; all stands for every model."""
    words = ("energy", "a.h5", "b.h5", "--sensitivity", "--json", "-")
    found = json.loads(evsim(*words, "--model", "bytes,exact").out)
    assert {row["model"] for part in ("ratios", "refused") for row in found[part]} == {"bytes", "exact"}
    assert [row["model"] for row in found["break_even"]] == ["exact"]
    assert evsim(*words).out == evsim(*words, "--model", "all").out


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--model", "nonsense"), "no energy method is named nonsense"),
        (("--by", "cost"), "not with --by"),
        (("--traffic",), "not with --traffic"),
        (("--csv", "x.csv"), "not with --csv"),
        (("--against", "ann"), "not with --against"),
        (("--by", "layer", "--traffic"), "not with --by, --traffic"),
        (("--json", "no/such/x.json"), "there is no folder"),
    ],
)
def test_sensitivity_refuses_what_it_does_not_heed(words, says):
    """An option that the comparison has no use for is refused by name."""
    assert says in refused("energy", "a.h5", "b.h5", "--sensitivity", *words)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--json", "-", "--csv", "-"), "--json and --csv would both"),
        (("--json", "x", "--csv", "./x"), "--json and --csv both write"),
        (("--json", "x", "--csv", "no/such/y"), "cannot write no/such/y"),
        (("--csv", "x", "--json", "no/such/y"), "cannot write no/such/y"),
        (("--json", "a.h5"), "a.h5 is the very file that is read"),
    ],
)
def test_places_are_looked_at_first(files, words, says):
    """Outputs that cannot all be written are refused before anything is printed or written."""
    before = (files / "a.h5").read_bytes()
    assert says in refused("energy", "a.h5", *words)
    assert not (files / "x").exists()
    assert (files / "a.h5").read_bytes() == before


def test_merge_takes_two_or_more(files):
    """One file is no merge; a place that cannot be written is named before anything is read."""
    assert "counts merge takes two files or more, got 1" in refused("counts", "merge", "a.h5", "--out", "c.h5")
    assert not (files / "c.h5").exists()
    assert "cannot write no/c.h5" in refused("counts", "merge", "a.h5", "missing.h5", "--out", "no/c.h5")

"""`evsim families`: what is known of each family, the figures of its models, and families compared with each other."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from commands import evsim
from shown import narrow, three

from evsim.api import simulate
from evsim.audit.compare import compare
from evsim.audit.families import Rates, families, figures, form_keys
from evsim.converters import registry
from evsim.converters.literature import Figures
from evsim.energy import METHODS
from evsim.errors import OptionError, RecordingError
from evsim.report.families import figures_report
from evsim.synthesis import skeleton, synthesize

FAMILIES = {family.name: family for family in families()}


@pytest.mark.parametrize("name", FAMILIES)
def test_what_is_published_is_of_presets_that_there_are(name):
    """Each figure belongs to a preset, says where it stands, and marks as unread only what it has."""
    told = FAMILIES[name].literature
    assert told.paper
    assert told.code
    assert told.residual
    assert told.rule in {"", *METHODS}
    assert told.figures.keys() <= FAMILIES[name].presets.keys()
    for figure in told.figures.values():
        assert figure.told()
        assert figure.source
        assert set(figure.unread) <= set(figure.told())


@pytest.mark.parametrize("name", FAMILIES)
def test_telling_keys_are_the_familys_alone(name):
    """A key that tells a family is in no other family's tables; a form without one says whose keys it shares."""
    others = {key for other in FAMILIES.values() if other.name != name for form in other.forms for key in form.kinds()}
    for form in form_keys(FAMILIES[name]):
        assert not set(form.telling) & others
        assert set(form.telling) <= set(form.keys)
        assert bool(form.telling) != bool(form.shared)


def test_the_list_fits_a_terminal_and_the_json_has_everything():
    """80 columns; JSON holds every preset with its sizes and figures, and every key."""
    outcome = evsim("families")
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    document = json.loads(evsim("families", "--json", "-").out)
    assert [family["name"] for family in document["families"]] == list(FAMILIES)
    for family in document["families"]:
        assert f"{family['name']}: {family['title']}" in outcome.out
        assert family["presets"].keys() == FAMILIES[family["name"]].presets.keys()
        for preset, facts in family["presets"].items():
            assert preset in outcome.out
            assert facts["timesteps"] == FAMILIES[family["name"]].presets[preset].timesteps
        for form, own in zip(family["forms"], FAMILIES[family["name"]].forms, strict=True):
            assert form["keys"] == list(dict.fromkeys(own.kinds()))
    assert document["families"][0]["presets"]["spikingformer-8-512-imagenet"]["published"]["energy_mj"] == 7.46


def test_families_can_be_chosen():
    """Only those that are named; an unknown one, and what is of the table alone, is refused in a line."""
    out = evsim("families", "ms-resnet").out
    assert out.startswith("ms-resnet: MS-ResNet\n")
    assert "qkformer" not in out
    for arguments, says in (
        (("nosuch",), "no family is named nosuch; known are spikingformer,"),
        (("--run",), "--run is about the table; give --table too"),
        (
            ("ms-resnet", "--table", "--models", "sdt-8-512"),
            "no model is named sdt-8-512 there; known are ms-resnet-18",
        ),
    ):
        outcome = evsim("families", *arguments)
        assert outcome.code == 2
        assert says in outcome.err


def test_the_table_of_sizes_needs_no_run(tmp_path):
    """Parameters and dense operations of every preset are those published, what is unread is marked, 80 columns."""
    outcome = evsim("families", "--table", "--json", tmp_path / "t.json")
    assert outcome.code == 0
    assert max(map(len, outcome.out.splitlines())) <= 80
    rows = {row["preset"]: row for row in json.loads((tmp_path / "t.json").read_text())["rows"]}
    assert rows.keys() == registry.PRESETS.keys()
    assert rows["spikingformer-8-512-imagenet"]["parameters"] == pytest.approx(29.68e6, rel=1e-3)
    assert rows["ms-resnet-104-imagenet"]["parameters"] == pytest.approx(77.351e6, rel=1e-4)
    assert rows["spikingformer-8-512-imagenet"]["not_spike_driven"] == {}
    assert rows["spikformer-8-512-imagenet"]["not_spike_driven"]["block.N.attn.q_conv"] == 8
    assert rows["ms-resnet-18-imagenet"]["not_spike_driven"]["conv3_x.N.shortcut.N"] == 1
    lines = {line.split()[0]: line for line in outcome.out.splitlines() if line}
    assert lines["qkformer-10-512-imagenet"].endswith("21.99?")
    assert lines["spiking-vgg-11-imagenet"].split()[-2:] == ["-", "-"]
    assert "No model ran; --run counts synthetic ones." in outcome.out


def test_a_table_counts_synthetic_models(monkeypatch):
    """A row has what a run of the synthetic model counts; one that cannot be made says why."""
    small = replace(registry.PRESETS["spikformer-2-256-dvs128"], dim=32, heads=4, timesteps=2)
    sizes = {"spikformer-2-256-dvs128": small}

    def made(name, *how):
        if name == "csnn-dvs128":
            raise OptionError("no rates are published for it")
        return synthesize(sizes.get(name, name), *how)

    monkeypatch.setattr("evsim.audit.families.synthesize", made)
    (row,) = figures(["spikformer-2-256-dvs128"], Rates(0.2))
    model = synthesize(small, 0.2)
    run = simulate(model.network, model.sample)
    assert row.activity.sops == run.counts.sops
    assert row.activity.macs == run.counts.macs
    ends = [layer.macs.sum() for layer in run.counts.layers if layer.reads_input or layer.name == "head"]
    assert row.activity.macs_inside == run.counts.macs - sum(ends) > 0
    assert row.activity.exact_mj == run.exact().energy_mj
    assert row.activity.paper_events_mj == run.paper(nonspike="integer-as-events").energy_mj
    assert row.activity.rule_mj == run.paper().energy_mj
    (refused,) = figures(["csnn-dvs128"], Rates("published"))
    assert refused.activity is None
    assert "no rates are published" in refused.missing
    text = narrow(figures_report([row, refused]))
    assert "missing are csnn-dvs128: no rates are published" in text.replace("\n    ", " ")
    assert f" {three(row.activity.sops / 1e9)} " in text


def test_unknown_presets_stop_a_table_before_its_first_row():
    """As the option `models` would have it."""
    with pytest.raises(OptionError, match="no preset is named nosuch"):
        figures(["csnn-dvs128", "nosuch"])


def test_figures_that_are_none_are_not_told():
    """`told` names what there is."""
    assert Figures(accuracy=1.0).told() == ("accuracy",)
    assert Figures().told() == ()


def test_the_model_that_cannot_take_an_input_is_named(tmp_path):
    """Of models that take different inputs the line says which one the file does not suit."""
    networks = [skeleton("spikingformer-4-384-cifar10"), skeleton("csnn-dvs128")]
    np.save(tmp_path / "a.npy", np.zeros((3, networks[0].spec.height, networks[0].spec.width), np.float32))
    with pytest.raises(RecordingError, match=f"{networks[1].name}: .*a.npy: the model takes frames"):
        compare(networks, tmp_path / "a.npy")

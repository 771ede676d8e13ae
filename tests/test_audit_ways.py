"""What ways around other values than spikes cost: small models of each way, held against their own counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from commands import evsim
from shown import narrow, three

from evsim import api
from evsim.audit import ways
from evsim.audit.ways import WAYS, Case, Way, costs
from evsim.converters.registry import PRESETS
from evsim.report.ways import ways_document, ways_report
from evsim.synthesis import synthesize
from evsim.synthesis.model import skeleton

SMALL = {"dim": 8, "image_size": 64}


@pytest.fixture
def small(monkeypatch):
    """Make the presets of the ways small."""
    for name in ("sew-resnet-34-imagenet", "ms-resnet-34-imagenet"):
        monkeypatch.setitem(PRESETS, name, replace(PRESETS[name], **SMALL))
    v3 = {"dim": 64, "widths": (16, 32, 32, 64), "heads": 4, "image_size": 96}
    monkeypatch.setitem(PRESETS, "sdt-v3-m-imagenet", replace(PRESETS["sdt-v3-m-imagenet"], **v3))


RESNETS = Way(
    "small ResNets",
    (
        Case("added", "sew-resnet-34-imagenet", {"timesteps": 2}),
        Case("stopped", "sew-resnet-34-imagenet", {"timesteps": 2, "connect": "iand"}),
        Case("membrane", "ms-resnet-34-imagenet", {"timesteps": 2}),
    ),
)


@pytest.mark.usefixtures("small")
def test_costs_are_those_of_the_counts():
    """MACs inside are those of integers where spikes are added, none with IAND, of shortcuts in MS-ResNet."""
    added, stopped, membrane = costs((RESNETS,))
    assert added.integers == added.macs_inside > 0
    assert added.unrolled >= added.integers
    assert (stopped.macs_inside, stopped.integers, stopped.unrolled) == (0, 0, 0)
    assert membrane.integers == 0 < membrane.macs_inside
    assert {cost.timesteps for cost in (added, stopped, membrane)} == {2}
    for cost in (added, stopped, membrane):
        model = synthesize(cost.preset, facts=cost.facts)
        run = api.simulate(model.network, model.sample)
        assert run.counts.macs == cost.macs_first + cost.macs_inside
        assert run.exact().energy_mj == pytest.approx(cost.exact_mj)
        inside = [row for row in run.counts.layers if row.name.startswith("layer") or row.name.startswith("conv2")]
        if cost is added:
            assert sum(int(row.macs.sum()) for row in inside) == cost.macs_inside
    unrolled = (added.sops + added.unrolled) * 0.9e-9 + (added.macs_first + added.macs_inside - added.integers) * 4.6e-9
    assert added.unrolled_mj == pytest.approx(unrolled)


@pytest.mark.usefixtures("small")
def test_integers_of_attention_are_unrolled_too():
    """Where neurons emit integers, attention is dearer unrolled, by its own counts."""
    (cost,) = costs((Way("integers", (Case("", "sdt-v3-m-imagenet"),)),))
    model = synthesize(cost.preset)
    counts = api.simulate(model.network, model.sample).counts
    attention = [row for row in counts.layers if row.kind == "attention"]
    pairs = sum(int(row.acs_unrolled.sum()) - int(row.sops.sum()) for row in attention)
    assert pairs > 0
    real = cost.macs_first + cost.macs_inside - cost.integers
    assert cost.unrolled_mj == pytest.approx((cost.sops + pairs + cost.unrolled) * 0.9e-9 + real * 4.6e-9)


@pytest.mark.usefixtures("small")
def test_the_report_holds_models_against_the_first():
    """Each way has a table of 80 columns, ratios to its first model, and says which facts were told."""
    told = tuple(costs((RESNETS,)))
    text = narrow(ways_report(told))
    assert all(len(line) <= 80 for line in text.splitlines())
    (table,) = ways_report(told).tables
    assert table.rows[1][:2] == ("stopped", "sew-resnet-34-imagenet connect=iand")
    assert f" {three(told[1].exact_mj / told[0].exact_mj)}" in text
    document = ways_document(told)
    assert [cost["preset"] for cost in document["costs"]] == [case.preset for case in RESNETS.cases]
    assert document["costs"][1]["facts"] == {"timesteps": 2, "connect": "iand"}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_the_ways_are_of_presets(way):
    """Every case names a preset of evsim; those side by side have one T and say what they do."""
    assert all(case.preset in PRESETS and case.what for case in way.cases)
    steps = {case.facts.get("timesteps", skeleton(case.preset).spec.timesteps) for case in way.cases}
    assert len(steps) == 1


@pytest.mark.usefixtures("small")
def test_the_command_prints_the_ways(monkeypatch, tmp_path):
    """`evsim families --ways` prints the tables, and writes the same as JSON."""
    monkeypatch.setattr(ways, "WAYS", (RESNETS,))
    outcome = evsim("families", "--ways", "--json", tmp_path / "w.json")
    assert outcome.code == 0, outcome.err
    assert "small ResNets" in outcome.out
    assert '"membrane"' in (tmp_path / "w.json").read_text()

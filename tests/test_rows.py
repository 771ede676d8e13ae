"""Kinds of rows: whoever has no rule for a kind says so by name, and none takes it for another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from energy_cases import FOLDERS, golden_run, layer_c

from evsim import countsfile
from evsim.counters import Counts, Ints, RowCounts
from evsim.countsfile import Origin
from evsim.document import document
from evsim.energy import METHODS, charge, load_profile, profile_names
from evsim.errors import OptionError, ProfileError
from evsim.report.run import run_report
from evsim.report.traffic import traffic_document


@dataclass(frozen=True, eq=False, kw_only=True)
class ResonatorCounts(RowCounts):
    """A made-up kind, which counts what the others count too, so that nothing fails for want of a counter."""

    kind: str = "resonator"
    sops: Ints
    macs: Ints
    spikes: Ints
    neuron_updates: Ints
    input_nonzeros: Ints
    input_sum: Ints
    bias_adds: Ints


def made_up():
    """Return layer C with a row of a made-up kind behind it."""
    counts = layer_c()
    conv = counts.layers[0]
    ones = np.ones(counts.timesteps, np.int64)
    keys = ("sops", "macs", "spikes", "neuron_updates", "input_nonzeros", "input_sum", "bias_adds")
    row = ResonatorCounts(
        name="resonance", input_kind="spikes", geometry=conv.geometry, steps=conv.steps, input_size=ones,
        traffic=conv.traffic, **dict.fromkeys(keys, ones),
    )  # fmt: skip
    return Counts(counts.timesteps, (*counts.layers, row))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_refuses_a_kind_that_it_does_not_know(method):
    """Each energy method, whatever profile it takes, names itself, the row and its kind; what it knows it charges."""
    answered = 0
    for name in profile_names():
        try:
            charge(layer_c(), method, name)
        except (ProfileError, OptionError):
            continue
        answered += 1
        with pytest.raises(OptionError, match=f"method {method} has no rule for resonance, a row of kind resonator"):
            charge(made_up(), method, name)
    assert answered


@pytest.mark.parametrize(("method", "against"), [(m, against) for m in METHODS for against in METHODS[m].baselines])
def test_every_baseline_refuses_it_too(method, against):
    """No dense network is made up for a kind of row that has no rule."""
    profile = load_profile(METHODS[method].profile).priced(e_mac_pj=1.0)
    chosen = METHODS[method]
    assert chosen.baselines[against](layer_c(), profile, chosen.options()).pj > 0
    with pytest.raises(OptionError, match="has no rule for resonance, a row of kind resonator"):
        chosen.baselines[against](made_up(), profile, chosen.options())


def test_tables_and_files_refuse_it(tmp_path):
    """So do the table and the JSON of a run, the table of what moves, and counts.h5, which then is not written."""
    run = replace(golden_run(FOLDERS[0]), counts=made_up())
    for show in (run_report, document, lambda run: traffic_document(run.counts, load_profile())):
        with pytest.raises(OptionError, match="a row of kind resonator"):
            show(run)
    with pytest.raises(OptionError, match=r"counts\.h5 has no rule for resonance"):
        countsfile.save(tmp_path / "c.h5", made_up(), Origin("c", "c", (), {}))
    assert list(tmp_path.iterdir()) == []


def test_what_a_kind_does_not_do_is_counted_as_nothing():
    """Counters that have no meaning for a kind are zeros of the run's length, so that sums over all rows hold."""
    counts = golden_run(FOLDERS[0]).counts
    kinds = {row.kind: row for row in counts.layers}
    assert kinds.keys() == {"conv", "linear", "attention", "lif"}
    nothing = {
        "conv": ("neuron_updates",),
        "attention": ("macs", "bias_adds", "neuron_updates"),
        "lif": ("sops", "macs", "bias_adds", "input_nonzeros", "input_sum"),
    }
    for kind, names in nothing.items():
        for name in names:
            assert getattr(kinds[kind], name).tolist() == [0] * counts.timesteps, (kind, name)
    assert counts.sops == sum(int(row.sops.sum()) for row in counts.layers if row.kind != "lif")

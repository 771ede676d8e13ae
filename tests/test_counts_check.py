"""Counts that no run can have made are refused, however whole their file is; files of evsim's own are told apart."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
from commands import evsim
from energy_cases import layer, layer_c, layer_f

from evsim import countsfile, demo
from evsim.counters import Counts, Traffic
from evsim.countscheck import fault
from evsim.countsfile import CountsError, Origin
from evsim.geometry import Geometry


def changed(counts, index=0, sizes=None, **counters):
    """Return counts with other sizes or counters of one row."""
    row = counts.layers[index]
    row = replace(row, geometry=replace(row.geometry, **(sizes or {})), **counters)
    return replace(counts, layers=(*counts.layers[:index], row, *counts.layers[index + 1 :]))


def test_worked_layers_are_sound():
    """Nothing is wrong with layers C and F, nor with their sums over samples."""
    assert fault(layer_c()) == fault(layer_f()) == ""
    assert fault(countsfile.merged([layer_c(), layer_c(), layer_c()])) == ""


HUGE = 2**31 - 1


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ({"groups": 0}, "has a size of 0"),
        ({"in_channels": HUGE, "in_height": HUGE}, "inputs, more than any machine holds"),
        ({"out_channels": HUGE, "out_height": HUGE, "in_height": HUGE}, "more than any machine holds"),
        ({"kernel": (HUGE, HUGE)}, "weights, more than any machine holds"),
        ({"out_height": 19}, "makes a map of 19 from one of 16 with 1 around it"),
        ({"in_width": 17}, "met other numbers of inputs than its 1088 of each sample"),
    ],
)
def test_sizes_that_no_layer_has(sizes, says, tmp_path):
    """Each is refused by name as the file is read, in one line."""
    counts = changed(layer_c(), sizes=sizes)
    assert fault(counts).startswith("conv ")
    assert says in fault(counts)
    countsfile.save(tmp_path / "c.h5", counts, Origin("c", "c", (), {}))
    with pytest.raises(CountsError, match=r"c\.h5 is damaged or no counts file \(conv ") as refused:
        countsfile.load(tmp_path / "c.h5")
    assert says in str(refused.value)


def test_sizes_and_counters_that_agree_are_refused_where_no_run_ends():
    """Sizes within a machine and counters to match: too many operations over all layers and samples."""
    size = replace(layer_f().layers[0].geometry, in_channels=2**23, out_channels=2**24)
    each = np.full(4, 2**23, np.int64)
    row = replace(layer_f().layers[0], geometry=size, input_size=each)
    one = Counts(4, (row,))
    assert fault(one) == ""
    many = Counts(4, tuple(replace(row, name=f"fc{i}", samples=2**14, input_size=each * 2**14) for i in range(2)), {})
    assert "dense operations, more than any run does" in fault(many)


def test_neurons_and_more_nonzeros_than_inputs():
    """A layer of neurons meets its own map; no more inputs are nonzero than there are."""
    assert "lif met other numbers" in fault(changed(layer_c(), 1, input_size=np.full(4, 2047)))
    assert "more nonzero inputs" in fault(changed(layer_c(), input_nonzeros=np.full(4, 1025)))


def test_no_layer_does_more_than_a_dense_one():
    """Operations beyond the dense ones, and sums beyond 64 bits, are no counts of a run."""
    dense = layer_c().layers[0].geometry.dense_macs
    assert fault(changed(layer_c(), sops=np.full(4, dense))) == ""
    assert "conv has more sops than dense" in fault(changed(layer_c(), sops=np.full(4, dense + 1)))
    assert "conv has more macs than dense" in fault(changed(layer_c(), macs=np.full(4, dense + 1)))
    assert "its counters add up to" in fault(changed(layer_c(), input_sum=np.full(4, 2**61)))
    more = {"pool_comparisons": np.array([0, 2**62, 0, 1])}
    assert "its counters add up to" in fault(replace(layer_c(), other=more))


@pytest.mark.parametrize(
    ("sizes", "counters", "says"),
    [
        ({"heads": 0}, {}, "has 0 heads of 8 channels, and 16 in all"),
        ({"order": None}, {}, "tells no order"),
        ({"attention": "sdsa"}, {}, "tells an order, but"),
        ({}, {"sops_per_head": np.full((2, 2), 2 * 9 * 8 * 8 + 1)}, "more sops than dense"),
        ({}, {"sops_other_order_per_head": np.full((2, 2), 9 * 9 * (8 + 8) + 1)}, "more sops than dense"),
    ],
)
def test_attention_that_nothing_computes(sizes, counters, says):
    """Heads that do not fill the channels, products without an order, and more operations than entries."""
    size = Geometry("SSA", 16, 16, 3, 3, 3, 3, heads=2, head_dim=8, order="q(kv)")
    most = {"sops_per_head": np.full((2, 2), 2 * 9 * 8 * 8), "sops_other_order_per_head": np.full((2, 2), 9 * 9 * 16)}
    row = layer("ssa", "attention", size, 2, operand_nonzeros=np.full((3, 2), 144), **most)
    assert fault(Counts(2, (row,))) == ""
    assert says in fault(changed(Counts(2, (row,)), sizes=sizes, **counters))


def test_traffic_is_measured_whole():
    """A row that has traffic has every figure that its kind is measured by."""
    figures = {"run_length_bits": np.ones(4, int), "least_bits": np.ones(4, int), "greatest_value": np.ones(4, int)}
    moved = Traffic(**figures, peak_events=1, greatest_sum=np.ones(4, int), rows_touched=np.ones(4, int),
                    rows_touched_once=1, neurons_touched=np.ones(4, int))  # fmt: skip
    assert fault(changed(layer_c(), traffic=moved)) == ""
    lacking = replace(moved, rows_touched_once=None)
    assert fault(changed(layer_c(), traffic=lacking)) == "conv lacks rows_touched_once of its traffic"


def test_what_evsim_wrote_is_told_apart(tmp_path):
    """A model, counts and spikes in place of each other: what the file holds, and which command reads it."""
    counts, spikes = tmp_path / "c.h5", tmp_path / "s.h5"
    countsfile.save(counts, layer_c(), Origin("c", "c", (), {}))
    with h5py.File(spikes, "w") as file:
        file.create_dataset("spikes/block.0.attn.q_lif", data=np.zeros(3, np.uint8))
    for arguments, says in (
        (("info", counts), "is no model: it holds counts of a run; evsim energy charges them"),
        (("events", counts), "is no recording: it holds counts of a run; evsim energy charges them"),
        (("convert", counts, tmp_path / "m.h5"), "is no checkpoint: it holds counts of a run"),
        (("info", spikes), "is no model: it holds spikes that --record-spikes wrote; evsim plot draws them"),
        (("events", spikes), "is no recording: it holds spikes that --record-spikes wrote"),
        (("energy", spikes), "is no file of counts: it holds spikes"),
        (("energy", demo.model_path()), "is no file of counts: it holds a model; evsim info lists it"),
        (("events", demo.model_path()), "is no recording: it holds a model; evsim info lists it, evsim run runs it"),
    ):
        outcome = evsim(*arguments)
        assert outcome.code == 2, arguments
        assert says in outcome.err, arguments

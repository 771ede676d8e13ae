"""What people who build chips ask: peaks, buffers, bandwidth, every counter as CSV, activity, the queue over time."""

from __future__ import annotations

import csv
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from commands import evsim, refused
from energy_cases import layer_c

from evsim import api, countsfile
from evsim.audit.peaks import peaks
from evsim.converters import load_model
from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts, merged
from evsim.countsfile import Origin
from evsim.energy import load_profile
from evsim.errors import OptionError
from evsim.report.countscsv import counts_csv

GOLDEN = Path(__file__).parent / "data" / "golden" / "spikingformer-dvs"
MODEL, INPUT = GOLDEN / "checkpoint.pth.tar", GOLDEN / "input.npy"


@pytest.fixture(scope="module")
def counts() -> Counts:
    """Return the counts of a golden run, with traffic."""
    return api.simulate(load_model(MODEL).network, INPUT, detail=True).counts


def test_peaks_are_the_greatest_of_what_was_counted(counts):
    """Events, operations, sizes and bits of every layer, from the counters alone."""
    profile = load_profile()
    found = {layer.name: layer for layer in peaks(counts, profile).layers}
    assert list(found) == [layer.name for layer in counts.layers]
    for layer in counts.layers:
        own, size = found[layer.name], layer.geometry
        assert own.events == layer.traffic.peak_events
        match layer:
            case SynapseCounts():
                work = layer.sops + layer.macs
                stored = size.kernel[0] * size.kernel[1] * size.in_channels * size.out_channels // size.groups
                assert own.weight_bits == 32 * (stored + size.out_channels * size.shifted)
                assert own.weights_moved == 32 * layer.traffic.rows_touched.sum() * size.out_channels // size.groups
                assert own.buffer == "input map"
            case AttentionCounts():
                work = layer.sops
                assert own.buffer_moved > 0
            case NeuronCounts():
                work = layer.neuron_updates
                assert own.buffer == "potentials"
                assert own.buffer_bits == 32 * size.out_channels * size.out_height * size.out_width
                assert own.potentials_moved == 2 * 32 * layer.neuron_updates.sum()
        assert own.operations == max(work)
        assert work[own.operations_at] == max(work)
        if layer.input_kind != "real":
            assert own.spikes_moved == layer.traffic.least_bits.sum()


def test_of_two_samples_bits_are_means_and_peaks_the_greatest(counts):
    """The same sample twice changes no figure."""
    profile = load_profile()
    assert peaks(merged([counts, counts]), profile) == peaks(counts, profile)


def test_bandwidth_follows_the_rate(counts):
    """Bytes per second are bits per inference times inferences per second over 8; a rate is above 0."""
    profile = load_profile()
    outcome = peaks(counts, profile, 30.0)
    assert outcome.bandwidth(outcome.moved) == pytest.approx(30 * sum(layer.moved for layer in outcome.layers) / 8)
    assert peaks(counts, profile).bandwidth(8.0) is None
    for fps in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(OptionError, match="`fps` is the number of inferences per second"):
            peaks(counts, profile, fps)
    with pytest.raises(OptionError, match="hold no layers"):
        peaks(Counts(1, ()), profile)


def test_one_command_answers(tmp_path, counts):
    """From stored counts and from a model alike: headline, a row per layer, JSON; without traffic, what to do."""
    countsfile.save(tmp_path / "c.h5", counts, Origin("m", "m", (), {}))
    stored = evsim("traffic", tmp_path / "c.h5", "--fps", "30")
    assert (stored.code, stored.err) == (0, "")
    for part in ("most events in a step:", "largest buffer:", "bandwidth at 30 inferences per second:", "rate ("):
        assert part in stored.out
    document = json.loads(evsim("traffic", tmp_path / "c.h5", "--fps", "30", "--json", "-").out)
    outcome = peaks(counts, load_profile(), 30.0)
    assert document["bytes_per_second"] == outcome.bandwidth(outcome.moved)
    assert [layer["events"] for layer in document["layers"]] == [layer.events for layer in outcome.layers]
    run = json.loads(evsim("traffic", MODEL, "--input", INPUT, "--json", "-").out)
    assert (run["schema"], run["fps"], run["bytes_per_second"]) == (1, None, None)
    assert "--fps 30 tells the bandwidth" in evsim("traffic", tmp_path / "c.h5", "--brief").out
    bare = api.simulate(load_model(MODEL).network, INPUT).counts
    countsfile.save(tmp_path / "bare.h5", bare, Origin("m", "m", (), {}))
    assert "lack what moved" in refused("traffic", tmp_path / "bare.h5")
    assert "--fps" in refused("traffic", tmp_path / "c.h5", "--fps", "0")
    assert "--timesteps" in refused("traffic", tmp_path / "c.h5", "--timesteps", "2")


def test_every_counter_is_in_the_csv(counts):
    """A row per layer and timestep; heads have rows of their own that add up to the layer's."""
    rows = list(csv.DictReader(io.StringIO(counts_csv(counts))))
    whole = {(row["layer"], int(row["timestep"])): row for row in rows if not row["head"]}
    assert len(whole) == len(counts.layers) * counts.timesteps
    for layer in counts.layers:
        for t in range(counts.timesteps):
            row = whole[layer.name, t]
            assert int(row["input_size"]) == layer.input_size[t]
            assert int(row["least_bits"]) == layer.traffic.least_bits[t]
            if isinstance(layer, NeuronCounts):
                assert (int(row["spikes"]), row["sops"]) == (layer.spikes[t], "")
                continue
            assert int(row["sops"]) == layer.sops[t]
            assert int(row["input_nonzeros"]) == layer.input_nonzeros[t]
            heads = [own for own in rows if (own["layer"], own["timestep"]) == (layer.name, str(t)) and own["head"]]
            if isinstance(layer, AttentionCounts):
                assert len(heads) == layer.geometry.heads
                assert sum(int(own["sops"]) for own in heads) == layer.sops[t]
                assert [int(own["kv_greatest"]) for own in heads] == layer.traffic.kv_greatest[t].tolist()
            else:
                assert not heads
    assert "least_bits" not in counts_csv(Counts(1, ())).splitlines()[0]
    assert counts_csv(layer_c()).count("\n") == 1 + len(layer_c().layers) * layer_c().timesteps


def test_the_csv_is_written_and_printed(tmp_path, counts):
    """--csv FILE beside the report, --csv - alone."""
    countsfile.save(tmp_path / "c.h5", counts, Origin("m", "m", (), {}))
    written = evsim("traffic", tmp_path / "c.h5", "--csv", tmp_path / "t.csv")
    assert "largest buffer" in written.out
    assert (
        (tmp_path / "t.csv").read_text() == counts_csv(counts) == evsim("traffic", tmp_path / "c.h5", "--csv", "-").out
    )


def test_activity_and_spikes_are_added_to_the_json_where_asked_for():
    """The rest of the JSON is as without; trains are those that --record-spikes keeps."""
    plain = json.loads(evsim("run", MODEL, "--input", INPUT, "--json", "-").out)
    told = json.loads(evsim("run", MODEL, "--input", INPUT, "--json", "-", "--include", "activity,spikes").out)
    activity, trains = told.pop("activity"), told.pop("spike_trains")
    assert told == plain
    run = api.simulate(load_model(MODEL).network, INPUT, record_spikes=True)
    assert trains.keys() == run.spikes.keys()
    for layer in run.counts.layers:
        own = activity[layer.name]
        if not isinstance(layer, NeuronCounts):
            assert own["input_nonzeros"] == layer.input_nonzeros.tolist()
            continue
        assert own["spikes"] == layer.spikes.tolist()
        packed, shape = run.spikes.packed[layer.name]
        dense = np.unpackbits(packed, count=np.prod(shape)).reshape(shape)
        again = np.zeros((shape[0], int(np.prod(shape[1:]))), np.uint8)
        for step, fired in enumerate(trains[layer.name]["fired"]):
            again[step, fired] = 1
        np.testing.assert_array_equal(again.reshape(trains[layer.name]["shape"]), dense)
        assert [len(fired) for fired in trains[layer.name]["fired"]] == layer.spikes.tolist()
    assert "--include takes activity and spikes" in refused("run", MODEL, "--input", INPUT, "--include", "all")
    assert "give --json too" in refused("run", MODEL, "--input", INPUT, "--include", "spikes")


@pytest.mark.parametrize("schedule", ["layer", "time"])
def test_the_trace_is_the_event_queue(schedule, tmp_path):
    """A row per stage, a slice per event, none overlaps another; their operations and spikes add up to the run's."""
    outcome = evsim(
        "run", MODEL, "--input", INPUT, "--schedule", schedule, "--trace", tmp_path / "t.json", "--json", tmp_path / "r"
    )
    assert outcome.code == 0, outcome
    trace, run = json.loads((tmp_path / "t.json").read_text()), json.loads((tmp_path / "r").read_text())
    events = trace["traceEvents"]
    rows = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    slices = [event for event in events if event["ph"] == "X"]
    assert {rows[event["tid"]] for event in slices} == set(rows.values())
    assert all(rows[event["tid"]] == event["args"]["layer"] for event in slices)
    for one, other in itertools.pairwise(slices):
        assert one["ts"] + one["dur"] <= other["ts"]
    assert sum(event["args"]["SOPs"] for event in slices) == run["totals"]["sops"]
    assert sum(event["args"]["MACs"] for event in slices) == run["totals"]["macs"]
    fired = {layer["name"]: layer["spikes"] for layer in run["layers"] if layer["kind"] == "lif"}
    for name, spikes in fired.items():
        assert sum(event["args"]["spikes"] for event in slices if event["args"]["layer"] == name) == spikes
    steps = [event["args"]["timesteps"] for event in slices]
    assert (max(steps) == 1) == (schedule == "time")
    counters = [event for event in events if event["ph"] == "C"]
    assert len(counters) == 4 * len(slices)
    assert {event["name"] for event in counters} == {"SOPs", "spikes"}
    assert max(event["args"].get("SOPs", 0) for event in counters) == max(event["args"]["SOPs"] for event in slices)


def test_a_trace_is_of_one_run(tmp_path):
    """Both precisions are two runs; the file is JSON."""
    line = ("run", MODEL, "--input", INPUT, "--trace", tmp_path / "t.json")
    assert "--precision both makes two" in refused(*line, "--precision", "both")
    assert list(tmp_path.iterdir()) == []

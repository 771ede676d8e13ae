"""Delays and cycles: order and shapes of the graph, runs by timestep, counts, and what is refused."""

from __future__ import annotations

import time

import numpy as np
import pytest
from commands import evsim, refused

from evsim import api, countsfile, modelfile
from evsim.audit.check import check
from evsim.energy import METHODS, charge, profile_names
from evsim.engine import Simulator
from evsim.errors import NetworkError, OptionError, ProfileError, RecordingError
from evsim.inputspec import InputSpec
from evsim.network import LARGEST_COUNT, Network, largest_integers, oldest_schema
from evsim.primitives import (
    LIF,
    Add,
    Concatenate,
    Conv2d,
    Delay,
    Input,
    Linear,
    Neuron,
    Scale,
    Slice,
    SumPool,
    TimeMean,
    TimeReduction,
)
from evsim.primitives.order import ordered

T = 7


def network(*nodes, size=(4, 1, 1), seed=0, timesteps=T):
    """Return a network of events with these nodes and weights at random."""
    rng = np.random.default_rng(seed)
    every = (Input("input", (), *size, "integers"), *nodes)
    weights = {
        f"{node.name}.{key}": rng.standard_normal(shape).astype(np.float32)
        for node in every
        for key, shape in node.parameters().items()
    }
    return Network("n", "test", "standard", InputSpec("events", *size, timesteps), every, weights)


RECURRENT = (
    Linear("ff", ("input",), 4, 5, bias=False),
    Delay("back", ("lif",)),
    Linear("rec", ("back",), 5, 5, bias=False),
    Add("sum", ("ff", "rec")),
    Neuron("lif", ("sum",), leak=0.75, reset="subtract", reset_at="after-charge", strict=True),
    Linear("out", ("lif",), 5, 3, bias=False),
    TimeReduction("count", ("out",), "sum"),
)
"""snnTorch's RLeaky with a readout."""


def by_hand(net, frames):
    """Run RECURRENT in plain loops; return spikes [T, 5] and logits."""
    ff, rec, out = (net.weights[f"{name}.weight"].astype(float) for name in ("ff", "rec", "out"))
    v, spikes, fired = np.zeros(5), np.zeros(5, bool), []
    for x in frames.reshape(len(frames), -1):
        reset = v > 1.0
        v = 0.75 * v + (x @ ff + spikes @ rec) - reset * 1.0
        spikes = v > 1.0
        fired.append(spikes)
    return np.array(fired), (np.array(fired) @ out).sum(axis=0)


def frames_of(size=(4, 1, 1), seed=1, timesteps=T):
    """Return event counts."""
    return np.random.default_rng(seed).poisson(1.0, (timesteps, *size))


@pytest.mark.parametrize("schedule", ["time", "layer"])
def test_a_recurrent_layer_fires_as_by_hand(schedule):
    """Spikes, logits and counts of recurrent synapses are those of plain loops, whatever schedule is asked for."""
    net, frames = network(*RECURRENT), frames_of()
    run = api.simulate(net, frames, precision="float64", schedule=schedule, record_spikes=True)
    fired, logits = by_hand(net, frames)
    packed, shape = run.spikes.packed["lif"]
    assert np.array_equal(np.unpackbits(packed, count=fired.size).reshape(T, 5), fired)
    assert shape == (T, 5, 1, 1)
    np.testing.assert_allclose(run.logits, logits, rtol=1e-12)
    before = np.concatenate([[0], fired.sum(axis=1)[:-1]])
    assert fired.any()
    assert run.counts.layer("rec").sops.tolist() == (5 * before).tolist()
    assert run.counts.layer("lif").spikes.tolist() == fired.sum(axis=1).tolist()
    assert any("cycles (back)" in note for note in run.sample.notes)


def test_a_cycle_runs_by_timestep():
    """Asked to run layer by layer, a simulator of a network with a cycle says that it does not; others do as asked."""
    net = network(*RECURRENT)
    assert Simulator(net, schedule="layer").schedule == "time"
    assert net.closing == {"back": "lif"}
    straight = network(Delay("late", ("input",)), Linear("out", ("late",), 4, 3), TimeMean("mean", ("out",)))
    assert Simulator(straight, schedule="layer").schedule == "layer"
    assert not api.simulate(straight, frames_of()).sample.notes


@pytest.mark.parametrize("steps", [1, 3, T, T + 5])
@pytest.mark.parametrize("schedule", ["time", "layer"])
def test_a_delay_moves_what_it_reads(steps, schedule):
    """The sum over T of what comes late lacks the last timesteps; nothing comes before."""
    late = network(Delay("late", ("input",), steps=steps), TimeReduction("sum", ("late",)))
    frames = frames_of()
    run = api.simulate(late, frames, precision="float64", schedule=schedule)
    assert run.logits.tolist() == frames[: max(0, T - steps)].sum(axis=0).reshape(-1).tolist()


def test_shapes_are_found_round_the_cycle():
    """A delay has the shape of what it reads, through a convolution and an addition, and its kind."""
    net = network(
        Conv2d("ff", ("input",), 2, 6, (3, 3), (1, 1), (1, 1), batch_norm=False), Delay("back", ("lif",), steps=2),
        Conv2d("rec", ("back",), 6, 6, (3, 3), (1, 1), (1, 1), batch_norm=False), Add("sum", ("ff", "rec")),
        Neuron("lif", ("sum",), levels=4, reset="subtract"), SumPool("pool", ("lif",), 5, 5),
        TimeReduction("count", ("pool",)), size=(2, 5, 5),
    )  # fmt: skip
    assert net.shapes["back"].size == (6, 5, 5)
    assert net.shapes["back"].kind == "integers"
    run = api.simulate(net, frames_of((2, 5, 5)), precision="float64")
    rec = run.counts.layer("rec")
    assert rec.acs_unrolled.sum() > rec.macs.sum() > 0


def test_the_order_of_nodes_is_found():
    """Nodes in any order are put in one, delays before what they read; what is in order stays."""
    nodes = (Input("input", (), 4, 1, 1, "integers"), *RECURRENT)
    again = ordered(nodes[::-1])
    places = {node.name: place for place, node in enumerate(again)}
    assert all(places[name] < places[node.name] for node in again for name in node.inputs if node.name != "back")
    assert ordered(nodes) == nodes


def test_a_delay_outside_the_cycle_closes_none():
    """Of two delays, the one that is in the cycle goes before what it reads, and the other stays behind."""
    nodes = (
        Input("input", (), 4, 1, 1, "integers"), Delay("late", ("lif",)), Linear("out", ("late",), 5, 3),
        *RECURRENT[:5], TimeReduction("count", ("out",)),
    )  # fmt: skip
    again = network(*[node for node in ordered(nodes) if node.name != "input"])
    assert again.closing == {"back": "lif"}


def test_a_cycle_without_a_delay_is_named():
    """Both an order that is looked for and a network say which nodes read each other."""
    nodes = [Input("input", (), 4, 1, 1, "integers"), Add("sum", ("input", "loop")), Linear("loop", ("sum",), 4, 4)]
    with pytest.raises(NetworkError, match="sum, loop read each other in a cycle without a Delay"):
        ordered(nodes)
    with pytest.raises(NetworkError, match="sum reads loop, which is no earlier node: a cycle without a Delay"):
        network(*nodes[1:])
    with pytest.raises(NetworkError, match="sum reads nowhere, which is no node"):
        ordered([Delay("sum", ("nowhere",))])


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Delay("d", ("x",)), Linear("x", ("d",), 4, 4), Add("s", ("x", "input"))], "whose shape nothing outside the"),
        ([Delay("d", ("x",)), Add("s", ("input", "d")), Linear("x", ("s",), 4, 6)], "adds maps of different shape"),
        ([Delay("d", ("x",)), Concatenate("x", ("input", "d"))], "whose shape nothing outside the cycle tells"),
        ([Delay("d", ("x",), channels=4, height=1, width=1), Concatenate("x", ("input", "d"))], "wants a map of size"),
        ([Delay("d", ("d",))], "d reads d, which is no earlier node"),
        ([TimeMean("m", ("input",)), Delay("d", ("m",))], "d delays m, which comes once"),
        ([Delay("d", ("m",)), TimeMean("m", ("input",))], "d delays m, which comes once"),
        ([Delay("d", ("input",), steps=0)], "steps must be at least 1"),
        ([Delay("d", ("input",), steps=70000)], "steps must be at most 65536"),
        ([Delay("d", ("input",), channels=3)], r"wants a map of size \[3, 0, 0\]"),
    ],
)
def test_what_no_cycle_can_be(nodes, message):
    """Shapes that nothing tells, that change round the cycle, and delays of what comes once are refused by name."""
    with pytest.raises(NetworkError, match=message):
        network(*nodes, TimeMean("mean", ("d",)))


def test_a_delay_may_tell_its_shape():
    """Where nothing outside the cycle tells it, the fields of the delay do."""
    back = Delay("d", ("lif",), channels=4, height=1, width=1)
    nodes = (back, Concatenate("both", ("input", "d")), Linear("x", ("both",), 8, 4), Neuron("lif", ("x",), leak=0.5))
    net = network(*nodes, TimeReduction("count", ("lif",)))
    assert net.shapes["both"].size == (8, 1, 1)
    run = api.simulate(net, frames_of(), precision="float64")
    assert run.counts.layer("x").input_nonzeros.sum() >= (frames_of() > 0).sum()


def test_integers_that_grow_round_a_cycle_are_refused():
    """Sums that come back to be added to have no bound, so that counts would not stay exact."""
    net = network(Delay("d", ("s",)), Add("s", ("input", "d")), TimeMean("mean", ("s",)))
    with pytest.raises(RecordingError, match=r"counts reach \d+ at [sd]; evsim counts exactly up to"):
        api.simulate(net, frames_of())


def test_the_largest_integers_round_a_cycle_are_known_or_have_no_bound():
    """Spikes that come back add one to the input's counts; sums that come back grow beyond any number."""
    spiking = network(Delay("d", ("n",)), Add("s", ("input", "d")), LIF("n", ("s",)), TimeMean("mean", ("n",)))
    assert largest_integers(spiking, 5) == {"input": 5, "s": 6}
    growing = network(Delay("d", ("s",)), Add("s", ("input", "d")), TimeMean("mean", ("s",)))
    assert largest_integers(growing, 5) == {"input": 5, "d": LARGEST_COUNT + 1, "s": LARGEST_COUNT + 1}


def test_a_cycle_is_saved_and_loaded(tmp_path):
    """A network with a cycle is of schema 2, and comes back as it was."""
    net = network(*RECURRENT)
    assert oldest_schema(net) == 2
    modelfile.save(net, tmp_path / "m.h5")
    loaded = modelfile.load(tmp_path / "m.h5")
    assert (loaded.nodes, loaded.shapes) == (net.nodes, net.shapes)


def test_parts_of_maps_put_together_again():
    """Slices side by side are the map; constants scale and shift it."""
    net = network(
        Slice("left", ("input",), 0, 1), Slice("right", ("input",), 1, 4), Concatenate("both", ("right", "left")),
        Scale("scaled", ("both",), scale=0.5, shift=2.0), TimeReduction("last", ("scaled",), "last"),
    )  # fmt: skip
    frames = frames_of()
    run = api.simulate(net, frames, precision="float64")
    assert run.logits.tolist() == (np.roll(frames[-1].reshape(-1), -1) * 0.5 + 2.0).tolist()
    assert run.counts.other["scale_multiplies"].tolist() == run.counts.other["scale_adds"].tolist() == [4] * T


CUBA = (
    Linear("ff", ("input",), 4, 6), Neuron("cuba", ("ff",), synapse="decay-add", syn=0.5, leak=0.75),
    Linear("fc", ("cuba",), 6, 6), Neuron("iaf", ("fc",), levels=32768, reset="subtract"),
    Linear("out", ("iaf",), 6, 3), Neuron("li", ("out",), leak=0.9, reset="none", emits="potential"),
    TimeReduction("last", ("li",), "max"),
)  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_energy_method_charges_such_neurons_or_refuses_them_by_name(method):
    """No energy is negative, and what a method has no rule for it names."""
    counts = api.simulate(network(*CUBA), frames_of(), precision="float64", detail=True, sharing=True).counts
    answers = 0
    for name in profile_names():
        try:
            energy = charge(counts, method, name)
        except ProfileError:
            continue
        except OptionError as error:
            assert "iaf" in str(error) or "time_ms" in str(error)  # noqa: PT017
            answers += 1
            continue
        answers += 1
        assert energy.low.min() >= 0
    assert answers


def test_the_command_line_says_that_a_cycle_runs_by_timestep(tmp_path):
    """A note on stderr; counts and recorded spikes of such neurons are files like any."""
    modelfile.save(network(*RECURRENT), tmp_path / "m.h5")
    np.save(tmp_path / "x.npy", frames_of())
    outcome = evsim("run", tmp_path / "m.h5", "--input", tmp_path / "x.npy", "--counts", tmp_path / "c.h5")
    assert "note: the network has cycles (back): run timestep by timestep" in outcome.err
    stored = countsfile.load(tmp_path / "c.h5").counts
    counts = api.simulate(network(*RECURRENT), frames_of()).counts
    assert stored.layer("rec").sops.tolist() == counts.layer("rec").sops.tolist()


def test_both_precisions_are_refused(tmp_path):
    """Neurons whose potentials the comparison does not know are named."""
    modelfile.save(network(*RECURRENT), tmp_path / "m.h5")
    np.save(tmp_path / "x.npy", frames_of())
    line = refused("run", tmp_path / "m.h5", "--input", tmp_path / "x.npy", "--precision", "both")
    assert "lif is a Neuron of another equation; run each precision apart" in line


def test_a_check_says_what_fires_several_times():
    """What reads several spikes at once is no layer of spikes, and is told why."""
    report = check(network(*CUBA))
    (layer,) = [layer for layer in report.layers if layer.name == "out"]
    assert layer.cause == "neurons iaf fire several times at once, up to 32768 times"


def test_rows_of_such_neurons():
    """Potentials are no spikes; several spikes at once are counted as so many, and what reads them by value."""
    run = api.simulate(network(*CUBA), frames_of(), precision="float64", record_spikes=True)
    kinds = {name: run.counts.layer(name).neuron for name in ("cuba", "iaf", "li")}
    assert kinds == {"cuba": "cuba-lif", "iaf": "if", "li": "li"}
    iaf, out = run.counts.layer("iaf"), run.counts.layer("out")
    assert iaf.spikes.sum() > iaf.nonzeros.sum() > 0
    assert out.acs_unrolled.tolist() == (3 * iaf.spikes).tolist()
    assert run.spikes.keys() == {"cuba", "iaf"}
    packed, shape = run.spikes.packed["iaf"]
    assert np.unpackbits(packed, count=int(np.prod(shape))).sum() == iaf.spikes.sum()
    assert not run.counts.layer("li").spikes.any()


def test_cycles_in_order_are_taken_as_they_stand_in_time_that_grows_with_their_number():
    """Thousands of loops one behind the other; a delay that closes none still comes behind what it reads."""
    nodes = [Input("input", (), 1, 1, 1, "integers")]
    for i in range(4000):
        nodes += [Delay(f"d{i}", (f"a{i}",), 1, 1, 1, 1), Add(f"a{i}", (nodes[-1].name, f"d{i}"))]
    begun = time.process_time()
    assert ordered(nodes) == tuple(nodes)
    assert time.process_time() - begun < 5.0
    late = (nodes[0], Delay("late", ("add",)), Add("add", ("input", "input")))
    assert [node.name for node in ordered(late)] == ["input", "add", "late"]

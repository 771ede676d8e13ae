"""The life of a neuron: sums and potentials are the engine's to the bit, operations those counted, causes add up."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from commands import evsim, refused
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import networks, sources

from evsim import api, demo
from evsim.errors import EvsimError, OptionError
from evsim.explain.address import Address, named, parse
from evsim.explain.life import explain, feeds_of
from evsim.explain.potential import STEPS
from evsim.explain.reach import SPREADS, reach_of, waves
from evsim.explain.reads import READS
from evsim.explain.watch import Watched
from evsim.explain.why import pushes_of, way, why
from evsim.inputspec import InputSpec
from evsim.network import NODE_TYPES, Network
from evsim.primitives import LIF, Conv2d, Delay, Input, Linear, MaxPool, Neuron, TimeMean, TokenMean

EXAMPLES = int(os.environ.get("EVSIM_NETWORKS", "100")) // 5
"""Of the property over random networks."""

T = 4


def spiking(seed=0, *, pooled=False, timesteps=T):
    """Return a small network of events with three layers of neurons, and frames for it."""
    rng = np.random.default_rng(seed)
    size = (2, 6, 9)
    middle = (MaxPool("pool", ("lif1",)),) if pooled else ()
    nodes = (
        Input("input", (), *size, "integers"),
        Conv2d("conv1", ("input",), 2, 70, (3, 3), padding=(1, 1)),
        LIF("lif1", ("conv1",)),
        *middle,
        Conv2d("conv2", ("pool" if pooled else "lif1",), 70, 40, (3, 3), (2, 2), (1, 1), bias=True),
        LIF("lif2", ("conv2",), layout="tokens"),
        Linear("fc", ("lif2",), 40, 5),
        LIF("lif3", ("fc",), soft_reset=True),
        TokenMean("mean", ("lif3",)),
        TimeMean("out", ("mean",)),
    )
    weights = {
        f"{node.name}.{key}": rng.standard_normal(shape).astype(np.float64 if key.startswith("bn") else np.float32)
        for node in nodes
        for key, shape in node.parameters().items()
    }
    network = Network("n", "test", "standard", InputSpec("events", *size, timesteps), nodes, weights)
    return network, rng.poisson(0.5, (timesteps, *size))


def neurons_of(network):
    """Return the names of all layers of neurons."""
    return [node.name for node in network.nodes if type(node) in STEPS]


def watched(network, frames, precision="float32"):
    """Run with everything kept."""
    names = [node.name for node in network.nodes]
    return Watched(network, api.Sample(frames), precision=precision, reals=names)


def test_every_primitive_tells_what_it_reads():
    """A primitive without a handler could not be explained: enter it in evsim/explain/reads.py."""
    assert READS.keys() == set(NODE_TYPES.values()) - {Input}
    assert SPREADS.keys() <= READS.keys()


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
@given(st.data(), st.sampled_from(["float32", "float64"]))
def test_what_is_shown_is_what_the_engine_did(data, precision):
    """In any network: replayed sums and potentials equal the engine's to the bit, spikes those of an ordinary run."""
    network = data.draw(networks())
    source = data.draw(sources(network))
    names = neurons_of(network)
    assume(names)
    name = data.draw(st.sampled_from(names))
    shape = network.shapes[name]
    place = data.draw(st.integers(0, shape.positions - 1)), data.draw(st.integers(0, shape.channels - 1))
    address = data.draw(st.sampled_from([Address(name), Address(name, place[1], place[0])]))
    try:
        run = api.simulate(network, source, precision=precision)
        life = explain(network, api.Sample(source), address, precision=precision, whole=True)
    except EvsimError:  # great integers are refused, as they may be
        assume(False)
    assert life.watched.run.logits.tobytes() == run.logits.tobytes()
    position, channel = life.address.position, life.address.channel
    train = life.watched.train(name, position, channel) if shape.kind != "real" else [None] * life.watched.timesteps
    real = np.float32 if precision == "float32" else np.float64
    near = 1e-4 if precision == "float32" else 1e-10
    assert len(life.steps) == life.watched.timesteps or [step.t for step in life.steps] == [life.watched.timesteps - 1]
    for step in life.steps:
        assert step.kept == step.replayed
        assert step.emitted == train[step.t]
        for feed in step.feeds:
            assert feed.replayed in (None, feed.value), feed
            parts = [product for added in feed.additions for product in added.products.astype(np.float64)]
            size = sum(map(abs, parts)) + abs(feed.constant)
            assert sum(parts) + feed.constant == pytest.approx(feed.value, rel=near, abs=near * (size + 1e-3))
        shares = [feed.value * feed.factor for feed in step.feeds]
        size = sum(map(abs, shares))
        assert sum(shares) == pytest.approx(step.current, rel=near, abs=near * (size + 1e-3))
        assert real(step.current) == step.current
    root = why(life)
    assert root.push == life.at(life.focus).charged
    assert len(way(life)) >= 1
    waves(life.watched, name, position, channel, 0, 2)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_sum_of_a_network_is_replayed_to_the_bit(precision):
    """For all neurons and timesteps, in both precisions: of integers, of spikes that share, at stride 2."""
    network, frames = spiking()
    seen = watched(network, frames, precision)
    replays = 0
    for name in neurons_of(network):
        shape = network.shapes[name]
        for position in range(shape.positions):
            for channel in range(0, shape.channels, 7):
                for t in range(T):
                    (feed,) = feeds_of(seen, name, t, position, channel)
                    assert feed.replayed == feed.value
                    replays += 1
    assert replays > 1000


def test_operations_of_all_neurons_are_those_counted():
    """The accumulates and multiply-accumulates of every sum of a layer add up to the layer's, at each timestep."""
    network, frames = spiking()
    seen = watched(network, frames)
    rows = {layer.name: layer for layer in seen.run.counts.layers}
    for name, layer in (("lif1", "conv1"), ("lif2", "conv2"), ("lif3", "fc")):
        shape = network.shapes[name]
        acs, macs = np.zeros(T), np.zeros(T)
        for t in range(T):
            for position in range(shape.positions):
                for channel in range(shape.channels):
                    for feed in feeds_of(seen, name, t, position, channel):
                        acs[t] += feed.acs
                        macs[t] += feed.macs
        assert acs.tolist() == rows[layer].sops.tolist()
        assert macs.tolist() == rows[layer].macs.tolist()
        assert acs.sum() + macs.sum() > 0


def test_what_spikes_set_off_is_what_is_counted():
    """The fan-out of every neuron times its spikes adds up to the operations of the layer that reads them."""
    network, frames = spiking()
    seen = watched(network, frames)
    shape, total = network.shapes["lif1"], 0
    for position in range(shape.positions):
        for channel in range(shape.channels):
            (reach,) = reach_of(seen, "lif1", position, channel)
            total += reach.fan_out * sum(seen.train("lif1", position, channel))
    assert total == int(next(each for each in seen.run.counts.layers if each.name == "conv2").sops.sum()) > 0


def test_attention_charges_each_neuron_its_share():
    """The shares of all outputs of attention add up to the row's operations."""
    network = api.load(demo.model_path())
    frames = api.read(next(iter(demo.recordings().values())), network).values[:1]
    seen = Watched(
        network, api.Sample(frames), timesteps=1, reals=["block.0.attn.ssa"],
    )  # fmt: skip
    shape = network.shapes["block.0.attn.attn_lif"]
    total = sum(
        feed.acs for channel in range(shape.channels) for feed in feeds_of(seen, "block.0.attn.attn_lif", 0, 3, channel)
    )
    row = next(each for each in seen.run.counts.layers if each.name == "block.0.attn.ssa")
    assert total * shape.positions == pytest.approx(row.sops.sum())


def test_a_neuron_by_hand():
    """Two inputs of weights 0.75 and -0.5, tau 2, threshold 1: potentials, spikes and costs worked out on paper."""
    nodes = (
        Input("input", (), 2, 1, 1, "integers"),
        Linear("fc", ("input",), 2, 1, bias=False),
        LIF("lif", ("fc",)),
        Linear("head", ("lif",), 1, 3, bias=False),
        TimeMean("out", ("head",)),
    )
    weights = {
        "fc.weight": np.array([[0.75], [-0.5]], np.float32),
        "head.weight": np.array([[1.0, -2.0, 0.5]], np.float32),
    }
    network = Network("n", "test", "standard", InputSpec("events", 2, 1, 1, 3), nodes, weights)
    frames = np.array([[2, 0], [2, 1], [4, 0]]).reshape(3, 2, 1, 1)
    life = explain(network, api.Sample(frames), parse("lif:0", network), whole=True)
    # currents 1.5, 1, 3; v = 0.75, 0.875, 1.9375 which fires
    assert [step.current for step in life.steps] == [1.5, 1.0, 3.0]
    assert [step.charged for step in life.steps] == [0.75, 0.875, 1.9375]
    assert [step.kept for step in life.steps] == [0.75, 0.875, 0.0]
    assert life.spikes == (2,)
    assert [step.macs for step in life.steps] == [1, 2, 1]
    assert [step.out_acs for step in life.steps] == [0, 0, 3]
    assert life.steps[2].out_pj == pytest.approx(3 * 0.9)
    assert life.steps[1].pj == pytest.approx(2 * 4.6)
    (feed,) = life.steps[1].feeds
    assert feed.additions[0].products.tolist() == [1.5, -0.5]
    assert [(w, c) for w, _, c in life.reach[0].strongest] == [(-2.0, 1), (1.0, 0), (0.5, 2)]
    root = why(life, depth=2, width=5)
    # a current counts half at its timestep, a quarter one later, an eighth two later
    pushed = {(each.place.t, each.place.channel): each.push for each in root.causes}
    assert pushed == {(2, 0): 1.5, (1, 0): 0.375, (0, 0): 0.1875}
    assert (root.against, root.against_push) == (1, -0.125)
    assert [cause.place.layer for cause in way(life)] == ["lif", "input"]


def test_causes_add_up_to_the_potential():
    """What raised it, what lowered it and constants are the potential, since the last spike that erased it."""
    network, frames = spiking(3, pooled=True)
    life = explain(network, api.Sample(frames), Address("lif2"), precision="float64", whole=True)
    root = why(life, depth=1, width=4)
    shown = sum(cause.push for cause in root.causes)
    assert shown + root.left_push + root.against_push + root.constant == pytest.approx(root.push)
    assert len(root.causes) == 4
    pushes = pushes_of(life.watched, root.place)
    assert len(pushes.ranked()) == len(root.causes) + root.left_out + root.against + sum(
        amount == 0 for amount, _ in pushes.ranked()
    )
    for cause in root.causes:
        assert cause.value == 1
        assert cause.place.layer == "lif1"
        reached = waves(life.watched, "lif1", cause.place.position, cause.place.channel, root.place.t, 1)
        places, channels = next(wave.area for wave in reached if wave.layer == "lif2")
        assert places[root.place.position]
        assert channels[root.place.channel]
    assert way(life)[-1].place.layer == "input"


def test_delays_reach_later():
    """A spike moves neurons behind a delay at a later timestep."""
    nodes = (
        Input("input", (), 3, 1, 1, "integers"),
        Linear("fc", ("input",), 3, 4, bias=False),
        LIF("lif", ("fc",)),
        Delay("late", ("lif",), 2),
        Linear("fc2", ("late",), 4, 2, bias=False),
        LIF("lif2", ("fc2",)),
        TimeMean("out", ("mean",)),
    )
    nodes = (*nodes[:-1], TokenMean("mean", ("lif2",)), nodes[-1])
    rng = np.random.default_rng(0)
    weights = {f"{n.name}.weight": np.abs(rng.standard_normal(n.parameters()["weight"])).astype(np.float32) + 1
               for n in nodes if type(n) is Linear}  # fmt: skip
    network = Network("n", "test", "standard", InputSpec("events", 3, 1, 1, 4), nodes, weights)
    life = explain(network, api.Sample(np.ones((4, 3, 1, 1), int)), Address("lif2"), whole=True)
    assert life.spikes[0] == 2
    assert {cause.place.t for cause in why(life).causes} == {0}
    (wave,) = waves(life.watched, "lif", 0, 1, 0, 1)
    assert (wave.layer, wave.t, wave.neurons, wave.fired) == ("lif2", 2, 2, 2)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lif9:0@1,1", "no layer of neurons is named lif9; near: lif"),
        ("conv1:0@1,1", "conv1 is a Conv2d, no layer of neurons"),
        ("lif1:70@1,1", "channels 0 to 69"),
        ("lif1:7", "add @Y,X or @TOKEN"),
        ("lif1:7@6,0", "rows 0 to 5"),
        ("lif1:7@54", "tokens 0 to 53"),
        ("lif1:seven@1,1", "seven@1,1 is no neuron"),
        ("lif1:" + "9" * 5000, "channels 0 to 69"),
        ("", "no layer of neurons is named"),
    ],
)
def test_addresses_that_name_nothing_are_refused(text, said):
    """Each fault is named, with what there is."""
    network, _ = spiking()
    with pytest.raises(OptionError, match=said.replace("(", r"\(")):
        parse(text, network)


def test_addresses_read_as_they_are_written():
    """A map goes by row and column, tokens by number; both are understood for both."""
    network, _ = spiking()
    assert parse("lif1:7@2,3", network) == parse("lif1:7@21", network) == Address("lif1", 7, 21)
    assert named(network, "lif1", 7, 21) == "lif1:7@2,3"
    assert parse(named(network, "lif2", 4, 14), network) == Address("lif2", 4, 14)
    assert parse(named(network, "lif2", 4, 14, 3), network, spike=True) == Address("lif2", 4, 14, 3)
    with pytest.raises(OptionError, match="names no timestep"):
        parse("lif1:7", network, spike=True)


def test_a_spike_that_was_none_is_refused():
    """The timesteps at which the neuron did fire are told."""
    network, frames = spiking()
    life = explain(network, api.Sample(frames), Address("lif1"))
    silent = next(t for t in range(T) if t not in life.spikes) if len(life.spikes) < T else T
    said = "the run has the timesteps" if silent == T else "fired at timestep"
    with pytest.raises(OptionError, match=said):
        explain(network, api.Sample(frames), Address("lif1", life.address.channel, life.address.position, silent))


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory):
    """Return the bundled model, and a recording."""
    return demo.save(tmp_path_factory.mktemp("demo"))


def test_the_command_tells_a_life(demonstrated):
    """Text of at most 80 columns but for names; the JSON holds every addition, which add up to the engine's sums."""
    model, recording = demonstrated
    place = "block.0.mlp.mlp1_lif:16@1,4"
    outcome = evsim("explain", model, "--input", recording, "--neuron", place, "--why", "--reach", "--depth", 2)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"{place}\n")
    assert "give the engine's sums and potentials to the last bit" in outcome.out
    assert "  input:" in outcome.out.partition("strongest way down")[2]
    assert "reach: how many neurons the spike" in outcome.out
    assert max(map(len, outcome.out.partition("additions, by")[0].splitlines()[2:])) <= 100
    asked = evsim("explain", model, "--input", recording, "--neuron", place, "--json", "-")
    document = json.loads(asked.out)
    assert document["schema"] == 1
    assert document["exact"] is True
    assert document["neuron"]["position"] == document["neuron"]["y"] * 8 + document["neuron"]["x"] == 12
    assert [step["t"] for step in document["steps"] if step["emitted"]] == document["neuron"]["spikes"]
    for step in document["steps"]:
        sums = [feed["factor"] * feed["value"] for feed in step["sums"]]
        assert sum(sums) == pytest.approx(step["current"], abs=1e-5)
        for feed in step["sums"]:
            products = [product for added in feed["additions"] for product in added["products"]]
            assert sum(products) + feed["constant"] == pytest.approx(feed["value"], abs=1e-5)


def test_plain_characters_where_an_encoding_has_no_blocks(demonstrated, monkeypatch):
    """In ASCII the plot is drawn with number signs, and nothing is a question mark."""
    import subprocess
    import sys

    model, recording = demonstrated
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    entry = "from evsim.cli.start import main; main()"
    line = [sys.executable, "-c", entry, "explain", model, "--input", recording, "--neuron", "block.0.attn.q_lif"]
    monkeypatch.setenv("PYTHONUTF8", "0")
    shown = subprocess.run(list(map(str, line)), capture_output=True, check=False)
    assert shown.returncode == 0, shown.stderr
    text = shown.stdout.decode("ascii")
    assert "###" in text
    assert "?" not in text


def test_what_is_asked_wrongly_is_one_line(demonstrated):
    """Neither or both of neuron and spike, and numbers that mean nothing."""
    model, recording = demonstrated
    line = ("explain", model, "--input", recording)
    assert "--neuron PLACE and --spike PLACE" in refused(*line)
    assert "--depth must be from 1" in refused(*line, "--neuron", "block.0.attn.q_lif", "--depth", 0)
    assert "near: block.0.attn.q_lif" in refused(*line, "--neuron", "block.0.attn.q_lit:3@1")
    assert "timestep" in refused(*line, "--spike", "block.0.attn.q_lif:3@1@99")


def test_a_potential_that_is_emitted_stands_for_itself():
    """Neurons behind neurons that emit their potential read that, not what drives those."""
    nodes = (
        Input("input", (), 1, 1, 1, "integers"),
        Linear("fc", ("input",), 1, 1, bias=False),
        Neuron("li", ("fc",), leak=0.5, reset="none", emits="potential"),
        LIF("lif", ("li",)),
        Linear("head", ("lif",), 1, 2, bias=False),
        TimeMean("out", ("head",)),
    )
    weights = {"fc.weight": np.ones((1, 1), np.float32), "head.weight": np.ones((1, 2), np.float32)}
    network = Network("n", "test", "standard", InputSpec("events", 1, 1, 1, 3), nodes, weights)
    life = explain(network, api.Sample(np.array([2, 0, 0]).reshape(3, 1, 1, 1)), Address("lif"), whole=True)
    assert [feed.layer for step in life.steps for feed in step.feeds] == ["li"] * 3
    assert [step.feeds[0].value for step in life.steps] == [step.current for step in life.steps] == [2.0, 1.0, 0.5]
    assert [cause.place.layer for cause in way(life)] == ["lif", "li", "input"]

"""Float32 beside float64, held against a dense oracle; and values that are not finite, named by their layer."""

from __future__ import annotations

import json
from pathlib import Path

import naive
import numpy as np
import pytest
from commands import evsim, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from evsim import api, modelfile
from evsim.audit.precision import compare_precisions
from evsim.converters import convert
from evsim.engine import Simulator
from evsim.errors import NetworkError
from evsim.inputspec import InputSpec
from evsim.network import (
    LIF,
    Add,
    Conv2d,
    Input,
    Linear,
    Network,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
)
from evsim.observers import SpikeRecorder
from evsim.report.precision import precision_document, precision_parts

GOLDEN = sorted((Path(__file__).parent / "data" / "golden").glob("spikingformer-*"))
SIZE = 5
TENTHS = st.sampled_from([0.1, 0.3, 0.7])


def network_of(body, weights, channels=2, size=SIZE, timesteps=4):
    """Return a network of events: its input [T, C, S, S], a body of nodes with their weights, and a readout."""
    nodes = [Input("input", (), channels, size, size, "integers"), *body]
    nodes += [TokenMean("tokens", (nodes[-1].name,)), TimeMean("times", ("tokens",))]
    shapes = {}
    for node in nodes:
        shapes[node.name] = node.infer(tuple(shapes[name] for name in node.inputs))
    width = shapes["times"].channels
    nodes.append(Linear("head", ("times",), width, 2, bias=False))
    weights = {**weights, "head.weight": np.tile(np.float32([1.0, -1.0]), (width, 1))}
    spec = InputSpec("events", channels, size, size, timesteps)
    return Network("net", "test", "standard", spec, tuple(nodes), weights)


def potentials(current, tau, threshold):
    """Return the membrane potentials [T, ...] before each reset, one neuron and timestep after the other."""
    v = np.zeros(current.shape[1:])
    charged = []
    for x in current:
        v = v + (x - v) / tau
        charged.append(v)
        v = np.where(v >= threshold, 0.0, v)
    return np.array(charged)


@settings(max_examples=40, deadline=None)
@given(seeds, TENTHS, st.sampled_from([2.0, 4.0 / 3.0]), st.sampled_from(["layer", "time"]), st.integers(1, 4))
def test_flips_ties_and_margins_are_those_of_a_dense_oracle(seed, threshold, tau, schedule, wide):
    """Sums of tenths meet their thresholds: what differs from float32, and by how much, is counted by brute force."""
    rng = np.random.default_rng(seed)
    weight = (rng.integers(-3, 8, (3, 3, 2, wide)) * np.float32(0.1)).astype(np.float32)
    body = [
        Conv2d("conv", ("input",), 2, wide, (3, 3), (1, 1), (1, 1), batch_norm=False),
        LIF("lif", ("conv",), tau, threshold),
    ]
    network = network_of(body, {"conv.weight": weight})
    frames = rng.integers(0, 3, (4, 2, SIZE, SIZE)).astype(np.int32)
    outcome = compare_precisions(network, api.Sample(frames), schedule=schedule, record_spikes=True)

    current = naive.conv(np.moveaxis(frames, 1, -1).astype(float), weight.astype(float), (1, 1), (1, 1))
    v = potentials(current, tau, threshold)
    packed, shape = outcome.single.spikes.packed["lif"]
    single = np.moveaxis(np.unpackbits(packed, count=np.prod(shape)).reshape(shape), 1, -1).astype(bool)
    double = v >= threshold
    (layer,) = outcome.layers
    assert layer.neurons == v.size
    assert layer.spikes == (single.sum(), double.sum())
    assert layer.flips == outcome.flips == (single != double).sum()
    assert layer.ties == (np.abs(v - threshold) <= np.spacing(np.float32(threshold))).sum()
    if not layer.flips:
        assert outcome.first == ()
        return
    t, y, x, c = np.argwhere(single != double)[0]
    first, *_ = outcome.first
    assert (first.layer, first.timestep, first.y, first.x, first.channel) == ("lif", t, y, x, c)
    assert first.fires == single[t, y, x, c]
    assert first.margin == pytest.approx(v[t, y, x, c] - threshold, abs=1e-12)
    assert abs(first.margin) < 1e-5


def tied():
    """Return a network and frames whose one neuron fires in float64 alone, and turns the prediction."""
    weight = np.float32([0.1] * 3).reshape(1, 1, 3, 1)
    exact = float(np.float64(weight.sum(dtype=np.float64)))
    rounded = float(np.float32(np.float32(weight.flat[0] + weight.flat[1]) + weight.flat[2]))
    assert exact != rounded
    threshold = max(exact, rounded)
    body = [
        Conv2d("conv", ("input",), 3, 1, batch_norm=False),
        LIF("lif", ("conv",), 1.0, threshold),
        Conv2d("shift", ("lif",), 1, 2, bias=True, batch_norm=False),
    ]
    weights = {
        "conv.weight": weight,
        "shift.weight": np.float32([1.0, 0.0]).reshape(1, 1, 1, 2),
        "shift.bias": np.float32([-0.5, 0.0]),
    }
    return network_of(body, weights, 3, 1, 1), np.ones((1, 3, 1, 1), np.int32), exact, rounded, threshold


def test_a_tie_that_turns_the_prediction_is_told(tmp_path):
    """Report and JSON name the neuron, its margin, both predictions; the run shown is that in float32."""
    network, frames, exact, rounded, threshold = tied()
    modelfile.save(network, tmp_path / "m.h5")
    np.save(tmp_path / "x.npy", frames)
    run = ("run", tmp_path / "m.h5", "--input", tmp_path / "x.npy")
    both = evsim(*run, "--precision", "both", "--json", tmp_path / "both.json")
    single = evsim(*run, "--json", tmp_path / "single.json")
    double = evsim(*run, "--precision", "float64", "--json", tmp_path / "double.json")
    assert (both.code, single.code, double.code) == (0, 0, 0)
    told, alone, other = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("both", "single", "double"))
    against = told.pop("against_float64")
    alone.pop("anytime")  # of a run in one precision
    assert told == alone
    assert against["prediction"] == other["prediction"]
    assert against["prediction"]["class"] != alone["prediction"]["class"]
    assert not against["same_prediction"]
    assert (against["flips"], against["ties"]) == (1, 1)
    assert against["first"] == {
        "layer": "lif", "timestep": 0, "y": 0, "x": 0, "channel": 0, "fires": rounded >= threshold,
        "margin": exact - threshold, "threshold": threshold,
    }  # fmt: skip
    assert both.out.startswith(single.out.rstrip())
    tail = both.out[len(single.out.rstrip()) :]
    assert "1 of 1 spikes and silences differ" in tail
    assert "first: lif, timestep 0, position (0, 0), channel 0 fires in float32 alone" in tail
    assert "1 potentials lie within one float32 step" in tail
    assert "PREDICTIONS DIFFER: class 0 in float32, class 1 in float64" in tail


@pytest.mark.parametrize("schedule", ["layer", "time"])
@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_whole_models_are_compared_as_their_recorded_spikes_say(folder, schedule):
    """Flips of every layer are the differences of the spikes that two runs record."""
    network = convert(folder / "checkpoint.pth.tar").network
    sample = api.Sample(np.load(folder / "input.npy"))
    outcome = compare_precisions(network, sample, schedule=schedule, threads=2)
    runs = [api.simulate(network, sample, precision=name, record_spikes=True) for name in ("float32", "float64")]
    single, double = (run.spikes.packed for run in runs)
    assert {layer.name for layer in outcome.layers} == set(single)
    for layer in outcome.layers:
        a, b = single[layer.name][0], double[layer.name][0]
        assert layer.flips == np.bitwise_count(a ^ b).sum()
        assert layer.spikes == (np.bitwise_count(a).sum(), np.bitwise_count(b).sum())
    np.testing.assert_array_equal(outcome.single.logits, runs[0].logits)
    np.testing.assert_array_equal(outcome.double.logits, runs[1].logits)
    assert json.dumps(precision_document(outcome), allow_nan=False)
    assert "same prediction in both" in str(precision_parts(outcome)[-1])


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("schedule", ["layer", "time"])
@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_stages_apart_give_the_same_bits(folder, schedule, precision):
    """What is fused and what is not gives the same logits and spikes, to the last bit."""
    network = convert(folder / "checkpoint.pth.tar").network
    outcomes = []
    for apart in (False, True):
        recorder = SpikeRecorder(network)
        simulator = Simulator(network, precision=precision, schedule=schedule, apart=apart)
        logits = simulator.run(np.load(folder / "input.npy"), [recorder])
        outcomes.append((logits.tobytes(), {name: packed.tobytes() for name, (packed, _) in recorder.trains.items()}))
        assert simulator.apart == apart  # nothing here comes near the end of the precision: nothing is looked at
    assert outcomes[0] == outcomes[1]


def conv(name, source, factor, channels=2, bias=None):
    """Return a 1 x 1 convolution with all weights alike, and its weights."""
    weights = {f"{name}.weight": np.full((1, 1, channels, channels), factor, np.float32)}
    if bias is not None:
        weights[f"{name}.bias"] = np.full(channels, bias, np.float32)
    return Conv2d(name, (source,), channels, channels, bias=bias is not None, batch_norm=False), weights


def hidden_by_neurons():
    """Infinite currents: the neurons fire, and the logits are sound."""
    layer, weights = conv("large", "input", 3e38)
    return network_of([layer, LIF("lif", ("large",))], weights), "large", "infinite"


def no_number():
    """Two infinities of unlike signs: the potential is no number, and the neuron silent for ever."""
    up, first = conv("up", "input", 3e38)
    down, second = conv("down", "input", -3e38)
    body = [up, down, Add("add", ("up", "down")), LIF("lif", ("add",))]
    return network_of(body, {**first, **second}), "up", "infinite"


def of_attention():
    """Attention scaled beyond float32."""
    body = [LIF("lif", ("input",)), SpikingSelfAttention("ssa", ("lif",) * 3, 1, 3e38), LIF("after", ("ssa",))]
    return network_of(body, {}), "ssa", "infinite"


def of_a_sum():
    """Two large maps, sound each, whose sum is not."""
    layer, weights = conv("large", "input", 0.0, bias=2e38)
    return network_of([layer, Add("add", ("large", "large")), LIF("lif", ("add",))], weights), "add", "infinite"


def of_a_mean():
    """Take a mean whose sum over positions is too large."""
    layer, weights = conv("large", "input", 0.0, bias=2e38)
    return network_of([layer], weights), "tokens", "infinite"


@pytest.mark.parametrize("schedule", ["layer", "time"])
@pytest.mark.parametrize("case", [hidden_by_neurons, no_number, of_attention, of_a_sum, of_a_mean])
def test_the_first_layer_whose_values_are_not_finite_is_named(case, schedule):
    """Float32 overflows: the first layer with such a value, and where; in float64 the same network runs."""
    network, layer, what = case()
    frames = np.full((4, 2, SIZE, SIZE), 9, np.int32)
    simulator = Simulator(network, schedule=schedule)
    place = r"timestep 0, position \(0, 0\), channel 0"
    for _ in range(2):
        with pytest.raises(NetworkError, match=rf"net: {layer} gives .*{what} at {place}.*`precision=float64`"):
            simulator.run(frames)
    assert np.isfinite(api.simulate(network, frames, precision="float64").logits).all()
    with pytest.raises(NetworkError, match=layer):
        compare_precisions(network, api.Sample(frames), schedule=schedule)


def test_what_only_could_overflow_runs():
    """Where a bound is beyond the precision but no value is, the run is looked at and goes through unchanged."""
    layer, weights = conv("large", "input", 3e37)
    network = network_of([layer, LIF("lif", ("large",), 2.0, 1e37)], weights)
    frames = np.zeros((4, 2, SIZE, SIZE), np.int32)
    frames[0, 0, 0, 0] = 9
    simulator = Simulator(network)
    run = api.run_on(simulator, frames, record_spikes=True)
    assert simulator.apart
    packed, shape = run.spikes.packed["lif"]
    current = np.moveaxis(frames, 1, -1).sum(-1, keepdims=True) * np.full(2, 3e37)
    want = naive.lif(current, 2.0, 1e37)
    np.testing.assert_array_equal(np.unpackbits(packed, count=np.prod(shape)).reshape(shape), np.moveaxis(want, -1, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_name_their_layer(value):
    """Weights that a person gave in Python, with NaN or infinities: the layer and the parameter are named."""
    layer, weights = conv("odd", "input", 1.0, bias=0.0)
    weights["odd.bias"][1] = value
    with pytest.raises(NetworkError, match="odd: its bias holds NaN or infinite values"):
        Simulator(network_of([layer], weights))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("schedule", ["layer", "time"])
def test_denormal_weights_are_computed_with(schedule, precision):
    """Weights below the least normal float32 are no zeros: their sums, normal again, fire as the oracle's do."""
    tiny = np.float32(2.0**-130)
    rng = np.random.default_rng(3)
    weight = (rng.integers(1, 64, (1, 1, 2, 2)) * tiny).astype(np.float32)
    assert (weight > 0).all()
    assert (weight < np.finfo(np.float32).tiny).any()
    network = network_of(
        [Conv2d("conv", ("input",), 2, 2, batch_norm=False), LIF("lif", ("conv",), 2.0, 2.0**-122)],
        {"conv.weight": weight},
    )
    frames = rng.integers(0, 9, (4, 2, SIZE, SIZE)).astype(np.int32)
    run = api.simulate(network, frames, precision=precision, schedule=schedule, record_spikes=True)
    current = naive.conv(np.moveaxis(frames, 1, -1).astype(float), weight.astype(float), (1, 1), (0, 0))
    want = np.moveaxis(naive.lif(current, 2.0, 2.0**-122), -1, 1)
    packed, shape = run.spikes.packed["lif"]
    np.testing.assert_array_equal(np.unpackbits(packed, count=np.prod(shape)).reshape(shape), want)
    assert 0 < want.sum() < want.size


def test_both_is_a_precision_of_the_command_alone(tmp_path):
    """In Python the comparison has a function of its own; any other word is refused."""
    network, frames, *_ = tied()
    with pytest.raises(ValueError, match="float32 or float64, got both"):
        Simulator(network, precision="both")
    modelfile.save(network, tmp_path / "m.h5")
    np.save(tmp_path / "x.npy", frames)
    assert "--precision" in refused("run", tmp_path / "m.h5", "--input", tmp_path / "x.npy", "--precision", "half")

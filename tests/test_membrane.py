"""Neurons of any equation: the running form against slow loops, their constants, and what no equation says."""

from __future__ import annotations

from types import SimpleNamespace

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from evsim.errors import NetworkError
from evsim.kernels import threads
from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.membrane import Neurons
from evsim.primitives import Neuron, Shape
from evsim.spikes import RealMap, SpikeMap

STEPS, HEIGHT, WIDTH, CHANNELS = 9, 3, 2, 5
SHAPE = Shape("real", CHANNELS, HEIGHT, WIDTH)


def layer_of(node, weights, precision="float64", number=1, *, streaming=False):
    """Return running neurons, at rest."""
    context = Context(np.dtype(precision), Workers(number), streaming)
    layer = Neurons(node, node.infer((SHAPE,)), weights, context)
    layer.reset()
    return layer


def emitted(layer, currents, *, one_by_one=False):
    """Return what a layer emits of currents [T, P, C]."""
    cuts = [(t, t + 1) for t in range(len(currents))] if one_by_one else [(0, len(currents))]
    packets = []
    for begin, end in cuts:
        part = np.ascontiguousarray(currents[begin:end])
        packets.append(layer.step(RealMap(begin, end - begin, part, CHANNELS, HEIGHT, WIDTH)))
    parts = [packet.dense() if isinstance(packet, SpikeMap) else packet.values[..., :CHANNELS] for packet in packets]
    return np.concatenate(parts)


@st.composite
def equations(draw):
    """Return neurons of any equation, and the arrays of their constants."""
    fields = {
        "synapse": draw(st.sampled_from(["none", "decay-add", "add-decay", "jump"])),
        "charge": draw(st.sampled_from(["decay", "relax", "box", "drain"])),
        "reset": draw(st.sampled_from(["value", "subtract", "none"])),
        "reset_at": draw(st.sampled_from(["now", "before-charge", "after-charge", "both"])),
        "levels": draw(st.sampled_from([0, 0, 2, 100])), "strict": draw(st.booleans()),
        "floored": draw(st.booleans()), "emits": draw(st.sampled_from(["spikes", "spikes", "potential"])),
    }  # fmt: skip
    if fields["levels"]:
        fields |= {"strict": False, "reset_at": "now"}
    if fields["reset_at"] == "both":
        fields["reset"] = "subtract"
    fields["divides"] = fields["charge"] != "decay" and draw(st.booleans())
    fields["single"] = fields["reset"] == "subtract" and fields["reset_at"] == "now" and draw(st.booleans())
    asks = {"syn": fields["synapse"] != "none", "v_leak": fields["charge"] != "decay",
            "v_reset": fields["reset"] == "value", "v_floor": fields["floored"]}  # fmt: skip
    names = [name for name in Neuron.constants if asks.get(name, True)]
    where = {name: draw(st.sampled_from(["field", "by_channel", "by_neuron"])) for name in names}
    rng, arrays = np.random.default_rng(draw(seeds)), {}
    for name, place in where.items():
        low, high = (1.0, 4.0) if name == "leak" and fields["divides"] else (0.1, 1.0)
        low, high = (-0.5, 0.5) if name in ("v_leak", "v_start", "v_reset", "v_floor") else (low, high)
        size = {"field": (), "by_channel": (CHANNELS,), "by_neuron": (HEIGHT, WIDTH, CHANNELS)}[place]
        value = rng.uniform(low, high, size)
        if place == "field":
            fields[name] = float(value)
        else:
            fields[place] = (*fields.get(place, ()), name)
            arrays[name] = value
    return Neuron("n", ("x",), channels=CHANNELS, height=HEIGHT, width=WIDTH, **fields), arrays


@settings(max_examples=150, deadline=None)
@given(equations(), seeds, st.sampled_from(["float32", "float64"]))
def test_neurons_do_what_slow_loops_do(equation, seed, precision):
    """To the last bit, by one thread and three, all timesteps at once and one by one."""
    node, arrays = equation
    dtype = np.dtype(precision).type
    currents = np.random.default_rng(seed).standard_normal((STEPS, HEIGHT * WIDTH, CHANNELS)).astype(precision) + dtype(
        0.3
    )
    numbers = {name: np.asarray(arrays.get(name, getattr(node, name)), precision) for name in node.constants}
    numbers = {name: value.reshape(-1, CHANNELS) if value.ndim == 3 else value for name, value in numbers.items()}
    fields = ("levels", "strict", "reset", "reset_at", "synapse", "divides", "charge", "floored", "single")
    own = SimpleNamespace(**{name: getattr(node, name) for name in fields})
    spikes, potentials, _ = naive.membrane(currents, own, numbers)
    want = potentials if node.emits == "potential" else spikes
    assert want.dtype == precision
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "SMALL", 0)
        for number, streaming in ((1, False), (3, False), (1, True)):
            layer = layer_of(node, arrays, precision, number, streaming=streaming)
            assert np.array_equal(emitted(layer, currents, one_by_one=streaming), want)
            layer.reset()
            assert np.array_equal(emitted(layer, currents, one_by_one=streaming), want)


def test_a_static_image_charges_at_each_timestep():
    """One map that stands for all timesteps is taken in at each."""
    layer = layer_of(Neuron("n", ("x",), v_threshold=2.0, reset="subtract"), {})
    image = np.ones((1, HEIGHT * WIDTH, CHANNELS))
    out = layer.step(RealMap(0, 4, image, CHANNELS, HEIGHT, WIDTH))
    assert out.dense()[:, 0, 0].tolist() == [False, True, False, True]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"leak": float("nan")}, "leak must be a number within float32"),
        ({"v_threshold": 1e39}, "v_threshold must be a number within float32"),
        ({"by_channel": ("tau",), "channels": 5}, "has no constant tau; it has syn, gain"),
        ({"by_channel": ("leak",), "by_neuron": ("leak",), "channels": 5}, "names the constant leak twice"),
        ({"by_channel": ("leak",), "channels": 5, "leak": 0.5}, "leak is an array, so the number 0.5 says nothing"),
        ({"by_channel": ("leak",), "channels": 4}, "wants constants for 4 channels, but x gives"),
        ({"by_neuron": ("leak",), "channels": 5, "height": 3, "width": 3}, "wants constants for 5 x 3 x 3 neurons"),
        ({"levels": -1}, "levels must be at least 0"),
        ({"levels": 40000}, "levels must be at most 32768"),
        ({"charge": "decay", "v_leak": 0.5}, "charge decay has neither `divides` nor `v_leak`"),
        ({"divides": True}, "charge decay has neither `divides` nor `v_leak`"),
        ({"charge": "relax", "divides": True, "leak": 0.0}, "leak divides, so it must be above 0"),
        ({"syn": 0.5}, "syn says nothing without a synapse"),
        ({"levels": 4, "strict": True}, "several spikes at once are reset at once"),
        ({"levels": 4, "reset_at": "after-charge"}, "several spikes at once are reset at once"),
        ({"levels": 4, "v_threshold": 0.0}, "several spikes at once want a threshold above 0"),
        ({"reset": "none", "v_reset": 0.5}, "v_reset says nothing where reset is none"),
        ({"reset_at": "both"}, "reset_at both is a reset by subtraction"),
        ({"v_floor": -1.0}, "v_floor says nothing unless `floored`"),
        ({"single": True}, "single says how a reset by subtraction"),
        ({"view": (7,)}, "does not hold the values"),
    ],
)
def test_what_no_equation_says_is_refused(fields, message):
    """Constants that say nothing, are no numbers or do not fit, and combinations that are no equation; by name."""
    with pytest.raises(NetworkError, match=f"^n:? .*{message}|^n.*{message}"):
        Neuron("n", ("x",), **fields).infer((SHAPE,))


@pytest.mark.parametrize(
    ("name", "value", "fields", "message"),
    [
        ("leak", np.nan, {}, "its leak holds NaN or infinite values"),
        ("v_threshold", 0.0, {"levels": 3}, "its v_threshold divides, so it must be above 0"),
        ("leak", -2.0, {"charge": "relax", "divides": True}, "its leak divides, so it must be above 0"),
    ],
)
def test_arrays_that_no_neuron_can_have(name, value, fields, message):
    """Arrays are looked at when a network is made ready to run."""
    values = np.ones(CHANNELS)
    values[2] = value
    with pytest.raises(NetworkError, match=message):
        layer_of(Neuron("n", ("x",), by_channel=(name,), channels=CHANNELS, **fields), {name: values})


def test_potentials_that_overflow_are_told():
    """A potential that grows without end is an error of the layer, and not silence."""
    layer = layer_of(Neuron("n", ("x",), leak=2.0, reset="none", emits="potential"), {}, "float32")
    currents = np.full((STEPS, HEIGHT * WIDTH, CHANNELS), 1e38, np.float32)
    told = pytest.raises(NetworkError, match="n: its potentials overflow; run it with `precision=float64`")
    with told, np.errstate(over="ignore"):  # NumPy warns where kernels are not compiled
        emitted(layer, currents)


@pytest.mark.parametrize(
    ("fields", "kind", "tau"),
    [
        ({}, "if", 0.0), ({"leak": 0.75}, "lif", 4.0), ({"charge": "relax", "leak": 0.5}, "lif", 2.0),
        ({"charge": "relax", "leak": 3.0, "divides": True}, "lif", 3.0), ({"leak": 0.0}, "lif", 1.0),
        ({"synapse": "jump", "syn": 0.5}, "cuba-lif", 0.0), ({"emits": "potential"}, "integrator", 0.0),
        ({"emits": "potential", "leak": 0.5}, "li", 2.0),
        ({"emits": "potential", "leak": 0.5, "synapse": "decay-add"}, "cuba-li", 2.0),
        ({"by_channel": ("leak",), "channels": 5}, "lif", 0.0),
    ],
)  # fmt: skip
def test_what_kind_of_neuron_it_is(fields, kind, tau):
    """Kind and time constant of the row follow from the equation."""
    node = Neuron("n", ("x",), **fields)
    node.infer((SHAPE,))
    assert (node.neuron, node.tau) == (kind, tau)

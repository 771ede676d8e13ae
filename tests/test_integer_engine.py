"""The engine of integer networks gives what plain NumPy gives, in every layer and to the last bit, however it runs."""

from __future__ import annotations

import math

import fixed_twin
import naive
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from networks import networks, sources
from strategies import seeds
from test_quantizing import quantized

from evsim.engine import Simulator
from evsim.errors import NetworkError, RecordingError
from evsim.kernels import threads
from evsim.kernels.threads import Workers
from evsim.layers import octets
from evsim.layers.context import Context
from evsim.layers.integer_synapses import IntegerSynapses
from evsim.layers.packing import inputs_within, largest_sum
from evsim.primitives import LIF, Conv2d, Linear, Shape
from evsim.quantized import IntegerLayer, Quantization
from evsim.spikes import IntegerMap, RealMap, SpikeMap

many = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)
WAYS = [("layer", 1), ("layer", 3), ("time", 1), ("time", 3)]


@pytest.fixture(autouse=True)
def _every_call_is_shared(monkeypatch):
    """Let threads share however little there is."""
    monkeypatch.setattr(threads, "SMALL", 0)


class Outputs:
    """Observer that keeps what every stage emits: whole numbers [T, P, C] by timestep."""

    def __init__(self):
        self.maps = {}

    def observe(self, stage, inputs, output):  # noqa: ARG002
        """Keep what a stage emits."""
        if output is not None:
            kept = self.maps.setdefault(stage.name, {})
            values = numbers(output)
            for t in range(output.steps):
                kept[output.start + t] = values[t if len(values) > 1 else 0]


def numbers(packet):
    """Return a packet's values as whole numbers [T, P, C]."""
    if isinstance(packet, SpikeMap):
        return packet.dense().astype(np.int64)
    return packet.values[..., : packet.channels].astype(np.int64)


@many
@given(st.data(), st.sampled_from(["int8", "int16"]), st.sampled_from(WAYS), st.booleans())
def test_any_network_is_the_twin(data, weights, way, apart):
    """Every map of every stage, and the logits, are the twin's; in both orders, with threads, fused or not."""
    schedule, count = way
    network = data.draw(networks())
    source = data.draw(sources(network))
    if network.spec.kind != "events":
        source = np.clip(source, -7.9, 7.9)
    integers = quantized(network, weights, source)
    steps = network.spec.timesteps
    maps = fixed_twin.run(integers, source, steps)
    simulator, outputs = Simulator(integers, schedule=schedule, threads=count, apart=apart), Outputs()
    try:
        logits = simulator.run(source, [outputs])
    except NetworkError as error:
        if "leave 32 bits" not in str(error):  # of great integers, which the twin sums up in 64
            raise
        return
    assert np.array_equal(logits, fixed_twin.logits(integers, maps))
    for name, frames in outputs.maps.items():
        for t, frame in frames.items():
            wanted = maps[name][t if len(maps[name]) > 1 else 0]
            assert np.array_equal(frame, wanted.reshape(frame.shape).astype(np.int64)), (name, t)


@st.composite
def layers(draw):
    """Draw a layer of any geometry, its integers, the shape of its input, and how densely that fires."""
    rng = np.random.default_rng(draw(seeds))
    groups = draw(st.sampled_from([1, 1, 1, 2]))
    inputs = draw(st.sampled_from([64, 128, 192])) if groups > 1 else draw(st.integers(1, 300))
    outputs = draw(st.sampled_from([64, 128, 320])) if groups > 1 else draw(st.integers(1, 400))
    inputs, outputs = inputs * groups, outputs * groups
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 20))
    if draw(st.booleans()) and groups == 1:
        node = Linear("layer", ("x",), inputs, outputs)
        size = (inputs, outputs)
    else:
        kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
        node = Conv2d(
            "layer", ("x",), inputs, outputs, kernel, (draw(st.integers(1, 3)), draw(st.integers(1, 3))),
            (draw(st.integers(0, 2)), draw(st.integers(0, 2))), True, False, groups=groups,
            dilation=(draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        )  # fmt: skip
        size = (*kernel, inputs // groups, outputs)
    dtype = draw(st.sampled_from([np.int8, np.int16]))
    most = draw(st.sampled_from([3, np.iinfo(dtype).max]))
    weight = rng.integers(-most, most + 1, size).astype(dtype)
    if draw(st.booleans()):
        weight = np.abs(weight)  # sums as great as they get
    layer = IntegerLayer(weight, rng.integers(1, 9, outputs).astype(np.int32), _offsets(rng, outputs))
    return node, layer, Shape("spikes", inputs, height, width), draw(st.sampled_from([0.01, 0.2, 0.6, 1.0])), rng


def _offsets(rng, outputs):
    return rng.integers(-(2**16), 2**16, outputs).astype(np.int32)


def layer_of(node, layer, source, workers, *, streaming=False, neurons=None, of_image=False, fraction=0):
    """Return the running form of a layer; skip what no map is large enough for."""
    try:
        target = node.infer((source,))
    except NetworkError:
        return None
    quantization = Quantization(weights=layer.weight.dtype.name, layers={"layer": layer}, fraction=12)
    context = Context(np.dtype(np.int32), workers, streaming, quantization)
    return IntegerSynapses(node, source, target, layer, fraction, context, neurons, {}, of_image=of_image)


def currents(node, layer, x):
    """Return the currents of x [T, H, W, C] in whole numbers of 64 bits: [T, P, C_out]."""
    if isinstance(node, Linear):
        sums = x @ layer.weight.astype(np.int64)
    else:
        pairs = zip(np.split(x, node.groups, axis=3), np.split(layer.weight, node.groups, axis=3), strict=True)
        sums = np.concatenate([exact_conv(*pair, node) for pair in pairs], axis=3)
    out = sums * layer.multiplier.astype(np.int64) + layer.offset
    return out.reshape(len(x), -1, node.out_channels)


def exact_conv(x, weight, node):
    """Return a convolution of whole numbers: sums of them are exact in float64."""
    return np.rint(
        naive.conv(x.astype(np.float64), weight.astype(np.float64), node.stride, node.padding, node.dilation)
    ).astype(np.int64)


@many
@given(layers(), st.integers(1, 5), st.sampled_from([1, 3]), st.booleans())
def test_layers_of_any_geometry(drawn, steps, count, fused):
    """Spikes through a layer of any size, stride, dilation and groups give the sums of plain NumPy, or its neurons'."""
    node, layer, source, rate, rng = drawn
    neurons = LIF("lif", ("layer",), v_threshold=4.0) if fused else None
    form = layer_of(node, layer, source, Workers(count), neurons=neurons)
    if form is None:
        return
    spikes = rng.random((steps, source.positions, source.channels)) < rate
    wanted = currents(node, layer, spikes.reshape(steps, source.height, source.width, -1).astype(np.int64))
    packet = SpikeMap.from_dense(spikes, source.height, source.width)
    out = numbers(form.step(packet))
    if not fused:
        assert np.array_equal(out, wanted)
        stream = rng.integers(-99, 99, (steps, *wanted.shape[1:])).astype(np.int32)
        added = form.step(packet, padded_map(stream, form.target))
        assert np.array_equal(numbers(added), wanted + stream)
        return
    v = np.zeros(wanted.shape[1:], np.int64)
    for t in range(steps):
        v += (wanted[t] - v) >> 1
        assert np.array_equal(out[t] != 0, v >= 4 << 12), t
        v[v >= 4 << 12] = 0


def padded_map(values, shape):
    """Return whole numbers as a map of real values, channels padded as on their way."""
    steps, positions, channels = values.shape
    wide = np.zeros((steps, positions, -(-channels // 32) * 32), np.int32)
    wide[..., :channels] = values
    return RealMap(0, steps, wide, channels, shape.height, shape.width)


@many
@given(layers(), st.integers(1, 3), st.sampled_from([1, 3]), st.sampled_from([1, 6, 300]))
def test_layers_on_integers(drawn, steps, count, most):
    """Integers, in planes of bits or by value, give the sums of plain NumPy; where too great, they are refused."""
    node, layer, source, rate, rng = drawn
    if node.groups > 1:
        return
    source = Shape("integers", source.channels, source.height, source.width)
    form = layer_of(node, layer, source, Workers(count))
    if form is None:
        return
    values = rng.integers(0, most + 1, (steps, source.positions, source.channels)) * (
        rng.random((steps, source.positions, source.channels)) < rate
    )
    packet = IntegerMap(0, values.astype(np.int32), source.height, source.width)
    wanted = currents(node, layer, values.reshape(steps, source.height, source.width, -1))
    if int(values.max()) * largest_sum(layer.weight) > 2**31 - 1:
        with pytest.raises(NetworkError, match="may leave 32 bits"):
            form.step(packet)
        return
    out = numbers(form.step(packet))
    assert np.array_equal(out, wanted.astype(np.int32))  # multipliers may take these out of range: they wrap


@many
@given(seeds, st.integers(1, 7), st.integers(1, 5), st.integers(1, 3), st.integers(0, 3), st.sampled_from([1, 3]))
def test_the_convolution_of_an_image(seed, rows, columns, stride, padding, count):
    """An image of 16 bits through windows of any size gives the sums of plain NumPy; with neurons all its timesteps."""
    rng = np.random.default_rng(seed)
    channels, outputs = int(rng.integers(1, 5)), int(rng.integers(1, 150))
    height, width = (int(size) for size in rng.integers(1, 24, 2))
    node = Conv2d("layer", ("x",), channels, outputs, (rows, columns), (stride,) * 2, (padding,) * 2, True, False)
    weight = rng.integers(-127, 128, (rows, columns, channels, outputs)).astype(np.int8)
    layer = IntegerLayer(weight, rng.integers(1, 9, outputs).astype(np.int32), _offsets(rng, outputs))
    source, steps = Shape("real", channels, height, width), int(rng.integers(1, 4))
    neurons = LIF("lif", ("layer",), v_threshold=8.0) if seed % 2 else None
    form = layer_of(node, layer, source, Workers(count), neurons=neurons, of_image=True, fraction=7)
    if form is None:
        return
    image = rng.integers(-(2**15) + 1, 2**15, (1, height * width, channels)).astype(np.int32)
    sums = exact_conv(image.reshape(1, height, width, channels).astype(np.int64), weight, node)
    wanted = ((sums * layer.multiplier) >> 7).reshape(-1, outputs) + layer.offset
    out = numbers(form.step(RealMap(0, steps, image, channels, height, width)))
    if neurons is None:
        assert np.array_equal(out[0], wanted)
        return
    v = np.zeros(wanted.shape, np.int64)
    for t in range(steps):
        v += (wanted - v) >> 1
        assert np.array_equal(out[t] != 0, v >= 8 << 12), t
        v[v >= 8 << 12] = 0


def _inputs_of(rng, source, steps, most, rate):
    values = rng.integers(1, most + 1, (steps, source.positions, source.channels))
    return values * (rng.random(values.shape) < rate)


def _packet_of(values, source, start):
    if source.kind == "spikes":
        return SpikeMap.from_dense(values > 0, source.height, source.width, start)
    return IntegerMap(start, values.astype(np.int32), source.height, source.width)


@many
@given(st.data(), seeds, st.booleans(), st.sampled_from([1, 3]), st.sampled_from([1.0, 1.5, 2.0]), st.booleans())
def test_windows_of_few_inputs(data, seed, streaming, count, tau, spikes):
    """Counts of events, and spikes of few channels, add up and drive neurons as in plain NumPy, however dense."""
    rng = np.random.default_rng(seed)
    channels = data.draw(st.sampled_from([1, 16, 32, 33, 48])) if spikes else data.draw(st.integers(1, 5))
    outputs, steps = data.draw(st.integers(1, 200)), data.draw(st.integers(1, 4))
    kernel, stride = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))), data.draw(st.integers(1, 3))
    padding = data.draw(st.integers(0, 2)), data.draw(st.integers(0, 2))
    if kernel[1] == 3 and data.draw(st.booleans()):
        stride, padding = 1, (padding[0], 1)
    node = Conv2d("layer", ("x",), channels, outputs, kernel, (stride, stride), padding, True, False)
    dtype = data.draw(st.sampled_from([np.int8, np.int8, np.int16]))
    most_weight = 127 if dtype == np.int8 else 3000  # currents stay in 32 bits
    weight = rng.integers(-most_weight, most_weight + 1, (*kernel, channels, outputs)).astype(dtype)
    weight = np.abs(weight) if data.draw(st.booleans()) else weight  # sums as great as they get
    layer = IntegerLayer(weight, rng.integers(1, 9, outputs).astype(np.int32), _offsets(rng, outputs))
    size = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 40))
    source = Shape("spikes" if spikes else "integers", channels, *size)
    neurons = LIF("lif", ("layer",), tau=tau, v_threshold=4.0)
    form = layer_of(node, layer, source, Workers(count), streaming=streaming, neurons=neurons)
    if form is None:
        return
    most = 1 if spikes else data.draw(st.sampled_from([1, 3, 255, 256]))
    values = _inputs_of(rng, source, steps, most, data.draw(st.sampled_from([0.0, 0.02, 0.2, 0.5])))
    wanted = currents(node, layer, values.reshape(steps, *size, channels))
    alone = layer_of(node, layer, source, Workers(count))
    assert np.array_equal(numbers(alone.step(_packet_of(values, source, 0))), wanted)
    apart = steps if streaming else 1
    outs = [form.step(_packet_of(part, source, t)) for t, part in enumerate(np.split(values, apart))]
    fired = np.concatenate([numbers(out) for out in outs])
    rate, v = math.ceil(2**15 / tau), np.zeros(wanted.shape[1:], np.int64)
    for t in range(steps):
        v += (wanted[t] - v) * rate >> 15
        assert np.array_equal(fired[t] != 0, v >= 4 << 12), t
        v[v >= 4 << 12] = 0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("inputs", [64, 300])
@pytest.mark.parametrize("largest", [0, 1 << 24])
def test_lists_with_and_without_room_for_all(monkeypatch, stride, inputs, largest):
    """Sums are the same, whether spikes are counted before they are listed or there is room for all that could fire."""
    monkeypatch.setattr(octets, "LARGEST", largest)
    rng = np.random.default_rng(inputs + stride)
    node = Conv2d("layer", ("x",), inputs, 130, (3, 3), (stride, stride), (1, 1), True, False)
    weight = rng.integers(-9, 10, (3, 3, inputs, 130)).astype(np.int8)
    layer = IntegerLayer(weight, rng.integers(1, 9, 130).astype(np.int32), _offsets(rng, 130))
    source = Shape("spikes", inputs, 5, 19)
    for rate in (0.0, 0.3, 1.0):
        spikes = rng.random((3, source.positions, inputs)) < rate
        wanted = currents(node, layer, spikes.reshape(3, 5, 19, inputs).astype(np.int64))
        form = layer_of(node, layer, source, Workers(3))
        assert np.array_equal(numbers(form.step(SpikeMap.from_dense(spikes, 5, 19))), wanted), rate


@given(seeds)
def test_how_many_inputs_fit(seed):
    """No choice of that many inputs sums up beyond the bound; some choice of one more does."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (int(rng.integers(1, 400)), int(rng.integers(1, 5)))).astype(np.int8)
    most = int(rng.integers(127, 20000))
    count = inputs_within(weight, most)
    signed = [np.sort(np.maximum(sign * weight.astype(int), 0), axis=0)[::-1].cumsum(axis=0) for sign in (1, -1)]
    sums = np.maximum(*(part.max(axis=1) for part in signed))
    assert count == 0 or sums[min(count, len(weight)) - 1] <= most
    assert count >= len(weight) or sums[count] > most


def test_an_image_out_of_range_is_refused():
    """An image beyond what 16 bits hold is one line that names the value."""
    integers = _image_network()
    with pytest.raises(RecordingError, match=r"holds 9, but images of this integer network stay below 8"):
        Simulator(integers).run(np.full((1, 4, 4), 9.0))


def _image_network():
    from evsim.inputspec import InputSpec
    from evsim.network import Input, Network, TimeMean, TokenMean
    from evsim.quantizing import quantize

    nodes = (
        Input("input", (), 1, 4, 4, "real"),
        Conv2d("conv", ("input",), 1, 3, (3, 3), (1, 1), (1, 1), True, False),
        LIF("lif", ("conv",)),
        TokenMean("mean", ("lif",)),
        Linear("head", ("mean",), 3, 2),
        TimeMean("time", ("head",)),
    )
    rng = np.random.default_rng(0)
    weights = {
        "conv.weight": rng.standard_normal((3, 3, 1, 3)).astype(np.float32),
        "conv.bias": np.zeros(3, np.float32),
        "head.weight": rng.standard_normal((3, 2)).astype(np.float32),
        "head.bias": np.zeros(2, np.float32),
    }
    return quantize(
        Network("net", "test", "standard", InputSpec("image", 1, 4, 4, 2, (0.0,), (1.0,)), nodes, weights)
    ).network


@given(seeds, st.sampled_from([np.int8, np.int16]))
@settings(max_examples=20, deadline=None)
def test_layers_on_numbers_of_32_bits(seed, dtype):
    """A linear layer on fixed-point numbers beyond 16 bits adds up in 64, and shifts its products down."""
    rng = np.random.default_rng(seed)
    most = np.iinfo(dtype).max
    inputs, outputs = int(rng.integers(1, 9)), int(rng.integers(1, 70))
    weight = rng.integers(-most, most + 1, (inputs, outputs)).astype(dtype)
    layer = IntegerLayer(weight, rng.integers(1, 9, outputs).astype(np.int32), _offsets(rng, outputs))
    node = Linear("layer", ("x",), inputs, outputs)
    form = layer_of(node, layer, Shape("real", inputs, 1, 2), Workers(1), fraction=16)
    values = rng.integers(-(2**24), 2**24, (3, 2, inputs))
    wanted = ((values @ weight.astype(np.int64)) * layer.multiplier >> 16) + layer.offset
    out = form.step(padded_map(values.astype(np.int32), Shape("real", inputs, 1, 2)))
    assert np.array_equal(numbers(out), wanted)

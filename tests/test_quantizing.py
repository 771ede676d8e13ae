"""Integer networks: what the quantizer proves holds, what rounds nothing is exact, grids are kept."""

from __future__ import annotations

from dataclasses import replace

import dense
import fixed_twin
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import networks, sources
from strategies import seeds

import evsim
from evsim import demo
from evsim.errors import NetworkError, OptionError
from evsim.inputspec import InputSpec
from evsim.magnitudes import check_magnitudes, refused
from evsim.network import LIF, Conv2d, Input, Linear, MaxPool, Network, TimeMean, TokenMean
from evsim.primitives import TimeReduction
from evsim.quantized import fixed, rate_of, scaling, threshold_of
from evsim.quantizing import Calibration, calibrate, quantize, scales
from evsim.reach import reaches

random_networks = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True)

MOVING = {"MaxPool", "SumPool", "Flatten", "Slice", "And", "IAnd", "Mask", "HeadSum", "TokenSum", "Delay", "Input"}
"""What moves, compares or counts, and so never rounds."""


def quantized(network, weights, source):
    """Return the integer network, proven for a source; put those aside that have none."""
    assume(not refused(network))
    try:
        most = max(1, int(np.abs(source).max()))
        return quantize(network, weights, largest=most, timesteps=network.spec.timesteps).network
    except NetworkError as error:
        assume(all(part not in str(error) for part in ("round a cycle", "no whole number", "more than 30 bits")))
        raise


def exact_nodes(network):
    """Return the nodes up to which integers round nothing: their values are those of any exact arithmetic."""
    grid = network.quantization.fraction
    exact = set()
    for node in network.nodes:
        kind = type(node).__name__
        shapes = [network.shapes[name] for name in node.inputs]
        own = kind in MOVING
        if kind in ("Conv2d", "Linear"):
            own = shapes[0].kind != "real" and np.log2(shapes[0].unit).is_integer()
        if kind == "LIF":
            thresholds = network.weights[f"{node.name}.v_threshold"] if node.channels else node.v_threshold
            whole = np.ldexp(np.asarray(thresholds, np.float64), grid)
            leaks = node.parametric or (node.tau != 1.0 if node.decay_input else node.decay not in (0.0, 1.0))
            own = not leaks and bool((whole == np.rint(whole)).all() and (whole >= 1).all())
        if kind in ("Add", "Concatenate", "TimeReduction"):
            own = all(shape.kind == "real" or float(np.ldexp(shape.unit, grid)).is_integer() for shape in shapes)
        if own and all(name in exact for name in node.inputs):
            exact.add(node.name)
    return exact if network.spec.kind == "events" else set()


@random_networks
@given(st.data(), st.sampled_from(["int8", "int16"]))
def test_what_is_proven_holds(data, weights):
    """No value of the twin, which has 64 bits, lies outside the span that was proven for it."""
    network = data.draw(networks())
    source = data.draw(sources(network))
    integers = quantized(network, weights, np.clip(source, -7.9, None))
    maps = fixed_twin.run(integers, np.clip(source, -7.9, 7.9) if network.spec.kind != "events" else source,
                          network.spec.timesteps)  # fmt: skip
    told = check_magnitudes(
        integers, reaches(integers.quantization), max(1, int(np.abs(source).max())), network.spec.timesteps
    )
    for name, values in maps.items():
        span = told.spans[name]
        assert span.low <= values.min(), name
        assert values.max() <= span.high < 2**30, name


@random_networks
@given(st.data(), st.sampled_from(["int8", "int16"]))
def test_integers_without_rounding_are_the_dequantized_floats(data, weights):
    """Up to the first leak or mean, the twin has the very values of the dequantized network in float64."""
    network = data.draw(networks(kinds=("events",)))
    source = data.draw(sources(network))
    integers = quantized(network, weights, source)
    exact = exact_nodes(integers)
    assume(len(exact) > 1)
    maps = fixed_twin.run(integers, source, network.spec.timesteps)
    floats, _ = dense.run(integers, source, network.spec.timesteps)
    for name in exact:
        real = integers.shapes[name].kind == "real"
        values = np.ldexp(maps[name].astype(np.float64), -integers.quantization.fraction if real else 0)
        assert np.array_equal(values, floats[name].astype(np.float64)), name


def line(weight, bias=None, scale=None, *, kind="events", threshold=1.0, timesteps=2):
    """Return a network of one layer, IF neurons and a linear readout; all of one position."""
    inputs, outputs = weight.shape
    nodes = (
        Input("input", (), inputs, 1, 1, "integers" if kind == "events" else "real"),
        Linear("layer", ("input",), inputs, outputs, bias=bias is not None, batch_norm=scale is not None),
        LIF("lif", ("layer",), v_threshold=threshold, decay_input=False, decay=1.0, soft_reset=True),
        Linear("head", ("lif",), outputs, 2),
        TimeReduction("sum", ("head",)),
    )
    weights = {"layer.weight": weight.astype(np.float32), "head.weight": np.eye(outputs, 2, dtype=np.float32)}
    weights["head.bias"] = np.zeros(2, np.float32)
    if bias is not None:
        weights["layer.bias"] = bias.astype(np.float32)
    if scale is not None:
        weights |= {"layer.bn_scale": scale, "layer.bn_shift": np.zeros(outputs)}
    spec = InputSpec(kind, inputs, 1, 1, timesteps, *(((0.5,) * inputs,) * 2 if kind == "image" else ()))
    return Network("line", "test", "standard", spec, nodes, weights)


def test_the_least_multiplier_holds_the_largest_weight():
    """Nothing is clipped, and with a multiplier less by one something would be."""
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((40, 7)) * rng.choice([1e-3, 0.1, 3.0], 7)
    multipliers = scales.least_multipliers(wide, 16, 127)
    largest = np.abs(np.ldexp(wide, 16)).max(axis=0)
    assert (np.rint(largest / multipliers) <= 127).all()
    assert (largest[multipliers > 1] / (multipliers[multipliers > 1] - 1) > 127).all()
    assert (scales.least_multipliers(np.zeros((3, 2)), 16, 127) == 1).all()


def test_weights_on_a_grid_keep_their_integers():
    """What quantisation-aware training left, BatchNorm on top: every integer comes back, the steps nearly."""
    rng = np.random.default_rng(1)
    steps = rng.uniform(1e-3, 1e-1, 6)
    integers = rng.integers(-100, 101, (30, 6))
    scale = rng.choice([-1.0, 0.7, 1.9], 6)
    outcome = quantize(line(integers * steps, scale=scale))
    layer = outcome.quantization.layers["layer"]
    assert np.array_equal(layer.weight, integers * np.sign(scale))
    off = np.ldexp(layer.multiplier.astype(float), -outcome.quantization.fraction) / (steps * np.abs(scale)) - 1
    assert np.abs(off).max() < 0.5 / 127
    assert outcome.layers[0].grid.startswith("kept")
    assert outcome.layers[0].saturated == 0


def test_a_grid_of_whole_units_is_kept_to_the_last_bit():
    """Steps that are multiples of 2^-16 lose nothing, also where one channel is empty."""
    integers = np.random.default_rng(2).integers(-127, 128, (20, 3))
    integers[:, 1] = 0
    outcome = quantize(line(integers * np.array([3.0, 1.0, 1024.0]) * 2.0**-16))
    assert outcome.layers[0].grid == "kept"
    assert outcome.layers[0].error == 0.0
    assert np.array_equal(outcome.quantization.layers["layer"].weight, integers)


def test_int16_grids_are_found_too():
    """Sixteen bits of quantisation-aware training are kept as such."""
    integers = np.random.default_rng(3).integers(-32767, 32768, (20, 3))
    integers[0] = 32767
    outcome = quantize(line(integers * 2.0**-14), "int16")
    assert np.array_equal(outcome.quantization.layers["layer"].weight, integers)
    assert outcome.layers[0].grid == "kept"


def test_a_grid_too_fine_is_said_to_be_lost():
    """Steps far below 2^-16 cannot be kept: the line says so, and the weights are rounded like any."""
    integers = np.random.default_rng(4).integers(-127, 128, (20, 2))
    outcome = quantize(line(integers * 1e-6))
    assert "2 of 2 channels cannot be kept: steps of 1e-06 are no multiples of 2^-16" in outcome.layers[0].grid


def test_trained_weights_lie_on_no_grid():
    """Of the bundled model, which was trained in floats, no layer is taken for quantized."""
    outcome = quantize(evsim.load(demo.model_path()))
    assert {layer.grid for layer in outcome.layers} == {""}
    assert outcome.quantization.fraction == 16
    assert outcome.bytes_after < outcome.bytes_before / 3


def test_large_weights_take_coarser_units():
    """Where 2^-16 would overflow, F is the greatest that does not, and the node that limits it is named."""
    outcome = quantize(line(np.full((3, 2), 100.0), timesteps=4))
    fraction = outcome.quantization.fraction
    assert "layer" in outcome.limit or "lif" in outcome.limit
    assert 3 * 100 * 255 * 4 * 2**fraction < 2**30 < 3 * 100 * 255 * 4 * 2 ** (fraction + 2)


def test_more_counts_than_proven_are_refused_with_what_to_do():
    """A recording with greater counts than any that were proven is one line."""
    network = quantize(line(np.full((3, 2), 100.0))).network
    with pytest.raises(NetworkError, match=r"30 bits.*quantize anew with `largest=100000` and `timesteps=2`"):
        check_magnitudes(network, reaches(network.quantization), 100_000)


@pytest.mark.parametrize("weights", ["int8", "int16"])
def test_dequantized_weights_are_the_integers(weights):
    """Floats of an integer network are ``w_q M 2^-F``, exactly, and BatchNorm is gone."""
    original = evsim.load(demo.model_path())
    network = quantize(original, weights).network
    for name, layer in network.quantization.layers.items():
        exact = layer.weight.astype(np.float64) * layer.multiplier * 2.0**-network.quantization.fraction
        assert np.array_equal(network.weights[f"{name}.weight"], exact)
        assert np.array_equal(network.weights[f"{name}.bias"], layer.offset * 2.0**-network.quantization.fraction)
    assert not any(node.batch_norm for node in network.synapses)
    original_sizes = {key for key in original.weights if "bn_" not in key}
    assert original_sizes <= set(network.weights)
    assert len(list(network.weights)) == len(network.weights)


def test_calibration_changes_currents_less():
    """On the data that it saw, the chosen multipliers change the currents of a layer less than the least ones do."""
    network = evsim.load(demo.model_path())
    samples = [evsim.read(path, network) for path in demo.recordings().values()]
    seen = calibrate(network, samples, len(samples))
    assert seen.samples == len(samples)
    plain, chosen = quantize(network), quantize(network, calibration=seen)
    sums = {}
    for outcome in (plain, chosen):
        for name, rows in seen.rows.items():
            exact = quantize(network, "int16").network.weights[f"{name}.weight"]
            change = outcome.network.weights[f"{name}.weight"].astype(np.float64) - exact
            wide = change.reshape(-1, change.shape[-1])
            error = np.square(rows.reshape(len(rows), -1).astype(np.float64) @ wide).sum()
            sums.setdefault(name, []).append(error)
    assert all(after <= before * 1.001 for before, after in sums.values())
    assert min(after / before for before, after in sums.values()) < 0.99


def test_a_weight_that_no_data_use_is_clipped():
    """The largest weight of a channel, on an input that never fires, costs the others no digits."""
    rng = np.random.default_rng(6)
    wide = rng.standard_normal((50, 3)) * 0.1
    wide[7] = 5.0
    rows = (rng.random((200, 50)) < 0.3).astype(float)
    rows[:, 7] = 0.0
    chosen, least = scales.best_multipliers(wide, rows, 16, 127), scales.least_multipliers(wide, 16, 127)
    assert (chosen < 0.35 * least).all()
    rows[:, 7] = 1.0
    assert (scales.best_multipliers(wide, rows, 16, 127) > 0.9 * least).all()


def test_calibration_rows_are_what_the_layer_read():
    """Rows times weights are currents that the layer gave, BatchNorm aside: of a strided, padded convolution too."""
    rng = np.random.default_rng(5)
    nodes = (
        Input("input", (), 2, 9, 7, "integers"),
        Conv2d("conv", ("input",), 2, 3, (3, 2), (2, 1), (1, 1), batch_norm=False),
        LIF("lif", ("conv",)),
        MaxPool("pool", ("lif",)),
        TokenMean("mean", ("pool",)),
        TimeMean("time", ("mean",)),
        Linear("head", ("time",), 3, 2),
    )
    weights = {
        "conv.weight": rng.standard_normal((3, 2, 2, 3)).astype(np.float32),
        "head.weight": rng.standard_normal((3, 2)).astype(np.float32),
        "head.bias": np.zeros(2, np.float32),
    }
    network = Network("conv", "test", "standard", InputSpec("events", 2, 9, 7, 3), nodes, weights)
    source = rng.poisson(0.3, (3, 2, 9, 7))
    seen = calibrate(network, [evsim.api.Sample(source)], 1)
    maps, _ = dense.run(network, source, 3)
    currents = seen.rows["conv"].reshape(-1, 12).astype(np.float64) @ weights["conv.weight"].reshape(12, 3)
    known = maps["conv"].reshape(-1, 3)
    distances = np.abs(currents[:, np.newaxis] - known).max(axis=2).min(axis=1)
    assert distances.max() < 1e-6
    assert len(seen.rows["conv"]) == len(known)
    assert seen.largest == source.max()


def test_images_beyond_eight_take_a_coarser_input():
    """Pixels up to 255 are proven to fit into 16 bits with a fraction of 7; those within 8 keep 12."""
    plain = line(np.eye(2) * 0.01, kind="image")
    assert quantize(plain).quantization.input_fraction == 12
    assert quantize(plain, calibration=Calibration(1, 255.0)).quantization.input_fraction == 7
    spec = replace(plain.spec, mean=(0.0, 0.0), std=(0.05, 0.05))
    assert quantize(replace(plain, spec=spec)).quantization.input_fraction == 10


def test_what_cannot_be_quantized_is_one_line():
    """Unknown weights, a network that is quantized, one without integer form, infinite weights: each names itself."""
    network = line(np.ones((2, 2)))
    with pytest.raises(OptionError, match="`weights` must be int8 or int16, got int4"):
        quantize(network, "int4")
    with pytest.raises(OptionError, match="quantized already"):
        quantize(quantize(network).network)
    with pytest.raises(OptionError, match="`largest`"):
        quantize(network, largest=0)
    infinite = replace(network, weights={**network.weights, "layer.weight": np.full((2, 2), np.inf, np.float32)})
    with pytest.raises(NetworkError, match="layer has weights that are not finite"):
        quantize(infinite)
    own = Linear("layer", ("input",), 2, 2, bias=False)
    from evsim.primitives import Neuron

    nodes = (network.nodes[0], own, Neuron("neuron", ("layer",)), *(replace(n, inputs=(f,)) for n, f in zip(
        network.nodes[3:], ("neuron", "head"), strict=True)))  # fmt: skip
    with pytest.raises(NetworkError, match=r"neuron \(Neuron\) cannot run in integers"):
        quantize(replace(network, nodes=nodes))


@given(seeds)
def test_integers_of_neurons_are_the_formulas(seed):
    """Rates, thresholds and scales are rounded as docs/quantization.md says."""
    rng = np.random.default_rng(seed)
    tau, threshold, w = rng.uniform(1.0, 9.0), rng.uniform(1e-6, 4.0), rng.normal()
    lif = LIF("lif", ("x",), tau=tau, v_threshold=threshold)
    assert rate_of(lif, {}) == int(np.ceil(2**15 / tau))
    assert threshold_of(lif, {}, 16).tolist() == [max(1, round(threshold * 2**16))]
    plif = replace(lif, parametric=True)
    assert rate_of(plif, {"w": np.array([w])}) == round(2**15 / (1 + np.exp(-w)))
    assert rate_of(replace(plif, decay_input=False), {"w": np.array([w])}) == round(2**15 * (1 - 1 / (1 + np.exp(-w))))
    assert [rate_of(plif, {"w": np.array([each])}) for each in (-1e4, -40.0, 0.0, 40.0, 1e4)] == [
        0,
        0,
        2**14,
        2**15,
        2**15,
    ]
    assert [x.tolist() for x in scaling([0.125, 2.0], 16)[:1]] == [[8192, 131072]]
    factor, shift = scaling(1 / 3, 16)
    assert (int(factor), shift) == (round(2**31 / 3), 15)
    assert fixed([0.5, 1.5, -0.5], 0).tolist() == [0, 2, 0]
    with pytest.raises(NetworkError, match="does not fit into 32 bits"):
        fixed([1.0, 4e4], 16)

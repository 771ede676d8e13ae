"""NIR graphs: every node by its equation, sub-graphs, cycles, and a refusal by name of whatever cannot be run."""

from __future__ import annotations

import numpy as np
import pytest
from nir_files import Cell, chain, ends, trains, write

from evsim import api, modelfile
from evsim.converters import NirOptions, convert
from evsim.errors import GraphError

DT = 1e-3


def drive(steps=40, channels=6, seed=5, most=3):
    """Return counts [T, C], of which many are zero."""
    return np.random.default_rng(seed).integers(0, most, (steps, channels))


def simulated(path, values, options, **more):
    """Run a graph on counts [T, C] or [T, C, H, W]; the model is stored and loaded in between."""
    network = convert(path, options).network
    modelfile.save(network, path.with_suffix(".h5"))
    shaped = values if values.ndim == 4 else values[:, :, np.newaxis, np.newaxis]
    loaded = modelfile.load(path.with_suffix(".h5"))
    return api.simulate(loaded, shaped, precision="float64", record_spikes=True, **more)


def of_neurons(kind, n=6, per_neuron=True, seed=1):
    """Return sound parameters of a type of neuron, one for all or one for each."""
    rng = np.random.default_rng(seed)

    def some(low, high):
        return rng.uniform(low, high, n) if per_neuron else np.full(n, rng.uniform(low, high))

    own = {
        "IF": {"r": some(0.4, 1.1)}, "I": {"r": some(0.4, 1.1)},
        "LIF": {"tau": some(2e-3, 9e-3), "r": some(1, 3), "v_leak": some(-0.1, 0.1)},
        "LI": {"tau": some(2e-3, 9e-3), "r": some(1, 3), "v_leak": some(-0.1, 0.1)},
        "Threshold": {"threshold": some(0.5, 1.5)},
    }.get(kind) or {
        "tau_syn": some(2e-3, 9e-3), "tau_mem": some(2e-3, 9e-3), "r": some(2, 5), "v_leak": some(-0.1, 0.1),
        "w_in": some(0.7, 1.8),
    }  # fmt: skip
    if kind in ("IF", "LIF", "CubaLIF"):
        own |= {"v_threshold": some(0.6, 1.2), "v_reset": some(-0.2, 0.1)}
    return own


CASES = [
    (kind, options)
    for kind in ("IF", "LIF", "CubaLIF")
    for options in (
        {},
        {"discretisation": "exact"},
        {"reset": "subtract"},
        {"spikes": "several", "reset": "subtract"},
        {"floor": -0.05, "reset": "subtract", "at_threshold": "fire"},
    )
]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_spiking_neurons_follow_their_equations(kind, options, tmp_path):
    """Every spike equals that of the equations of docs/nir.md, with constants of each neuron, for each option."""
    values = of_neurons(kind)
    if options.get("reset") == "subtract":
        values["v_reset"] = np.zeros(6)
    first, last = ends([6], [6])
    path = write(tmp_path / "a.nir", *chain(first, ("n", kind, values), last))
    source = drive()
    run = simulated(path, source, NirOptions(timestep=DT, **options))
    cell = Cell(
        kind, values, DT, options.get("discretisation") == "exact", options.get("spikes") == "several",
        options.get("reset") == "subtract", options.get("at_threshold") == "fire", options.get("floor"),
    )  # fmt: skip
    expected = np.array([cell.step(x) for x in source])
    assert expected.any()
    assert np.array_equal(trains(run)["n"].reshape(expected.shape), expected)
    assert run.logits.tolist() == expected.sum(axis=0).tolist()


@pytest.mark.parametrize("kind", ["I", "LI", "CubaLI"])
@pytest.mark.parametrize("readout", ["sum", "max", "last"])
def test_integrators_emit_their_potential(kind, readout, tmp_path):
    """Potentials come out, and are read out as the option says."""
    values = of_neurons(kind)
    first, last = ends([6], [6])
    path = write(tmp_path / "a.nir", *chain(first, ("n", kind, values), last))
    source = drive()
    run = simulated(path, source, NirOptions(timestep=DT, readout=readout))
    cell = Cell(kind, values, DT)
    emitted = np.array([cell.step(x) for x in source])
    expected = {"sum": emitted.sum(axis=0), "max": emitted.max(axis=0), "last": emitted[-1]}[readout]
    np.testing.assert_allclose(run.logits, expected, rtol=1e-12)


def test_threshold_scale_and_delay(tmp_path):
    """A bare threshold fires above it and keeps nothing, factors multiply, a delay counts whole timesteps."""
    first, last = ends([6], [6])
    factors = np.linspace(0.5, 2.0, 6)
    path = write(tmp_path / "a.nir", *chain(
        first, ("s", "Scale", {"scale": factors}), ("d", "Delay", {"delay": np.full(6, 3e-3, np.float32)}),
        ("n", "Threshold", of_neurons("Threshold")), last,
    ))  # fmt: skip
    source = drive()
    run = simulated(path, source, NirOptions(timestep=DT))
    late = np.concatenate([np.zeros((3, 6)), source[:-3] * factors])
    expected = late > of_neurons("Threshold")["threshold"]
    assert np.array_equal(trains(run)["n"].reshape(40, 6), expected)


def convolved(x, weight, bias, stride, padding, dilation, groups):
    """Return a convolution [C, H, W] by loops."""
    outputs, inner, rows, columns = weight.shape
    padded = np.pad(x, ((0, 0), (padding[0], padding[0]), (padding[1], padding[1])))
    height = (padded.shape[1] - (rows - 1) * dilation[0] - 1) // stride[0] + 1
    width = (padded.shape[2] - (columns - 1) * dilation[1] - 1) // stride[1] + 1
    out = np.zeros((outputs, height, width))
    for o in range(outputs):
        start = (o // (outputs // groups)) * inner
        for i in range(height):
            for j in range(width):
                taps = padded[start : start + inner, i * stride[0] :, j * stride[1] :]
                taps = taps[
                    :, : (rows - 1) * dilation[0] + 1 : dilation[0], : (columns - 1) * dilation[1] + 1 : dilation[1]
                ]
                out[o, i, j] = (taps * weight[o]).sum() + bias[o]
    return out


@pytest.mark.parametrize("line", [False, True])
def test_convolutions_and_pools(line, tmp_path):
    """Convolutions of groups, dilation and uneven strides, over maps and lines; pools; Flatten in PyTorch's order."""
    rng = np.random.default_rng(2)
    size = (4, 12) if line else (4, 9, 8)
    shape = (6, 2, 3) if line else (6, 2, 3, 2)
    weight = np.round(rng.normal(size=shape), 2).astype(np.float32)
    bias = np.round(rng.normal(size=6), 2).astype(np.float32)
    settings = {"stride": 2, "padding": 1, "dilation": 2} if line else {
        "stride": np.array([2, 1]), "padding": np.array([1, 0]), "dilation": np.array([2, 3]),
    }  # fmt: skip
    conv = ("c", "Conv1d" if line else "Conv2d", {"weight": weight, "bias": bias, "groups": 2, **settings})
    source = rng.integers(0, 3, (12, *size))
    wide = source[:, :, np.newaxis] if line else source
    stride, padding, dilation = [(1, 2), (0, 1), (1, 2)] if line else [(2, 1), (1, 0), (2, 3)]
    square = weight[:, :, np.newaxis] if line else weight
    maps = np.array([convolved(x, square, bias, stride, padding, dilation, 2) for x in wide])
    given = maps.shape[1:2] + maps.shape[3:] if line else maps.shape[1:]
    tall = np.array([2, 1])
    middle = [] if line else [("p", "SumPool2d", {"kernel_size": tall, "stride": tall, "padding": np.array([0, 0])}),
                              ("q", "AvgPool2d", {"kernel_size": 2, "stride": 2, "padding": 1})]  # fmt: skip
    pooled = maps if line else pools(maps)
    cells = ("n", "IF", {"r": np.ones(given), "v_threshold": np.full(given, 0.75)})
    flat = ("f", "Flatten", {"start_dim": 0, "end_dim": -1})
    number = int(np.prod(pooled.shape[1:]))
    first, last = ends(size, [number])
    if line:
        path = write(tmp_path / "a.nir", *chain(first, conv, cells, flat, last))
        run = simulated(path, source[:, :, np.newaxis], NirOptions())
        cell = Cell("IF", {"r": 1.0, "v_threshold": 0.75}, DT)
        expected = np.array([cell.step(x) for x in maps])
        assert np.array_equal(trains(run)["n"], expected)
        assert run.logits.tolist() == expected.sum(axis=0).reshape(-1).tolist()
        return
    path = write(tmp_path / "a.nir", *chain(first, conv, *middle, flat, last))
    run = simulated(path, source, NirOptions())
    np.testing.assert_allclose(run.logits, pooled.sum(axis=0).reshape(-1), rtol=1e-12)


def test_padding_of_the_same_size_puts_an_odd_one_behind(tmp_path):
    """A kernel of even size pads as PyTorch's "same" does: an odd one goes behind the last row and column."""
    rng = np.random.default_rng(4)
    weight = np.round(rng.normal(size=(2, 1, 2, 4)), 2).astype(np.float32)
    settings = {"weight": weight, "bias": np.zeros(2), "stride": 1, "padding": "same", "dilation": 1, "groups": 1}
    first, last = ends([1, 5, 6], [60])
    nodes = (first, ("c", "Conv2d", settings), ("f", "Flatten", {"start_dim": 0, "end_dim": -1}), last)
    source = rng.integers(0, 3, (4, 1, 5, 6))
    run = simulated(write(tmp_path / "a.nir", *chain(*nodes)), source, NirOptions())
    wide = np.pad(source, ((0, 0), (0, 0), (0, 1), (1, 2)))
    expected = sum(convolved(x, weight, np.zeros(2), (1, 1), (0, 0), (1, 1), 1) for x in wide)
    np.testing.assert_allclose(run.logits, expected.reshape(-1), rtol=1e-12)


def pools(maps):
    """Return a sum over windows 2 x 1 and then a mean over windows 2 x 2 with a border of zeros."""
    summed = maps[:, :, 0:-1:2][:, :, : maps.shape[2] // 2] + maps[:, :, 1::2]
    padded = np.pad(summed, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = (padded.shape[2] - 2) // 2 + 1, (padded.shape[3] - 2) // 2 + 1
    out = np.zeros((*maps.shape[:2], height, width))
    for i in range(height):
        for j in range(width):
            out[:, :, i, j] = padded[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean(axis=(2, 3))
    return out


def recurrent(inner, **names):
    """Return a recurrent layer of 4 neurons as a sub-graph, or flat, with its weights."""
    rng = np.random.default_rng(7)
    ahead, back = (np.round(rng.normal(size=shape), 2) for shape in ((4, 3), (4, 4)))
    bias = np.round(rng.uniform(0.3, 0.9, 4), 2)
    cells = of_neurons("LIF", 4)
    w, r, n = ("Affine", {"weight": ahead, "bias": bias}), ("Linear", {"weight": back}), ("LIF", cells)
    if inner:
        begin, end = ("Input", {"shape": np.array([4])}), ("Output", {"shape": np.array([4])})
        own = ({"input": begin, "n": n, "r": r, "output": end},
               [("input", "n"), ("n", "r"), ("r", "n"), ("n", "output")])  # fmt: skip
        nodes = {"input": ("Input", {"shape": np.array([3])}), "w": w, "rec": ("NIRGraph", own),
                 "output": ("Output", {"shape": np.array([4])})}  # fmt: skip
        return (nodes, [("input", "w"), ("w", "rec"), ("rec", "output")]), ahead, bias, back, cells
    nodes = {
        "input": ("Input", {"shape": np.array([3])}),
        "w": w,
        "n": n,
        "r": r,
        "output": ("Output", {"shape": np.array([4])}),
    }
    edges = [("input", "w"), ("w", "n"), ("n", "r"), ("r", "n"), ("n", "output")]
    return (nodes | names, edges), ahead, bias, back, cells


@pytest.mark.parametrize("inner", [False, True])
def test_a_cycle_goes_back_one_timestep_later(inner, tmp_path):
    """A recurrent layer, flat or as a sub-graph, gets its own spikes of the timestep before; that is told."""
    graph, ahead, bias, back, cells = recurrent(inner)
    path = write(tmp_path / "a.nir", *graph)
    source = drive(channels=3)
    run = simulated(path, source, NirOptions(timestep=DT))
    cell, before, expected = Cell("LIF", cells, DT), np.zeros(4), []
    for x in source:
        before = cell.step(ahead @ x + bias + back @ before)
        expected.append(before)
    name = "rec.n" if inner else "n"
    assert np.array_equal(trains(run)[name].reshape(40, 4), expected)
    assert np.sum(expected) > 0
    assert f"spikes of {name} go back in a cycle one timestep later" in convert(path, NirOptions(timestep=DT)).notes


def test_a_delay_within_a_cycle_is_the_cycles_own(tmp_path):
    """A cycle with a Delay gets no other: spikes come back after its timesteps."""
    graph, ahead, bias, back, cells = recurrent(inner=False)
    nodes, edges = graph
    nodes["d"] = ("Delay", {"delay": np.full(4, 2e-3)})
    edges = [edge for edge in edges if edge != ("n", "r")] + [("n", "d"), ("d", "r")]
    path = write(tmp_path / "a.nir", nodes, edges)
    source = drive(channels=3)
    run = simulated(path, source, NirOptions(timestep=DT))
    cell, expected = Cell("LIF", cells, DT), [np.zeros(4), np.zeros(4)]
    for x in source:
        expected.append(cell.step(ahead @ x + bias + back @ expected[-2]))
    assert np.array_equal(trains(run)["n"].reshape(40, 4), expected[2:])
    assert not any("go back" in note for note in convert(path, NirOptions(timestep=DT)).notes)


def test_a_cycle_of_neurons_without_shape(tmp_path):
    """One number stands for all neurons of a cycle, whose weights tell the shape; a convolution's do not."""
    graph, ahead, bias, back, _ = recurrent(inner=False)
    nodes, edges = graph
    single = {"tau": 4e-3, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.8}
    nodes["n"] = ("LIF", single)
    source = drive(channels=3)
    run = simulated(write(tmp_path / "a.nir", nodes, edges), source, NirOptions(timestep=DT))
    cell, before, expected = Cell("LIF", single, DT), np.zeros(4), []
    for x in source:
        before = cell.step(ahead @ x + bias + back @ before)
        expected.append(before)
    assert np.array_equal(trains(run)["n"].reshape(40, 4), expected)
    maps = {"input": ("Input", {"shape": np.array([3, 4, 4])}), "output": ("Output", {"shape": np.array([3, 4, 4])})}
    same = {"weight": np.ones((3, 3, 3, 3)), "bias": np.ones(3), "stride": 1, "padding": 1, "dilation": 1, "groups": 1}
    maps |= {"n": ("LIF", single), "r": ("Conv2d", same)}
    path = write(tmp_path / "b.nir", maps, [("input", "n"), ("n", "r"), ("r", "n"), ("n", "output")])
    with pytest.raises(GraphError, match=r"nothing tells the shape of what r \(Conv2d\) gets through its cycle"):
        convert(path, NirOptions(timestep=DT))

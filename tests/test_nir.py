"""NIR graphs: every node by its equation, sub-graphs, cycles, and a refusal by name of whatever cannot be run."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from commands import evsim, refused
from nir_files import Cell, chain, ends, trains, write

from evsim import api, modelfile
from evsim.converters import ConvertOptions, NirOptions, convert
from evsim.errors import GraphError, OptionError

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


def affine(**values):
    """Return a layer of 6 x 6."""
    return ("a", "Affine", {"weight": np.eye(6), "bias": np.ones(6)} | values)


LIF = of_neurons("LIF")
CUBA = of_neurons("CubaLIF")
CONV = {"weight": np.ones((2, 3, 2, 2)), "bias": np.ones(2), "stride": 1, "padding": 0, "dilation": 1, "groups": 1}
REFUSED = {
    "unknown type": ([("a", "Spike", {})], "a (Spike) is of a type that evsim does not run"),
    "negative tau": ([("n", "LIF", LIF | {"tau": np.full(6, -1e-3)})], "n (LIF): tau must be above 0, got -0.001"),
    "negative tau_syn": ([("n", "CubaLIF", CUBA | {"tau_syn": np.zeros(6)})], "n (CubaLIF): tau_syn must be above 0"),
    "tau too short": ([("n", "LIF", LIF | {"tau": np.full(6, 5e-4)})], "n (LIF): tau of 0.0005 s is shorter than"),
    "missing": ([("n", "LIF", {"tau": LIF["tau"]})], "n (LIF) lacks its parameter r"),
    "nan": ([("n", "LIF", LIF | {"r": np.full(6, np.nan)})], "n (LIF): r holds NaN"),
    "text": ([("n", "LIF", LIF | {"r": "one"})], "n (LIF): r is a text"),
    "other shape": ([("n", "LIF", LIF | {"r": np.ones(5)})], "n (LIF): r has shape [5], but what it gets"),
    "reset above": ([("n", "LIF", LIF | {"v_reset": np.full(6, 2.0)})], "n (LIF): v_reset is not below v_threshold"),
    "transposed": ([affine(weight=np.ones((6, 4)))], "a (Affine): weight has shape [6, 4], outputs by inputs (is it"),
    "transposed bias": ([affine(weight=np.ones((4, 6)))], "a (Affine): bias has shape [6], but weight has 4 outputs"),
    "axes of weight": ([affine(weight=np.ones((2, 6, 6)))], "a (Affine): weight has shape [2, 6, 6], wanted 2 axes"),
    "conv on no map": ([("c", "Conv2d", CONV)], "c (Conv2d): weight has shape [2, 3, 2, 2] in 1 groups, so it takes 3"),
    "pool on no map": ([("p", "SumPool2d", {"kernel_size": 2, "stride": 2, "padding": 0})], "p (SumPool2d) pools maps"),
    "uneven delay": ([("d", "Delay", {"delay": np.linspace(1e-3, 6e-3, 6)})], "d (Delay) delays its channels dif"),
    "half a step": ([("d", "Delay", {"delay": np.full(6, 1.5e-3)})], "d (Delay) delays by 0.0015 s, which is no mul"),
    "negative delay": ([("d", "Delay", {"delay": np.full(6, -1e-3)})], "d (Delay): delay must not be negative"),
    "flatten of other": ([("f", "Flatten", {"start_dim": 0, "end_dim": -1, "input_type": np.array([5])})],
                         "f (Flatten): input_type is [5], but what it gets is of shape [6]"),
    "whole numbers": ([("f", "Flatten", {"start_dim": 0.5, "end_dim": -1})], "f (Flatten): start_dim must be 1 whole"),
}  # fmt: skip


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_run_is_refused_by_name(case, tmp_path):
    """One line names the file, the node and what is wrong; nothing is written."""
    middle, said = REFUSED[case]
    first, last = ends([6], [6])
    path = write(tmp_path / "a.nir", *chain(first, *middle, last))
    line = refused("convert", path, tmp_path / "m.h5", "--timestep", "1ms")
    assert f"a.nir: {said}" in line
    assert not (tmp_path / "m.h5").exists()


def test_maps_are_refused_by_name(tmp_path):
    """What fits no map is refused: a wrong input_shape, a half Flatten, uneven padding, a batch, an Affine."""
    first = ("input", "Input", {"shape": np.array([3, 5, 5])})
    last = ("output", "Output", {"shape": np.array([2])})
    cases = [
        (("c", "Conv2d", CONV | {"input_shape": np.array([4, 5])}), "c (Conv2d): input_shape is [4, 5]"),
        (("c", "Conv2d", CONV | {"padding": "same"}), "c (Conv2d): padding 'same' with kernel [2, 2]"),
        (("f", "Flatten", {"start_dim": 1, "end_dim": -1}), "f (Flatten) puts axes 1 to 2 of shape [3, 5, 5] together"),
        (("a", "Affine", {"weight": np.ones((2, 75)), "bias": np.ones(2)}), "a (Affine): weight has shape [2, 75]"),
        (("s", "Scale", {"scale": np.ones(5)}), "s (Scale): scale has shape [5], but what it gets is of shape"),
    ]
    for middle, said in cases:
        path = write(tmp_path / "a.nir", *chain(first, middle, last))
        with pytest.raises(GraphError) as caught:
            convert(path)
        assert said in str(caught.value)
    four = ("input", "Input", {"shape": np.array([1, 3, 5, 5])})
    with pytest.raises(GraphError, match=r"input \(Input\): shape is .* without a batch"):
        convert(write(tmp_path / "a.nir", *chain(four, last)))


def test_graphs_are_refused_by_name(tmp_path):
    """Edges to nowhere, two inputs, a cycle without neurons, a node that nothing leads to, a missing graph."""
    one, out = ("Input", {"shape": np.array([2])}), ("Output", {"shape": np.array([2])})
    linear = ("Linear", {"weight": np.eye(2)})
    base = {"i": one, "o": out, "a": linear}
    cases = [
        (base, [("i", "a"), ("a", "b"), ("a", "o")], "an edge names b, which is no node"),
        (base | {"j": one}, [("i", "a"), ("a", "o")], "2 nodes of type Input (i, j)"),
        ({"i": one, "a": linear}, [("i", "a")], "0 nodes of type Output"),
        (base | {"b": linear}, [("i", "a"), ("a", "b"), ("b", "a"), ("a", "o")], "a cycle without neurons or a Delay"),
        (base | {"b": linear}, [("i", "a"), ("a", "o"), ("b", "o")], "nothing leads from i to b"),
        (base, [("i", "a"), ("a", "i"), ("a", "o")], "in a cycle without neurons or a Delay"),
        (base | {"g": ("NIRGraph", ({"o": out}, []))}, [("i", "g"), ("g", "o")], "sub-graph g has 0 nodes of type"),
        (base | {"b": ("Linear", {"weight": np.ones((3, 2))})}, [("i", "a"), ("i", "b"), ("a", "o"), ("b", "o")],
         "adds up values of different shape: [2], and [3] from b"),
    ]  # fmt: skip
    for nodes, edges, said in cases:
        path = write(tmp_path / "a.nir", nodes, edges)
        with pytest.raises(GraphError) as caught:
            convert(path)
        assert said in str(caught.value), said
        assert str(path) in str(caught.value)
    with h5py.File(tmp_path / "b.nir", "w") as file:
        file.create_dataset("node/type", data="LIF")
        file.create_group("node/nodes")
    with pytest.raises(GraphError, match="no NIR graph"):
        convert(tmp_path / "b.nir")


def test_options_are_checked(tmp_path):
    """A timestep is asked for where the graph has seconds; options of checkpoints and graphs are told apart."""
    first, last = ends([6], [6])
    path = write(tmp_path / "a.nir", *chain(first, ("n", "LIF", LIF), last))
    with pytest.raises(OptionError, match=r"n \(LIF\) has constants in seconds.*`timestep`"):
        convert(path)
    with pytest.raises(OptionError, match="NirOptions"):
        convert(path, ConvertOptions(heads=2))
    with pytest.raises(OptionError, match="`reset` must be one of zero, subtract, got sub"):
        convert(path, NirOptions(timestep=DT, reset="sub"))
    with pytest.raises(GraphError, match="reset by subtraction passes by"):
        convert(path, NirOptions(timestep=DT, reset="subtract"))
    with pytest.raises(OptionError, match="above 0"):
        NirOptions(timestep=0.0)
    with pytest.raises(OptionError, match="at_threshold"):
        NirOptions(spikes="several", at_threshold="wait")
    assert "--heads means nothing for a NIR graph" in refused("convert", path, tmp_path / "m.h5", "--heads", 2)
    assert "--timestep takes a time with its unit" in refused("convert", path, tmp_path / "m.h5", "--timestep", 1)
    other = tmp_path / "state.h5"
    with h5py.File(other, "w") as file:
        file.create_dataset("a.weight", data=np.ones(3))
    assert "--timestep is for NIR graphs" in refused("convert", other, tmp_path / "m.h5", "--timestep", "1ms")


def test_what_was_assumed_is_told(tmp_path):
    """The command prints each choice with its source, and the model keeps it."""
    first, last = ends([6], [6])
    path = write(tmp_path / "a.nir", *chain(first, affine(bias=np.zeros(6)), ("n", "LIF", LIF), last))
    outcome = evsim("convert", path, tmp_path / "m.h5", "--timestep", "1ms", "--reset", "zero")
    assert outcome.code == 0, outcome.err
    assert "euler (assumed: the default; Euler's step, dt / tau)" in outcome.out
    assert "zero (from --reset;" in outcome.out
    assert "note: left out biases of zeros: 1 (a)" in outcome.out
    loaded = modelfile.load(tmp_path / "m.h5")
    assert loaded.provenance["timestep"] == "0.001 s (from --timestep)"
    assert (loaded.spec.bin_us, loaded.spec.open_time, loaded.family) == (1000, True, "nir")


def test_a_graph_that_joins_without_end_is_refused(tmp_path):
    """A sub-graph whose ends join more edges than any network has is refused before they are drawn."""
    own = ({"input": ("Input", {"shape": np.array([1])}), "output": ("Output", {"shape": np.array([1])})},
           [("input", "output")])  # fmt: skip
    many = {f"n{i}": ("Linear", {"weight": np.ones((1, 1))}) for i in range(640)}
    nodes = many | {
        "i": ("Input", {"shape": np.array([1])}),
        "o": ("Output", {"shape": np.array([1])}),
        "g": ("NIRGraph", own),
    }
    edges = [edge for name in many for edge in ((name, "g"), ("g", name))] + [("i", "g"), ("g", "o")]
    with pytest.raises(GraphError, match="joins more than"):
        convert(write(tmp_path / "a.nir", nodes, edges))

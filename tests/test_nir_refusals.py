"""NIR graphs that cannot be run are refused by the node's name; options are checked, and what was assumed is told."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from commands import evsim, refused
from nir_files import chain, ends, write
from test_nir import DT, of_neurons

from evsim import modelfile
from evsim.converters import ConvertOptions, NirOptions, convert
from evsim.errors import GraphError, OptionError


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
    "current of other shape": ([("n", "CubaLIF", CUBA | {"w_in": np.ones(5)})], "n (CubaLIF): w_in has shape [5], but"),
    "reset of other shape": ([("n", "LIF", LIF | {"v_reset": np.zeros(5)})], "n (LIF): v_reset has shape [5], but"),
    "threshold of other shape": ([("n", "LIF", LIF | {"v_threshold": np.ones(5)})], "n (LIF): v_threshold has shape"),
    "beyond any number": ([("n", "CubaLIF", CUBA | {"w_in": np.full(6, 1e308), "r": np.full(6, 1e308)})],
                          "n (CubaLIF): r times w_in is beyond any number"),
    "long doubles": ([("n", "LIF", LIF | {"r": np.full(6, np.longdouble("1e4000"))})], "n (LIF): r holds NaN or infin"),
    "delay without end": ([("d", "Delay", {"delay": np.full(6, 1e308)})], "d (Delay) delays by 1e+308 s, more than"),
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
        (("c", "Conv2d", CONV | {"padding": "same", "stride": 2}), "c (Conv2d): padding 'same' with stride [2, 2]"),
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


def test_rows_alone_are_no_shape_of_constants(tmp_path):
    """Spread over a map they would take gigabytes out of a file of kilobytes."""
    (first, last), rows = ends([2, 4, 4], [32]), np.linspace(1.0, 2.0, 4).reshape(1, 4, 1)
    flat = ("f", "Flatten", {"start_dim": 0, "end_dim": -1})
    for node in (("n", "IF", {"r": np.ones(1), "v_threshold": rows}), ("n", "Scale", {"scale": rows})):
        path = write(tmp_path / "a.nir", *chain(first, node, flat, last))
        with pytest.raises(GraphError, match=r"a\.nir: n \(.*has shape \[1, 4, 1\]"):
            convert(path, NirOptions())


def test_constants_by_channel_take_no_map(tmp_path):
    """Of one number for each channel of a map of 2^26 values, two numbers are kept."""
    first, last = ends([2, 5792, 5792], [2 * 5792 * 5792])
    values = np.array([1.0, 2.0]).reshape(2, 1, 1)
    flat = ("f", "Flatten", {"start_dim": 0, "end_dim": -1})
    neuron = ("n", "IF", {"r": np.ones(1), "v_threshold": values})
    network = convert(write(tmp_path / "a.nir", *chain(first, neuron, flat, last)), NirOptions()).network
    assert network.weights["n.v_threshold"].tolist() == [1.0, 2.0]


def test_tau_next_to_nothing_goes_all_of_the_way_without_a_word(tmp_path):
    """Exactly, a time constant far below a timestep is a share of 1; the division that overflows says nothing."""
    path = write(tmp_path / "a.nir", *chain(ends([6], [6])[0], ("n", "LIF", LIF | {"tau": np.full(6, 5e-324)}),
                                            ends([6], [6])[1]))  # fmt: skip
    network = convert(path, NirOptions(timestep=DT, discretisation="exact")).network
    assert network.node("n").leak == 1.0

"""What a node tells of its work, against loops over windows and against what a run counted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np
import pytest
from energy_cases import FOLDERS, golden_run
from hypothesis import given
from hypothesis import strategies as st
from naive import reached

from evsim import workload as module
from evsim.errors import NetworkError
from evsim.inputspec import InputSpec
from evsim.network import Conv2d, Input, Linear, MaxPool, Network, Node, Shape, TimeMean, TokenMean
from evsim.primitives import AdaptiveAveragePool
from evsim.workload import Geometry, Work, dense_macs, dense_operations, fan_out, rows, work, workload


@dataclass(frozen=True)
class Halving(Node):
    """A made-up primitive."""

    def infer(self, sources):
        """Return the source's shape."""
        return replace(sources[0], kind="real")


def network(*nodes):
    """Return a network of two classes on an image of 6 x 5 with these nodes between its input and its head."""
    spec = InputSpec("image", 3, 6, 5, 4, mean=(0.5,) * 3, std=(0.5,) * 3)
    ends = (TokenMean("tokens", (nodes[-1].name if nodes else "input",)), TimeMean("time", ("tokens",)))
    head = Linear("head", ("time",), 3, 2)
    every = (Input("input", (), 3, 6, 5, "real"), *nodes, *ends, head)
    shapes = {f"{node.name}.{key}": shape for node in every for key, shape in node.parameters().items()}
    return Network("n", "f", "v", spec, every, {key: np.zeros(shape, np.float32) for key, shape in shapes.items()})


@given(
    height=st.integers(1, 7), width=st.integers(1, 7), kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)), pad=st.integers(0, 1), data=st.data(),
)  # fmt: skip
def test_fan_out_is_what_windows_reach(height, width, kernel, stride, pad, data):
    """The outputs that an input at each position reaches equal a convolution of ones, padding not counted."""
    out = [(n + 2 * pad - k) // s + 1 for n, k, s in zip((height, width), kernel, stride, strict=True)]
    if min(out) < 1:
        return
    size = Geometry("Conv2d", 2, 3, height, width, *out, kernel, stride, (pad, pad))
    position = data.draw(st.integers(0, height * width - 1))
    active = np.zeros((height, width), bool)
    active.flat[position] = True
    assert fan_out(size)[position] == 3 * reached(active, kernel, stride, (pad, pad))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_work_is_what_a_run_counts(folder):
    """Rows, their order, and all that happens whatever fires equal the counts of a run, times its timesteps."""
    run = golden_run(folder)
    works, counts = workload(run.network), run.counts
    assert [each.name for each, _ in rows(run.network)] == [row.name for row in counts.layers]
    for (each, own), row in zip(rows(run.network), counts.layers, strict=True):
        assert (own.kind, own.geometry, each.input_kind) == (row.kind, row.geometry, row.input_kind)
        assert row.steps == (1 if each.runs_once else run.timesteps)
        assert row.dense_macs == row.steps * own.dense_macs
        for name in ("input_size", "bias_adds", "neuron_updates"):
            assert int(getattr(row, name).sum()) == row.steps * getattr(own, name), (row.name, name)
    for key, values in counts.other.items():
        each_step = sum(each.other.get(key, 0) for each in works.values())
        assert int(values.sum()) == run.timesteps * each_step, key
    assert sum(each.parameters for each in works.values()) == sum(w.size for w in run.network.weights.values())


def test_roles_and_sources():
    """First reads the input through max-poolings, the head a mean; what stands behind the mean over time runs once."""
    works = workload(network(MaxPool("a", ("input",)), MaxPool("b", ("a",)), Linear("fc", ("b",), 3, 3, bias=False)))
    assert {name: each.role for name, each in works.items() if each.row} == {"fc": "first", "head": "head"}
    assert works["fc"].source == "input"
    assert (works["fc"].once, works["head"].once, works["time"].once) == (False, True, False)


def test_pooling_compares_what_lies_inside():
    """Comparisons of a max-pooling: the taps of each window that lie inside the map, less one."""
    comparisons = workload(network(MaxPool("pool", ("input",), 3, 2, 1)))["pool"].other["pool_comparisons"]
    inside = np.pad(np.ones((6, 5), int), 1)
    taps = [inside[y : y + 3, x : x + 3].sum() - 1 for y in range(0, 6, 2) for x in range(0, 5, 2)]
    assert comparisons == 3 * sum(taps)


def test_dense_work_of_a_row_follows_from_kind_and_sizes():
    """A bias counts once per output of a conv, once of a linear layer; attention by its order, or as the paper does."""
    conv = Geometry("Conv2d", 2, 3, 4, 4, 4, 4, (3, 3), (1, 1), (1, 1), bias=True)
    assert dense_macs("conv", conv) == 16 * 3 * 2 * 9
    assert dense_operations("conv", conv) == 16 * 3 * (2 * 9 + 1)
    assert dense_operations("linear", replace(conv, kernel=(1, 1))) == 16 * 3 * 2 + 3
    attention = Geometry("SpikingSelfAttention", 8, 8, 3, 3, 3, 3, heads=2, head_dim=4, order="(qk)v")
    assert dense_macs("attention", attention) == 2 * 2 * 9 * 9 * 4
    assert dense_operations("attention", attention) == 2 * 2 * 9 * 4 * 4
    assert dense_macs("lif", conv) == dense_operations("lif", conv) == 0


def test_a_node_whose_work_nobody_has_told_is_named(monkeypatch):
    """An unknown node type is an error that names node and type; one entry in the table of handlers mends it."""
    strange = network(Halving("half", ("input",)))
    with pytest.raises(NetworkError, match="half is a Halving, whose work nobody has told"):
        workload(strange)
    monkeypatch.setattr(module, "HANDLERS", dict(module.HANDLERS))

    @work(Halving)
    def halving(node: Halving, source: Shape, target: Shape) -> Work:  # noqa: ARG001 - all handlers take the same
        return Work("layer", other={"halvings": source.positions * source.channels})

    assert workload(strange)["half"].other == {"halvings": 90}


def test_taps_of_windows_are_those_that_are_counted_one_by_one():
    """The closed form, which takes no time for maps of millions of positions, holds for every small window."""
    for kernel, stride, inner in itertools.product(range(1, 6), range(1, 6), range(1, 8)):
        for padding in range(kernel // 2 + 1):
            outer = (inner + 2 * padding - kernel) // stride + 1
            if outer < 1:
                continue
            node = MaxPool("pool", ("input",), kernel, stride, padding, columns=(1, 1, 0))
            begins = [i * stride - padding for i in range(outer)]
            taps = sum(min(begin + kernel, inner) - max(begin, 0) for begin in begins)
            assert module._window_taps(node, inner, 3, (outer, 3)) == 3 * taps, (kernel, stride, padding, inner)


def test_taps_of_adaptive_pools_are_those_that_are_counted_one_by_one():
    """The closed form, and what it calls a copy, hold for every small map and target."""
    for inner, outer in itertools.product(range(1, 14), repeat=2):
        node, source = AdaptiveAveragePool("pool", ("input",), outer, 2), Shape("spikes", 1, inner, 4)
        rows, columns = node.spans(source)
        assert node.taps(source) == (sum(map(len, rows)), sum(map(len, columns)))
        one = AdaptiveAveragePool("pool", ("input",), outer, 4)
        assert one.copies(source) == all(len(span) == 1 for span in rows), (inner, outer)


def test_image_is_followed_through_any_number_of_pools():
    """Neither the depth of a graph nor its length squared is in the way of what runs once for all timesteps."""
    names = [f"p{i}" for i in range(5000)]
    nodes = (
        Input("input", (), 1, 2, 2, "real"),
        *(MaxPool(name, (source,), 1, 1, 0) for name, source in zip(names, ["input", *names], strict=False)),
        Conv2d("conv", (names[-1],), 1, 1, batch_norm=False, repeated=True),
        TokenMean("tokens", ("conv",)),
        TimeMean("times", ("tokens",)),
    )
    spec = InputSpec("image", 1, 2, 2, 2, mean=(0.5,), std=(0.5,))
    network = Network("n", "f", "v", spec, nodes, {"conv.weight": np.ones((1, 1, 1, 1), np.float32)})
    assert network.classes == 1

"""Schema 2 of model.h5 and counts.h5: what needs it has it, what does not is written as schema 1 to the last field."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
from energy_cases import FOLDERS, golden_run
from test_counts_file import ORIGIN, same
from test_primitives import H, W, firing, network, spikes

from evsim import api, countsfile, modelfile
from evsim.counters import merged
from evsim.countsfile import CountsError
from evsim.errors import ModelFileError
from evsim.network import attributes, oldest_schema
from evsim.primitives import (
    FIRST_TYPES,
    LIF,
    NODE_TYPES,
    Conv2d,
    Delay,
    HeadSum,
    Mask,
    MaxPool,
    MultiSpike,
    Neuron,
    Scale,
    Slice,
    SumPool,
)

FIRST_FIELDS = {
    "Input": "channels height width kind",
    "Conv2d": "in_channels out_channels kernel stride padding bias batch_norm module",
    "Linear": "in_channels out_channels bias batch_norm module",
    "LIF": "tau v_threshold layout",
    "MaxPool": "kernel stride padding",
    "Add": "",
    "SpikingSelfAttention": "heads scale order",
    "TokenMean": "",
    "TimeMean": "",
}
"""Fields that schema 1 gives each node, in their order, behind type, name and inputs."""

FIRST_GEOMETRY = (
    "module in_channels out_channels in_height in_width out_height out_width kernel stride padding bias batch_norm "
    "heads head_dim order tau v_threshold"
)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_what_schema_one_can_say_is_written_as_schema_one(folder, tmp_path):
    """Nodes have schema 1's fields in its order, rows its geometry, and no dataset is new."""
    run = golden_run(folder)
    modelfile.save(run.network, tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["schema"] == 1
        for node in json.loads(file["nodes"][()]):
            assert list(node) == ["type", "name", "inputs", *FIRST_FIELDS[node["type"]].split()]
    countsfile.save(tmp_path / "c.h5", run.counts, ORIGIN)
    with h5py.File(tmp_path / "c.h5") as file:
        assert file.attrs["schema"] == 1
        assert set(file) == {"origin", "layers", "other", "counters"}
        assert set(file["other"]) == {"residual_adds", "pool_comparisons", "mean_adds"}
        assert not {"nonzeros", "sops_unrolled_per_head"} & set(file["counters"])
        for row in json.loads(file["layers"][()]):
            assert list(row["geometry"]) == FIRST_GEOMETRY.split()
            assert len(row) == 9


def test_the_fields_of_schema_one_are_all_there_are_but_the_later():
    """A field that comes to an old primitive is named as later, and has a default."""
    for name, kind in FIRST_TYPES.items():
        own = [f.name for f in fields(kind) if f.name not in ("name", "inputs", *kind.later)]
        assert own == FIRST_FIELDS[name].split()
    assert set(NODE_TYPES) > set(FIRST_TYPES)


@pytest.mark.parametrize(
    "node",
    [
        LIF("n", ("x",), decay_input=False, decay=1.0), LIF("n", ("x",), parametric=True), LIF("n", ("x",), channels=6),
        LIF("n", ("x",), strict=True), LIF("n", ("x",), soft_reset=True), LIF("n", ("x",), view=(6 * H * W,)),
        MaxPool("n", ("x",), 3, 1, 1, 2), MultiSpike("n", ("x",)), SumPool("n", ("x",)),
        Conv2d("n", ("x",), 6, 6, groups=3, batch_norm=False), HeadSum("n", ("x",), 2, (("x_spikes", "x"),)),
        Conv2d("n", ("x",), 6, 6, (2, 2), dilation=(1, 2), batch_norm=False),
        MaxPool("n", ("x",), 2, columns=(3, 1, 0)), Neuron("n", ("x",), synapse="jump", syn=0.5, emits="potential"),
        Neuron("n", ("x",), by_neuron=("leak",), channels=6, height=H, width=W),
        Scale("n", ("x",), by_channel=("shift",), channels=6), Slice("n", ("x",), 1, 6), Delay("n", ("x",), 3),
    ],
    ids=lambda node: type(node).__name__,
)  # fmt: skip
def test_what_is_new_is_schema_two_and_comes_back(node, tmp_path):
    """Fields that differ from their defaults are written, those that do not are not; the network is the same again."""
    first = LIF("x", ("input",))
    old = network([first], 6)
    assert oldest_schema(replace(old, spec=replace(old.spec, kind="image", mean=(0.5,) * 6, std=(0.5,) * 6))) == 1
    weights = {f"{node.name}.{key}": np.ones(shape, np.float32) for key, shape in node.parameters().items()}
    net = network([first, node], 6, weights)
    modelfile.save(net, tmp_path / "m.h5")
    with h5py.File(tmp_path / "m.h5") as file:
        assert file.attrs["schema"] == 2
    loaded = modelfile.load(tmp_path / "m.h5")
    assert (loaded.nodes, loaded.shapes, loaded.spec) == (net.nodes, net.shapes, net.spec)
    assert set(attributes(node)) & set(node.later) == {
        name for name in node.later if getattr(node, name) != next(f.default for f in fields(node) if f.name == name)
    }


def rich():
    """Return the counts of a network whose rows need schema 2, and the run's sample."""
    x = spikes(np.random.default_rng(3), 6)
    nodes = [
        firing("a"), HeadSum("attn", ("a",), 3, (("q_spikes", "a"), ("mask_spikes", "gate"))), firing("gate", "attn"),
        Mask("masked", ("a", "gate")), MultiSpike("k", ("masked",), 4, 1.0),
        Conv2d("c", ("k",), 6, 6, groups=6, batch_norm=False), LIF("n", ("c",), decay_input=False, decay=1.0),
    ]  # fmt: skip
    net = network(nodes, 6, {"c.weight": np.ones((1, 1, 1, 6), np.float32)})
    return api.simulate(net, x.transpose(0, 3, 1, 2), detail=True).counts


def test_counts_of_schema_two_survive_and_add_up(tmp_path):
    """Every counter, operation and geometry survives the file; merged with itself all is twice as much."""
    counts = rich()
    countsfile.save(tmp_path / "c.h5", counts, ORIGIN)
    with h5py.File(tmp_path / "c.h5") as file:
        assert file.attrs["schema"] == 2
    stored = countsfile.load(tmp_path / "c.h5").counts
    assert same(without_operations(stored), without_operations(counts))
    for row, other in zip(stored.layers, counts.layers, strict=True):
        mine, theirs = (getattr(each, "operations", {}) for each in (row, other))
        assert mine.keys() == theirs.keys()
        assert all(np.array_equal(mine[key], theirs[key]) for key in mine)
    double = merged([counts, stored])
    for key, values in counts.layer("attn").operations.items():
        assert np.array_equal(double.layer("attn").operations[key], 2 * values)
    assert int(double.layer("k").nonzeros.sum()) == 2 * int(counts.layer("k").nonzeros.sum())
    assert counts.layer("n").neuron == "if"


def without_operations(counts):
    """Return counts whose rows have no operations, which are compared by themselves."""
    rows = [replace(row, operations={}) if hasattr(row, "operations") else row for row in counts.layers]
    return replace(counts, layers=tuple(rows))


def test_damaged_operations_are_refused(tmp_path):
    """An operation of another shape, or below 0, is one line."""
    path = tmp_path / "c.h5"
    counts = rich()
    index = [row.name for row in counts.layers].index("attn")
    for damage in (np.zeros(7, np.int64), -np.ones(3, np.int64)):
        countsfile.save(path, counts, ORIGIN)
        with h5py.File(path, "r+") as file:
            del file[f"operations/{index}/q_spikes"]
            file[f"operations/{index}/q_spikes"] = damage
        with pytest.raises(CountsError, match=rf"operations/{index}/q_spikes"):
            countsfile.load(path)


def test_an_operation_of_no_node_is_refused(tmp_path):
    """A model whose attention counts a node that there is not is named, as is a name that no file can hold."""
    modelfile.save(network([firing("x"), HeadSum("n", ("x",), 2, (("x_spikes", "x"),))], 6), tmp_path / "m.h5")
    for new, says in ((["x_spikes", "y"], "n counts y"), (["x/y", "x"], "operations must have names")):
        with h5py.File(tmp_path / "m.h5", "r+") as file:
            nodes = json.loads(file["nodes"][()])
            next(node for node in nodes if node["name"] == "n")["operations"] = [new]
            del file["nodes"]
            file["nodes"] = json.dumps(nodes)
        with pytest.raises(ModelFileError, match=says):
            modelfile.load(tmp_path / "m.h5")

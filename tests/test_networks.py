"""Any network of the primitives agrees with a dense oracle: spikes, logits and counts, however it is run."""

from __future__ import annotations

import os

import dense
import dense_counts
import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from networks import PRIMITIVES, networks, sources

from evsim import api, intake, modelfile
from evsim.errors import EvsimError, RecordingError
from evsim.inputspec import InputSpec
from evsim.kernels import threads
from evsim.network import NODE_TYPES, Input, Linear, Network, TimeMean, attributes

EXAMPLES = int(os.environ.get("EVSIM_NETWORKS", "100"))
"""Of each property; `make test-networks` asks for many more."""

NEAR = {"float64": 1e-9, "float32": 1e-3}
WAYS = [("layer", 1), ("layer", 3), ("time", 1), ("time", 3)]
random_networks = settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
)


@pytest.fixture(autouse=True)
def _every_call_is_shared(monkeypatch):
    """Let threads share however little there is."""
    monkeypatch.setattr(threads, "SMALL", 0)


def test_every_primitive_is_drawn_and_known():
    """A primitive that has no strategy, or that the oracle does not know, is not tested: enter it."""
    every = NODE_TYPES.keys() - {"Input"}
    assert PRIMITIVES.keys() == every
    assert dense.FORWARD.keys() == every
    assert dense_counts.COUNTS.keys() | dense_counts.OTHER.keys() == every
    assert not dense_counts.COUNTS.keys() & dense_counts.OTHER.keys()


def judged(network, source, precision):
    """Run the oracle; return its maps, and whether nothing was rounded in that precision.

    Where anything was, a potential near its threshold may go either way: such an example is put aside.
    """
    single = precision == "float32"
    maps, margins = dense.run(network, source, network.spec.timesteps, np.float32 if single else np.float64)
    wide, _ = dense.run(network, source, network.spec.timesteps, np.float64 if single else np.longdouble)
    exact = all(np.array_equal(maps[name], wide[name]) for name in maps)
    assume(exact or min(margins.values(), default=1.0) > NEAR[precision])
    return maps, exact


def simulated(network, source, maps, **options):
    """Run; put the example aside where sums of attention on great integers are refused, as they may be."""
    try:
        return api.simulate(network, source, **options)
    except EvsimError as error:
        attended = [
            name for node in network.nodes if type(node).__name__ == "SpikingSelfAttention" for name in node.inputs
        ]
        graded = [maps[name].max() for name in attended if maps[name].dtype.kind == "i"]
        if max(graded, default=0) < 50 or "exact" not in str(error):
            raise
        assume(False)


def agrees(network, run, maps, exact):
    """Hold a run against the oracle."""
    firing = ("LIF", "MultiSpike", "Neuron")
    silent = {node.name for node in network.nodes if getattr(node, "emits", "") == "potential"}
    spikes = {node.name: node for node in network.nodes if type(node).__name__ in firing and node.name not in silent}
    assert run.spikes.keys() == spikes.keys()
    for name, node in spikes.items():
        packed, shape = run.spikes[name]
        got = np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)
        assert np.array_equal(got, laid_out(unrolled(maps[name], node), node)), f"spikes of {name}"
    want = maps[network.nodes[-1].name][0, 0, 0]
    if exact:
        assert np.array_equal(run.logits, want)
    else:
        largest = max(np.abs(values).max() for values in maps.values())
        np.testing.assert_allclose(run.logits, want, atol=1e-9 * (1 + largest))
    rows, other = dense_counts.counts(network, maps, run.timesteps)
    assert [row.name for row in run.counts.layers] == list(rows)
    for row in run.counts.layers:
        for key, value in rows[row.name].items():
            got = getattr(row, key)
            if isinstance(value, dict):
                assert list(got) == list(value), f"{key} of {row.name}"
                got, value = list(got.values()), list(value.values())  # noqa: PLW2901
            assert np.array_equal(got, value), f"{key} of {row.name}"
        once = getattr(network.node(row.name), "repeated", False)
        assert row.steps == (1 if once else len(maps[network.node(row.name).inputs[0]]))
    assert run.counts.other.keys() == other.keys()
    for key, value in other.items():
        assert np.array_equal(run.counts.other[key], value), key


def unrolled(values, node):
    """Return spikes [T, H, W, C] as they are, and of integers k of them in so many steps for each timestep."""
    if values.dtype == bool:
        return values
    levels = node.levels if node.levels <= 64 else max(1, int(values.max()))
    return np.stack([values > d for d in range(levels)], axis=1).reshape(-1, *values.shape[1:])


def laid_out(spikes, node):
    """Return spikes [T, H, W, C] as the PyTorch module would emit them."""
    rows = spikes.reshape(len(spikes), -1, spikes.shape[-1])
    ordered = rows if node.layout == "rows" else rows.transpose(0, 2, 1)
    if node.view:
        return ordered.reshape(len(spikes), *node.view)
    return spikes.transpose(0, 3, 1, 2) if node.layout == "map" else ordered


@random_networks
@given(st.data(), networks())
def test_a_network_agrees_with_a_dense_run(data, network):
    """In float64, spikes, logits and counts are the oracle's in both schedules, by one thread and by three."""
    source = data.draw(sources(network))
    maps, exact = judged(network, source, "float64")
    first = None
    for schedule, number in WAYS:
        run = simulated(
            network, source, maps, precision="float64", schedule=schedule, threads=number, record_spikes=True,
            detail=number == 1,
        )  # fmt: skip
        agrees(network, run, maps, exact)
        first = run.logits if first is None else first
        assert np.array_equal(run.logits, first), "logits depend on how the network is run"


@random_networks
@given(st.data(), networks())
def test_float32_agrees_where_it_rounds_nothing(data, network):
    """Where no value is rounded in float32, a run in float32 has the oracle's spikes, logits and counts too."""
    source = data.draw(sources(network))
    maps, exact = judged(network, source, "float32")
    assume(exact)
    schedule, number = data.draw(st.sampled_from(WAYS))
    run = simulated(network, source, maps, schedule=schedule, threads=number, record_spikes=True)
    agrees(network, run, maps, exact)


@random_networks
@given(networks())
def test_a_model_file_holds_the_very_network(tmp_path_factory, network):
    """What was saved is loaded as it was: nodes, weights bit by bit, and all that is told of them."""
    path = tmp_path_factory.getbasetemp() / "random.h5"
    modelfile.save(network, path)
    loaded = modelfile.load(path)
    assert loaded.nodes == network.nodes
    assert [attributes(node) for node in loaded.nodes] == [attributes(node) for node in network.nodes]
    for name in ("name", "family", "variant", "spec", "labels", "shapes", "provenance"):
        assert getattr(loaded, name) == getattr(network, name), name
    assert loaded.weights.keys() == network.weights.keys()
    for key in network.weights:
        assert loaded.weights[key].dtype == network.weights[key].dtype
        assert np.array_equal(loaded.weights[key], network.weights[key])


LARGE = st.sampled_from([1, 2**15, 2**24, 2**30, 2**31 - 2**8, 2**31 - 1, 2**31, 2**40])


@random_networks
@given(st.data(), networks(kinds=["events"]), LARGE)
def test_great_counts_are_exact_or_refused(data, network, largest):
    """Event counts up to any size give the oracle's counts, or are refused; the oracle's do not wrap around here."""
    source = data.draw(sources(network)).astype(np.int64) * largest
    try:
        run = api.simulate(network, source, precision="float64", schedule=data.draw(st.sampled_from(["layer", "time"])))
    except EvsimError as error:
        assert largest >= 2**15, error  # noqa: PT017 - a refusal needs a reason
        return
    maps, _ = dense.run(network, source, network.spec.timesteps)
    integers = [name for name, values in maps.items() if values.dtype.kind == "i"]
    assert all(maps[name].max() < 2**31 for name in integers)
    rows, _ = dense_counts.counts(network, maps, network.spec.timesteps)
    for node in network.nodes:
        if "acs_unrolled" in rows.get(node.name, ()):
            for key in ("input_sum", "acs_unrolled", "macs"):
                assert np.array_equal(getattr(run.counts.layer(node.name), key), rows[node.name][key]), key


@random_networks
@given(st.data(), networks(kinds=["events"]), st.integers(1, 5))
def test_no_sum_passes_the_limit_of_exact_counts(data, network, part):
    """Wherever the limit of a layer's operations lies, no run that was taken has a layer of more."""
    source = data.draw(sources(network))
    maps, _ = dense.run(network, source, network.spec.timesteps)
    rows, _ = dense_counts.counts(network, maps, network.spec.timesteps)
    keys = ("acs_unrolled", "sops_unrolled_per_head")
    sums = [int(fields[key].sum()) for fields in rows.values() for key in keys if fields.get(key) is not None]
    limit = max(sums, default=0) * part // 4
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "LARGEST_SUM", limit)
        try:
            api.simulate(network, source, precision="float64")
        except RecordingError as error:
            assert "more operations than" in str(error)  # noqa: PT017
        else:
            assert max(sums, default=0) <= limit


@pytest.mark.parametrize(("outputs", "fits"), [(1 << 14, True), (1 << 17, False)])
def test_operations_near_two_to_63(outputs, fits):
    """2^31 - 1 events at each of 65,536 timesteps for 2^17 outputs are 2^64 operations: refused before the run."""
    nodes = (
        Input("input", (), 1, 1, 1, "integers"),
        Linear("wide", ("input",), 1, outputs, bias=False),
        TimeMean("times", ("wide",)),
        Linear("head", ("times",), outputs, 1, bias=False),
    )
    weights = {"wide.weight": np.ones((1, outputs), np.float32), "head.weight": np.ones((outputs, 1), np.float32)}
    network = Network("wide", "test", "standard", InputSpec("events", 1, 1, 1, 65536), nodes, weights)
    source = np.full((65536, 1, 1, 1), 2**31 - 1)
    packets = intake.Intake(network, 65536, np.dtype(np.float64), streaming=True).packets(source)
    if fits:
        assert next(packets).values.max() == 2**31 - 1
    else:
        with pytest.raises(RecordingError, match=r"wide more operations than 9223372036854775807"):
            next(packets)

"""Real NIR graphs give what an independent simulator and other platforms found; beside ../shared alone."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest
from beside import SHARED
from nir_files import Cell, trains

from evsim import api
from evsim.converters import NirOptions, convert
from evsim.engine import Simulator

GRAPHS, RECORDINGS = SHARED / "nir", SHARED / "nmnist-small"
pytestmark = pytest.mark.skipif(not GRAPHS.is_dir(), reason="../shared absent")

TOTALS = {
    ("one", 60001): [4684, 10515, 9958, 7256, 307],
    ("one", 60003): [2275, 5901, 5211, 5282, 272],
    ("several", 60001): [4684, 10520, 9995, 8521, 782],
    ("several", 60003): [2275, 5902, 5215, 5341, 390],
}
"""Spikes of the five layers of neurons, ../shared/nir/README.md."""


def cnn(spikes):
    """Return the NIR paper's network on N-MNIST, and what is expected of it."""
    options = NirOptions(timestep=1e-3, timesteps=300, reset="subtract", spikes=spikes)
    name = {"one": "single_spike", "several": "several_spikes"}[spikes]
    expected = json.loads((GRAPHS / f"expected_{name}.json").read_text())
    return convert(GRAPHS / "cnn_sinabs.nir", options).network, {sample: rest for sample, *rest in expected}


@pytest.mark.parametrize(("spikes", "sample"), list(TOTALS))
def test_every_layer_of_the_papers_network_fires_as_often(spikes, sample):
    """Spikes of each layer, and of each class, are those of the independent simulator, with one spike and several."""
    network, expected = cnn(spikes)
    run = api.simulate(network, RECORDINGS / f"{sample}.bs2", precision="float64", record_spikes=True)
    assert [int(train.sum()) for train in trains(run).values()] == TOTALS[spikes, sample]
    assert [run.prediction, run.logits.astype(int).tolist()] == expected[sample][1:]


def test_the_papers_network_is_right_on_98_of_100():
    """All of the 100 test recordings give the expected output spikes; 98 are right with one spike a step."""
    network, expected = cnn("one")
    simulator = Simulator(network, 300, "float64", "layer", 1)
    right = 0
    for sample, (label, prediction, outputs) in expected.items():
        run = api.run_on(simulator, RECORDINGS / f"{sample}.bs2")
        assert (run.prediction, run.logits.astype(int).tolist()) == (prediction, outputs), sample
        right += run.prediction == label
    assert (right, len(expected)) == (98, 100)


@pytest.mark.parametrize(("rule", "trace"), [("euler", "lif_norse.csv"), ("exact", "lif_exact.csv")])
def test_a_neuron_fires_where_the_platforms_do(rule, trace):
    """The NIR paper's first experiment: Euler's step is Norse's, spike and potential; the exact one the exact's."""
    rows = np.loadtxt(GRAPHS / trace, delimiter=",")
    network = convert(GRAPHS / "lif_norse.nir", NirOptions(timestep=1e-4, discretisation=rule)).network
    run = api.simulate(network, rows[:, 0].astype(int).reshape(-1, 1, 1, 1), precision="float64", record_spikes=True)
    assert trains(run)["1"].reshape(-1).tolist() == rows[:, 2].astype(int).tolist()
    assert rows[:, 2].sum() == 4
    with h5py.File(GRAPHS / "lif_norse.nir") as file:
        cell = Cell("LIF", {key: file[f"node/nodes/1/{key}"][()] for key in ("tau", "r", "v_leak", "v_threshold")},
                    1e-4, exact=rule == "exact")  # fmt: skip
    potentials = []
    for x in rows[:, 0]:
        cell.step(x)
        potentials.append(float(np.asarray(cell.v).reshape(())))
    if rule == "euler":
        np.testing.assert_allclose(potentials, rows[:, 1], atol=1e-6)


def test_a_recurrent_graph_runs_as_its_equations_say():
    """Spikes of the Braille network equal a plain simulation's, with the cycle one timestep later; so do the counts."""
    path = GRAPHS / "braille_recurrent.nir"
    network = convert(path, NirOptions(timestep=1e-4)).network
    rng = np.random.default_rng(3)
    source = (rng.random((120, 12)) < 0.3).astype(int)
    run = api.simulate(network, source.reshape(120, 12, 1, 1), precision="float64", record_spikes=True)
    with h5py.File(path) as file:
        nodes = {
            name: {key: node[key][()] for key in node if key != "type"} for name, node in file["node/nodes"].items()
        }
    hidden, last = (Cell("CubaLIF", nodes[name], 1e-4) for name in ("lif1.lif", "lif2"))
    before, fired, emitted = np.zeros(38), [], []
    for x in source:
        drive = sum(
            nodes[name]["weight"].astype(float) @ value + nodes[name]["bias"]
            for name, value in (("fc1", x), ("lif1.w_rec", before))
        )
        before = hidden.step(drive)
        fired.append(before)
        emitted.append(last.step(nodes["fc2"]["weight"].astype(float) @ before + nodes["fc2"]["bias"]))
    assert np.array_equal(trains(run)["lif1.lif"].reshape(120, 38), fired)
    assert np.array_equal(trains(run)["lif2"].reshape(120, 7), emitted)
    assert 0 < np.sum(fired) < 120 * 38
    rows = {layer.name: layer for layer in run.counts.layers}
    assert int(rows["lif1.w_rec"].sops.sum()) == int(np.sum(fired[:-1])) * 38  # the last step's arrive nowhere
    assert int(rows["fc2"].sops.sum()) == int(np.sum(fired)) * 7
    assert int(rows["lif1.lif"].spikes.sum()) == int(np.sum(fired))

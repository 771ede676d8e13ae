"""Every spike, count and logit equals the PyTorch model's: goldens of every tokenizer and variant."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from beside import goldens, needed

from evsim import api, modelfile
from evsim.converters import ConvertOptions, convert
from evsim.energy import paper
from evsim.engine import Simulator
from evsim.observers import Counter, SpikeRecorder

OWN = sorted((Path(__file__).parent / "data" / "golden").glob("spikingformer-*"))


def network_of(folder, tmp_path, form="checkpoint.pth.tar", **facts):
    """Convert a golden's checkpoint, store it and load it again."""
    variant = "cml" if folder.name.endswith("cml") else "standard"
    network = convert(needed(folder) / form, ConvertOptions(variant=variant, **facts)).network
    modelfile.save(network, tmp_path / "model.h5")
    return modelfile.load(tmp_path / "model.h5")


def facts_of(folder):
    """Return what a golden's keys cannot say."""
    sizes = json.loads((folder / "paper_tool.json").read_text())["ssa_info"]
    size = np.load(folder / "input.npy").shape[-1]
    return {"heads": sizes["Nheads"], "timesteps": sizes["Tsteps"], "image_size": size}


def flips(recorder, folder):
    """Return how many spikes differ from the golden's, and how many neurons and timesteps there are."""
    different = total = 0
    with h5py.File(folder / "golden.h5") as file:
        assert set(recorder.trains) == set(file["spikes_float64"])
        for name, golden in file["spikes_float64"].items():
            packed, shape = recorder.trains[name]
            assert shape == (golden.attrs["shape"][0], *golden.attrs["shape"][2:])
            different += int(np.bitwise_count(packed ^ golden[()]).sum())
            total += int(np.prod(shape))
    return different, total


@pytest.mark.parametrize("schedule", ["layer", "time"])
@pytest.mark.parametrize("folder", OWN + goldens("spikingformer-*"), ids=lambda path: path.name)
def test_float64_equals_pytorch(folder, schedule, tmp_path):
    """In float64 no spike differs, logits agree to 1e-9, and counts agree to the integer."""
    network = network_of(folder, tmp_path)
    simulator = Simulator(network, precision="float64", schedule=schedule)
    counter, recorder = Counter(network, simulator.timesteps), SpikeRecorder(network)
    logits = simulator.run(np.load(folder / "input.npy"), [counter, recorder])
    with h5py.File(folder / "golden.h5") as file:
        np.testing.assert_allclose(logits, file["logits_float64"][0], rtol=0, atol=1e-9)
    assert flips(recorder, folder)[0] == 0
    counts = counter.counts()
    for name, expected in json.loads((folder / "exact_counts.json").read_text()).items():
        if not name.endswith(".ssa"):
            layer = counts.layer(name)
            assert int(layer.sops.sum() + layer.macs.sum()) == expected["accumulates_in_bounds"], name


@pytest.mark.parametrize("folder", OWN + goldens("spikingformer-*"), ids=lambda path: path.name)
def test_float32_predicts_the_same(folder, tmp_path, monkeypatch):
    """In float32 the prediction is the same and hardly any spike differs, whatever the threads and schedule."""
    monkeypatch.setattr("evsim.kernels.threads.SMALL", 0)  # or one thread would do all of so little
    network = network_of(folder, tmp_path)
    outcomes = []
    for schedule, threads in (("layer", 1), ("time", 1), ("layer", 2)):
        simulator = Simulator(network, schedule=schedule, threads=threads)
        recorder = SpikeRecorder(network)
        outcomes.append(simulator.run(np.load(folder / "input.npy"), [recorder]))
        different, total = flips(recorder, folder)
        assert different <= 1e-4 * total
    with h5py.File(folder / "golden.h5") as file:
        assert outcomes[0].argmax() == file["logits_float64"][0].argmax()
    assert all((outcome == outcomes[0]).all() for outcome in outcomes)


@pytest.mark.parametrize("folder", OWN + goldens("spikingformer-*"), ids=lambda path: path.name)
def test_every_file_form_is_the_same_network(folder, tmp_path):
    """A state_dict in HDF5, .pth or the authors' DVS script's form gives what the .pth.tar gives, to the last bit."""
    reference = network_of(folder, tmp_path)
    for form in ("state_dict.h5", "state_dict.pth", "dvs_script_checkpoint.pth"):
        if (folder / form).exists():
            network = network_of(folder, tmp_path, form, **facts_of(folder))
            assert network.nodes == reference.nodes
            assert network.spec == reference.spec
            assert network.weights.keys() == reference.weights.keys()
            for key in reference.weights:
                np.testing.assert_array_equal(network.weights[key], reference.weights[key])


def test_all_forms_are_among_the_goldens():
    """The goldens that travel with the project hold each form of file."""
    forms = {path.name for folder in OWN for path in folder.iterdir()}
    assert {"checkpoint.pth.tar", "state_dict.h5", "state_dict.pth", "dvs_script_checkpoint.pth"} <= forms


@pytest.mark.parametrize("folder", OWN + goldens("spikingformer-*"), ids=lambda path: path.name)
def test_paper_view_equals_the_published_tool(folder, tmp_path):
    """The paper's estimate equals that of the authors' tool on the same model and input, per layer and in total."""
    run = api.simulate(network_of(folder, tmp_path), np.load(folder / "input.npy"), precision="float64")
    rows, tool = paper.estimate(run.counts), json.loads((folder / "paper_tool.json").read_text())
    if "error" not in tool:
        assert [total / 1e9 for total in paper.totals(run.counts)] == pytest.approx(
            [tool["gacs"], tool["gmacs"]], rel=1e-6
        )
        assert run.paper().energy_mj == pytest.approx(tool["energy_mJ"], rel=1e-6)
    for name, expected in tool.get("per_layer", {}).items():
        if not name.endswith("_lif"):
            row = rows[name]
            assert row.acs == pytest.approx(expected["acs"], rel=1e-6), name
            assert row.macs == pytest.approx(expected["macs"], rel=1e-6), name


@pytest.mark.parametrize("folder", OWN, ids=lambda path: path.name)
def test_attention_equals_the_reference_count(folder, tmp_path):
    """Synaptic operations of attention equal those that the PyTorch reference counted, in both orders."""
    run = api.simulate(network_of(folder, tmp_path), np.load(folder / "input.npy"), precision="float64")
    attention = {
        name: expected
        for name, expected in json.loads((folder / "exact_counts.json").read_text()).items()
        if name.endswith(".ssa")
    }
    assert attention
    for name, expected in attention.items():
        layer = run.counts.layer(name)
        order = expected["order"]
        other = {"q(kv)": "(qk)v", "(qk)v": "q(kv)"}[order]
        assert layer.geometry.order == order
        assert layer.sops_per_head.tolist() == expected[order], name
        assert layer.sops_other_order_per_head.tolist() == expected[other], name

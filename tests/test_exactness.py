"""Every spike, count and logit equals the PyTorch model's: goldens of every tokenizer and variant."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from evsim import modelfile
from evsim.converters import ConvertOptions, convert
from evsim.engine import Simulator
from evsim.observers import Counter, SpikeRecorder

OWN = sorted((Path(__file__).parent / "data" / "golden").glob("spikingformer-*"))
SHARED = sorted((Path(__file__).parents[2] / "shared" / "golden").glob("spikingformer-*"))


def network_of(folder, tmp_path):
    """Convert a golden's checkpoint, store it and load it again."""
    variant = "cml" if folder.name.endswith("cml") else "standard"
    modelfile.save(
        convert(folder / "checkpoint.pth.tar", ConvertOptions(variant=variant)).network, tmp_path / "model.h5"
    )
    return modelfile.load(tmp_path / "model.h5")


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
@pytest.mark.parametrize("folder", OWN + SHARED, ids=lambda path: path.name)
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


@pytest.mark.parametrize("folder", OWN + SHARED, ids=lambda path: path.name)
def test_float32_predicts_the_same(folder, tmp_path):
    """In float32 the prediction is the same and hardly any spike differs, whatever the threads and schedule."""
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

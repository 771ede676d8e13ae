"""What the tests of a family share: goldens of the authors' code, held against what evsim converts and runs."""

from __future__ import annotations

import json
from dataclasses import replace

import h5py
import numpy as np
from beside import SHARED, needed

from evsim import api, countsfile, modelfile


def golden(name):
    """Return the folder of a golden, of the families or of the older ones; skip the test where there is none."""
    folders = [SHARED / which / name for which in ("golden-families", "golden")]
    return needed(next((folder for folder in folders if folder.exists()), folders[0]))


def told(folder, which):
    """Return a JSON file of a golden, empty if it has none."""
    path = folder / f"{which}.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content.get("layers", content)


def random_state(form, sizes, seed):
    """Return a random state_dict of a key table, as a training would leave it: every layer of neurons can fire."""
    rng, state = np.random.default_rng(seed), {}
    for layer in form.layers(sizes):
        shape = layer.sized(sizes)
        state[layer.weight] = rng.normal(0.0, np.sqrt(2.0 / np.prod(shape[1:])), shape)
        if layer.bias:
            state[f"{layer.key}.bias"] = rng.normal(0.0, 0.2, shape[0])
        if layer.norm:
            state[f"{layer.norm}.weight"] = rng.uniform(1.5, 2.5, shape[0])
            state[f"{layer.norm}.bias"] = rng.normal(0.6, 0.5, shape[0])
            state[f"{layer.norm}.running_mean"] = rng.normal(0.0, 0.2, shape[0])
            state[f"{layer.norm}.running_var"] = rng.uniform(0.5, 1.5, shape[0])
    return {key: value.astype(np.float32) for key, value in state.items()}


def write_state(path, state):
    """Write a state_dict as HDF5 and return its path."""
    with h5py.File(path, "w") as file:
        for key, value in state.items():
            file[key] = value
    return path


def check_plain(network, sample, spikes, logits):
    """Hold a run in float64 against the spikes [T, H, W, C] and logits of a plain forward pass."""
    run = api.simulate(network, sample, precision="float64", record_spikes=True)
    assert set(spikes) == set(run.spikes), "layers of neurons"
    for neurons, wanted in spikes.items():
        assert 0 < wanted.mean() < 1, f"{neurons} must fire, and not always, to be told from another"
        packed, shape = run.spikes[neurons]
        mine = np.unpackbits(packed)[: np.prod(shape)].reshape(shape)
        assert mine.size == wanted.size, neurons
        steps, _, _, channels = wanted.shape
        by_channel = wanted.reshape(steps, -1, channels).transpose(0, 2, 1)
        assert np.array_equal(mine.reshape(steps, -1), by_channel.reshape(steps, -1)), neurons
    np.testing.assert_allclose(run.logits, logits, rtol=0, atol=1e-9)


def check_golden(folder, network, tmp_path):
    """Hold spikes, logits and counts of a converted model against the golden: schedules, threads and files alike."""
    modelfile.save(network, tmp_path / "m.h5")
    stored = modelfile.load(tmp_path / "m.h5")
    sample = np.load(folder / "input.npy")
    runs = [
        api.simulate(
            stored, sample, precision="float64", record_spikes=True, schedule=schedule, threads=threads, detail=True
        )
        for schedule, threads in (("layer", 1), ("time", 1), ("layer", 3), ("time", 3))
    ]
    run = runs[0]
    with h5py.File(folder / "golden.h5") as file:
        np.testing.assert_allclose(run.logits, file["logits_float64"][()].reshape(-1), rtol=0, atol=1e-9)
        assert set(file["spikes_float64"]) == set(run.spikes), "layers of neurons"
        for neurons, spikes in file["spikes_float64"].items():
            packed, shape = run.spikes[neurons]
            whole = spikes.attrs["shape"].tolist()  # some modules have squeezed their batch of one
            assert list(shape) in (whole, whole[:1] + whole[2:]), neurons
            assert np.array_equal(packed, spikes[()]), neurons
    for other in runs[1:]:
        assert np.array_equal(run.logits, other.logits)
        for row, again in zip(run.counts.layers, other.counts.layers, strict=True):
            assert (row.sops.tolist(), row.macs.tolist()) == (again.sops.tolist(), again.macs.tolist()), row.name
        for neurons, (packed, _) in run.spikes.items():
            assert np.array_equal(packed, other.spikes[neurons][0]), neurons
    check_counts(folder, run.counts)
    run.save_counts(tmp_path / "c.h5")
    check_counts(folder, countsfile.load(tmp_path / "c.h5").counts)


def check_counts(folder, counts):
    """Hold the counts of layers and of attention against those of the golden, all of them."""
    for layer, wanted in told(folder, "exact_counts").items():
        row = counts.layer(layer)
        assert int((row.sops + row.macs).sum()) == wanted["accumulates_in_bounds"], layer
        assert row.dense_macs == wanted["dense_macs_with_padding"], layer
        assert int(row.input_nonzeros.sum()) == wanted["input_nonzeros"], layer
        assert int(row.input_size.sum()) == wanted["input_size"], layer
    for layer, wanted in told(folder, "unrolled_counts").items():
        row = counts.layer(layer)
        assert row.input_kind == "real" or int(row.acs_unrolled.sum()) in wanted.values(), layer
    for module, wanted in told(folder, "attention_counts").items():
        row = next(row for row in counts.layers if row.name in (module, f"{module}.ssa"))
        for operation, values in wanted.items():
            if operation in ("kind", "heads", "erode", "code_order"):
                continue
            mine = row.named_operations.get(operation)
            if mine is None:
                mine = row.sops_per_head if operation == row.geometry.order else row.sops_other_order_per_head
            assert (mine.tolist() if mine.ndim == 2 else int(mine.sum())) == values, (module, operation)


def parameters(family, name):
    """Return how many parameters a preset's PyTorch model has: weights, biases, gains and shifts of BatchNorm."""
    form, sizes = family.sizes(family.presets[name])
    return family.form(form).parameters(sizes)


def seen(preset):
    """Return a preset with a mean and a standard deviation, where it takes pictures."""
    return preset if preset.tokenizer == "dvs" else replace(preset, mean=(0.5,) * 3, std=(0.25,) * 3)

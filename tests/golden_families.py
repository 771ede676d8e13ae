"""Goldens of the authors' code beside the checkout (../shared/golden-families), through each of their files."""

from __future__ import annotations

import json

import h5py
import numpy as np
from beside import SHARED, needed

from evsim import api, modelfile
from evsim.converters import convert

FOLDER = SHARED / "golden-families"


def files_of(name):
    """Return the checkpoint files of a golden; one to skip by where there are none."""
    folder = FOLDER / name
    return sorted((*folder.glob("*.pth"), *folder.glob("*.pth.tar"), *folder.glob("state_dict.h5"))) or [folder]


def check(path, options, tmp_path):
    """Convert a golden's checkpoint, store it, and hold spikes, logits and counts of its runs against the golden."""
    folder = needed(path).parent
    modelfile.save(convert(path, options).network, tmp_path / "m.h5")
    network, sample = modelfile.load(tmp_path / "m.h5"), np.load(folder / "input.npy")
    exact = json.loads((folder / "exact_counts.json").read_text(encoding="utf-8"))
    unrolled = folder / "unrolled_counts.json"
    unrolled = json.loads(unrolled.read_text(encoding="utf-8")) if unrolled.exists() else {}
    for schedule, threads in (("layer", 1), ("layer", 3), ("time", 1), ("time", 3)):
        run = api.simulate(network, sample, precision="float64", record_spikes=True, schedule=schedule, threads=threads)
        with h5py.File(folder / "golden.h5") as golden:
            np.testing.assert_allclose(run.logits, golden["logits_float64"][()].reshape(-1), rtol=0, atol=1e-9)
            assert run.spikes.keys() == set(golden["spikes_float64"])
            for name, spikes in golden["spikes_float64"].items():
                packed, shape = run.spikes.packed[name]
                whole = spikes.attrs["shape"].tolist()
                assert list(shape) == whole[:1] + whole[2:], name
                assert np.array_equal(packed, spikes[()]), name
        for name, wanted in exact.get("layers", exact).items():
            row = run.counts.layer(name)
            assert int((row.sops + row.macs).sum()) == wanted["accumulates_in_bounds"], name
            assert row.dense_macs == wanted["dense_macs_with_padding"], name
            assert int(row.input_nonzeros.sum()) == wanted["input_nonzeros"], name
            assert int(row.input_size.sum()) == wanted["input_size"], name
            assert bool(row.binary_samples) is wanted["input_binary"], name
        for name, wanted in unrolled.get("layers", unrolled).items():
            assert int(run.counts.layer(name).acs_unrolled.sum()) in wanted.values(), name
    return network

"""Data sets for the fuzzer: whole files in their authors' layouts, and how every sample of one is read."""

from __future__ import annotations

import io

import event_files
import h5py
import numpy as np
from data_sets import python_two

from evsim.datasets import open_dataset
from evsim.inputspec import InputSpec
from evsim.network import Input, Linear, Network, TimeMean, TokenMean

MOST_READ = 4
"""Samples that are read of one file."""


def _network(kind, channels, height, width, timesteps):
    """Return a network for its input alone; it never runs."""
    mean = {"mean": (0.5,) * channels, "std": (0.25,) * channels} if kind == "image" else {}
    nodes = (
        Input("input", (), channels, height, width, "real" if kind == "image" else "integers"),
        TokenMean("pool", ("input",)),
        TimeMean("mean", ("pool",)),
        Linear("head", ("mean",), channels, 2),
    )
    weights = {"head.weight": np.ones((2, channels), np.float32), "head.bias": np.zeros(2, np.float32)}
    return Network("tiny", "", "", InputSpec(kind, channels, height, width, timesteps, **mean), nodes, weights)


NETWORKS = {
    "images": _network("image", 3, 32, 32, 2),
    "events": _network("events", 2, 100, 100, 2),
    "spikes": _network("events", 1, 1, 700, 2),
}


def reads(kind):
    """Return what lists a data set and reads some of its samples."""

    def read(path, rng):
        beside = path.with_name("a.bin")
        if not beside.exists():
            beside.write_bytes(event_files.atis([1, 2, 3], [4, 5, 6], [1, 1, 2], [0, 1, 0]))
        data = open_dataset(path, ("cat", "dog"))
        assert len(data.samples) <= 1 << 22, "samples without number"
        assert all(sample.label is None or 0 <= sample.label < len(data.classes) for sample in data.samples)
        held = [i for i, sample in enumerate(data.samples) if "[" in sample.name or sample.name == beside.name]
        for index in sorted(rng.sample(held, min(MOST_READ, len(held)))):  # a table may name files that are not there
            values = data.read(index, NETWORKS[kind]).values
            assert np.isfinite(values).all(), "values that are no numbers"

    return read


def _saved(save):
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def tables():
    """Return tables of labels."""
    return [b"file,label\na.bin,cat\na.bin,1\n", b"#id #class\na\t0\n", b"ImageId;PredictionString\na;dog 1 2\n"]


def arrays():
    """Return arrays of pictures and labels, compressed and not."""
    x, y = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3)).astype(np.uint8), np.array([0, 1, 1, 0])
    return [
        _saved(lambda file: np.savez(file, x=x, y=y)),
        _saved(lambda file: np.savez_compressed(file, images_test=x, labels_test=np.eye(2)[y])),
    ]


def batches():
    """Return a batch of CIFAR as Python 2 wrote it."""
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3072)).astype(np.uint8)
    return [python_two({"batch_label": "test", "labels": [1, 0, 1], "data": pixels, "filenames": ["a.png"] * 3})]


def spikes():
    """Return lists of spikes as SHD has them."""

    def save(buffer):
        with h5py.File(buffer, "w") as file:
            for name, dtype in (("times", np.float32), ("units", np.uint16)):
                held = file.create_dataset(f"spikes/{name}", (3,), h5py.vlen_dtype(dtype))
                for i in range(3):
                    held[i] = np.arange(20, dtype=dtype) / (20 if name == "times" else 1)
            file["labels"] = np.arange(3)

    return [_saved(save)]

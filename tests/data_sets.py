"""Data sets as their authors lay them out, made small; imports nothing of evsim but what a network is."""

from __future__ import annotations

import io

import event_files
import numpy as np

from evsim.inputspec import InputSpec
from evsim.network import Input, Linear, Network, TimeMean, TokenMean

SIDE = 6


def network(kind="events", channels=2, height=SIDE, width=SIDE, timesteps=3, labels=(), **more):
    """Return a network of one linear layer, for its input alone."""
    mean = {"mean": (0.5,) * channels, "std": (0.25,) * channels} if kind == "image" else {}
    spec = InputSpec(kind, channels, height, width, timesteps, **mean, **more)
    emits = {"image": "real", "events": "integers", "frames": "real"}[kind]
    rng = np.random.default_rng(0)
    nodes = (
        Input("input", (), channels, height, width, emits),
        TokenMean("pool", ("input",)),
        TimeMean("mean", ("pool",)),
        Linear("head", ("mean",), channels, 3),
    )
    weights = {
        "head.weight": rng.standard_normal((3, channels)).astype(np.float32),
        "head.bias": np.zeros(3, np.float32),
    }
    return Network("tiny", "by-hand", "", spec, nodes, weights, tuple(labels))


def events(seed, number=40, side=SIDE):
    """Return the columns t, x, y and p of a few events."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(0, 30_000, number))
    return t, rng.integers(0, side, number), rng.integers(0, side, number), rng.integers(0, 2, number)


def write_npz(path, seed):
    """Write a recording as SpikingJelly does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(event_files.npz(*events(seed)))


def write_bin(path, seed):
    """Write a recording as N-MNIST's are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(event_files.atis(*(column.tolist() for column in events(seed))))


def picture(seed, side=SIDE):
    """Return the pixels [H, W, 3] of a picture, and the bytes of its PNG."""
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return pixels, buffer.getvalue()

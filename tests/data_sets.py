"""Data sets as their authors lay them out, made small; imports nothing of evsim but what a network is."""

from __future__ import annotations

import io
import struct

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


def python_two(content):
    """Return a pickle as Python 2 writes it: protocol 2, in which texts are bytes."""
    out = io.BytesIO()

    def put(value):
        if isinstance(value, dict):
            out.write(b"}(")
            for key, item in value.items():
                put(key)
                put(item)
            out.write(b"u")
        elif isinstance(value, list):
            out.write(b"](")
            for item in value:
                put(item)
            out.write(b"e")
        elif isinstance(value, np.ndarray):
            out.write(b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01")
            put(tuple(value.shape))
            out.write(
                b"cnumpy\ndtype\nU\x02"
                + value.dtype.str[1:].encode()
                + b"K\x00K\x01\x87R(K\x03U\x01"
                + value.dtype.str[:1].encode()
                + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
            )
            put(value.tobytes())
            out.write(b"tb")
        elif isinstance(value, tuple):
            for item in value:
                put(item)
            out.write({1: b"\x85", 2: b"\x86"}[len(value)])
        elif isinstance(value, int):
            out.write(b"J" + struct.pack("<i", value))
        else:
            raw = value.encode() if isinstance(value, str) else value
            out.write(b"T" + struct.pack("<i", len(raw)) + raw if len(raw) > 255 else b"U" + bytes([len(raw)]) + raw)

    out.write(b"\x80\x02")
    put(content)
    out.write(b".")
    return out.getvalue()

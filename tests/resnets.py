"""Spiking ResNets for tests: random weights, a plain forward pass, and the comparison with goldens of authors' code."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import naive
import numpy as np

from evsim import api

EPS = 1e-5
SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden-families"


class Drawn(dict):
    """A state_dict of random weights, which grows by convolutions, BatchNorms and linear layers."""

    def __init__(self, seed=0):
        super().__init__()
        self.random = np.random.default_rng(seed)

    def conv(self, key, norm, *shape):
        """Draw a convolution and the BatchNorm behind it; currents are near the threshold of 1."""
        spread = np.sqrt(2.0 / np.prod(shape[1:]))
        self[f"{key}.weight"] = (spread * self.random.standard_normal(shape)).astype(np.float32)
        for part, low, high in (("weight", 1.0, 2.0), ("bias", 0.2, 1.6), ("running_mean", 0, 0.2)):
            self[f"{norm}.{part}"] = self.random.uniform(low, high, shape[0]).astype(np.float32)
        self[f"{norm}.running_var"] = self.random.uniform(0.5, 1.5, shape[0]).astype(np.float32)
        self[f"{norm}.num_batches_tracked"] = np.array(1)

    def linear(self, key, classes, features):
        """Draw a linear layer with bias."""
        self[f"{key}.weight"] = self.random.standard_normal((classes, features)).astype(np.float32)
        self[f"{key}.bias"] = self.random.standard_normal(classes).astype(np.float32)

    def learned(self, name):
        """Draw the w of neurons of a learned leak."""
        self[f"{name}.w"] = np.float32(self.random.normal(0.0, 0.5)).reshape(())


def resnet_state(keys, spiking, *, deep=False, groups=1, blocks=(2, 1, 1, 1), width=4, learned=False, channels=3):
    """Draw a ResNet in the authors' keys ("authors") or SpikingJelly's ("jelly"), SEW or (`spiking`) Spiking ResNet."""
    state = Drawn()
    state.conv("conv1", "bn1", width, channels, 7, 7)
    neurons, before = ["sn1"], width
    for stage, count in enumerate(blocks, 1):
        inner = width << (stage - 1)
        out = 4 * inner if deep else inner
        for number in range(count):
            path = f"layer{stage}.{number}"
            shapes = [(inner, before, 3, 3), (inner, inner, 3, 3)]
            if deep:
                shapes = [(inner, before, 1, 1), (inner, inner // groups, 3, 3), (out, inner, 1, 1)]
            for i, shape in enumerate(shapes, 1):
                conv = f"{path}.conv{i}"
                state.conv(
                    *((f"{conv}.module.0", f"{conv}.module.1") if keys == "authors" else (conv, f"{path}.bn{i}")),
                    *shape,
                )
            neurons += [f"{path}.sn{i}" for i in range(1, len(shapes) + 1)]
            if before != out:
                key = shortcut_of(keys, spiking)
                norm = f"{key[:-1]}1"
                state.conv(f"{path}.{key}", f"{path}.{norm}", out, before, 1, 1)
                neurons += [] if spiking else [f"{path}.{'downsample.1' if keys == 'authors' else 'downsample_sn'}"]
            before = out
    state.linear("fc", 5, before)
    for name in neurons if learned else ():
        state.learned(name)
    return state


def shortcut_of(keys, spiking):
    """Return the key of a shortcut's convolution within its block."""
    if keys == "jelly":
        return "downsample.0"
    return "downsample.module.0" if spiking else "downsample.0.module.0"


class Plain:
    """A forward pass in NumPy, float64, on maps [T, H, W, C]; keeps the spikes of all neurons by name."""

    def __init__(self, state, neuron="if"):
        self.state, self.neuron, self.spikes = state, neuron, {}

    def conv(self, x, key, norm, stride=1):
        """Convolve by groups, and normalise."""
        weight = np.asarray(self.state[f"{key}.weight"], np.float64).transpose(2, 3, 1, 0)
        groups, pad = x.shape[-1] // weight.shape[2], weight.shape[0] // 2
        parts = zip(np.split(x, groups, -1), np.split(weight, groups, -1), strict=True)
        y = np.concatenate([naive.conv(part, w, (stride,) * 2, (pad,) * 2) for part, w in parts], -1)
        gain, shift, mean, var = (
            np.asarray(self.state[f"{norm}.{part}"], np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (y - mean) / np.sqrt(var + EPS) * gain + shift

    def fire(self, name, current):
        """Return the spikes of neurons without leak, of a tau of 2, or of a learned one."""
        v, spikes = np.zeros_like(current[0]), []
        for x in current:
            if self.neuron == "plif":
                v = v + (x - v) / (1.0 + np.exp(-float(self.state[f"{name}.w"])))
            else:
                v = v + (x if self.neuron == "if" else (x - v) / 2.0)
            spikes.append(v >= 1.0)
            v = np.where(spikes[-1], 0.0, v)
        self.spikes[name] = np.stack(spikes).transpose(0, 3, 1, 2)
        return np.stack(spikes).astype(np.float64)

    def linear(self, x, key):
        """Return the linear layer."""
        return x @ np.asarray(self.state[f"{key}.weight"], np.float64).T + self.state[f"{key}.bias"]

    def resnet(self, frames, keys, spiking, *, connect="add", turned=False):
        """Return the logits of a ResNet on frames [T, C, H, W]."""

        def layer(x, conv, norm, stride=1):
            names = (f"{conv}.module.0", f"{conv}.module.1") if keys == "authors" else (conv, norm)
            return self.conv(x, *names, stride)

        x = self.fire("sn1", self.conv(frames.transpose(0, 2, 3, 1).astype(np.float64), "conv1", "bn1", 2))
        x = naive.max_pool(x, 3, 2, 1)
        blocks = sorted({tuple(map(int, (k[5], k.split(".")[1]))) for k in self.state if k.startswith("layer")})
        for stage, number in blocks:
            path = f"layer{stage}.{number}"
            last = 3 if any(k.startswith(f"{path}.conv3") for k in self.state) else 2
            out, stride = x, 2 if stage > 1 and number == 0 else 1
            for i in range(1, last + 1):
                out = layer(out, f"{path}.conv{i}", f"{path}.bn{i}", stride if i == last - 1 else 1)
                if i < last or not spiking:
                    out = self.fire(f"{path}.sn{i}", out)
            key = shortcut_of(keys, spiking)
            if f"{path}.{key}.weight" in self.state:
                x = self.conv(x, f"{path}.{key}", f"{path}.{key[:-1]}1", stride)
                if not spiking:
                    x = self.fire(f"{path}.{'downsample.1' if keys == 'authors' else 'downsample_sn'}", x)
            x = (
                self.fire(f"{path}.sn{last}", x + out)
                if spiking
                else join(connect, *((out, x) if turned else (x, out)))
            )
        return self.linear(x.mean(axis=(0, 1, 2)), "fc")


def join(connect, x, y):
    """Join spikes by an element-wise function."""
    return {"add": x + y, "and": x * y, "iand": x * (1.0 - y)}[connect]


def run(network, sample, **options):
    """Run in float64 and keep all spikes."""
    return api.simulate(network, sample, precision="float64", record_spikes=True, **options)


def same_as(plain, logits, run):
    """Assert that a run's spikes and logits are those of a plain forward pass, and that its neurons fire."""
    np.testing.assert_allclose(run.logits, logits, rtol=0, atol=1e-9)
    assert run.spikes.keys() == plain.spikes.keys()
    for name, spikes in plain.spikes.items():
        packed, shape = run.spikes.packed[name]
        assert tuple(shape) == spikes.shape, name
        assert np.array_equal(packed, np.packbits(spikes)), name
    rates = [spikes.mean() for spikes in plain.spikes.values()]
    assert np.mean([0.01 < rate < 0.99 for rate in rates]) > 0.7, rates


def same_as_golden(network, folder):
    """Assert that spikes, logits and counts are those of the authors' code, through both schedules and by threads."""
    runs = [
        run(network, np.load(folder / "input.npy"), schedule=schedule, threads=threads)
        for schedule, threads in (("layer", 1), ("time", 1), ("layer", 3), ("time", 3))
    ]
    with h5py.File(folder / "golden.h5") as golden:
        wanted = {name: spikes[()] for name, spikes in golden["spikes_float64"].items()}
        logits = golden["logits_float64"][()].reshape(-1)
    for each in runs:
        np.testing.assert_allclose(each.logits, logits, rtol=0, atol=1e-9)
        assert each.spikes.keys() == wanted.keys()
        assert all(np.array_equal(each.spikes.packed[name][0], spikes) for name, spikes in wanted.items())
        for row, first in zip(each.counts.layers, runs[0].counts.layers, strict=True):
            assert (row.sops.tolist(), row.macs.tolist()) == (first.sops.tolist(), first.macs.tolist()), row.name
    exact, unrolled = (json.loads((folder / f"{name}_counts.json").read_text()) for name in ("exact", "unrolled"))
    rows = {row.name: row for row in runs[0].counts.layers}
    for name, counts in exact.items():
        row = rows[name]
        assert int((row.sops + row.macs).sum()) == counts["accumulates_in_bounds"], name
        assert row.dense_macs == counts["dense_macs_with_padding"], name
        assert int(row.input_nonzeros.sum()) == counts["input_nonzeros"], name
        assert int(row.input_size.sum()) == counts["input_size"], name
    for name, counts in unrolled.items():
        row = rows[name]
        # behind a mean the last layer reads real values, for which nothing is unrolled
        mean = row.kind == "linear" and row.input_kind == "real"
        assert mean or int(row.acs_unrolled.sum()) == counts["accumulates_value_weighted"], name

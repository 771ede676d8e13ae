"""Synthetic models: random weights whose neurons fire at chosen rates, for benchmarks, sweeps and tests.

Trained weights of the published models sit behind cloud drives; what their speed and energy depend on is known: sizes
and firing rates. A synthetic model has a published model's sizes and key names, random weights, and a BatchNorm
calibrated layer by layer, so that every LIF fires at its target on a random input. It predicts nothing.

Where the rates come from: Spikingformer-8-512 and -8-768 on ImageNet are published layer by layer (rates of each
layer's input, after the max-pool that feeds it). For every other model no rates are published, and these are assumed:
those of 8-768 for a dimension of 768, of 8-512 for all others; block b of a model of depth d takes those of the
published block ``floor((b + 1/2) * 8 / d)``, the one at the same relative depth; CIFAR and DVS models and CML fire as
those of ImageNet. Spikformer's layers fire as Spikingformer's of the same place; the neurons whose spikes go to the
residual stream (`rpe_lif`, `attn.proj_lif`, `fc2_lif`), which Spikingformer lacks, fire at `RESIDUAL_RATE`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim import hdf5
from evsim.converters.calibration import Rate, calibrate, measure
from evsim.converters.checkpoint import Checkpoint
from evsim.converters.facts import ConvertOptions
from evsim.converters.presets import PRESETS, Preset
from evsim.data import published
from evsim.errors import OptionError
from evsim.files import write_whole
from evsim.network import LIF, Network

RESIDUAL_RATE = 0.15
"""Rate of Spikformer's residual neurons. With it, integers counted as events, Spikformer-8-512 comes near the
19.14 G AC that its published 18.82 mJ imply (``evsim paper`` prints what they imply)."""

HIGHEST_RATE = 0.9
TOLERANCE = 0.01
ATTEMPTS = 8
"""Calibrations are drawn again until every rate is within the tolerance, so many times at most."""

OUT_OF_REACH = 0.1
"""A calibration that misses by more in float64 is drawn again once only: chance has little to do with it. Where q, k
and v are to fire very rarely, too few of their spikes coincide for `attn_lif` to fire as often as it should."""

MLP_RATIO = 4


@dataclass(frozen=True, eq=False)
class Synthetic:
    """A synthetic model.

    Attributes
    ----------
    network
        Ready to run or to be stored as model.h5.
    state
        The same weights as a PyTorch state_dict under the published key names, float32.
    sample
        The input on which it was calibrated: image [C, H, W] or frames of event counts [T, 2, H, W], float32.
    rates, rates_float32
        Target and reached rate of every LIF, in float64 and in float32.
    """

    network: Network
    state: Mapping[str, NDArray[Any]]
    sample: NDArray[np.float32]
    rates: tuple[Rate, ...]
    rates_float32: tuple[Rate, ...]

    @property
    def missed(self) -> tuple[Rate, ...]:
        """Neurons whose rate in float64 or float32 is off its target by more than `TOLERANCE`, the worst first."""
        return _missed(self.rates, self.rates_float32)


def synthesize(model: str | Preset, rates: str | float = "published", scale: float = 1.0, seed: int = 0) -> Synthetic:
    """Make a model with random weights that fires at given rates.

    Parameters
    ----------
    model
        Name of a preset, or sizes of one's own.
    rates
        "published", or one rate in (0, 0.9] for every LIF.
    scale
        Factor on all rates; none goes beyond 0.9.
    seed
        Of weights and input.

    Raises
    ------
    OptionError
        If a preset or rate is unknown or makes no sense.
    """
    preset = _preset(model)
    rate = _rate(rates)
    if not 0.0 < scale <= 100.0:
        raise OptionError(f"--scale-rates must be a positive factor up to 100, got {scale}")
    if seed < 0:
        raise OptionError(f"--seed must not be negative, got {seed}")
    rng = np.random.default_rng(seed)
    state = _state(preset, partial(_draw, rng))
    network = _convert(model, preset, state)
    sample = make_sample(network, rng)
    targets = {
        node.name: min(HIGHEST_RATE, scale * (rate or _published_rate(node.name, preset)))
        for node in network.nodes
        if isinstance(node, LIF)
    }
    reached, single = _calibrated(network, state, targets, sample, rng)
    source = "published rates" if rate is None else f"rate {rate}"
    provenance = {
        **{fact: _from_preset(text) for fact, text in network.provenance.items()},
        "checkpoint": f"synthetic: random weights of seed {seed}, calibrated to {source} x {scale:g}; predicts nothing",
    }
    if rate is None:
        provenance["rates"] = _source_of_rates(preset)
    provenance["calibration"] = _reached(reached, single)
    return Synthetic(replace(network, provenance=provenance), state, sample, reached, single)


def skeleton(model: str | Preset) -> Network:
    """Return a model's graph for questions about sizes; its weights are 0 and take no memory.

    Raises
    ------
    OptionError
        If a preset is unknown or makes no sense.
    """
    preset = _preset(model)
    return _convert(model, preset, _state(preset, lambda shape: np.broadcast_to(np.float32(0.0), shape)))


def save_state(state: Mapping[str, NDArray[Any]], path: str | Path) -> None:
    """Write a state_dict as HDF5, one dataset per key, as `evsim convert` and the benchmarks read it.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """

    def fill(file: Any) -> None:
        for key, value in state.items():
            file.create_dataset(key, data=value)

    hdf5.write(path, fill, "latest")


def save_sample(sample: NDArray[np.float32], path: str | Path) -> None:
    """Write an input as ``.npy``; OutputError if the file cannot be written."""
    buffer = io.BytesIO()
    np.save(buffer, sample)
    write_whole(path, buffer.getvalue())


def make_sample(network: Network, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a random input: a smooth image with noise, normalised as the model wants it, or Poisson event frames."""
    from scipy.ndimage import gaussian_filter

    spec = network.spec
    size = (spec.height, spec.width)
    if spec.kind == "image":
        smooth = gaussian_filter(rng.standard_normal((spec.channels, *size)), (0, size[0] / 24, size[1] / 24))
        smooth /= smooth.std(axis=(1, 2), keepdims=True)
        image = np.clip(0.45 + 0.22 * smooth + 0.05 * rng.standard_normal(smooth.shape), 0.0, 1.0)
        mean, std = (np.array(values)[:, np.newaxis, np.newaxis] for values in (spec.mean, spec.std))
        normalised: NDArray[np.float32] = ((np.round(image * 255) / 255 - mean) / std).astype(np.float32)
        return normalised
    y, x = np.mgrid[: size[0], : size[1]] / np.array(size)[:, np.newaxis, np.newaxis]
    frames = []
    for centre in np.linspace(0.3, 0.7, spec.timesteps):
        edge = np.exp(-((np.hypot(x - centre, y - 0.5) - 0.25) ** 2) / 0.004)
        frames.append([0.02 + 0.8 * edge * (x > centre), 0.02 + 0.8 * edge * (x <= centre)])
    return rng.poisson(np.array(frames)).astype(np.float32)


def _calibrated(
    network: Network,
    state: dict[str, NDArray[Any]],
    targets: Mapping[str, float],
    sample: NDArray[np.float32],
    rng: np.random.Generator,
) -> tuple[tuple[Rate, ...], tuple[Rate, ...]]:
    """Calibrate, and return the rates reached in float64 and float32.

    A random network is chaotic: where float32 rounds a membrane over its threshold, spikes of later layers differ, and
    attention, a product of three, may fire at another rate. So draw again until the rates hold in float32 as well, but
    not on and on where the target itself is out of reach.
    """
    best: tuple[float, tuple[tuple[Rate, ...], tuple[Rate, ...]]] | None = None
    kept: dict[str, NDArray[Any]] = {}
    for attempt in range(ATTEMPTS):
        rates = calibrate(network, state, targets, sample, rng)
        single = measure(network, targets, sample, "float32")
        error = max(abs(rate.error) for rate in (*rates, *single))
        if best is None or error < best[0]:
            best, kept = (error, (rates, single)), dict(state)
        if error <= TOLERANCE or (attempt and max(abs(rate.error) for rate in rates) > OUT_OF_REACH):
            break
    assert best is not None
    state.update(kept)
    return best[1]


def _missed(rates: Sequence[Rate], single: Sequence[Rate]) -> tuple[Rate, ...]:
    worse = (max(pair, key=lambda rate: abs(rate.error)) for pair in zip(rates, single, strict=True))
    return tuple(
        sorted((rate for rate in worse if abs(rate.error) > TOLERANCE), key=lambda rate: abs(rate.error), reverse=True)
    )


def _reached(rates: Sequence[Rate], single: Sequence[Rate]) -> str:
    """Say how near the calibration came, for the provenance."""
    worst = max((*rates, *single), key=lambda rate: abs(rate.error))
    text = f"worst error of a rate {abs(worst.error):.2%}, in float64 and float32"
    if missed := _missed(rates, single):
        text += (
            f"; MISSED the target at {len(missed)} of {len(rates)} layers of neurons, worst {worst.name}: "
            f"wanted {worst.target:.4%}, reached {worst.reached:.4%}"
        )
    return text


def _from_preset(source: str) -> str:
    """Say that a fact is the preset's: the converter takes it for an option that somebody gave."""
    return re.sub(r"from --(?!preset)[a-z-]+", "from the preset", source).replace("from --preset", "from the preset")


def _preset(model: str | Preset) -> Preset:
    if isinstance(model, Preset):
        preset = model
    elif model in PRESETS:
        preset = PRESETS[model]
    else:
        raise OptionError(f"no preset is named {model}; known are {', '.join(sorted(PRESETS))}")
    if preset.dim % 8 or preset.dim % preset.heads:
        raise OptionError(f"a dimension of {preset.dim} is no multiple of 8 and of its {preset.heads} heads")
    if preset.depth < 1:
        raise OptionError(f"a model has at least one block, got depth {preset.depth}")
    return preset


def _rate(rates: str | float) -> float | None:
    """Return the one rate for all, None for the published ones."""
    if rates == "published":
        return None
    try:
        rate = float(rates)
    except ValueError:
        rate = -1.0
    if not 0.0 < rate <= HIGHEST_RATE:
        raise OptionError(f"--rates must be published or a number in (0, {HIGHEST_RATE}], got {rates}")
    return rate


def _convert(model: str | Preset, preset: Preset, state: dict[str, NDArray[Any]]) -> Network:
    """Build the network by the ordinary converter; its weights are read from `state` on access."""
    from evsim.converters import build

    shapes = {key: value.shape for key, value in state.items()}
    checkpoint = Checkpoint(Path(f"{preset.family}-{preset.depth}-{preset.dim}"), state, shapes, {}, (), "")
    if isinstance(model, str):
        return build(checkpoint, ConvertOptions(preset.family, preset=model)).network
    options = ConvertOptions(
        preset.family, preset.variant, preset.tokenizer, preset.heads, preset.timesteps,
        image_size=preset.image_size, mean=preset.mean or None, std=preset.std or None,
    )  # fmt: skip
    return build(checkpoint, options).network


def _published_rate(name: str, preset: Preset) -> float:
    """Return the rate of a LIF: that of the input of the layer that reads it, in the published model nearest by."""
    model = published("spikingformer-8-768" if preset.dim == 768 else "spikingformer-8-512")
    by_place = {layer["name"]: float(layer["rate"]) for layer in model["layers"]}
    convs = [rate for place, rate in by_place.items() if place.startswith("patch_embed.")]
    spikformer = preset.family == "spikformer"
    if name.startswith("patch_embed."):
        if name.endswith("rpe_lif"):
            return RESIDUAL_RATE
        number = int(re.sub(r"\D", "", name) or 0)
        return convs[number + 1 if spikformer else number]
    found = re.match(r"block\.(\d+)\.(.*)_lif$", name)
    assert found, name
    block = int((int(found[1]) + 0.5) * model["ssa"]["depth"] / preset.depth)
    place = found[2]
    if place in ("attn.q", "attn.k", "attn.v"):
        return float(model["ssa"]["rates"][block][place[-1]])
    if spikformer and place in ("attn.proj", "mlp.fc2"):
        return RESIDUAL_RATE
    readers = {"attn.proj": "attn.q", "attn.attn": "attn.proj", "mlp.mlp1": "mlp.mlp1", "mlp.mlp2": "mlp.mlp2"}
    reader = "mlp.mlp2" if place == "mlp.fc1" else readers[place]
    for form in (reader, reader.replace("mlp.mlp", "mlp.fc")):
        if f"block.{block}.{form}_conv" in by_place:
            return by_place[f"block.{block}.{form}_conv"]
    raise KeyError(name)


def _source_of_rates(preset: Preset) -> str:
    model = "spikingformer-8-768" if preset.dim == 768 else "spikingformer-8-512"
    own = (preset.family, preset.tokenizer, preset.variant, preset.depth) == (
        "spikingformer",
        "imagenet",
        "standard",
        8,
    )
    if own and preset.dim in (512, 768):
        return f"published for {model} on ImageNet, per layer"
    text = f"assumed: none are published for this model; those of {model} on ImageNet, blocks by relative depth"
    if preset.family == "spikformer":
        text += f", residual neurons {RESIDUAL_RATE}"
    return text


def _state(preset: Preset, draw: Callable[[tuple[int, ...]], NDArray[np.float32]]) -> dict[str, NDArray[Any]]:
    """Return a state_dict with parameters as `draw` gives them, BatchNorm at rest."""
    state: dict[str, NDArray[Any]] = {}
    for key, shape, norm, bias in _layers(preset):
        state[f"{key}.weight"] = draw(shape)
        if bias:
            state[f"{key}.bias"] = draw(shape[:1])
        if norm:
            ones, zeros = np.ones(shape[0], np.float32), np.zeros(shape[0], np.float32)
            state |= {f"{norm}.weight": ones, f"{norm}.bias": zeros}
            state |= {f"{norm}.running_mean": zeros, f"{norm}.running_var": ones}
            state[f"{norm}.num_batches_tracked"] = np.array(1)
    return state


def _draw(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw weights of variance 2 / fan-in, or small biases."""
    spread = np.sqrt(2.0 / np.prod(shape[1:])) if len(shape) > 1 else 0.05
    return rng.standard_normal(shape, np.float32) * np.float32(spread)


def _layers(preset: Preset) -> Iterator[tuple[str, tuple[int, ...], str, bool]]:
    """Yield key, weight shape, key of the BatchNorm (or "") and whether there is a bias, for every layer."""
    dim, spikformer, cifar = preset.dim, preset.family == "spikformer", preset.tokenizer == "cifar"
    sizes = [2 if preset.tokenizer == "dvs" else 3, dim // 8, dim // 4, dim // 2, dim, dim]
    for i, (conv, norm) in enumerate(_stages(preset)):
        yield f"patch_embed.{conv}", (sizes[i + 1], sizes[i], 3, 3), f"patch_embed.{norm}", False
    kind = "linear" if spikformer and cifar else "conv"
    token = () if kind == "linear" else (1,)
    mlp = token if spikformer and preset.tokenizer != "imagenet" else (1, 1)
    for block in range(preset.depth):
        attn = f"block.{block}.attn"
        for name in ("q", "k", "v", "proj"):
            yield f"{attn}.{name}_{kind}", (dim, dim, *token), f"{attn}.{name}_bn", kind == "linear" or name == "proj"
        for name, out, inner in (("1", MLP_RATIO * dim, dim), ("2", dim, MLP_RATIO * dim)):
            path = f"block.{block}.mlp.{'fc' if spikformer else 'mlp'}{name}"
            yield f"{path}_{kind}", (out, inner, *mlp), f"{path}_bn", True
    yield "head", (preset.classes, dim), "", True


def _stages(preset: Preset) -> list[tuple[str, str]]:
    """Names of the tokenizer's convolutions and BatchNorms."""
    if preset.family == "spikformer":
        return [*((f"proj_conv{i}", f"proj_bn{i}") for i in ("", "1", "2", "3")), ("rpe_conv", "rpe_bn")]
    block = preset.tokenizer == "cifar" and preset.variant == "standard"
    names = ["block0" if block else "proj", *(f"{'block' if block else 'proj'}{i}" for i in range(1, 5))]
    return [(f"{name}_conv", f"{name}_bn") for name in names]

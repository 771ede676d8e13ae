"""Synthetic models: random weights whose neurons fire at chosen rates, for benchmarks, sweeps and tests.

Trained weights of the published models sit behind cloud drives; what their speed and energy depend on is known: sizes
and firing rates. A synthetic model has a published model's sizes and key names, random weights, and a BatchNorm
calibrated layer by layer, so that every LIF fires at its target on a random input. It predicts nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.converters import ConvertOptions, Family, build
from evsim.converters.checkpoint import Checkpoint
from evsim.converters.presets import Preset
from evsim.converters.registry import find_family, find_preset
from evsim.converters.table import learned_constants
from evsim.errors import OptionError
from evsim.network import Network
from evsim.synthesis.calibration import calibrate
from evsim.synthesis.graph import Graph, Progress
from evsim.synthesis.philox import GRID, LARGEST_SEED, Philox
from evsim.synthesis.rates import Rate, measure, published_rate, source_of_rates
from evsim.synthesis.sample import make_sample

HIGHEST_RATE = 0.9
TOLERANCE = 0.01
ATTEMPTS = 8
"""Calibrations are drawn again until every rate is within the tolerance, so many times at most."""

OUT_OF_REACH = 0.1
"""A calibration that misses by more in float64 is drawn again once only: chance has little to do with it. Where q, k
and v are to fire very rarely, too few of their spikes coincide for `attn_lif` to fire as often as it should."""


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


def synthesize(
    model: str | Preset,
    rates: str | float = "published",
    scale_rates: float = 1.0,
    seed: int = 0,
    facts: Mapping[str, Any] | None = None,
    *,
    progress: Progress | None = None,
) -> Synthetic:
    """Make a model with random weights that fires at given rates.

    Parameters
    ----------
    model
        Name of a preset, or sizes of one's own.
    rates
        "published", or one rate in (0, 0.9] for every LIF.
    scale_rates
        Factor on all rates; none goes beyond 0.9.
    seed
        Of weights and input, 0 to 2^64 - 1. The same seed gives the same bits on every computer.
    facts
        Options of the converter that say otherwise than the preset, by their names: ``{"connect": "iand"}``.
    progress
        Called with the number of nodes to calibrate, and how many are; what misses its rates is drawn again.

    Raises
    ------
    OptionError
        If a preset, rate or fact is unknown or makes no sense.
    NetworkError
        If the family has neurons whose rate no layer before them sets.
    """
    preset = _preset(model)
    family = find_family(preset.family)
    rate = _rate(rates)
    if not 0.0 < scale_rates <= 100.0:
        raise OptionError(f"`scale_rates` must be a positive factor up to 100, got {scale_rates}")
    if not 0 <= seed <= LARGEST_SEED:
        raise OptionError(f"`seed` must be from 0 to 2^64 - 1, got {seed}")
    random = Philox(seed)
    told = {name: value for name, value in (facts or {}).items() if value is not None}
    state = _state(family, replace(preset, neuron=told.get("neuron", preset.neuron)), partial(_draw, random))
    # layers that are to stay apart are calibrated as one: only that has a BatchNorm before each of its neurons
    network = _convert(model, preset, state, {name: value for name, value in told.items() if name != "fold"})
    sample = make_sample(network, random)
    targets = {
        name: min(HIGHEST_RATE, scale_rates * (rate or published_rate(name, preset, family)))
        for name in Graph(network).neurons
    }
    reached, single = _calibrated(network, state, targets, sample, random, progress)
    if "fold" in told:
        network = _convert(model, preset, state, told)
    source = "published rates" if rate is None else f"rate {rate}"
    calibrated = f"calibrated to {source} x {scale_rates:g}"
    provenance = {
        **{fact: text if fact in told else _from_preset(text) for fact, text in network.provenance.items()},
        "checkpoint": f"synthetic: random weights of seed {seed} (Philox 4x32-10), {calibrated}; predicts nothing",
    }
    if rate is None:
        provenance["rates"] = source_of_rates(preset, family)
    provenance["calibration"] = _reached(reached, single)
    return Synthetic(replace(network, provenance=provenance), state, sample, reached, single)


def skeleton(model: str | Preset, facts: Mapping[str, Any] | None = None) -> Network:
    """Return a model's graph for questions about sizes; its weights are 0 and take no memory; `facts` as `synthesize`.

    Raises
    ------
    OptionError
        If a preset is unknown or makes no sense.
    """
    preset = _preset(model)
    state = _state(find_family(preset.family), preset, lambda shape: np.broadcast_to(np.float32(0.0), shape))
    return _convert(model, preset, state, facts)


def _calibrated(
    network: Network,
    state: dict[str, NDArray[Any]],
    targets: Mapping[str, float],
    sample: NDArray[np.float32],
    random: Philox,
    progress: Progress | None,
) -> tuple[tuple[Rate, ...], tuple[Rate, ...]]:
    """Calibrate, and return the rates reached in float64 and float32.

    A random network is chaotic: were a membrane rounded over its threshold by float32, spikes of later layers would
    differ, and attention, a product of three, might fire at another rate. Calibration keeps membranes away from
    thresholds, so both precisions should fire the same spikes; draw again where they do not, or where attention misses
    its target, but not on and on where the target itself is out of reach.
    """
    best: tuple[float, tuple[tuple[Rate, ...], tuple[Rate, ...]]] | None = None
    kept: dict[str, NDArray[Any]] = {}
    for attempt in range(ATTEMPTS):
        rates = calibrate(network, state, targets, sample, random, progress)
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
    preset = model if isinstance(model, Preset) else find_preset(model, option=False)
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
        raise OptionError(f"`rates` must be published or a number in (0, {HIGHEST_RATE}], got {rates}")
    return rate


def _convert(
    model: str | Preset, preset: Preset, state: dict[str, NDArray[Any]], told: Mapping[str, Any] | None = None
) -> Network:
    """Build the network by the ordinary converter; its weights are read from `state` on access."""
    shapes = {key: value.shape for key, value in state.items()}
    checkpoint = Checkpoint(Path(f"{preset.family}-{preset.depth}-{preset.dim}"), state, shapes, {}, (), "")
    if isinstance(model, str):
        return build(checkpoint, ConvertOptions(preset.family, preset=model, **(told or {}))).network
    chosen = {name: getattr(preset, name, None) for name in find_family(preset.family).choices}
    options = ConvertOptions(
        preset.family, heads=preset.heads or None, timesteps=preset.timesteps, image_size=preset.image_size,
        mean=preset.mean or None, std=preset.std or None, **chosen,
    )  # fmt: skip
    return build(checkpoint, replace(options, **(told or {}))).network


def _state(
    family: Family, preset: Preset, draw: Callable[[tuple[int, ...]], NDArray[np.float32]]
) -> dict[str, NDArray[Any]]:
    """Return a state_dict with parameters as `draw` gives them, BatchNorm at rest."""
    state: dict[str, NDArray[Any]] = {}
    name, sizes = family.sizes(preset)
    for layer in family.form(name).layers(sizes):
        key, shape, bias = layer.key, layer.sized(sizes), layer.bias
        state[layer.weight] = draw(shape) if layer.initial is None else np.full(shape, layer.initial, np.float32)
        if bias:
            state[f"{key}.bias"] = draw(shape[:1])
        for norm in layer.norms:
            ones, zeros = np.ones(shape[0], np.float32), np.zeros(shape[0], np.float32)
            state |= {f"{norm}.weight": ones, f"{norm}.bias": zeros}
            state |= {f"{norm}.running_mean": zeros, f"{norm}.running_var": ones}
            state[f"{norm}.num_batches_tracked"] = np.array(1)
    if preset.neuron == "plif" and not learned_constants({key: value.shape for key, value in state.items()}):
        names = family.form(name).learned or _neurons(preset, state)
        state |= {f"{neurons}.w": np.zeros((), np.float32) for neurons in names}  # tau 2
    return state


def _neurons(preset: Preset, state: dict[str, NDArray[Any]]) -> tuple[str, ...]:
    """Return the names of all neurons, of a family whose table does not tell where a learned leak lies."""
    graph = Graph(_convert(preset, replace(preset, neuron=None), state))
    return (*graph.neurons, *graph.free)


def _draw(random: Philox, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw weights of variance 2 / fan-in, or small biases: whole multiples of a power of two.

    One standard deviation is 2^13 to 2^14 steps. So their sums over spikes, integers and the sample are exact in
    float64, and the same in whatever order a kernel adds.
    """
    spread = np.sqrt(2.0 / np.prod(shape[1:])) if len(shape) > 1 else np.float64(0.05)
    steps = 14 - int(np.frexp(spread)[1])
    whole = np.rint(random.normal(shape) * (np.ldexp(spread, steps) / GRID))
    weights: NDArray[np.float32] = np.ldexp(whole, -steps).astype(np.float32)
    return weights

"""Integer weights for a network: BatchNorm folded, a multiplier chosen for each channel, bounds proven."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError, OptionError
from evsim.layers.synapses import folded
from evsim.magnitudes import USUAL_COUNT, Accumulator, Magnitudes, magnitudes
from evsim.network import Network, units_of
from evsim.origin import network_digest
from evsim.primitives import Conv2d, Linear, Node
from evsim.quantized import (
    INPUT_FRACTION,
    MOST_FRACTION,
    WEIGHTS,
    Dequantized,
    IntegerLayer,
    IntegerWeights,
    Quantization,
    fixed,
)
from evsim.quantizing import scales
from evsim.quantizing.calibration import Calibration, input_fraction
from evsim.reach import Reach, reach_of

FROM = "quantized from"
"""The fact that tells a quantized network's original, by its digest."""


@dataclass(frozen=True)
class LayerChange:
    """What became of a layer's weights.

    Attributes
    ----------
    name
        The layer.
    weights
        How many there are.
    multipliers
        Least and greatest M.
    accumulator
        The type in which its sums are proven to fit.
    saturated
        Weights beyond the range, which are clipped.
    zeroed
        Weights other than 0 that became 0.
    error
        Root of the squared errors of the weights over that of their squares.
    grid
        What became of the grid on which its weights lay already: "" if on none, "kept", or what else.
    """

    name: str
    weights: int
    multipliers: tuple[int, int]
    accumulator: Accumulator
    saturated: int
    zeroed: int
    error: float
    grid: str


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized network, and what was done to get it.

    Attributes
    ----------
    network
        The integer network.
    layers
        What became of each layer with weights.
    limit
        What kept the fraction below the greatest; "" if nothing did.
    samples
        Inputs that scales were chosen by; 0 without any.
    largest
        Largest event count for which no sum overflows; None for images, whose values are limited by their 16 bits.
    bytes_before, bytes_after
        What the weights take.
    """

    network: Network
    layers: tuple[LayerChange, ...]
    limit: str
    samples: int
    largest: int | None
    bytes_before: int
    bytes_after: int

    @property
    def quantization(self) -> Quantization:
        """The integers."""
        assert self.network.quantization is not None
        return self.network.quantization


def quantize(
    network: Network,
    weights: IntegerWeights = "int8",
    calibration: Calibration | None = None,
    *,
    largest: int | None = None,
    timesteps: int | None = None,
) -> Quantized:
    """Give a network integer weights, and integers for all that it computes.

    The weights of each output channel become multiples of ``M * 2^-F``, BatchNorm and bias folded. M is the least that
    holds the largest weight; with a calibration, that which changes the currents of its data least. Weights that lie
    on a grid already, as after quantisation-aware training, keep it. F is the greatest, at most 16, for which it is
    proven that nothing overflows.

    Parameters
    ----------
    network
        Of float weights.
    weights
        "int8" or "int16".
    calibration
        What layers read of some data, from `calibrate`.
    largest
        Largest event count for which nothing may overflow; by default 255, or more if the data had more.
    timesteps
        T for which nothing may overflow; by default the model's own.

    Raises
    ------
    OptionError
        If there are no such weights, or the network is quantized already.
    NetworkError
        If a primitive has no integer form, weights are not finite, or even whole numbers would overflow.
    """
    if weights not in WEIGHTS:
        raise OptionError(f"`weights` must be {' or '.join(WEIGHTS)}, got {weights}")
    if network.quantization:
        raise OptionError(f"{network.name} is quantized already ({network.quantization.weights}); give its original")
    if largest is not None and not 1 <= largest < 2**31:
        raise OptionError(f"`largest` must be from 1 to {2**31 - 1}, got {largest}")
    seen = calibration or Calibration()
    count = largest or max(USUAL_COUNT, math.ceil(seen.largest))
    at_input = input_fraction(network, INPUT_FRACTION, seen.largest)
    work = _Work(network, weights, seen, at_input, count, timesteps)
    fraction, limit = work.fraction()
    while True:
        made = work.layers(fraction)
        told = work.told({name: reach_of(each.integers) for name, each in made.items()}, fraction)
        if not told.fault:
            break
        fraction, limit = fraction - 1, told.fault
        if fraction < 0:
            raise NetworkError(f"{network.name}: {limit}, more than 30 bits hold; no integers can")
    quantization = Quantization(weights, {name: each.integers for name, each in made.items()}, fraction, at_input)
    return Quantized(
        _network(network, quantization, seen.samples),
        tuple(each.change(name, told) for name, each in made.items()),
        limit,
        seen.samples,
        count if network.spec.kind == "events" else None,
        *_sizes(network, quantization),
    )


@dataclass(frozen=True, eq=False)
class _Layer:
    """A layer's integers, and what they change."""

    integers: IntegerLayer
    saturated: int
    zeroed: int
    error: float
    grid: str

    def change(self, name: str, told: Magnitudes) -> LayerChange:
        """Return what is reported of it."""
        weight, multiplier, _ = self.integers
        ends = int(multiplier.min()), int(multiplier.max())
        accumulator = told.accumulators[name]
        return LayerChange(name, weight.size, ends, accumulator, self.saturated, self.zeroed, self.error, self.grid)


@dataclass(frozen=True, eq=False)
class _Work:
    """What is quantized, and how."""

    network: Network
    weights: IntegerWeights
    seen: Calibration
    input_fraction: int
    largest: int
    timesteps: int | None

    def told(self, known: Mapping[str, Reach], fraction: int) -> Magnitudes:
        """Return what integers can reach."""
        return magnitudes(self.network, known, fraction, self.input_fraction, self.largest, self.timesteps)

    def fraction(self) -> tuple[int, str]:
        """Return the greatest fraction that holds the float weights, and what a greater one would not."""
        sums = {node.name: self._sums(node) for node in self.network.synapses}
        limit = ""
        for fraction in range(MOST_FRACTION, -1, -1):
            ones = {
                name: Reach(np.ldexp(p, fraction), np.ldexp(n, fraction), np.ones(len(p)), np.ldexp(shift, fraction))
                for name, (p, n, shift) in sums.items()
            }
            if not (fault := self.told(ones, fraction).fault):
                return fraction, limit
            limit = fault
        raise NetworkError(f"{self.network.name}: {limit}, more than 30 bits hold; no integers can")

    def layers(self, fraction: int) -> dict[str, _Layer]:
        """Return the integers of every layer."""
        return {node.name: self._layer(node, fraction) for node in self.network.synapses}

    def _sums(self, node: Conv2d | Linear) -> tuple[NDArray[np.float64], ...]:
        """Return the sums of the positive weights and of the others' magnitudes, and the shift, per channel."""
        wide, shift = self._folded(node)
        positive = np.maximum(wide, 0.0).sum(axis=0)
        return positive, positive - wide.sum(axis=0), shift

    def _folded(self, node: Conv2d | Linear) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return weights [K, C_out] and shift [C_out], BatchNorm, bias and the unit of what is read in them.

        Raises
        ------
        NetworkError
            If one is not finite.
        """
        own = {key: self.network.weights[f"{node.name}.{key}"] for key in node.parameters()}
        scale, shift = folded(own, node.out_channels)
        scale = scale.astype(np.float64) * self.network.shapes[node.inputs[0]].unit
        weight = own["weight"].reshape(-1, node.out_channels).astype(np.float64) * scale
        if not (np.isfinite(weight).all() and np.isfinite(shift).all()):
            raise NetworkError(f"{node.name} has weights that are not finite; use sound weights")
        return weight, shift.astype(np.float64)

    def _layer(self, node: Conv2d | Linear, fraction: int) -> _Layer:
        """Return the integers of a layer."""
        wide, shift = self._folded(node)
        most = WEIGHTS[self.weights]
        multipliers, grid = self._multipliers(node, wide, fraction)
        if (multipliers >= 2**31).any():
            raise NetworkError(f"{node.name} has weights up to {np.abs(wide).max():.3g}, too large for integers")
        steps = np.ldexp(wide, fraction) / multipliers
        integers = scales.rounded(wide, multipliers, fraction, most)
        norm = float(np.linalg.norm(wide))
        error = float(np.linalg.norm(np.ldexp(integers * multipliers, -fraction) - wide)) / norm if norm else 0.0
        saturated = int((np.abs(np.rint(steps)) > most).sum())
        zeroed = int(((wide != 0.0) & (integers == 0.0)).sum())
        shape = self.network.node(node.name).parameters()["weight"]
        layer = IntegerLayer(
            integers.astype(self.weights).reshape(shape),
            multipliers.astype(np.int32),
            fixed(shift, fraction).astype(np.int32),
        )
        return _Layer(layer, saturated, zeroed, error, grid)

    def _multipliers(
        self, node: Conv2d | Linear, wide: NDArray[np.float64], fraction: int
    ) -> tuple[NDArray[np.int64], str]:
        """Return the multiplier of each channel, and what became of the grid of its weights."""
        most = WEIGHTS[self.weights]
        multipliers = self._calibrated(node, wide, fraction)
        raw = self.network.weights[f"{node.name}.weight"].reshape(-1, node.out_channels)
        if (grid := scales.find_grid(raw, most)) is None:
            return multipliers, ""
        scale, _ = folded({k: self.network.weights[f"{node.name}.{k}"] for k in node.parameters()}, node.out_channels)
        steps = grid.steps * np.abs(scale.astype(np.float64)) * self.network.shapes[node.inputs[0]].unit
        own, off, kept = scales.grid_multipliers(steps, grid.most, fraction)
        multipliers[kept] = own[kept]
        if kept.all():
            worst = float(off.max(initial=0.0))
            return multipliers, "kept" if worst < 1e-6 else f"kept, steps moved by up to {worst:.2g}"
        lost = ~kept
        return multipliers, (
            f"{int(lost.sum())} of {len(kept)} channels cannot be kept: steps of {steps[lost].min():.3g} are no "
            f"multiples of 2^-{fraction}"
        )

    def _calibrated(self, node: Conv2d | Linear, wide: NDArray[np.float64], fraction: int) -> NDArray[np.int64]:
        """Return the multipliers that the data ask for, or the least that clip nothing."""
        most = WEIGHTS[self.weights]
        rows = self.seen.rows.get(node.name)
        if rows is None:
            return scales.least_multipliers(wide, fraction, most)
        parts = np.split(rows, node.groups, axis=-1)
        outputs = np.split(wide, node.groups, axis=1)
        chosen = [
            scales.best_multipliers(weights, part.reshape(len(part), -1).astype(np.float64), fraction, most)
            for part, weights in zip(parts, outputs, strict=True)
        ]
        return np.concatenate(chosen)


def _sizes(network: Network, quantization: Quantization) -> tuple[int, int]:
    """Return the bytes of all weights before and after."""
    layers = [f"{node.name}.{key}" for node in network.synapses for key in node.parameters()]
    rest = sum(network.weights[key].nbytes for key in _others(network))
    integers = sum(array.nbytes for layer in quantization.layers.values() for array in layer)
    return rest + sum(network.weights[key].nbytes for key in layers), rest + integers


def _others(network: Network) -> Iterator[str]:
    """Yield the names of the parameters of nodes that have no weights to add up."""
    layers = {node.name for node in network.synapses}
    for node in network.nodes:
        if node.name not in layers:
            yield from (f"{node.name}.{key}" for key in node.parameters())


def _network(network: Network, quantization: Quantization, samples: int) -> Network:
    """Return the integer network."""
    others = {key: network.weights[key] for key in _others(network)}
    layers = {node.name for node in network.synapses}
    nodes: tuple[Node, ...] = tuple(
        replace(node, batch_norm=False, bias=True) if node.name in layers else node  # type: ignore[call-arg]
        for node in network.nodes
    )
    by = f"calibrated on {samples} inputs" if samples else "each channel's largest weight kept"
    provenance = {
        **network.provenance,
        "weights": f"{quantization.weights}, F = {quantization.fraction}, by evsim quantize: {by}",
        FROM: f"{network.name}, SHA-256 {network_digest(network)}",
    }
    return replace(
        network,
        nodes=nodes,
        weights=Dequantized(quantization, others, units_of(network.nodes, network.shapes)),
        provenance=provenance,
        quantization=quantization,
    )

"""Running form of neurons: membrane potentials and the spikes that they fire, or the integers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.kernels.integers import round_currents
from evsim.kernels.neuron import ROOM, Neurons, fire_map
from evsim.kernels.vector import padded
from evsim.layers.context import Context, remedy
from evsim.layers.reals import as_real
from evsim.primitives import LIF, MultiSpike, Shape
from evsim.spikes import IntegerMap, Packet, SpikeMap

Weights = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True, eq=False)
class Rule:
    """What neurons do at a timestep, in NumPy and float64, to the last bit as the kernel does it.

    Attributes
    ----------
    thresholds
        float64 [C].
    leak, divides, decays, soft
        As `evsim.kernels.neuron.Neurons` has them.
    """

    thresholds: NDArray[np.float64]
    leak: float
    divides: bool
    decays: bool
    soft: bool

    def charged(self, v: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return potentials before spikes are taken from them; all [P, C]."""
        if self.decays:
            return v * self.leak + current
        change = current - v
        return v + (change / self.leak if self.divides else change * self.leak)

    def rested(self, v: NDArray[np.float64], fired: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return potentials after the spikes."""
        return np.where(fired, v - self.thresholds if self.soft else 0.0, v)


class Membrane:
    """Potentials of a map of LIF neurons, kept between packets where timesteps come one by one."""

    def __init__(self, node: LIF, shape: Shape, context: Context, weights: Weights | None = None) -> None:
        self.node, self.shape, self.context = node, shape, context
        weights = weights or {}
        self._decays = not node.decay_input
        rate = _sigmoid(float(weights["w"][0])) if node.parametric else 0.0
        # 1 / tau is exact for a power of two; else divide, as PyTorch does
        self._divide = not (node.parametric or self._decays) and math.frexp(node.tau)[0] != 0.5
        if self._decays:
            self._leak = 1.0 - rate if node.parametric else node.decay
        else:
            self._leak = rate if node.parametric else node.tau if self._divide else 1.0 / node.tau
        self._thresholds, self._resets = context.empty(), context.empty()
        if self._decays or node.strict or node.soft_reset or node.channels:
            self._resets = self._by_channel(weights)
            up = context.dtype.type(np.inf)
            self._thresholds = np.nextafter(self._resets, up) if node.strict else self._resets
        size = shape.positions * padded(shape.channels) if context.streaming else 0
        self._kept = np.zeros(size, context.dtype)

        self._weights = weights
        real = context.dtype.type
        width = -(-shape.channels // 64)
        self._words = shape.positions, width
        # neurons write half words: where theirs fill whole ones, nothing is left to clear
        self._new = np.empty if padded(shape.channels) == 64 * width else np.zeros
        self._constants = (
            context.streaming,
            real(self._leak),
            self._divide,
            real(node.v_threshold),
            self._decays,
            self._thresholds,
            self._resets,
            node.soft_reset,
        )

    @property
    def rule(self) -> Rule:
        """What they do, for those who look on."""
        thresholds = self._weights["v_threshold"] if self.node.channels else self.node.v_threshold
        by_channel = np.broadcast_to(np.asarray(thresholds, np.float64), (self.shape.channels,))
        return Rule(by_channel, self._leak, self._divide, self._decays, self.node.soft_reset)

    def _by_channel(self, weights: Weights) -> NDArray[np.floating]:
        """Return the threshold of each channel; the lanes past the last never reach theirs."""
        thresholds = np.full(padded(self.shape.channels), np.inf, self.context.dtype)
        thresholds[: self.shape.channels] = weights["v_threshold"] if self.node.channels else self.node.v_threshold
        return thresholds

    def reset(self) -> None:
        """Return all potentials to rest."""
        if self._kept.size:
            self._kept[:] = 0.0

    def potentials(self) -> NDArray[np.floating]:
        """Return what neurons keep [P, C], where timesteps come one by one: a copy, for those who look on."""
        return self._kept.reshape(self.shape.positions, -1)[:, : self.shape.channels].copy()

    def neurons(self, start: int, steps: int) -> tuple[SpikeMap, Neurons]:
        """Return a spike map for `steps` timesteps from `start` on, and the neurons that will fill it."""
        shape = self.shape
        words = self._new((steps, *self._words), np.uint64)
        potential = self._kept
        if not self.context.streaming:  # a group's for each thread
            potential = self.context.workers.room("potentials", ROOM, self.context.dtype)
        neurons = Neurons(words.reshape(-1).view(np.uint32), potential, *self._constants)
        return SpikeMap(start, words, shape.channels, shape.height, shape.width), neurons


def silent(context: Context) -> Neurons:
    """Return no neurons, for a layer that drives none."""
    zero, empty = context.dtype.type(0), context.empty()
    return Neurons(np.empty(0, np.uint32), empty, False, zero, False, zero, False, empty, empty, False)


def _sigmoid(w: float) -> float:
    """Return the logistic function of w, without overflow."""
    return 1.0 / (1.0 + math.exp(-w)) if w >= 0 else math.exp(w) / (1.0 + math.exp(w))


class NeuronLayer:
    """LIF neurons that read a map of real values, such as the residual stream."""

    defers = True

    def __init__(self, node: LIF, shape: Shape, context: Context, weights: Weights | None = None) -> None:
        self.context = context
        self.membrane = Membrane(node, shape, context, weights)
        self._no_shift = np.zeros(padded(shape.channels), context.dtype)

    def reset(self) -> None:
        """Return all potentials to rest."""
        self.membrane.reset()

    def potentials(self) -> NDArray[np.floating]:
        """Return what neurons keep, see `Membrane.potentials`."""
        return self.membrane.potentials()

    def step(self, *packets: Packet) -> SpikeMap:
        """Take the membrane currents of some timesteps and return the spikes."""
        (packet,) = packets
        currents = as_real(packet, self.context)
        context, channels = self.context, currents.values.shape[-1]
        positions = currents.height * currents.width
        spikes, neurons = self.membrane.neurons(currents.start, currents.steps)
        flat = currents.values.reshape(-1)

        context.workers.post(
            fire_map,
            positions,
            (
                neurons, flat, currents.static, self._no_shift,
                channels, context.block, currents.steps, positions,
            ),
            5 * currents.steps * positions * channels,
        )  # fmt: skip
        return spikes


class IntegerNeurons:
    """Neurons that emit integers: ``k = round(clamp(x, 0, levels))``, of their input or of what they gathered."""

    def __init__(self, node: MultiSpike, shape: Shape, context: Context) -> None:
        self.node, self.shape, self.context = node, shape, context
        self._potential: NDArray[np.floating] | None = None

    def reset(self) -> None:
        """Return all potentials to rest."""
        self._potential = None

    def potentials(self) -> NDArray[np.floating]:
        """Return what neurons keep [P, C]: nothing, unless they integrate; a copy, for those who look on."""
        if self._potential is None:
            return np.zeros((self.shape.positions, self.shape.channels), self.context.dtype)
        return self._potential.copy()

    def step(self, *packets: Packet) -> IntegerMap:
        """Take the currents of some timesteps and return the integers."""
        (packet,) = packets
        currents, shape = as_real(packet, self.context), self.shape
        values = currents.values[..., : shape.channels]
        if self.node.integrates:
            if not np.isfinite(values).all():
                raise self._fault()
            emitted = np.stack([self._gathered(values[0 if currents.static else t]) for t in range(currents.steps)])
            integers = np.ascontiguousarray(emitted).astype(np.int32)
        else:
            integers = self._at_once(currents.values)
            if currents.static:
                integers = np.ascontiguousarray(np.broadcast_to(integers, (currents.steps, *integers.shape[1:])))
        return IntegerMap(currents.start, integers, shape.height, shape.width, shape.unit)

    def _fault(self) -> NetworkError:
        return NetworkError(f"{self.node.name}: its input is not finite; {remedy(self.context.dtype)}")

    def _at_once(self, values: NDArray[np.floating]) -> NDArray[np.int32]:
        """Return the integers of values [T, P, C], which leave nothing behind."""
        steps, positions, width = values.shape
        real, channels = self.context.dtype.type, self.shape.channels
        flat = np.ascontiguousarray(values).reshape(-1, width)
        integers = np.empty((steps, positions, channels), np.int32)
        rows, up = integers.reshape(-1, channels), self.node.rounding == "half-up"
        faults = np.zeros(1, np.int64)
        arguments = flat, channels, real(self.node.levels), real(0.5), up, rows, faults
        self.context.workers.share(round_currents, len(flat), arguments, 5 * flat.size)
        if faults[0]:
            raise self._fault()
        return integers

    def _gathered(self, current: NDArray[np.floating]) -> NDArray[np.floating]:
        """Add a timestep's currents to the potentials, and take from them what is emitted."""
        v = current if self._potential is None else self._potential + current
        emitted = self._rounded(v)
        self._potential = v - emitted
        return emitted

    def _rounded(self, values: NDArray[np.floating]) -> NDArray[np.floating]:
        clamped: NDArray[np.floating] = np.clip(values, 0.0, self.node.levels)
        if self.node.rounding == "half-even":
            np.rint(clamped, out=clamped)
        else:
            np.floor(clamped + self.context.dtype.type(0.5), out=clamped)
        return clamped

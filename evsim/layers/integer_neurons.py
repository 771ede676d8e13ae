"""Running form of LIF neurons in integer networks: potentials are int32 in units of 2^-F."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.fixed import ALIKE, DECAYS, DRAWN, HALVES
from evsim.kernels.integer_synapses import WORD, IntegerNeurons, fire_integers
from evsim.layers.context import Context
from evsim.layers.reals import as_real
from evsim.primitives import LIF, Shape
from evsim.quantized import RATE_BITS, rate_of, threshold_of
from evsim.spikes import Packet, SpikeMap

Weights = Mapping[str, NDArray[np.floating]]

AT_ONCE = 4096
"""Neurons of positions whose timesteps follow each other: their potentials fit into the L1 cache."""

HALF = 1 << (RATE_BITS - 1)
"""The rate of tau = 2."""


def widened(channels: int) -> int:
    """Return `channels` rounded up to whole words of spikes: how parameters and potentials lie in memory."""
    return -(-channels // WORD) * WORD


class IntegerMembrane:
    """Potentials of a map of LIF neurons, kept between packets where timesteps come one by one."""

    def __init__(self, node: LIF, shape: Shape, context: Context, weights: Weights) -> None:
        self.node, self.shape, self.context = node, shape, context
        self._rate = rate_of(node, weights)
        self._kind = DECAYS
        if node.decay_input:
            alike = not node.soft_reset and not node.channels
            self._kind = DRAWN if not alike else HALVES if self._rate == HALF else ALIKE
        most = np.iinfo(np.int32).max
        self._resets = np.full(widened(shape.channels), most, np.int32)
        self._resets[: shape.channels] = threshold_of(node, weights, context.fraction)
        self._thresholds = self._resets
        if node.strict:  # above it: from the next whole number on
            self._thresholds = np.minimum(self._resets.astype(np.int64) + 1, most).astype(np.int32)
        size = shape.positions * widened(shape.channels) if context.streaming else 0
        self._kept = np.zeros(size, np.int32)

    def reset(self) -> None:
        """Return all potentials to rest."""
        self._kept[:] = 0

    def potentials(self) -> NDArray[np.int32]:
        """Return what neurons keep [P, C], where timesteps come one by one: a copy, for those who look on."""
        return self._kept.reshape(self.shape.positions, -1)[:, : self.shape.channels].copy()

    def neurons(self, start: int, steps: int) -> tuple[SpikeMap, IntegerNeurons]:
        """Return a spike map for `steps` timesteps from `start` on, and the neurons that will fill it."""
        shape = self.shape
        words = np.empty((steps, shape.positions, widened(shape.channels) // WORD), np.uint64)
        neurons = IntegerNeurons(
            words.view(np.uint32).reshape(-1),
            words.view(np.uint16).reshape(-1),
            self._kept,
            self.context.streaming,
            self._kind,
            self._rate,
            self._thresholds,
            self._resets,
            self.node.soft_reset,
        )
        return SpikeMap(start, words, shape.channels, shape.height, shape.width), neurons


def silent() -> IntegerNeurons:
    """Return no neurons, for a layer that drives none."""
    empty = np.empty(0, np.int32)
    return IntegerNeurons(np.empty(0, np.uint32), np.empty(0, np.uint16), empty, False, HALVES, 0, empty, empty, False)


def working(neurons: IntegerNeurons, size: int, context: Context) -> IntegerNeurons:
    """Return the neurons with potentials to work in: the kept ones, or `size` of them for each thread."""
    if neurons.kept:
        return neurons
    return neurons._replace(potential=context.workers.room("potentials", size, np.int32))


class IntegerNeuronLayer:
    """LIF neurons that read a map of fixed-point numbers, such as the residual stream."""

    defers = True

    def __init__(self, node: LIF, shape: Shape, context: Context, weights: Weights) -> None:
        self.context = context
        self.membrane = IntegerMembrane(node, shape, context, weights)

    def reset(self) -> None:
        """Return all potentials to rest."""
        self.membrane.reset()

    def potentials(self) -> NDArray[np.int32]:
        """Return what neurons keep, see `IntegerMembrane.potentials`."""
        return self.membrane.potentials()

    def step(self, *packets: Packet) -> SpikeMap:
        """Take the membrane currents of some timesteps and return the spikes."""
        (packet,) = packets
        currents = as_real(packet, self.context)
        channels, positions = currents.values.shape[-1], currents.height * currents.width
        spikes, neurons = self.membrane.neurons(currents.start, currents.steps)
        flat = currents.values.reshape(-1)

        wide = widened(self.membrane.shape.channels)
        group = max(1, AT_ONCE // wide)
        own = working(neurons, group * wide, self.context)
        arguments = own, flat, currents.static, channels, currents.steps, positions, group
        self.context.workers.post(fire_integers, positions, arguments, 2 * currents.steps * positions * channels)
        return spikes

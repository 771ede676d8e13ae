"""Running form of LIF: membrane potentials, and the spikes that they fire."""

from __future__ import annotations

import math

import numpy as np

from evsim.kernels.neuron import GROUP, Neurons, fire_map
from evsim.kernels.vector import padded
from evsim.layers.context import Context
from evsim.layers.reals import as_real
from evsim.network import LIF, Shape
from evsim.spikes import Packet, SpikeMap


class Membrane:
    """Potentials of a map of LIF neurons, kept between packets where timesteps come one by one."""

    def __init__(self, node: LIF, shape: Shape, context: Context) -> None:
        self.node, self.shape, self.context = node, shape, context
        # 1 / tau is exact for a power of two; else divide, as PyTorch does
        self._divide = math.frexp(node.tau)[0] != 0.5
        size = shape.positions * padded(shape.channels) if context.streaming else 0
        self._kept = np.zeros(size, context.dtype)

    def reset(self) -> None:
        """Return all potentials to rest."""
        self._kept[:] = 0.0

    def neurons(self, start: int, steps: int) -> tuple[SpikeMap, Neurons]:
        """Return a spike map for `steps` timesteps from `start` on, and the neurons that will fill it."""
        shape, real = self.shape, self.context.dtype.type
        width = -(-shape.channels // 64)
        # neurons write half words: where theirs fill whole ones, nothing is left to clear
        make = np.empty if padded(shape.channels) == 64 * width else np.zeros
        words = make((steps, shape.positions, width), np.uint64)
        leak = real(self.node.tau if self._divide else 1.0 / self.node.tau)
        neurons = Neurons(
            words.view(np.uint32).reshape(-1),
            self._kept,
            self.context.streaming,
            leak,
            self._divide,
            real(self.node.v_threshold),
        )
        return SpikeMap(start, words, shape.channels, shape.height, shape.width), neurons


def working(neurons: Neurons, context: Context) -> Neurons:
    """Return the neurons with potentials to work in: the kept ones, or a group's for the calling thread alone."""
    return neurons if neurons.kept else neurons._replace(potential=np.empty(GROUP * context.block, context.dtype))


class NeuronLayer:
    """LIF neurons that read a map of real values, such as the residual stream."""

    def __init__(self, node: LIF, shape: Shape, context: Context) -> None:
        self.context = context
        self.membrane = Membrane(node, shape, context)
        self._no_shift = np.zeros(padded(shape.channels), context.dtype)

    def reset(self) -> None:
        """Return all potentials to rest."""
        self.membrane.reset()

    def step(self, *packets: Packet) -> SpikeMap:
        """Take the membrane currents of some timesteps and return the spikes."""
        (packet,) = packets
        currents = as_real(packet, self.context)
        context, channels = self.context, currents.values.shape[-1]
        positions = currents.height * currents.width
        spikes, neurons = self.membrane.neurons(currents.start, currents.steps)
        flat = currents.values.reshape(-1)

        def work(first: int, last: int) -> None:
            fire_map(
                first, last, working(neurons, context), flat, currents.static, self._no_shift,
                channels, context.block, currents.steps, positions,
            )  # fmt: skip

        context.workers.share(positions, work, 5 * currents.steps * positions * channels)
        return spikes

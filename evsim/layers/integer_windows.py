"""Maps as convolutions of few channels read them in integer networks: images with borders, spikes, frames of events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.fixed import ALIKE
from evsim.kernels.frames import Events
from evsim.kernels.integer_synapses import IntegerSink
from evsim.kernels.integer_windows import (
    LISTS_WINDOWS,
    fire_events,
    fire_windows,
    integer_synapses_of_events,
    integer_synapses_of_windows,
)
from evsim.kernels.neuron import GROUP
from evsim.kernels.synapses import Size, units
from evsim.kernels.vector import padded
from evsim.kernels.words import WINDOW, Words
from evsim.layers.context import Context
from evsim.layers.integer_neurons import working
from evsim.layers.packing import laid_out
from evsim.layers.segments import few_events
from evsim.layers.synapses import GRAINS
from evsim.primitives import Conv2d, Linear, Shape
from evsim.spikes import WORD, IntegerMap, RealMap, SpikeMap


def bordered(packet: RealMap, node: Conv2d | Linear, source: Shape) -> tuple[NDArray[np.int16], int]:
    """Return an image with a layer's padding around it, as one row of numbers; and how many make a line."""
    (rows, columns), (steps, channels) = node.window[2], (len(packet.values), source.channels)
    height, width = source.height, source.width
    line = (width + 2 * columns) * channels
    whole = steps * (height + 2 * rows) * line
    numbers = np.zeros(whole + 1, np.int16)  # of an odd number of inputs, the last pair takes in one more
    image = numbers[:whole].reshape(steps, height + 2 * rows, width + 2 * columns, channels)
    inside = packet.values[..., :channels].reshape(steps, height, width, channels)
    image[:, rows : rows + height, columns : columns + width] = inside
    return numbers, line


class FewInputs:
    """How a convolution of few input channels runs without lists of a map: see `evsim.kernels.integer_windows`.

    Parameters
    ----------
    node
        The layer, whose taps are joined.
    weight
        Its weights [kH, kW, C_in, C_out].
    largest
        The greatest magnitude of a sum of any of an output's weights.
    """

    def __init__(self, node: Conv2d | Linear, weight: NDArray[np.signedinteger], largest: int) -> None:
        self._largest, self._channels = largest, padded(node.out_channels)
        self._rows = np.concatenate([weight, weight[:, :2]], axis=1).reshape(-1, node.out_channels)
        self._single: dict[np.dtype[Any], NDArray[np.signedinteger]] = {}

    def fire(
        self, packet: SpikeMap | IntegerMap, size: Size, pairs: NDArray[np.signedinteger], sink: IntegerSink,
        context: Context,
    ) -> bool:  # fmt: skip
        """Drive neurons as sums appear; return False, with nothing done, where that is not how they run.

        `pairs` are the layer's weights, and `size` its geometry, for sums of spikes.
        """
        if sink.neurons.words.size == 0 or sink.neurons.kind > ALIKE:
            return False
        if isinstance(packet, IntegerMap):
            return self._fire_on_events(packet, size, sink, context)
        lane = np.dtype(f"i{2 * pairs.itemsize}")
        if not LISTS_WINDOWS or self._largest > np.iinfo(lane).max:
            return False
        words, workers = packet.words.reshape(-1), context.workers
        scratch = workers.room("sums", size.block, lane)
        rows = size.kernel_height * WINDOW
        index = workers.room("window", rows * size.in_channels + WORD, np.uint16)
        own = sink._replace(neurons=working(sink.neurons, GROUP * size.block, context))
        arguments = size, Words(words, pairs), scratch, index, own
        workers.post(fire_windows, units(size), arguments, len(words) * rows * size.out_channels // 4)
        return True

    def _fire_on_events(self, packet: IntegerMap, size: Size, sink: IntegerSink, context: Context) -> bool:
        found = few_events(packet, context)
        if found is None:
            return False
        marks, _ = found
        most = int(packet.values.max(initial=0))
        lane = np.dtype(np.int16 if most * self._largest <= np.iinfo(np.int16).max else np.int32)
        block = WORD if self._channels % WORD == 0 else WORD // 2
        if lane not in self._single:
            self._single[lane] = laid_out(self._rows, lane, block)
        lines = -(-size.out_height // (GRAINS * context.workers.threads))
        grain = lines * size.out_width
        size = size._replace(out_channels=self._channels, block=block, band=grain, grain=grain, by_bands=False)
        own = sink._replace(neurons=working(sink.neurons, size.out_width * block, context))
        scratch = context.workers.room("sums", size.out_width * block, lane)
        reads = Events(packet.values.reshape(-1), marks, self._single[lane])
        context.workers.post(fire_events, units(size), (size, reads, scratch, own), len(marks) * size.out_channels)
        return True


def without_lists(
    packet: SpikeMap | IntegerMap, context: Context
) -> tuple[Callable[..., None], Callable[..., Words | Events], int] | None:
    """Return how windows of few channels add up without lists: the kernel, what it reads, and how much is active.

    What it reads still takes the weights. None where so many integers are not 0 that lists of them are faster.
    """
    if isinstance(packet, SpikeMap):
        words = packet.words.reshape(-1)
        return integer_synapses_of_windows, partial(Words, words), len(words)
    found = few_events(packet, context)
    return found and (integer_synapses_of_events, partial(Events, packet.values.reshape(-1), found[0]), found[1])

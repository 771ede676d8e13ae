"""Maps as convolutions of few channels read them in integer networks: images with borders, spikes, frames of events."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.frames import Events
from evsim.kernels.integer_windows import integer_synapses_of_events, integer_synapses_of_windows
from evsim.kernels.words import Words
from evsim.layers.context import Context
from evsim.layers.segments import events
from evsim.layers.synapses import FEW_EVENTS
from evsim.primitives import Conv2d, Linear, Shape
from evsim.spikes import IntegerMap, RealMap, SpikeMap


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


def without_lists(
    packet: SpikeMap | IntegerMap, context: Context
) -> tuple[Callable[..., None], Callable[..., Words | Events], int] | None:
    """Return how windows of few channels run without lists: the kernel, what it reads, and how much of that is active.

    What it reads still takes the weights. None where so many integers are not 0 that lists of them are faster.
    """
    if isinstance(packet, SpikeMap):
        words = packet.words.reshape(-1)
        return integer_synapses_of_windows, partial(Words, words), len(words)
    marks = events(packet, context)
    count = int(np.bitwise_count(marks).sum())
    if count > FEW_EVENTS * packet.values.size:
        return None
    return integer_synapses_of_events, partial(Events, packet.values.reshape(-1), marks), count

"""Maps with their padding around them, for convolutions that multiply whole windows of integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.byte_windows import (
    CHANNELS,
    QUAD,
    SHORT_RUN,
    SIDE,
    TAKES_BYTES,
    integer_synapses_of_bytes,
    spread_bits,
)
from evsim.kernels.fixed import ALIKE
from evsim.kernels.integer_synapses import IntegerNeurons, IntegerSink
from evsim.kernels.synapses import Size, units
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.layers.context import Context
from evsim.layers.integer_neurons import widened, working
from evsim.layers.segments import counted
from evsim.layers.synapses import GRAINS, JOINED_CHANNELS, is_flat
from evsim.primitives import Conv2d, Linear, Shape
from evsim.spikes import WORD, IntegerMap, RealMap, SpikeMap

if TYPE_CHECKING:
    from collections.abc import Sequence

FEW = 64
"""Integers of a window up to which all are multiplied, however few are not 0."""

DENSE = 1 / 6
"""Rate of spikes from which on it takes longer to go through their lists, where there are up to `OUTPUTS` outputs."""

OUTPUTS = 64


def bordered(packet: RealMap, node: Conv2d | Linear, source: Shape) -> tuple[NDArray[np.int16], int]:
    """Return an image with a layer's padding around it, as one row of numbers; and how many make a line."""
    padding = node.window[2]
    line = (source.width + 2 * padding[1]) * source.channels
    whole = len(packet.values) * (source.height + 2 * padding[0]) * line
    numbers = np.zeros(whole + 1, np.int16)  # of an odd number of inputs, the last pair takes in one more
    _put_inside(numbers[:whole], packet.values, padding, source)
    return numbers, line


def _put_inside(
    numbers: NDArray[np.integer], values: NDArray[np.integer], padding: Sequence[int], source: Shape
) -> None:
    """Write values [T, P, C'], the first channels of them, into a map with borders."""
    (rows, columns), (height, width) = padding, (source.height, source.width)
    whole = numbers.reshape(-1, height + 2 * rows, width + 2 * columns, source.channels)
    inside = values[..., : source.channels].reshape(-1, height, width, source.channels)
    whole[:, rows : rows + height, columns : columns + width] = inside


class ByteWindows:
    """How a convolution of few inputs runs on all of them: see `evsim.kernels.byte_windows`.

    Parameters
    ----------
    node, source
        The layer, and the shape of its input.
    weight
        Its weights [kH, kW, C_in, C_out], int8.
    """

    def __init__(self, node: Conv2d | Linear, source: Shape, weight: NDArray[np.int8]) -> None:
        self.node, self.source = node, source
        self.weights = window_quads(weight)

    def takes(self, packet: SpikeMap | IntegerMap, neurons: IntegerNeurons, context: Context) -> bool:
        """Whether these inputs run here: bytes, dense enough, which drive neurons of one threshold that reset to 0."""
        if neurons.words.size == 0 or neurons.kind > ALIKE:
            return False
        if isinstance(packet, IntegerMap):
            context.workers.finish()
            return int(packet.values.max(initial=0)) <= np.iinfo(np.uint8).max
        places = packet.steps * packet.height * packet.width * packet.channels
        counts = counted(packet, context)
        context.workers.finish()
        return int(counts.sum()) >= DENSE * places

    def run(self, packet: SpikeMap | IntegerMap, size: Size, sink: IntegerSink, context: Context) -> None:
        """Drive the sink's neurons; `size` says how the layer runs otherwise."""
        lines = -(-size.out_height // (GRAINS * context.workers.threads))
        grain = lines * size.out_width
        size = size._replace(block=WORD, band=grain, grain=grain, joined=False)
        own = sink._replace(neurons=working(sink.neurons, SIDE * CHANNELS, context))
        line = (size.in_width + 2 * size.pad_width) * size.in_channels
        whole = size.steps * (size.in_height + 2 * size.pad_height) * line
        numbers = np.zeros(whole + SHORT_RUN, np.uint8)
        if isinstance(packet, IntegerMap):
            _put_inside(numbers[:whole], packet.values, self.node.window[2], self.source)
        else:
            borders = size.pad_height, size.pad_width
            arguments = packet.words.reshape(-1), packet.channels, packet.width, packet.height, numbers, borders
            context.workers.share(spread_bits, packet.steps * packet.height, arguments, whole)
        effort = size.steps * size.out_height * size.out_width * self.weights.size // 16
        context.workers.share(integer_synapses_of_bytes, units(size), (size, numbers, line, self.weights, own), effort)


def byte_windows(
    node: Conv2d | Linear, source: Shape, target: Shape, weight: NDArray[np.signedinteger]
) -> ByteWindows | None:
    """Return how a layer runs on all of its inputs; None if it never does."""
    if not TAKES_BYTES or weight.dtype != np.int8 or node.groups > 1 or target.width < SIDE:
        return None
    if is_flat(node) or node.dilation != (1, 1) or node.padding_after:
        return None
    few = source.kind == "integers" and weight[..., 0].size <= FEW
    some = (
        source.kind == "spikes"
        and node.in_channels <= JOINED_CHANNELS
        and node.in_channels % 16 == 0
        and padded(node.out_channels) <= OUTPUTS
    )
    return ByteWindows(node, source, weight.astype(np.int8, copy=False)) if few or some else None


def window_quads(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return weights [kH, kW, C_in, C_out] as [blocks of `CHANNELS`, kH, quads of kW * C_in, `CHANNELS`, 4], flat."""
    rows, columns, inputs, channels = weight.shape
    run, wide = columns * inputs, widened(channels)
    whole = np.zeros((rows, -(-run // QUAD) * QUAD, wide), np.int8)
    whole[:, :run, :channels] = weight.reshape(rows, run, channels)
    apart = whole.reshape(rows, -1, QUAD, wide // CHANNELS, CHANNELS).transpose(3, 0, 1, 4, 2)
    packed = aligned((apart.size,), np.int8)
    packed[:] = apart.reshape(-1)
    return packed

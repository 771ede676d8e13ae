"""How integer weights lie in memory, and what they add up to."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from evsim.errors import NetworkError
from evsim.kernels.octets import JOINED, JOINED_ROWS
from evsim.kernels.threads import aligned
from evsim.layers.integer_neurons import widened
from evsim.layers.synapses import JOINED_CHANNELS
from evsim.primitives import Conv2d, Linear, Shape

FULL = 512
"""Bytes of the sums of a full block of output channels: of pairs 256 of 16 bits, or 128 of 32."""

MOST, MOST_SHORT = 2**31 - 1, 2**15 - 1


def layout_of(node: Conv2d | Linear, source: Shape, target: Shape) -> Literal["octets", "joined", "tiles"]:
    """Return how a layer wants its input listed."""
    kernel, stride, padding = node.window
    few = node.in_channels <= JOINED_CHANNELS
    joins = (kernel[1], stride[1], padding[1], node.dilation, node.padding_after) == (3, 1, 1, (1, 1), ())
    if source.kind != "real" and few and joins and node.groups == 1:
        return "joined"
    shares = source.kind == "spikes" or (source.kind == "integers" and not few)
    return "octets" if shares and stride[1] <= 2 and target.positions > 1 else "tiles"


def lane_of(source: Shape, weights: np.dtype[np.generic], largest: int, of_image: bool) -> DTypeLike:
    """Return the type of the sums: of spikes in int16 where weights have 8 bits, see `IntegerSynapses`.

    Numbers of an image have 16 bits, other fixed-point numbers 32.
    """
    if source.kind == "real":
        return np.int32 if of_image and largest * 2**15 <= MOST else np.int64
    if largest > MOST:
        raise NetworkError("sums of weights leave 32 bits")
    return np.int16 if source.kind == "spikes" and weights == np.int8 else np.int32


def block_of(node: Conv2d | Linear, lane: np.dtype[Any], real: bool) -> int:
    """Return the lanes of a full block: as many as leave blocks of 64, 128 or 256, and none of two groups."""
    if real:
        return 64 if lane.itemsize == 4 else 32
    wide, block = widened(node.out_channels // node.groups), FULL // lane.itemsize
    rest = (0, 64, 128) if node.groups == 1 else (0,)
    while block > 64 and (wide < block or wide % block not in rest):
        block //= 2
    return block


def largest_sum(weight: NDArray[np.signedinteger]) -> int:
    """Return the greatest magnitude of a sum of any of an output channel's weights."""
    rows = weight.reshape(-1, weight.shape[-1])
    positive = np.maximum(rows, 0).sum(axis=0, dtype=np.int64)
    negative = np.minimum(rows, 0).sum(axis=0, dtype=np.int64)
    return int(max(positive.max(), -negative.min()))


def cuts_within(weight: NDArray[np.signedinteger], most: int, by_columns: bool) -> tuple[int, ...]:
    """Return at which rows of a window, or columns, to cut it so that no part sums up beyond `most`; () if none do."""
    pieces = weight.swapaxes(0, 1) if by_columns else weight
    for parts in range(2, len(pieces) + 1):
        cuts = tuple(len(pieces) * i // parts for i in range(parts + 1))
        if all(largest_sum(pieces[a:b]) <= most for a, b in pairwise(cuts)):
            return cuts
    return ()


def inputs_within(weight: NDArray[np.signedinteger], most: int) -> int:
    """Return how many inputs of any output channel have sums of weights of int8 up to `most`, whichever they are."""
    rows = weight.reshape(-1, weight.shape[-1])
    return min(_inputs_within(rows[:, begin : begin + 64], most) for begin in range(0, rows.shape[1], 64))


def _inputs_within(rows: NDArray[np.signedinteger], most: int) -> int:
    """Return that of some channels [inputs, channels], from how often each of them has each weight."""
    channels = rows.shape[1]
    counts = np.bincount((rows + (np.arange(channels) * 256 + 128)).ravel(), minlength=256 * channels)
    counts = counts.reshape(channels, 256)
    magnitudes = np.arange(127, 0, -1)
    least = len(rows)
    for having in (counts[:, :128:-1], counts[:, 1:128]):  # of 127 first
        number, total = having.cumsum(axis=1), (having * magnitudes).cumsum(axis=1)
        before = total - having * magnitudes
        fitting = np.clip((most - before) // magnitudes, 0, having)
        inputs = np.where(total > most, number - having + fitting, least)
        least = min(least, int(inputs.min()))
    return least


def pairs(weight: NDArray[np.signedinteger], lane: DTypeLike, block: int) -> NDArray[np.signedinteger]:
    """Lay out ``weight [rows, C_out]`` in blocks of pairs, see `evsim.kernels.emit.row_of`.

    Returns the flat array ``[block][rows][lanes]``, on cache lines, of int8 (of int16 for sums of 32 bits); channels
    past C_out are 0.
    """
    rows, channels = weight.shape
    lane = np.dtype(lane)
    half = np.dtype(f"i{lane.itemsize // 2}")
    bits = 8 * half.itemsize
    width = widened(channels)
    packed = aligned((rows * width // 2,), lane)
    wide = np.zeros((rows, min(block, width)), np.int32)
    for begin in range(0, width, block):
        lanes = min(block, width - begin)
        end = min(begin + lanes, channels)
        wide[:, : end - begin], wide[:, end - begin :] = weight[:, begin:end], 0
        first, second = wide[:, : lanes // 2], wide[:, lanes // 2 : lanes]
        part = packed[begin * rows // 2 : (begin + lanes) * rows // 2].reshape(rows, lanes // 2)
        part[:] = first + (1 << (bits - 1)) + (second << bits)
    return packed.view(half)


def joined_rows(weight: NDArray[np.signedinteger]) -> NDArray[np.signedinteger]:
    """Return weights [3, kW, C_in, C_out] as [kW, tiles, 5, 64, C_out], for windows whose rows are joined."""
    _, columns, inputs, outputs = weight.shape
    tiles = -(-inputs // 64)
    whole = np.zeros((JOINED, columns, tiles * 64, outputs), weight.dtype)
    whole[:, :, :inputs] = weight
    turned = whole.reshape(JOINED, columns, tiles, 64, outputs)[[row % JOINED for row in range(JOINED_ROWS)]]
    return np.ascontiguousarray(turned.transpose(1, 2, 0, 3, 4))


def window_pairs(weight: NDArray[np.signedinteger]) -> NDArray[np.int16]:
    """Return weights [kH, kW, C_in, C_out] as [blocks of 64, kH, pairs of kW * C_in, 64, 2], flat."""
    rows, columns, inputs, channels = weight.shape
    run = columns * inputs
    whole = np.zeros((rows, run + run % 2, widened(channels)), np.int16)
    whole[:, :run, :channels] = weight.reshape(rows, run, channels)
    apart = whole.reshape(rows, -1, 2, widened(channels) // 64, 64).transpose(3, 0, 1, 4, 2)
    packed = aligned((apart.size,), np.int16)
    packed[:] = apart.reshape(-1)
    return packed


def laid_out(weight: NDArray[np.signedinteger], lane: DTypeLike, block: int) -> NDArray[np.signedinteger]:
    """Lay out ``weight [rows, C_out]`` in blocks of single weights: ``[block][rows][lanes]``, zeros past C_out."""
    rows, channels = weight.shape
    width = widened(channels)
    packed = aligned((rows * width,), lane)
    for begin in range(0, width, block):
        lanes = min(block, width - begin)
        end = max(begin, min(begin + lanes, channels))
        part = packed[begin * rows : (begin + lanes) * rows].reshape(rows, lanes)
        part[:, end - begin :] = 0
        part[:, : end - begin] = weight[:, begin:end]
    return packed

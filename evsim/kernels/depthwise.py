"""Depthwise convolution at stride 1: every channel has a window of weights of its own.

A spike reaches as many outputs as its window has taps, one sum in each: there is no row of weights to add. So channels
are taken 16 at a time, and outputs 8 side by side; their sums stay in registers over the whole window while each tap
adds its weights where the bits of a spike word say so (`gather_window`). That reaches every input, active or not, but
costs an instruction for 16 of them; a loop over single spikes took twenty times as long at a fifth of the inputs
active. The rows that a line of outputs reads are first copied side by side, with zeros for what lies outside the map.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import kernel
from evsim.kernels.grouped import GroupedSize
from evsim.kernels.windows import OUTPUTS, PIECE, gather_window


@kernel
def depthwise_spikes(
    first: int,
    last: int,
    size: GroupedSize,
    words: NDArray[np.uint64],
    weights: NDArray[np.floating],
    shift: NDArray[np.floating],
    channels: int,
    out: NDArray[np.floating],
) -> None:
    """Write output rows ``first .. last - 1``, counted over timesteps, of spikes.

    words [T, P, W]; weights [taps * channels], shift [channels], `channels` padded to 32; out [T * P' * channels].
    """
    width = words.shape[2]
    columns = -(-size.out_width // OUTPUTS) * OUTPUTS + size.kernel_width
    lines = np.zeros(size.kernel_height * columns * width, np.uint64)
    masks = lines.view(np.uint16)
    step = 4 * width
    for line in range(first, last):
        t = line // size.out_height
        top = line % size.out_height - size.pad_height
        low, high = max(0, -top), min(size.kernel_height, size.in_height - top)
        for r in range(low, high):
            at = (r * columns + size.pad_width) * width
            for x in range(min(size.in_width, columns - size.pad_width)):
                for w in range(width):
                    lines[at] = words[t, (top + r) * size.in_width + x, w]
                    at += 1
        for x in range(0, size.out_width, OUTPUTS):
            count = min(OUTPUTS, size.out_width - x)
            for channel in range(0, channels, PIECE):
                gather_window(
                    out, (line * size.out_width + x) * channels + channel, channels, count,
                    masks, x * step + channel // PIECE, columns * step, step,
                    weights, channel, channels, shift, channel, low, high, size.kernel_width,
                )  # fmt: skip


@kernel
def depthwise_values(
    first: int,
    last: int,
    size: GroupedSize,
    values: NDArray[np.generic],
    weights: NDArray[np.floating],
    shift: NDArray[np.floating],
    channels: int,
    out: NDArray[np.floating],
) -> None:
    """Write output rows of numbers [T, P, C_in] and more; otherwise as `depthwise_spikes`."""
    columns = -(-size.out_width // OUTPUTS) * OUTPUTS + size.kernel_width
    lines = np.zeros(size.kernel_height * columns * PIECE, out.dtype)
    for line in range(first, last):
        t = line // size.out_height
        top = line % size.out_height - size.pad_height
        low, high = max(0, -top), min(size.kernel_height, size.in_height - top)
        for channel in range(0, channels, PIECE):
            lanes = max(0, min(PIECE, size.in_channels - channel))
            for r in range(low, high):
                at = (r * columns + size.pad_width) * PIECE
                for x in range(min(size.in_width, columns - size.pad_width)):
                    source = values[t, (top + r) * size.in_width + x]
                    for i in range(lanes):
                        lines[at + i] = source[channel + i]
                    for i in range(lanes, PIECE):
                        lines[at + i] = 0
                    at += PIECE
            for x in range(0, size.out_width, OUTPUTS):
                gather_window(
                    out, (line * size.out_width + x) * channels + channel, channels, min(OUTPUTS, size.out_width - x),
                    lines, x * PIECE, columns * PIECE, PIECE,
                    weights, channel, channels, shift, channel, low, high, size.kernel_width,
                )  # fmt: skip

"""Grouped convolution: an active input adds its weights to the outputs of its own group, and to no others.

A group's outputs are few (one, in a depthwise convolution), so there is no row of weights to fill vectors with: sums
are gathered output position by output position, tap by tap, in plain loops over the active channels. Each output adds
in the order (tap, channel).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.vector import lowest_bit

ONE = np.uint64(1)
ZERO = np.uint64(0)


class GroupedSize(NamedTuple):
    """Geometry of a grouped convolution; `row` outputs per group, `group` input channels."""

    in_channels: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    pad_height: int
    pad_width: int
    dilation_height: int
    dilation_width: int
    group: int
    row: int


@kernel
def grouped_spikes(
    first: int,
    last: int,
    size: GroupedSize,
    words: NDArray[np.uint64],
    weights: NDArray[np.floating],
    out: NDArray[np.floating],
) -> None:
    """Add up output rows ``first .. last - 1``, counted over timesteps, of spikes.

    words [T, P, W]; weights [taps, C_in, row]; out [T, P', C] holds what the sums begin with.
    """
    for line in range(first, last):
        t = line // size.out_height
        y = line % size.out_height
        for x in range(size.out_width):
            sums = out[t, y * size.out_width + x]
            for tap in range(size.kernel_height * size.kernel_width):
                source = source_of(size, y, x, tap)
                if source < 0:
                    continue
                for w in range(words.shape[2]):
                    word = words[t, source, w]
                    while word != ZERO:
                        c = 64 * w + np.int64(lowest_bit(word))
                        to = c // size.group * size.row
                        for j in range(size.row):
                            sums[to + j] += weights[tap, c, j]
                        word &= word - ONE


@kernel
def grouped_values(
    first: int,
    last: int,
    size: GroupedSize,
    values: NDArray[np.generic],
    weights: NDArray[np.floating],
    out: NDArray[np.floating],
) -> None:
    """Add up output rows of numbers [T, P, C_in] and more; otherwise as `grouped_spikes`. Zeros are passed over."""
    for line in range(first, last):
        t = line // size.out_height
        y = line % size.out_height
        for x in range(size.out_width):
            sums = out[t, y * size.out_width + x]
            for tap in range(size.kernel_height * size.kernel_width):
                source = source_of(size, y, x, tap)
                if source < 0:
                    continue
                for c in range(size.in_channels):
                    value = values[t, source, c]
                    if value != 0:
                        to = c // size.group * size.row
                        for j in range(size.row):
                            sums[to + j] += weights[tap, c, j] * value


@inner
def source_of(size: GroupedSize, y: int, x: int, tap: int) -> int:
    """Return the input position that a tap of output (y, x) reads, -1 outside the map."""
    source_y = y * size.stride_height - size.pad_height + tap // size.kernel_width * size.dilation_height
    source_x = x * size.stride_width - size.pad_width + tap % size.kernel_width * size.dilation_width
    if source_y < 0 or source_y >= size.in_height or source_x < 0 or source_x >= size.in_width:
        return -1
    return source_y * size.in_width + source_x

"""How much reaches each output of a layer, from how much there is at each of its inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import kernel
from evsim.kernels.synapses import Size


@kernel
def reach_of(
    first: int,
    last: int,
    size: Size,
    counts: NDArray[np.int64],
    reach: NDArray[np.int64],
    rows: tuple[int, int],
    columns: tuple[int, int],
) -> None:
    """Add up over each output's window what its inputs count: counts [groups * T, P], reach [groups * T, P'].

    Lines ``first .. last - 1`` of all maps; of the window, those `rows` and `columns`, from the first to before the
    last.
    """
    count = columns[1] - columns[0]
    for line in range(first, last):
        y = line % size.out_height
        own, sums = counts[line // size.out_height], reach[line // size.out_height]
        to = y * size.out_width
        sums[to : to + size.out_width] = 0
        for tap in range((rows[1] - rows[0]) * count):
            down = (rows[0] + tap // count) * size.dilation_height
            row = y * size.stride_height - size.pad_height + down
            if row < 0 or row >= size.in_height:
                continue
            shift = (columns[0] + tap % count) * size.dilation_width - size.pad_width
            left = max(0, -(shift // size.stride_width))
            right = min(size.out_width, (size.in_width - 1 - shift) // size.stride_width + 1)
            source = row * size.in_width + shift
            here, stride = sums[to + left : to + right], size.stride_width
            if stride == 1:  # vectors
                values = own[source + left : source + right]
                for x in range(right - left):
                    here[x] += values[x]
                continue
            for x in range(left, right):
                here[x - left] += own[source + x * stride]

"""Max-pooling: of spikes an OR of words, of numbers a maximum. Taps outside the map do not take part."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import kernel


@kernel
def pool_numbers(
    first: int,
    last: int,
    source: NDArray[np.generic],
    target: NDArray[np.generic],
    rows: tuple[int, int, int],
    columns: tuple[int, int, int],
) -> None:
    """Pool output rows ``first .. last - 1``, counted over timesteps: source [T, H, W, C], target [T, H', W', C].

    `rows` and `columns` are kernel, stride and padding along them. Numbers are int32 or floats; every window holds at
    least one position of the map (padding < window).
    """
    height, width, channels = source.shape[1:]
    out_height, out_width = target.shape[1], target.shape[2]
    for row in range(first, last):
        t = row // out_height
        top = row % out_height * rows[1] - rows[2]
        for x in range(out_width):
            left = x * columns[1] - columns[2]
            x0 = max(0, left)
            y0 = max(0, top)
            out = target[t, row % out_height, x]
            for c in range(channels):
                out[c] = source[t, y0, x0, c]
            for yy in range(y0, min(height, top + rows[0])):
                for xx in range(x0, min(width, left + columns[0])):
                    for c in range(channels):
                        out[c] = max(out[c], source[t, yy, xx, c])


@kernel
def pool_words(
    first: int,
    last: int,
    source: NDArray[np.uint64],
    target: NDArray[np.uint64],
    rows: tuple[int, int, int],
    columns: tuple[int, int, int],
) -> None:
    """Pool spikes: like `pool_numbers` on words of 64 channels, source [T, H, W, words].

    The rows of a window are joined first, whole lines at a time, then its columns.
    """
    height, width, words = source.shape[1:]
    out_height, out_width = target.shape[1], target.shape[2]
    line = np.empty(width * words, np.uint64)
    for row in range(first, last):
        t = row // out_height
        top = row % out_height * rows[1] - rows[2]
        y0 = max(0, top)
        above = source[t, y0].reshape(-1)
        for i in range(line.size):  # assigning arrays would compile Numba's error message, for two seconds
            line[i] = above[i]
        for y in range(y0 + 1, min(height, top + rows[0])):
            below = source[t, y].reshape(-1)
            for i in range(line.size):
                line[i] |= below[i]
        out = target[t, row % out_height].reshape(-1)
        for x in range(out_width):
            left = x * columns[1] - columns[2]
            x0, x1 = max(0, left), min(width, left + columns[0])
            for w in range(words):
                word = line[x0 * words + w]
                for at in range((x0 + 1) * words + w, x1 * words, words):
                    word |= line[at]
                out[x * words + w] = word

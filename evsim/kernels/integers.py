"""Integers on the way: rounded from currents, added up from spikes, and cut into planes of bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.windows import add_bits, bits_at

ONE = np.uint64(1)
ZERO = np.uint64(0)


@kernel
def cut_planes(first: int, last: int, values: NDArray[np.int32], channels: int, planes: NDArray[np.uint64]) -> None:
    """Write bits ``B - 1 - b`` of positions ``first .. last - 1`` to plane b.

    values [R * channels], planes [B, R, W].
    """
    count, _, width = planes.shape
    for r in range(first, last):
        for w in range(width):
            at = r * channels + 64 * w
            whole = 64 * w + 64 <= channels
            for b in range(count):
                bit = count - 1 - b
                if whole:
                    planes[b, r, w] = bits_at(values, at, bit)
                    continue
                word = ZERO
                for i in range(channels - 64 * w):
                    word |= np.uint64((values[at + i] >> bit) & 1) << np.uint64(i)
                planes[b, r, w] = word


@kernel
def add_spikes(first: int, last: int, words: NDArray[np.uint64], channels: int, values: NDArray[np.int32]) -> None:
    """Add the spikes of positions ``first .. last - 1`` to integers: words [R, W], values [R * channels]."""
    for r in range(first, last):
        for w in range(words.shape[1]):
            _add_word(words[r, w], values, r * channels + 64 * w, channels - 64 * w)


@kernel
def sum_tokens(words: NDArray[np.uint64], sums: NDArray[np.int32]) -> None:
    """Add the spikes of all positions to the sums of their channels: words [P, W], sums [C]."""
    channels = sums.size
    for p in range(words.shape[0]):
        for w in range(words.shape[1]):
            _add_word(words[p, w], sums, 64 * w, channels - 64 * w)


@inner
def _add_word(word: np.uint64, values: NDArray[np.int32], at: int, some: int) -> None:
    """Add the bits of a word, the first `some` of them, to the integers from `at` on."""
    if some >= 64:
        add_bits(values, at, word)
        return
    for i in range(some):
        values[at + i] += np.int32((word >> np.uint64(i)) & ONE)


@kernel
def round_currents(
    first: int,
    last: int,
    currents: NDArray[np.floating],
    channels: int,
    most: float | np.floating,
    half: float | np.floating,
    up: bool,
    integers: NDArray[np.int32],
    faults: NDArray[np.int64],
) -> None:
    """Write ``round(clamp(x, 0, most))`` of positions ``first .. last - 1``; `faults` [1] is 1 if one is not finite.

    currents [R, C] of which the first `channels` count, integers [R, channels]. Halves are rounded `up`, or to even;
    `most` and `half`, which is 0.5, are of the currents' type.
    """
    zero = half - half
    fault = False
    for r in range(first, last):
        for c in range(channels):
            x = currents[r, c]
            fault |= x - x != zero  # infinity less itself is no number
            clamped = min(max(zero, x), most)  # what is no number becomes 0
            integers[r, c] = np.int32(np.floor(clamped + half)) if up else np.int32(np.rint(clamped))
    if fault:
        faults[0] = 1

"""Exact figures of data movement from bits: weight rows and outputs touched, run lengths, attention buffers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.attention import head_words
from evsim.kernels.compiling import inner, kernel
from evsim.kernels.vector import lowest_bit, popcount

ONE = np.uint64(1)
ZERO = np.uint64(0)


@kernel
def touched_rows(
    words: NDArray[np.uint64],
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    touched: NDArray[np.uint64],
) -> None:
    """OR, per tap, the bits of all positions from which it reaches an output: words [T, P, W], touched [T, taps, W]."""
    for t in range(words.shape[0]):
        for dy in range(kernel[0]):
            for dx in range(kernel[1]):
                tap = dy * kernel[1] + dx
                for oy in range(out_size[0]):
                    y = oy * stride[0] - padding[0] + dy * dilation[0]
                    if y < 0 or y >= in_size[0]:
                        continue
                    for ox in range(out_size[1]):
                        x = ox * stride[1] - padding[1] + dx * dilation[1]
                        if x < 0 or x >= in_size[1]:
                            continue
                        for w in range(words.shape[2]):
                            touched[t, tap, w] |= words[t, y * in_size[1] + x, w]


@kernel
def windows(
    totals: NDArray[np.int64],
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    greatest: NDArray[np.int64],
    reached: NDArray[np.int64],
) -> None:
    """Sum the input under every output's window: totals [T, P]; greatest sum and number of nonzero sums, both [T]."""
    for t in range(totals.shape[0]):
        for oy in range(out_size[0]):
            top = oy * stride[0] - padding[0]
            for ox in range(out_size[1]):
                left = ox * stride[1] - padding[1]
                total = np.int64(0)
                for dy in range(kernel[0]):
                    y = top + dy * dilation[0]
                    if y < 0 or y >= in_size[0]:
                        continue
                    for dx in range(kernel[1]):
                        x = left + dx * dilation[1]
                        if x >= 0 and x < in_size[1]:
                            total += totals[t, y * in_size[1] + x]
                greatest[t] = max(greatest[t], total)
                reached[t] += 1 if total > 0 else 0


@kernel
def run_length_bits(words: NDArray[np.uint64], channels: int, bits: NDArray[np.int64]) -> None:
    """Bits of the zero runs before each spike, position by position, in Elias gamma code: words [T, P, W], bits [T].

    A run of r zeros is written as the gamma code of r + 1, which takes ``2 floor(log2(r + 1)) + 1`` bits.
    """
    for t in range(words.shape[0]):
        last = np.int64(-1)
        total = np.int64(0)
        for p in range(words.shape[1]):
            for w in range(words.shape[2]):
                word = words[t, p, w]
                while word != ZERO:
                    here = np.int64(p) * channels + 64 * w + np.int64(lowest_bit(word))
                    gap = here - last
                    last = here
                    total += 1
                    while gap > 1:
                        total += 2
                        gap >>= 1
                    word &= word - ONE
        bits[t] = total


@kernel
def attention_buffers(
    heads: int,
    size: int,
    q: NDArray[np.uint64],
    k: NDArray[np.uint64],
    v: NDArray[np.uint64],
    coincidences: NDArray[np.int64],
    greatest: NDArray[np.int64],
    entries: NDArray[np.int64],
) -> None:
    """Measure both buffers of attention: words [T, N, W], `size` channels per head.

    `coincidences` and `greatest` are [2, T, heads], of k^T v and of q k^T; `entries` [T, heads], nonzero ones of q k^T.
    """
    tokens = q.shape[1]
    parts = (size + 63) // 64
    over_tokens = (tokens + 63) // 64
    bits = np.empty((3, parts, tokens), np.uint64)
    columns_k = np.empty((size, over_tokens), np.uint64)
    columns_v = np.empty((size, over_tokens), np.uint64)
    for t in range(q.shape[0]):
        for h in range(heads):
            columns_k[:] = ZERO
            columns_v[:] = ZERO
            for part in range(parts):
                head_words(q, t * tokens, tokens, h * size, size, part, bits[0, part], 0)
                head_words(k, t * tokens, tokens, h * size, size, part, bits[1, part], 0)
                head_words(v, t * tokens, tokens, h * size, size, part, bits[2, part], 0)
                for n in range(tokens):
                    _transpose(bits[1, part, n], part, n, columns_k)
                    _transpose(bits[2, part, n], part, n, columns_v)
            coincidences[0, t, h], greatest[0, t, h], _ = _product(columns_k, columns_v)
            coincidences[1, t, h], greatest[1, t, h], entries[t, h] = _product(bits[0].T, bits[1].T)


@inner
def _transpose(word: np.uint64, part: int, token: int, columns: NDArray[np.uint64]) -> None:
    """Set the token's bit in the column of every channel that fired."""
    while word != ZERO:
        columns[64 * part + np.int64(lowest_bit(word)), token // 64] |= ONE << np.uint64(token % 64)
        word &= word - ONE


@inner
def _product(left: NDArray[np.uint64], right: NDArray[np.uint64]) -> tuple[int, int, int]:
    """Sum, greatest and number of nonzero entries of the product of two bit matrices, rows by rows."""
    total, greatest, nonzero = np.int64(0), np.int64(0), np.int64(0)
    for i in range(left.shape[0]):
        for j in range(right.shape[0]):
            entry = np.int64(0)
            for w in range(left.shape[1]):
                entry += np.int64(popcount(left[i, w] & right[j, w]))
            total += entry
            greatest = max(greatest, entry)
            nonzero += 1 if entry > 0 else 0
    return int(total), int(greatest), int(nonzero)

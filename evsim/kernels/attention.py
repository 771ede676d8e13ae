"""Spiking self-attention: two gathers per head and timestep, and nothing dense.

``k^T v`` of 0/1 maps has as row i the sum of v's rows over the tokens in which k's channel i fired; ``q (k^T v)`` has
as row n the sum of those rows over the channels in which q's token n fired. Both are "add a row per spike", so the
kernel that serves convolutions serves here too. The values are integers below 2^24, exact in float32; that order is
the cheaper one at the sizes of vision transformers, and the other gives the same integers, so it is computed this way
whatever order the model declares. The operations of both orders are counted apart (`evsim.kernels.counting`).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evsim.kernels.vector import add_rows, lowest_bit

ONE = np.uint64(1)
ZERO = np.uint64(0)
SIXTY_FOUR = np.uint64(64)


@njit(cache=True, nogil=True, error_model="numpy")
def head_word(row: NDArray[np.uint64], channel: int, size: int, part: int) -> np.uint64:
    """Return bits ``64 * part ..`` of the `size` channels from `channel` on of one position's words, others 0."""
    begin = channel + 64 * part
    word = begin // 64
    shift = np.uint64(begin % 64)
    bits = row[word] >> shift
    if shift > ZERO and word + 1 < row.size:
        bits |= row[word + 1] << (SIXTY_FOUR - shift)
    left = size - 64 * part
    if left < 64:
        bits &= (ONE << np.uint64(left)) - ONE
    return np.uint64(bits)


@njit(cache=True, nogil=True, error_model="numpy")
def attend(
    first: int,
    last: int,
    heads: int,
    size: int,
    q: NDArray[np.uint64],
    k: NDArray[np.uint64],
    v: NDArray[np.uint64],
    scale: float,
    block: int,
    out: NDArray[np.floating],
) -> None:
    """Attend for units ``first .. last - 1`` of T x heads: q, k, v words [T, N, W], `size` channels per head.

    out [T, N, C] receives ``scale * q (k^T v)``.
    """
    tokens = q.shape[1]
    width = (size + 31) // 32 * 32
    rows_v = np.empty(tokens * width, out.dtype)
    rows_kv = np.empty(size * width, out.dtype)
    sums = np.empty(width, out.dtype)
    fired = np.empty(size * tokens, np.uint16)
    counts = np.empty(size, np.int64)
    channels = np.empty(size, np.uint16)
    for unit in range(first, last):
        t = unit // heads
        channel = unit % heads * size
        _spread(v[t], channel, size, block, width, rows_v)
        _transpose(k[t], channel, size, fired, counts)
        rows_kv[:] = 0.0
        for i in range(size):
            for begin in range(0, width, block):
                lanes = min(block, width - begin)
                at = begin * size + i * lanes
                add_rows(rows_kv, at, rows_v, begin * tokens, fired, i * tokens, i * tokens + counts[i], lanes)
        for n in range(tokens):
            active = _list(q[t, n], channel, size, channels)
            sums[:] = 0.0
            for begin in range(0, width, block):
                add_rows(sums, begin, rows_kv, begin * size, channels, 0, active, min(block, width - begin))
            for j in range(size):
                out[t, n, channel + j] = sums[j] * scale


@njit(cache=True, nogil=True, error_model="numpy")
def _list(row: NDArray[np.uint64], channel: int, size: int, channels: NDArray[np.uint16]) -> int:
    """List the active channels of one head in one token; return how many."""
    count = 0
    for part in range((size + 63) // 64):
        word = head_word(row, channel, size, part)
        while word != ZERO:
            channels[count] = np.uint16(64 * part + np.int64(lowest_bit(word)))
            count += 1
            word &= word - ONE
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _transpose(
    words: NDArray[np.uint64], channel: int, size: int, fired: NDArray[np.uint16], counts: NDArray[np.int64]
) -> None:
    """List, for each channel i of one head, the tokens in which it fired: ``fired[i * N : i * N + counts[i]]``."""
    tokens = words.shape[0]
    counts[:] = 0
    for n in range(tokens):
        for part in range((size + 63) // 64):
            word = head_word(words[n], channel, size, part)
            while word != ZERO:
                i = 64 * part + np.int64(lowest_bit(word))
                fired[i * tokens + counts[i]] = np.uint16(n)
                counts[i] += 1
                word &= word - ONE


@njit(cache=True, nogil=True, error_model="numpy")
def _spread(
    words: NDArray[np.uint64], channel: int, size: int, block: int, width: int, rows: NDArray[np.floating]
) -> None:
    """Write one head's spikes as 0.0 and 1.0 rows [block][N][lanes], the layout that `add_rows` reads."""
    tokens = words.shape[0]
    rows[: tokens * width] = 0.0
    for n in range(tokens):
        for part in range((size + 63) // 64):
            word = head_word(words[n], channel, size, part)
            while word != ZERO:
                j = 64 * part + int(lowest_bit(word))
                begin = j // block * block
                lanes = min(block, width - begin)
                rows[begin * tokens + n * lanes + j - begin] = 1.0
                word &= word - ONE

"""Products of attention beyond spikes of one width: on integers, with v of another width, and of real rows by spikes.

Nothing dense: every nonzero of an operand adds one row. Sums of integers are whole numbers, and so exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.attention import head_words
from evsim.kernels.compiling import inner, kernel
from evsim.kernels.vector import add_rows_of_bits, put_rows_of_bits


@kernel
def attend_integers(
    first: int,
    last: int,
    heads: int,
    q: NDArray[np.int32],
    k: NDArray[np.int32],
    v: NDArray[np.int32],
    out: NDArray[np.floating],
) -> None:
    """Attend for units ``first .. last - 1`` of T x heads: q, k [T, N, C], v [T, N, V]; out [T, N, V ..] is q (k^T v).

    Sums of whole numbers that are not negative: exact in the precision of `out` up to the greatest integer that it
    holds, and beyond it no sum comes out below it.
    """
    tokens = q.shape[1]
    size = q.shape[2] // heads
    width = v.shape[2] // heads
    product = np.empty((size, width), out.dtype)
    values = np.empty(width, out.dtype)
    sums = np.empty(width, out.dtype)
    for unit in range(first, last):
        t = unit // heads
        h = unit % heads
        product[:] = 0
        for n in range(tokens):
            for j in range(width):
                values[j] = v[t, n, h * width + j]
            for i in range(size):
                factor = k[t, n, h * size + i]
                if factor != 0:
                    _add_scaled(product[i], values, values.dtype.type(factor))
        for n in range(tokens):
            sums[:] = 0.0
            for i in range(size):
                factor = q[t, n, h * size + i]
                if factor != 0:
                    _add_scaled(sums, product[i], sums.dtype.type(factor))
            for j in range(width):
                out[t, n, h * width + j] = sums[j]


@inner
def _add_scaled(sums: NDArray[np.floating], row: NDArray[np.floating], factor: float | np.floating) -> None:
    for j in range(sums.size):
        sums[j] += factor * row[j]


@kernel
def add_named_rows(
    first: int,
    last: int,
    words: NDArray[np.uint64],
    reals: NDArray[np.floating],
    part: int,
    parts: int,
    size: int,
    by_channel: bool,
    scale: NDArray[np.floating],
    block: int,
    out: NDArray[np.floating],
) -> None:
    """Add up the rows that spikes name, for units ``first .. last - 1`` of T x heads.

    words [T, N, W] of spikes. reals [T or 1, M, C], of which each head has `parts` of `size` channels and uses one: its
    matrix [M, size], the rows of which are those of the tokens or, `by_channel`, of the channels. scale [heads]; out
    [T, N, C'], whose heads * L first channels are written, L the length of a row. Each sum adds in the order of the
    rows, and is then scaled.
    """
    heads = scale.size
    tokens, sources = words.shape[1], reals.shape[1]
    count, length = (size, sources) if by_channel else (sources, size)
    spans = (count + 63) // 64
    bits = np.zeros(spans * tokens, np.uint64)
    rows = np.zeros(spans * 64 * block, out.dtype)
    sums = np.empty(tokens * block, out.dtype)
    flat = out.reshape(-1)
    for unit in range(first, last):
        t = unit // heads
        h = unit % heads
        factor = scale[h]
        frame = reals[t if reals.shape[0] > 1 else 0]
        channel = (h * parts + part) * size
        for span in range(spans):
            head_words(words, t * tokens, tokens, h * count, count, span, bits, span * tokens)
        for begin in range(0, length, block):
            lanes = block if length - begin > 32 else 32
            some = min(lanes, length - begin)
            _fill_rows(frame, channel, begin, some, count, by_channel, lanes, rows)
            to = t * tokens * out.shape[2] + h * length + begin
            if spans == 1 and some == lanes:  # from registers to the map
                for n in range(tokens):
                    put_rows_of_bits(flat, to + n * out.shape[2], rows, 0, bits[n], factor, lanes)
                continue
            sums[: tokens * lanes] = 0.0
            for span in range(spans):
                for n in range(tokens):
                    add_rows_of_bits(sums, n * lanes, rows, span * 64 * lanes, bits[span * tokens + n], lanes)
            for n in range(tokens):
                target, source = flat[to : to + some], sums[n * lanes : n * lanes + some]
                to += out.shape[2]
                for i in range(some):
                    target[i] = source[i] * factor


@inner
def _fill_rows(
    frame: NDArray[np.floating],
    channel: int,
    begin: int,
    some: int,
    count: int,
    by_channel: bool,
    lanes: int,
    rows: NDArray[np.floating],
) -> None:
    """Write elements ``begin .. begin + some - 1`` of each of `count` rows of a head's matrix, `lanes` apart."""
    if by_channel:
        for i in range(some):
            for j in range(count):
                rows[j * lanes + i] = frame[begin + i, channel + j]
        return
    for j in range(count):
        for i in range(some):
            rows[j * lanes + i] = frame[j, channel + begin + i]

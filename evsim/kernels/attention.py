"""Spiking self-attention on bits: for every spike, add a row; nothing dense.

``k^T v`` of 0/1 maps has as row i the sum of v's rows over the tokens in which k's channel i fired. k is transposed as
bits, 64 tokens x 64 channels at a time, so that the tokens of a channel are the set bits of a few words; v's rows stay
bits too, and 64 counters advance by one vector addition per spike of k; where the CPU counts the bits of a vector's
words, v is transposed as well, and counters are the bits that columns of k and v have in common. ``q (k^T v)`` has as
row n the sum of the rows of ``k^T v`` over the channels in which q's token n fired: again the set bits of a word, each
adding one row to sums in registers. No lists are made. The values are integers, exact in float32 below 2^24; this order
is the cheaper one at the sizes of vision transformers, and the other gives the same integers, so it is computed this
way whatever order the model declares. The operations of both orders are counted apart (`evsim.kernels.counting`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.vector import (
    POPCOUNTS,
    add_rows_of_bits,
    count_common,
    put_rows_of_bits,
    tally_bits,
    transpose_words,
    write_counts,
)

ONE = np.uint64(1)
ZERO = np.uint64(0)
SIXTY_FOUR = np.uint64(64)


@inner
def head_words(
    words: NDArray[np.uint64],
    first: int,
    count: int,
    channel: int,
    size: int,
    part: int,
    out: NDArray[np.uint64],
    at: int,
) -> None:
    """Write bits ``64 * part ..`` of the `size` channels from `channel` on, other bits 0, of `count` positions.

    words [T, N, W]; positions ``first ..`` of all T * N; their words go to ``out[at:]``.
    """
    begin = channel + 64 * part
    word = np.uint64(begin // 64)
    shift = np.uint64(begin % 64)
    wanted = min(64, size - 64 * part)
    mask = ~ZERO >> np.uint64(64 - wanted)
    rows = words.reshape(-1, words.shape[2])
    split = begin % 64 + wanted > 64
    for n in range(count):
        row = np.uint64(first + n)
        bits = rows[row, word] >> shift
        if split:
            bits |= rows[row, word + ONE] << (SIXTY_FOUR - shift)
        out[np.uint64(at + n)] = bits & mask


@kernel
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
    out: NDArray[np.generic],
    kind: NDArray[np.generic],
) -> None:
    """Attend for units ``first .. last - 1`` of T x heads: q, k, v words [T, N, W], `size` channels per head.

    out [T, N, C] receives ``scale * q (k^T v)``. Tokens below 2^16, so that counts fit 16 bits. Sums are of the type of
    `kind`, an array of size 0: that of `out`, or int16 where they fit.
    """
    tokens = q.shape[1]
    parts = (size + 63) // 64
    spans = (tokens + 63) // 64
    width = (size + 31) // 32 * 32
    words_q = np.zeros(parts * spans * 64, np.uint64)
    words_k = np.zeros(parts * spans * 64, np.uint64)
    words_v = np.zeros(parts * spans * 64, np.uint64)
    fired = np.empty(spans * 64, np.uint64)
    fired_v = np.empty(parts * spans * 64 if POPCOUNTS else 0, np.uint64)
    counts = np.empty(64, np.uint16)
    rows = np.zeros(parts * 64 * width, kind.dtype)
    sums = np.empty(width, kind.dtype)
    flat = out.reshape(-1)
    for unit in range(first, last):
        t = unit // heads
        channel = unit % heads * size
        for part in range(parts):
            at = part * spans * 64
            head_words(q, t * tokens, tokens, channel, size, part, words_q, at)
            head_words(k, t * tokens, tokens, channel, size, part, words_k, at)
            head_words(v, t * tokens, tokens, channel, size, part, words_v, at)
        if POPCOUNTS:
            for at in range(0, parts * spans * 64, 64):
                transpose_bits(words_v[at : at + 64], fired_v[at : at + 64])
        for part in range(parts):
            for span in range(spans):
                at = (part * spans + span) * 64
                transpose_bits(words_k[at : at + 64], fired[64 * span : 64 * span + 64])
            for i in range(64 * part, min(64 * part + 64, size)):
                for other in range(parts):
                    if POPCOUNTS:
                        count_common(counts, fired_v, other * spans * 64, fired, i - 64 * part, spans)
                    else:
                        counts[:] = 0
                        for span in range(spans):
                            row = (other * spans + span) * 64
                            tally_bits(counts, 0, words_v, row, fired[64 * span + i - 64 * part])
                    _write_row(counts, i, 64 * other, size, block, width, rows)
        if size == width and parts == 1:  # whole blocks: sums go from registers to the map
            for n in range(tokens):
                to = (t * tokens + n) * out.shape[2] + channel
                for begin in range(0, width, block):
                    lanes = min(block, width - begin)
                    put_rows_of_bits(flat, to + begin, rows, begin * size, words_q[n], scale, lanes)
            continue
        for n in range(tokens):
            sums[:] = 0.0
            for begin in range(0, width, block):
                lanes = min(block, width - begin)
                for part in range(parts):
                    base = begin * size + 64 * part * lanes
                    add_rows_of_bits(sums, begin, rows, base, words_q[part * spans * 64 + n], lanes)
            for j in range(size):
                out[t, n, channel + j] = sums[j] * scale


@kernel
def transpose_bits(rows: NDArray[np.uint64], columns: NDArray[np.uint64]) -> None:
    """Write word c of `columns` [64]: its bit r is bit c of ``rows[r]`` [64]."""
    transpose_words(rows, columns)


@inner
def _write_row(
    counts: NDArray[np.uint16], i: int, column: int, size: int, block: int, width: int, rows: NDArray[np.floating]
) -> None:
    """Write row i of k^T v, its columns ``column .. column + 63``, in the layout [block][size][lanes]."""
    for begin in range(column, min(column + 64, width), 32):
        piece = begin // block * block
        lanes = min(block, width - piece)
        at = piece * size + i * lanes + begin - piece
        write_counts(rows, at, counts, begin - column)

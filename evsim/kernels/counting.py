"""Exact counts from bits: spikes per position, and the synaptic operations of attention in both orders.

None of the counts needs a product. With |.| a number of spikes, per head and timestep:
``q (k^T v)``: coincidences of k and v are the sum over tokens of |k_n| |v_n|; row i of k^T v has a nonzero entry
wherever v fired in some token in which k's channel i fired, so an OR of words counts them, once per spike of q.
``(q k^T) v``: coincidences of q and k are the sum over channels of |q_i| |k_i|; the entry of tokens n and m is nonzero
if their words overlap, and then takes the |v_m| spikes of v.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.attention import head_words, transpose_bits
from evsim.kernels.compiling import inner, kernel
from evsim.kernels.vector import lowest_bit, popcount

ONE = np.uint64(1)
ZERO = np.uint64(0)


@kernel
def spikes_per_position(first: int, last: int, words: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
    """Count the spikes of positions ``first .. last - 1`` of all R = T * P: words [R, W], counts [R]."""
    for r in range(first, last):
        total = np.int64(0)
        for w in range(words.shape[1]):
            total += np.int64(popcount(words[r, w]))
        counts[r] = total


@kernel
def weigh_spikes(
    first: int, last: int, words: NDArray[np.uint64], weights: NDArray[np.int64], sums: NDArray[np.int64]
) -> None:
    """Count the spikes of timesteps ``first .. last - 1``, and what they reach: sums [T, 2].

    words [T, N]; weights [N]: how many outputs each spike of a word reaches, or of size 0.
    """
    weighed = weights.size > 0
    for t in range(first, last):
        own = words[t]
        spikes = np.int64(0)
        reached = np.int64(0)
        if weighed:
            for i in range(own.size):
                count = np.int64(popcount(own[i]))
                spikes += count
                reached += count * weights[i]
        else:
            for i in range(own.size):
                spikes += np.int64(popcount(own[i]))
        sums[t, 0], sums[t, 1] = spikes, reached


@kernel
def weigh_values(
    first: int,
    last: int,
    parts: int,
    values: NDArray[np.generic],
    weights: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> None:
    """Count the nonzeros of units ``first .. last - 1`` of T x `parts`, and what they reach: sums [T * parts, 3].

    values [T, N]; weights [N]: how many outputs a value reaches, or of size 0. The third sum is of the values that are
    neither 0 nor 1.
    """
    weighed = weights.size > 0
    size = values.shape[1]
    for unit in range(first, last):
        begin, end = unit % parts * size // parts, (unit % parts + 1) * size // parts
        own = values[unit // parts, begin:end]
        nonzeros = np.int64(0)
        ones = np.int64(0)
        reached = np.int64(0)
        if weighed:
            by = weights[begin:end]
            for i in range(own.size):  # without a branch: it could be guessed wrong at every event
                nonzeros += np.int64(own[i] != 0)
                ones += np.int64(own[i] == 1)
                reached += by[i] if own[i] != 0 else np.int64(0)
        else:
            for i in range(own.size):
                nonzeros += np.int64(own[i] != 0)
                ones += np.int64(own[i] == 1)
        sums[unit, 0], sums[unit, 1], sums[unit, 2] = nonzeros, reached, nonzeros - ones


@kernel
def weigh_integers(
    first: int,
    last: int,
    parts: int,
    values: NDArray[np.int32],
    weights: NDArray[np.int64],
    sums: NDArray[np.int64],
) -> None:
    """Sum up integers as `weigh_values` counts them, and what each reaches as often as it says: sums [T * parts, 2]."""
    weighed = weights.size > 0
    size = values.shape[1]
    for unit in range(first, last):
        begin, end = unit % parts * size // parts, (unit % parts + 1) * size // parts
        own = values[unit // parts, begin:end]
        total = np.int64(0)
        reached = np.int64(0)
        if weighed:
            by = weights[begin:end]
            for i in range(own.size):
                total += np.int64(own[i])
                reached += np.int64(own[i]) * by[i]
        else:
            for i in range(own.size):
                total += np.int64(own[i])
        sums[unit, 0], sums[unit, 1] = total, reached


@kernel
def sum_integers(first: int, last: int, values: NDArray[np.int32], sums: NDArray[np.int64]) -> None:
    """Sum up positions ``first .. last - 1``: values [R, C], sums [R]."""
    for r in range(first, last):
        total = np.int64(0)
        for c in range(values.shape[1]):
            total += np.int64(values[r, c])
        sums[r] = total


@kernel
def spikes_per_head(words: NDArray[np.uint64], size: int, counts: NDArray[np.int64]) -> None:
    """Count the spikes of each head: words [T, P, W], `size` channels per head, counts [T, P, heads]."""
    for t in range(words.shape[0]):
        for p in range(words.shape[1]):
            for h in range(counts.shape[2]):
                begin, end = h * size, h * size + size
                total = np.int64(0)
                for w in range(begin // 64, (end + 63) // 64):
                    total += np.int64(popcount(words[t, p, w] & span_of(begin - 64 * w, end - 64 * w)))
                counts[t, p, h] = total


@inner
def span_of(begin: int, end: int) -> np.uint64:
    """Return a word whose bits ``begin .. end - 1`` are set, those of them that it has."""
    low, high = max(0, begin), min(64, end)
    return (~ZERO >> np.uint64(64 - high + low)) << np.uint64(low)


@kernel
def masks_of_heads(mask: NDArray[np.uint64], size: int, heads: int, words: NDArray[np.uint64]) -> None:
    """Set the bits of all `size` channels of each head whose bit is set: mask [R, M], words [R, W]."""
    for r in range(mask.shape[0]):
        for w in range(words.shape[1]):
            words[r, w] = ZERO
        for h in range(heads):
            if (mask[r, h // 64] >> np.uint64(h % 64)) & ONE:
                begin, end = h * size, h * size + size
                for w in range(begin // 64, (end + 63) // 64):
                    words[r, w] |= span_of(begin - 64 * w, end - 64 * w)


@kernel
def attention_operations(
    first: int,
    last: int,
    heads: int,
    size: int,
    width: int,
    q: NDArray[np.uint64],
    k: NDArray[np.uint64],
    v: NDArray[np.uint64],
    kv_first: NDArray[np.int64],
    qk_first: NDArray[np.int64],
) -> None:
    """Count both orders, for units ``first .. last - 1`` of T x heads; counts [T, heads].

    words [T, N, W], `size` channels per head, `width` of v.
    """
    tokens = q.shape[1]
    spans = (tokens + 63) // 64
    parts = (size + 63) // 64
    others = (width + 63) // 64
    bits_q = np.zeros((parts, spans * 64), np.uint64)  # tokens past the last have no spikes
    bits_k = np.zeros((parts, spans * 64), np.uint64)
    bits_v = np.zeros((others, spans * 64), np.uint64)
    spikes_v = np.empty(tokens, np.int64)
    fired_q = np.empty(64, np.uint64)
    fired_k = np.empty((spans, 64), np.uint64)
    for unit in range(first, last):
        t, h = unit // heads, unit % heads
        for part in range(parts):
            for words, bits in ((q, bits_q), (k, bits_k)):
                head_words(words, t * tokens, tokens, h * size, size, part, bits[part], 0)
        for part in range(others):
            head_words(v, t * tokens, tokens, h * width, width, part, bits_v[part], 0)
        coincidences = np.int64(0)
        for n in range(tokens):
            spikes_k = np.int64(0)
            spikes_v[n] = 0
            for part in range(others):
                spikes_v[n] += np.int64(popcount(bits_v[part, n]))
            for part in range(parts):
                spikes_k += np.int64(popcount(bits_k[part, n]))
            coincidences += spikes_k * spikes_v[n]
        kv_first[t, h] = coincidences
        qk_first[t, h] = _pairs(bits_q, bits_k, spikes_v)
        for part in range(parts):  # from here on by channel: its tokens are the set bits of a few words
            tokens_q = np.zeros(64, np.int64)
            for span in range(spans):
                transpose_bits(bits_q[part, 64 * span : 64 * span + 64], fired_q)
                transpose_bits(bits_k[part, 64 * span : 64 * span + 64], fired_k[span])
                for i in range(64):
                    tokens_q[i] += np.int64(popcount(fired_q[i]))
            for i in range(min(64, size - 64 * part)):
                tokens_k = np.int64(0)
                nonzero = np.int64(0)
                for other in range(others):
                    reached = ZERO
                    for span in range(spans):
                        word = fired_k[span, i]
                        while word != ZERO:
                            reached |= bits_v[other, 64 * span + np.int64(lowest_bit(word))]
                            word &= word - ONE
                    nonzero += np.int64(popcount(reached))
                for span in range(spans):
                    tokens_k += np.int64(popcount(fired_k[span, i]))
                kv_first[t, h] += tokens_q[i] * nonzero
                qk_first[t, h] += tokens_q[i] * tokens_k


@inner
def _pairs(bits_q: NDArray[np.uint64], bits_k: NDArray[np.uint64], spikes_v: NDArray[np.int64]) -> int:
    """Sum, over all pairs of tokens whose q and k overlap, the spikes of v in the second.

    Four tokens of q at a time share what is loaded of k and v; past the last are no spikes.
    """
    if len(bits_q) == 1:
        return _pairs_of_one_word(bits_q[0], bits_k[0], spikes_v)
    if len(bits_q) == 2:
        return _pairs_of_two_words(bits_q[0], bits_q[1], bits_k[0], bits_k[1], spikes_v)
    overlaps = np.empty(len(spikes_v), np.uint64)
    total = 0
    for n in range(len(spikes_v)):
        overlaps[:] = ZERO
        for part in range(len(bits_q)):
            word, words = bits_q[part, n], bits_k[part]
            for m in range(len(overlaps)):
                overlaps[m] |= word & words[m]
        for m in range(len(overlaps)):
            total += spikes_v[m] if overlaps[m] != ZERO else 0
    return total


@inner
def _pairs_of_one_word(q: NDArray[np.uint64], k: NDArray[np.uint64], spikes_v: NDArray[np.int64]) -> int:
    total = 0
    for n in range(0, len(spikes_v), 4):
        a, b, c, d = q[n], q[n + 1], q[n + 2], q[n + 3]
        for m in range(len(spikes_v)):
            word, spikes = k[m], spikes_v[m]
            total += spikes if (a & word) != ZERO else 0
            total += spikes if (b & word) != ZERO else 0
            total += spikes if (c & word) != ZERO else 0
            total += spikes if (d & word) != ZERO else 0
    return total


@inner
def _pairs_of_two_words(
    q: NDArray[np.uint64],
    high_q: NDArray[np.uint64],
    k: NDArray[np.uint64],
    high_k: NDArray[np.uint64],
    spikes_v: NDArray[np.int64],
) -> int:
    total = 0
    for n in range(0, len(spikes_v), 4):
        a, b, c, d = q[n], q[n + 1], q[n + 2], q[n + 3]
        e, f, g, h = high_q[n], high_q[n + 1], high_q[n + 2], high_q[n + 3]
        for m in range(len(spikes_v)):
            word, high, spikes = k[m], high_k[m], spikes_v[m]
            total += spikes if ((a & word) | (e & high)) != ZERO else 0
            total += spikes if ((b & word) | (f & high)) != ZERO else 0
            total += spikes if ((c & word) | (g & high)) != ZERO else 0
            total += spikes if ((d & word) | (h & high)) != ZERO else 0
    return total

"""Additions under shared sums, counted from the bits of spike maps: by quads, by product sparsity, by weights not 0.

Three figures for each definition and timestep, for one output channel: *weights* added; *sums*, kept sums that are
added on; *kept*, the kept sums themselves. The first weight of a kept sum, and the sum that another begins from, are
loaded, which adds nothing: so weights + sums is what an adder does, and never more than there are synaptic operations.

*Quads* are those of `evsim.kernels.quads`: four positions side by side, a tile of 128 channels. What all four have in
common is one kept sum, what both of a pair have and not all four continues it to another. A tap adds what it needs
for the outputs that it reaches. There are no bands here, no threads, no timesteps together: nothing but spikes counts.

*Product sparsity* is Prosperity's (C. Wei et al., HPCA 2025, arXiv 2503.03379; ``find_product_sparsity`` of its
simulator): the windows of a layer as a matrix of bits, a row for each output position and timestep, a column for each
channel and tap, cut into tiles of 256 x 16. Within a tile a row of two bits or more begins from its *prefix*, the
greatest other row whose bits it has all (of equal rows the first is that of the others, and of equally great ones the
first is taken), and adds the weights of its other bits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.counting import span_of
from evsim.kernels.vector import lowest_bit, popcount

FIGURES = 3
WEIGHTS, SUMS, KEPT = range(FIGURES)
"""Columns of what is counted."""

QUAD, TILE = 4, 128
"""Positions that share, and channels of a tile."""

ROWS, COLUMNS = 256, 16
"""A tile of product sparsity, as Prosperity has it."""

ZERO, ONE = np.uint64(0), np.uint64(1)


@kernel
def shared_by_quads(
    words: NDArray[np.uint64],
    channels: int,
    groups: int,
    width: int,
    stride: int,
    lines: NDArray[np.int64],
    reaches: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Count what quads share: words [T, rows * width, W], `channels` in `groups`; counts [T, 3].

    lines [rows]: output rows that each row of the map reaches, over all taps. reaches [stride * quads, 16]: for the
    quads of each column modulo stride, how many taps of a row reach from just the positions that are bits of the index.
    """
    quads = reaches.shape[0] // stride
    size = channels // groups
    parts = np.zeros(QUAD, np.uint64)
    sizes = np.zeros(7, np.int64)
    own = np.zeros(FIGURES, np.int64)
    for t in range(words.shape[0]):
        for y in range(lines.shape[0]):
            if lines[y] == 0:
                continue
            own[:] = 0
            for line in range(stride * quads):
                first = line % quads * QUAD * stride + line // quads
                for begin in range(0, channels, size):
                    for tile in range(begin, begin + size, TILE):
                        end = min(tile + TILE, begin + size)
                        sizes[:] = 0
                        for w in range(tile // 64, (end + 63) // 64):
                            span = span_of(tile - 64 * w, end - 64 * w)
                            for i in range(QUAD):
                                x = first + i * stride
                                parts[i] = words[t, y * width + x, w] & span if x < width else ZERO
                            _cut(parts, sizes)
                        _add_quad(sizes, reaches, line, own)
            for i in range(FIGURES):
                counts[t, i] += own[i] * lines[y]


@inner
def _cut(parts: NDArray[np.uint64], sizes: NDArray[np.int64]) -> None:
    """Add to the sizes of a quad's seven lists what a word of each position has: of all, of each pair, of each."""
    left, right = parts[0] & parts[1], parts[2] & parts[3]
    every = left & right
    sizes[0] += np.int64(popcount(every))
    sizes[1] += np.int64(popcount(left & ~every))
    sizes[2] += np.int64(popcount(right & ~every))
    sizes[3] += np.int64(popcount(parts[0] & ~left))
    sizes[4] += np.int64(popcount(parts[1] & ~left))
    sizes[5] += np.int64(popcount(parts[2] & ~right))
    sizes[6] += np.int64(popcount(parts[3] & ~right))


@inner
def _add_quad(sizes: NDArray[np.int64], reaches: NDArray[np.int64], line: int, own: NDArray[np.int64]) -> None:
    """Count what a quad with lists of these sizes does for the outputs that each tap reaches."""
    for reached in range(1, 1 << QUAD):
        taps = reaches[line, reached]
        if taps == 0:
            continue
        weights, kept = sizes[0], np.int64(sizes[0] > 0)
        uses = np.int64(0)
        for pair in range(2):
            outputs = np.int64(0)
            for i in range(2 * pair, 2 * pair + 2):
                if reached >> i & 1:
                    outputs += 1
                    weights += sizes[3 + i]
            if outputs == 0:
                continue
            weights += sizes[1 + pair]
            if sizes[1 + pair] > 0:
                kept += 1
                uses += outputs + np.int64(sizes[0] > 0)
            elif sizes[0] > 0:
                uses += outputs
        own[WEIGHTS] += taps * weights
        own[SUMS] += taps * (uses - kept)
        own[KEPT] += taps * kept


@kernel
def shared_by_products(
    words: NDArray[np.uint64],
    first: int,
    channels: int,
    in_size: tuple[int, int],
    out_size: tuple[int, int],
    taps: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    counts: NDArray[np.int64],
) -> None:
    """Count what rows share with their prefixes: words [T, P, W], channels ``first .. first + channels - 1``.

    Rows are ordered by (output position, timestep), columns by (channel, tap), as the paper's tool has them; counts
    [T, 3]. `kept` are the rows that are the prefix of any.
    """
    steps = words.shape[0]
    rows = out_size[0] * out_size[1] * steps
    columns = channels * taps[0] * taps[1]
    pointwise = taps == (1, 1) and stride == (1, 1) and padding == (0, 0) and first % COLUMNS == 0
    stamps = np.zeros(1 << COLUMNS, np.int32)  # in which tile a pattern was seen last, and in which of its rows
    places = np.zeros(1 << COLUMNS, np.int32)
    patterns = np.empty((COLUMNS + 1, ROWS), np.int64)  # distinct ones by their number of bits
    numbers = np.empty(COLUMNS + 1, np.int64)
    prefixes = np.zeros(ROWS, np.bool_)
    stamp = np.int32(0)
    for begin in range(0, rows, ROWS):
        count = min(ROWS, rows - begin)
        for column in range(0, columns, COLUMNS):
            last = min(columns, column + COLUMNS)
            stamp += np.int32(1)
            numbers[:] = 0
            prefixes[:] = False
            for r in range(count):
                p, t = (begin + r) // steps, (begin + r) % steps
                if pointwise:
                    bits = words[t, p, (first + column) // 64] >> np.uint64((first + column) % 64)
                    pattern = np.int64(bits & (ONE << np.uint64(last - column)) - ONE)
                else:
                    top = p // out_size[1] * stride[0] - padding[0]
                    left = p % out_size[1] * stride[1] - padding[1]
                    pattern = _window(
                        words, t, top, left, first, column, last, in_size[0], in_size[1], taps[0], taps[1], dilation[0],
                        dilation[1],
                    )  # fmt: skip
                if pattern == 0:
                    continue
                ones = np.int64(popcount(np.uint64(pattern)))
                if stamps[pattern] != stamp:
                    stamps[pattern] = stamp
                    places[pattern] = np.int32(r)
                    patterns[ones, numbers[ones]] = pattern
                    numbers[ones] += 1
                elif ones > 1:  # an equal row is before it
                    counts[t, SUMS] += 1
                    prefixes[places[pattern]] = True
                else:
                    counts[t, WEIGHTS] += 1
            for size in range(1, COLUMNS + 1):
                for i in range(numbers[size]):
                    pattern = np.int64(patterns[size, i])
                    t = (begin + places[pattern]) % steps
                    prefix = _prefix(pattern, size, patterns, numbers)
                    counts[t, WEIGHTS] += size
                    if prefix > 0:
                        counts[t, WEIGHTS] -= np.int64(popcount(np.uint64(prefix)))
                        counts[t, SUMS] += 1
                        prefixes[places[prefix]] = True
            for r in range(count):
                counts[(begin + r) % steps, KEPT] += np.int64(prefixes[r])


@inner
def _prefix(pattern: np.int64, size: int, patterns: NDArray[np.int64], numbers: NDArray[np.int64]) -> np.int64:
    """Return the greatest pattern of fewer bits whose bits are all in one, the first seen of equally great; else 0."""
    for less in range(size - 1, 0, -1):
        for i in range(numbers[less]):
            if patterns[less, i] & ~pattern == 0:
                return np.int64(patterns[less, i])
    return np.int64(0)


@inner
def _window(
    words: NDArray[np.uint64],
    t: int,
    top: int,
    left: int,
    first: int,
    column: int,
    last: int,
    height: int,
    width: int,
    rows: int,
    columns: int,
    down: int,
    right: int,
) -> np.int64:
    """Return the bits of columns ``column .. last - 1`` of the window that begins at (top, left); 0 outside the map."""
    pattern = np.int64(0)
    c, tap = first + column // (rows * columns), column % (rows * columns)
    for bit in range(last - column):
        y, x = top + tap // columns * down, left + tap % columns * right
        if 0 <= y < height and 0 <= x < width:
            word = words[t, y * width + x, c // 64] >> np.uint64(c % 64)
            pattern |= np.int64(word & ONE) << bit
        tap += 1
        if tap == rows * columns:
            tap = 0
            c += 1
    return pattern


@kernel
def weighed(
    words: NDArray[np.uint64], classes: NDArray[np.int64], table: NDArray[np.int64], totals: NDArray[np.int64]
) -> None:
    """Add up what each active input stands for: words [T, P, W], classes [P], table [classes, C], totals [T]."""
    for t in range(words.shape[0]):
        total = np.int64(0)
        for p in range(words.shape[1]):
            own = classes[p]
            for w in range(words.shape[2]):
                word = words[t, p, w]
                while word != ZERO:
                    total += table[own, 64 * w + np.int64(lowest_bit(word))]
                    word &= word - ONE
        totals[t] += total

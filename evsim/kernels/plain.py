"""Plain twins of the intrinsics of `evsim.kernels.vector`, in their place when the JIT is off (NUMBA_DISABLE_JIT=1).

Same names, same arguments, same results bit for bit; no speed. They let a debugger or a coverage tool walk through
every kernel, and Python check every index.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.floating]


def add_rows(
    sums: Reals,
    at: int,
    fresh: bool,
    rows: Reals,
    base: int,
    index: NDArray[np.unsignedinteger],
    values: Reals | None,
    start: int,
    stop: int,
    lanes: int,
) -> None:
    """Add the rows that `index` names to the sums (or to zeros), one after the other, each times its value if any."""
    total = _whole(sums[at : at + lanes], lanes)
    if fresh:
        total[:] = 0.0
    for i in range(start, stop):
        row = base + int(index[i]) * lanes
        added = _row(_whole(rows[row : row + lanes], lanes), sums)
        total += added if values is None else values[i] * added


def add_quad(
    sums: Reals,
    at: int,
    low: int,
    high: int,
    fresh: bool,
    rows: Reals,
    base: int,
    words: NDArray[np.uint64],
    s: int,
    lanes: int,
) -> None:
    """Add the rows of a quad's seven lists to the sums of positions ``low .. high - 1``; shared ones come first."""

    def add(total: Reals, i: int) -> None:
        for j in (0, 1):
            add_rows_of_bits(total, 0, rows, base + 64 * j * lanes, words[s + 2 * i + j], lanes)

    every = np.zeros(lanes, sums.dtype)
    add(every, 0)
    for position in range(low, high):
        total = every.copy()
        add(total, 1 + position // 2)
        place = at + position * lanes
        target = _whole(sums[place : place + lanes], lanes)
        target[:] = total if fresh else target + total
        add(target, 3 + position)


def add_quads(
    sums: Reals, at: int, count: int, fresh: bool, rows: Reals, base: int, words: NDArray[np.uint64], s: int, room: int,
    _both: bool, lanes: int, _ahead: int, _pace: int,
) -> None:  # fmt: skip
    """Add the rows of quads that follow each other to the sums of all their positions."""
    for i in range(count):
        add_quad(sums, at + 4 * i * lanes, 0, 4, fresh, rows, base, words, s + i * room, lanes)


def add_positions(
    sums: Reals, at: int, count: int, fresh: bool, rows: Reals, base: int, words: NDArray[np.uint64], p: int, step: int,
    both: bool, lanes: int, _ahead: int, _pace: int,
) -> None:  # fmt: skip
    """Add the rows that the words of positions name to their sums."""
    for i in range(count):
        total = _whole(sums[at + i * lanes : at + (i + 1) * lanes], lanes)
        if fresh:
            total[:] = 0.0
        for j in range(1 + both):
            add_rows_of_bits(total, 0, rows, base + 64 * j * lanes, words[p + i * step + j], lanes)


def add_window(
    sums: Reals, at: int, fresh: bool, rows: Reals, base: int, words: NDArray[np.uint64], p: int, channels: int,
    before: bool, behind: bool, lanes: int,
) -> None:  # fmt: skip
    """Add the rows that the words of a position and its neighbours name."""
    total = _whole(sums[at : at + lanes], lanes)
    if fresh:
        total[:] = 0.0
    for step, there in ((-1, before), (0, True), (1, behind)):
        if there:
            add_rows_of_bits(total, 0, rows, base + (step + 1) * channels * lanes, words[p + step], lanes)


def add_windows(
    sums: Reals, at: int, count: int, fresh: bool, rows: Reals, base: int, words: NDArray[np.uint64], p: int,
    channels: int, lanes: int,
) -> None:  # fmt: skip
    """Add the rows that the words of positions side by side, and of their neighbours, name."""
    for i in range(count):
        add_window(sums, at + i * lanes, fresh, rows, base, words, p + i, channels, True, True, lanes)


def add_scaled(sums: Reals, at: int, rows: Reals, base: int, values: NDArray[np.int32], i: int, lanes: int) -> None:
    """Add a row times an integer."""
    row = _row(_whole(rows[base : base + lanes], lanes), sums)
    _whole(sums[at : at + lanes], lanes)[:] += values[i : i + 1].astype(sums.dtype) * row


def add_rows_of_bits(sums: Reals, at: int, rows: Reals, base: int, word: np.uint64, lanes: int) -> None:
    """Add the rows whose numbers are the set bits of a word."""
    for bit in _bits(word):
        row = base + bit * lanes
        sums[at : at + lanes] += _row(_whole(rows[row : row + lanes], lanes), sums)


def put_rows_of_bits(
    out: Reals, at: int, rows: Reals, base: int, word: np.uint64, scale: np.floating, lanes: int
) -> None:
    """Store the sum of the rows whose numbers are the set bits of a word, times `scale`."""
    sums = np.zeros(lanes, rows.dtype)
    add_rows_of_bits(sums, 0, rows, base, word, lanes)
    _whole(out[at : at + lanes], lanes)[:] = sums * scale


def write_counts(rows: Reals, at: int, counts: NDArray[np.uint16], begin: int) -> None:
    """Store 32 counts as real numbers."""
    _whole(rows[at : at + 32], 32)[:] = counts[begin : begin + 32]


def count_common(
    counts: NDArray[np.uint16], words: NDArray[np.uint64], base: int, others: NDArray[np.uint64], at: int, spans: int
) -> None:
    """Count the bits that each of 64 words has in common with the word of its span."""
    for j in range(64):
        pairs = ((words[base + 64 * i + j], others[at + 64 * i]) for i in range(spans))
        counts[j] = sum((int(word) & int(other)).bit_count() for word, other in pairs)


def tally_bits(counts: NDArray[np.uint16], at: int, words: NDArray[np.uint64], base: int, word: np.uint64) -> None:
    """Count, over the words that the set bits of `word` name, how often each bit is set."""
    for bit in _bits(word):
        octets = words[base + bit : base + bit + 1].astype("<u8").view(np.uint8)
        counts[at : at + 64] += np.unpackbits(octets, bitorder="little")


def add_scaled_run(
    sums: Reals, at: int, rows: Reals, base: int, values: Reals, start: int, stop: int, lanes: int
) -> None:
    """Add consecutive rows, each times its value."""
    for i in range(start, stop):
        row = base + (i - start) * lanes
        sums[at : at + lanes] += values[i] * _whole(rows[row : row + lanes], lanes)


def add_scaled_runs(
    sums: Reals, at: int, rows: Reals, base: int, values: Reals, start: int, stop: int, step: int, lanes: int
) -> None:
    """Add consecutive rows to four sums that follow each other, each times values of its own."""
    for i in range(4):
        shifted = values[i * step :]
        add_scaled_run(sums, at + i * lanes, rows, base, shifted, start, stop, lanes)


def gather_window(
    out: Reals, at: int, step: int, count: int, source: NDArray[np.generic], source_at: int, source_row: int,
    source_step: int, weights: Reals, weight_at: int, weight_step: int, shift: Reals, shift_at: int, low: int,
    high: int, width: int,
) -> None:  # fmt: skip
    """Gather 16 channels of neighbouring outputs of a depthwise convolution, of masks or of numbers."""
    for i in range(count):
        total = np.zeros(16, out.dtype)
        for r in range(low, high):
            for c in range(width):
                where = source_at + r * source_row + (i + c) * source_step
                tap = weight_at + (r * width + c) * weight_step
                weight = _whole(weights[tap : tap + 16], 16)
                if source.dtype == np.uint16:
                    fired = [i for i in range(16) if int(source[where]) >> i & 1]
                    total[fired] += weight[fired]
                else:
                    total += weight * source[where : where + 16].astype(out.dtype)
        target = _whole(out[at + i * step : at + i * step + 16], 16)
        target[:] = total + shift[shift_at : shift_at + 16]


def bits_at(values: NDArray[np.int32], at: int, bit: int) -> np.uint64:
    """Return as a word which of 64 integers have a bit set."""
    having = (values[at : at + 64] >> bit) & 1
    return np.uint64(int.from_bytes(np.packbits(having != 0, bitorder="little").tobytes(), "little"))


def nonzero_at(values: NDArray[np.int32], at: int) -> np.uint64:
    """Return as a word which of 64 integers are not 0."""
    return np.uint64(int.from_bytes(np.packbits(values[at : at + 64] != 0, bitorder="little").tobytes(), "little"))


def add_bits(values: NDArray[np.int32], at: int, word: np.uint64) -> None:
    """Add 1 to those of 64 integers whose bit of a word is set."""
    for bit in _bits(word):
        values[at + bit] += 1


def transpose_words(rows: NDArray[np.uint64], columns: NDArray[np.uint64]) -> None:
    """Transpose 64 x 64 bits."""
    bits = (rows[:64, np.newaxis] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    columns[:64] = (bits.T << np.arange(64, dtype=np.uint64)).sum(axis=1, dtype=np.uint64)


def lif_steps(
    current: Reals,
    at: int,
    along: int,
    shift: Reals,
    shift_at: int,
    potential: Reals,
    potential_at: int,
    potential_along: int,
    rest: bool,
    leak: np.floating,
    divide: bool,
    threshold: np.floating,
    words: NDArray[np.uint32],
    word: int,
    word_along: int,
    count: int,
    lanes: int,
) -> None:
    """Advance `lanes` LIF neurons of each of some positions by one timestep and write their spikes as half words."""
    for i in range(count):
        here, own, to = at + i * along, potential_at + i * potential_along, word + i * word_along
        v = _whole(potential[own : own + lanes], lanes)
        if rest:
            v[:] = 0.0
        drive = (_whole(current[here : here + lanes], lanes) + shift[shift_at : shift_at + lanes]) - v
        v += drive / leak if divide else drive * leak
        fired = v >= threshold
        v[fired] = 0.0
        halves = np.packbits(fired.reshape(-1, 32), axis=1, bitorder="little").view("<u4")
        words[to : to + lanes // 32] = halves.reshape(-1)


def neuron_step(
    current: Reals,
    at: int,
    shift: Reals,
    shift_at: int,
    potential: Reals,
    potential_at: int,
    rest: bool,
    leak: np.floating,
    decays: bool,
    divide: bool,
    threshold: Reals,
    reset: Reals,
    soft: bool,
    lanes: int,
) -> np.uint64:
    """Advance `lanes` neurons of other kinds by one timestep and return their spikes as bits."""
    v = _whole(potential[potential_at : potential_at + lanes], lanes)
    if rest:
        v[:] = 0.0
    own = slice(shift_at, shift_at + lanes)
    x = current[at : at + lanes] + shift[own]
    v[:] = v * leak + x if decays else v + ((x - v) / leak if divide else (x - v) * leak)
    fired = v >= threshold[own]
    v[fired] = (v - reset[own])[fired] if soft else 0.0
    return np.uint64(int.from_bytes(np.packbits(fired, bitorder="little").tobytes(), "little"))


def add_maps(
    out: Reals,
    out_at: int,
    sums: Reals,
    at: int,
    shift: Reals,
    shift_at: int,
    stream: Reals,
    stream_at: int,
    added: bool,
    lanes: int,
) -> None:
    """Store sums plus shift, plus a stream where `added`."""
    total = _whole(sums[at : at + lanes], lanes) + _whole(shift[shift_at : shift_at + lanes], lanes)
    target = _whole(out[out_at : out_at + lanes], lanes)
    target[:] = total + _whole(stream[stream_at : stream_at + lanes], lanes) if added else total


def prefetch(array: Reals, at: int) -> None:
    """Do nothing: a hint to the cache has no meaning here."""


def ask_ahead(rows: Reals, ahead: int, pace: int) -> None:
    """Do nothing, as `prefetch`."""


def put_bits(index: NDArray[np.uint16], at: int, table: NDArray[np.uint16], word: np.uint64, offset: int) -> int:
    """Write the numbers of a word's set bits, octet by octet from a table; return how many."""
    count = 0
    for j in range(8):
        octet = int(word) >> 8 * j & 255
        index[at + count : at + count + 8] = table[8 * octet : 8 * octet + 8] + np.uint16(offset + 8 * j)
        count += octet.bit_count()
    return count


def put_few_bits(index: NDArray[np.uint16], at: int, word: np.uint64, offset: int) -> None:
    """Write the numbers of a word's five lowest set bits; behind them entries without meaning."""
    numbers = (_bits(word) + [64] * 5)[:5]
    index[at : at + 5] = np.array(numbers, np.uint16) + np.uint16(offset)


def popcount(word: np.uint64) -> int:
    """Count the set bits."""
    return int(word).bit_count()


def lowest_bit(word: np.uint64) -> int:
    """Return the position of the lowest set bit; the word is not 0."""
    bits = int(word)
    return (bits & -bits).bit_length() - 1


def _row(row: NDArray[Any], sums: NDArray[Any]) -> NDArray[Any]:
    """Return a row as it is added to sums: of pairs, see `evsim.kernels.emit.row_of`."""
    if row.itemsize == sums.itemsize:
        return row
    both = row.view(sums.dtype)
    return np.concatenate([both, both >> (4 * sums.itemsize)])


def _bits(word: np.uint64) -> list[int]:
    return [i for i in range(64) if int(word) >> i & 1]


def _whole(block: Reals, lanes: int) -> Reals:
    if block.size != lanes:
        raise IndexError(f"a block of {lanes} lanes reaches past the end of its array")
    return block

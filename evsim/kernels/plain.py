"""Plain twins of the intrinsics of `evsim.kernels.vector`, in their place when the JIT is off (NUMBA_DISABLE_JIT=1).

Same names, same arguments, same results bit for bit; no speed. They let a debugger or a coverage tool walk through
every kernel, and Python check every index.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.floating]


def add_rows(
    sums: Reals, at: int, rows: Reals, base: int, index: NDArray[np.unsignedinteger], start: int, stop: int, lanes: int
) -> None:
    """Add the rows that `index` names to the sums, one after the other."""
    for i in range(start, stop):
        row = base + int(index[i]) * lanes
        sums[at : at + lanes] += _whole(rows[row : row + lanes], lanes)


def add_scaled_rows(
    sums: Reals,
    at: int,
    rows: Reals,
    base: int,
    index: NDArray[np.unsignedinteger],
    values: Reals,
    start: int,
    stop: int,
    lanes: int,
) -> None:
    """Add the rows that `index` names, each times its value."""
    for i in range(start, stop):
        row = base + int(index[i]) * lanes
        sums[at : at + lanes] += values[i] * _whole(rows[row : row + lanes], lanes)


def add_scaled_run(
    sums: Reals, at: int, rows: Reals, base: int, values: Reals, start: int, stop: int, lanes: int
) -> None:
    """Add consecutive rows, each times its value."""
    for i in range(start, stop):
        row = base + (i - start) * lanes
        sums[at : at + lanes] += values[i] * _whole(rows[row : row + lanes], lanes)


def lif_step(
    current: Reals,
    at: int,
    shift: Reals,
    shift_at: int,
    potential: Reals,
    potential_at: int,
    leak: np.floating,
    divide: bool,
    threshold: np.floating,
    lanes: int,
) -> np.uint64:
    """Advance `lanes` LIF neurons by one timestep and return their spikes as bits."""
    v = _whole(potential[potential_at : potential_at + lanes], lanes)
    drive = (current[at : at + lanes] + shift[shift_at : shift_at + lanes]) - v
    v += drive / leak if divide else drive * leak
    fired = v >= threshold
    v[fired] = 0.0
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


def popcount(word: np.uint64) -> int:
    """Count the set bits."""
    return int(word).bit_count()


def lowest_bit(word: np.uint64) -> int:
    """Return the position of the lowest set bit; the word is not 0."""
    bits = int(word)
    return (bits & -bits).bit_length() - 1


def _whole(block: Reals, lanes: int) -> Reals:
    if block.size != lanes:
        raise IndexError(f"a block of {lanes} lanes reaches past the end of its array")
    return block

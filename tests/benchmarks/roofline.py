"""How many float32 accumulates one core can do: register adds whose operand comes from the L1 cache, nothing else.

The rows added are named by the set bits of a word. A list of numbers would not do: loading one for each row costs a
core with two loads of 512 bits a cycle a third of its rate.

Run as ``python tests/benchmarks/roofline.py``.
"""

from __future__ import annotations

import time

import numpy as np
from numba import njit

from evsim.kernels.threads import aligned
from evsim.kernels.vector import add_rows_of_bits

LANES = 64
ROWS = 64
"""Rows of 256 bytes: 16 KB, half of the smallest L1 cache in use."""


@njit(nogil=True, error_model="numpy")
def _add(repeats, sums, rows, word):
    for _ in range(repeats):
        add_rows_of_bits(sums, 0, rows, 0, word, LANES)


def roofline(trials: int = 40) -> float:
    """Return the best rate of `trials` short runs, in Gacc/s (10^9 float32 additions per second)."""
    sums, rows = aligned((LANES,), np.float32), aligned((ROWS * LANES,), np.float32)
    sums[:], rows[:] = 0.0, 1e-3
    word = np.uint64(2**ROWS - 1)
    repeats = 3200
    _add(1, sums, rows, word)
    best = float("inf")
    for _ in range(trials):
        begin = time.perf_counter()
        _add(repeats, sums, rows, word)
        best = min(best, time.perf_counter() - begin)
    return repeats * ROWS * LANES / best / 1e9


if __name__ == "__main__":
    print(f"{roofline():.1f} Gacc/s")

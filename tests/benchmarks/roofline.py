"""How many float32 accumulates one core can do: register adds whose operand comes from the L1 cache, nothing else.

Run as ``python tests/benchmarks/roofline.py``.
"""

from __future__ import annotations

import time

import numpy as np
from numba import njit

from evsim.kernels.threads import aligned
from evsim.kernels.vector import add_rows

LANES = 64
ROWS = 64
"""Rows of 256 bytes: 16 KB, half of the smallest L1 cache in use."""


@njit(nogil=True, error_model="numpy")
def _add(repeats, sums, rows, index):
    for _ in range(repeats):
        add_rows(sums, 0, False, rows, 0, index, None, 0, index.size, LANES)


def roofline(trials: int = 40) -> float:
    """Return the best rate of `trials` short runs, in Gacc/s (10^9 float32 additions per second)."""
    sums, rows = aligned((LANES,), np.float32), aligned((ROWS * LANES,), np.float32)
    sums[:], rows[:] = 0.0, 1e-3
    index = np.tile(np.arange(ROWS, dtype=np.uint16), 64)
    repeats = 50
    _add(1, sums, rows, index)
    best = float("inf")
    for _ in range(trials):
        begin = time.perf_counter()
        _add(repeats, sums, rows, index)
        best = min(best, time.perf_counter() - begin)
    return repeats * index.size * LANES / best / 1e9


if __name__ == "__main__":
    print(f"{roofline():.1f} Gacc/s")

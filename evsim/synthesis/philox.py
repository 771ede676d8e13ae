"""Random numbers that are the same under every NumPy, SciPy, CPU and operating system: Philox 4x32-10, by counter.

John K. Salmon, Mark A. Moraes, Ron O. Dror, David E. Shaw: Parallel random numbers: as easy as 1, 2, 3 (SC 2011). A
block of four 32-bit words is a function of its number and of the seed, in integers alone.

Normals come from a table of 65536 quantiles, rounded to 2^-12: sixteen bits name one. No logarithm's last digit can
show in them, for none of the quantiles lies so near to the middle between two steps (`tests/test_philox.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from math import prod
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

GRID = 4096
"""Normals, and quantiles of the normal distribution, are multiples of one part in this."""

LARGEST_SEED = 2**64 - 1
"""A seed is the key, two words."""

ROUNDS = 10
MULTIPLIERS = np.array([[0xD2511F53], [0xCD9E8D57]], np.uint64)
WEYL = (0x9E3779B9, 0xBB67AE85)
"""What the key grows by in each round: the golden ratio, and the square root of 3 less 1."""

WORD = 0xFFFFFFFF
LOW, HALF = np.uint64(WORD), np.uint64(32)

CHUNK = 1 << 14
"""Blocks that are made at once: what they need stays in the L2 cache."""


class Philox:
    """A stream of random numbers; each call takes whole blocks, from where the last one stopped.

    Parameters
    ----------
    seed
        0 to `LARGEST_SEED`.
    """

    def __init__(self, seed: int) -> None:
        assert 0 <= seed <= LARGEST_SEED, seed
        self._key = (seed & WORD, seed >> 32)
        self._next = 0

    def shorts(self, count: int) -> NDArray[np.uint16]:
        """Return uniform integers from 0 to 65535."""
        needed = -(-count // 8)
        drawn = np.empty((needed, 4), "<u4")
        for begin in range(0, needed, CHUNK):
            end = min(begin + CHUNK, needed)
            numbers = np.arange(self._next + begin, self._next + end, dtype=np.uint64)
            zeros = np.zeros_like(numbers)
            counters = np.stack([numbers & LOW, numbers >> HALF, zeros, zeros])
            drawn[begin:end] = philox(counters, self._key).T
        self._next += needed
        return drawn.view("<u2").reshape(-1)[:count].astype(np.uint16, copy=False)

    def normal(self, shape: Sequence[int]) -> NDArray[np.int32]:
        """Return normal numbers of standard deviation 1, in steps of 1 / `GRID`."""
        return _quantiles()[self.shorts(prod(shape))].reshape(shape)

    def uniform(self, low: float, high: float, count: int) -> NDArray[np.float64]:
        """Return numbers from `low` to below `high`, of 65536 steps."""
        return low + (high - low) * (self.shorts(count) / 65536.0)

    def permutation(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return values in random order, one of a list of any length."""
        keys = np.zeros(len(values), np.uint64)
        for _ in range(4):
            keys = keys << np.uint64(16) | self.shorts(len(values))
        return values[np.argsort(keys, kind="stable")]


def philox(counters: NDArray[np.uint64], key: tuple[int, int]) -> NDArray[np.uint64]:
    """Return the blocks of Philox 4x32-10.

    Parameters
    ----------
    counters
        [4, n], the words of n counters, the lowest first.
    key
        Two words, the lower first.

    Returns
    -------
    blocks
        [4, n], four words of each block.
    """
    even, odd = counters[0::2], counters[1::2]
    for turn in range(ROUNDS):
        keys = np.array([[(word + turn * step) & WORD] for word, step in zip(key, WEYL, strict=True)], np.uint64)
        products = even * MULTIPLIERS
        # words 0 and 2 become the other product's upper half, words 1 and 3 its lower half
        even = (products >> HALF)[::-1] ^ odd ^ keys
        odd = (products & LOW)[::-1]
    blocks = np.empty_like(counters)
    blocks[0::2], blocks[1::2] = even, odd
    return blocks


def quantile(share: float) -> float:
    """Return the normal quantile of a share, as a multiple of 1 / `GRID`; minus infinity for none."""
    return round(NormalDist().inv_cdf(share) * GRID) / GRID if share > 0.0 else -np.inf


@functools.cache
def _quantiles() -> NDArray[np.int32]:
    """Return the quantiles of 65536 equal shares, in steps of 1 / `GRID`."""
    upper = np.array([round(exact * GRID) for exact in upper_quantiles()], np.int32)
    return np.concatenate([-upper[::-1], upper])


def upper_quantiles() -> list[float]:
    """Return the quantiles of the upper half of 65536 equal shares, each at the middle of its share."""
    inverse = NormalDist().inv_cdf
    return [inverse((i + 0.5) / 65536) for i in range(32768, 65536)]

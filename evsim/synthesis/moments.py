"""Mean and variance, to the bit the same in whatever order NumPy adds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 19
"""Bits to which values are rounded, the largest having them all: squares of a map's 2^24 values fit 63 bits."""

ROWS = 4096
"""Values per channel that are summed up as floats: sums of squares stay below 2^53, and so are exact."""


def moments(values: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the variance of each channel.

    Parameters
    ----------
    values
        [..., C], finite, at most 2^24 per channel.

    Returns
    -------
    mean, variance
        [C], of the values as multiples of 2^-`BITS` of the power of two above the largest.
    """
    rows = values.reshape(-1, values.shape[-1])
    assert len(rows) <= 1 << 24, len(rows)
    peak = max(float(rows.max()), -float(rows.min()))
    scale = np.ldexp(1.0, BITS - int(np.frexp(peak)[1]))
    total, squares = (np.zeros(rows.shape[1], np.int64) for _ in range(2))
    for begin in range(0, len(rows), ROWS):
        part = np.rint(rows[begin : begin + ROWS] * scale)
        total += part.sum(axis=0).astype(np.int64)
        squares += np.square(part).sum(axis=0).astype(np.int64)
    mean = total / len(rows)
    variance = np.maximum(squares / len(rows) - mean * mean, 0.0)
    return mean / scale, variance / (scale * scale)

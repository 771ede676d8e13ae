"""Products of attention beyond spikes of one width: on integers, with v of another width, and of real rows by spikes.

Nothing dense: every nonzero of an operand adds one row. Integers are summed up in 64 bits and so exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import kernel


@kernel
def attend_integers(
    first: int,
    last: int,
    heads: int,
    q: NDArray[np.int32],
    k: NDArray[np.int32],
    v: NDArray[np.int32],
    out: NDArray[np.int64],
) -> None:
    """Attend for units ``first .. last - 1`` of T x heads: q, k [T, N, C], v [T, N, V]; out [T, N, V] is q (k^T v)."""
    tokens = q.shape[1]
    size = q.shape[2] // heads
    width = v.shape[2] // heads
    product = np.empty((size, width), np.int64)
    for unit in range(first, last):
        t = unit // heads
        h = unit % heads
        product[:] = 0
        for n in range(tokens):
            for i in range(size):
                factor = np.int64(k[t, n, h * size + i])
                if factor != 0:
                    for j in range(width):
                        product[i, j] += factor * v[t, n, h * width + j]
        for n in range(tokens):
            for j in range(width):
                out[t, n, h * width + j] = 0
            for i in range(size):
                factor = np.int64(q[t, n, h * size + i])
                if factor != 0:
                    for j in range(width):
                        out[t, n, h * width + j] += factor * product[i, j]


@kernel
def add_named_rows(
    first: int,
    last: int,
    spikes: NDArray[np.bool_],
    rows: NDArray[np.floating],
    scale: NDArray[np.floating],
    out: NDArray[np.floating],
) -> None:
    """Add up the rows that spikes name, for positions ``first .. last - 1`` of T x N.

    spikes [T, N, heads * J], rows [T, heads, J, L], scale [heads]; out [T, N, padded], whose heads * L first channels
    are written. Each sum adds in the order of the rows, and is then scaled.
    """
    tokens = spikes.shape[1]
    heads, inner, length = rows.shape[1], rows.shape[2], rows.shape[3]
    for position in range(first, last):
        t = position // tokens
        n = position % tokens
        for h in range(heads):
            sums = out[t, n, h * length : (h + 1) * length]
            for j in range(length):
                sums[j] = 0.0
            for i in range(inner):
                if spikes[t, n, h * inner + i]:
                    for j in range(length):
                        sums[j] += rows[t, h, i, j]
            for j in range(length):
                sums[j] *= scale[h]

"""Compiled loop over the bytes of an Event Stream."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import kernel

CLOCK, RESETS, TAKEN, STATE = range(4)
"""Places in the state that carries over from piece to piece: the clock, reset bytes, and how many bytes were taken."""


@kernel
def decode_dvs(
    content: NDArray[np.uint8],
    state: NDArray[np.int64],
    t: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
) -> int:
    """Decode DVS events; return how many were written, with y as stored."""
    clock, i, n = state[CLOCK], 0, 0
    while i < len(content):
        byte = np.int64(content[i])
        if byte == 255:  # nothing but time
            clock += 127
            i += 1
        elif byte == 254:  # reset
            state[RESETS] += 1
            i += 1
        else:
            if i + 5 > len(content):
                break
            clock += byte >> 1
            t[n], p[n] = clock, byte & 1
            x[n] = np.int64(content[i + 1]) | np.int64(content[i + 2]) << 8
            y[n] = np.int64(content[i + 3]) | np.int64(content[i + 4]) << 8
            n += 1
            i += 5
    state[CLOCK], state[TAKEN] = clock, i
    return n

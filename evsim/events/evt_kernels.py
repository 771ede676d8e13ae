"""Compiled loops over the words of Prophesee's EVT2 and EVT3."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import kernel

Y, BASE, BASE_P, LOW, HIGH, WRAPS, TIMED, EARLY, TRIGGERS, OTHER, UNKNOWN, BEYOND, STATE = range(13)
"""Places in the state that carries over from piece to piece; from EARLY on they count."""


@kernel
def decode_evt3(
    words: NDArray[np.uint16],
    state: NDArray[np.int64],
    t: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
) -> int:
    """Decode 16-bit words, their kind in bits 12-15; return the number of events written."""
    row, base, base_p = state[Y], state[BASE], state[BASE_P]
    low, high, wraps, timed = state[LOW], state[HIGH], state[WRAPS], state[TIMED]
    now = (wraps << 24) + (high << 12 | low)
    n = 0
    for i in range(len(words)):
        word = np.int64(words[i])
        kind = word >> 12
        if kind == 0:  # row
            row = word & 0x7FF
        elif kind == 2:  # one event
            t[n], x[n], y[n], p[n] = now, word & 0x7FF, row, word >> 11 & 1
            n += 1
            state[EARLY] += timed == 0
        elif kind == 3:  # where a vector begins
            base, base_p = word & 0x7FF, word >> 11 & 1
        elif kind in (4, 5):  # a vector: one event per bit
            bits = word & 0xFFF if kind == 4 else word & 0xFF
            column = base
            base += 12 if kind == 4 else 8
            while bits:
                if bits & 1:
                    if column > 0x7FF:
                        state[BEYOND] = 1
                        return n
                    t[n], x[n], y[n], p[n] = now, column, row, base_p
                    n += 1
                    state[EARLY] += timed == 0
                bits >>= 1
                column += 1
        elif kind == 6:  # low time
            low = word & 0xFFF
            now = (wraps << 24) + (high << 12 | low)
        elif kind == 8:  # high time
            now_high = word & 0xFFF
            if timed and high - now_high > 0x800:
                wraps += 1
            high, timed = now_high, 1
            now = (wraps << 24) + (high << 12 | low)
        elif kind == 10:
            state[TRIGGERS] += 1
        elif kind in (7, 14, 15):
            state[OTHER] += 1
        else:
            state[UNKNOWN] += 1
    state[Y], state[BASE], state[BASE_P] = row, base, base_p
    state[LOW], state[HIGH], state[WRAPS], state[TIMED] = low, high, wraps, timed
    return n


@kernel
def decode_evt2(
    words: NDArray[np.uint32],
    state: NDArray[np.int64],
    t: NDArray[np.int64],
    x: NDArray[np.uint16],
    y: NDArray[np.uint16],
    p: NDArray[np.uint8],
) -> int:
    """Decode 32-bit words, their kind in bits 28-31; return the number of events written."""
    high, wraps, timed = state[HIGH], state[WRAPS], state[TIMED]
    n = 0
    for i in range(len(words)):
        word = np.int64(words[i])
        kind = word >> 28
        if kind <= 1:  # OFF, ON
            t[n] = (wraps << 34) + (high << 6 | (word >> 22 & 0x3F))
            x[n], y[n], p[n] = word >> 11 & 0x7FF, word & 0x7FF, kind
            n += 1
            state[EARLY] += timed == 0
        elif kind == 8:  # high time
            now_high = word & 0xFFF_FFFF
            if timed and high - now_high > 0x800_0000:
                wraps += 1
            high, timed = now_high, 1
        elif kind == 10:
            state[TRIGGERS] += 1
        elif kind in (14, 15):
            state[OTHER] += 1
        else:
            state[UNKNOWN] += 1
    state[HIGH], state[WRAPS], state[TIMED] = high, wraps, timed
    return n

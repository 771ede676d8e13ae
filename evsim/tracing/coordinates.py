"""Where each value of a tensor came from: a code for each element, moved along with the values by PyTorch itself.

A code tells the node that emitted the value, the timestep, and its place in that node's map [C, H, W]. Whatever
reshapes, permutes, slices or joins the tensor is applied to its codes too; so the axes of any tensor (time, channel,
position) are read off, and never guessed from sizes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STATIC, ONCE = -2, -1
"""Times of what is the same at every timestep, and of what comes once, after the last."""

CONSTANT, ZERO, LOST = -1, -2, -3
"""Codes of values that no node emitted: constants, zeros among them, and what comes of an operation not understood."""

LOCAL_BITS, TIME_BITS = 31, 17

Codes = NDArray[np.int64]


def encode(node: int, time: Codes | int, local: Codes | int) -> Codes:
    """Return the codes of values at these times and places, broadcast against each other."""
    shifted = (np.asarray(time, np.int64) + 2) << LOCAL_BITS
    return (np.int64(node) << (LOCAL_BITS + TIME_BITS)) | shifted | np.asarray(local, np.int64)


def nodes_of(codes: Codes) -> Codes:
    """Return the node of each code; codes of no node stay negative."""
    return codes >> (LOCAL_BITS + TIME_BITS)


def times_of(codes: Codes) -> Codes:
    """Return the timestep of each code, `STATIC` or `ONCE`."""
    return ((codes >> LOCAL_BITS) & ((1 << TIME_BITS) - 1)) - 2


def locals_of(codes: Codes) -> Codes:
    """Return the place of each code in its node's map, ``(c * H + h) * W + w``."""
    return codes & ((1 << LOCAL_BITS) - 1)


def renamed(codes: Codes, node: int) -> Codes:
    """Return the same times and places of another node."""
    return (codes & ((1 << (LOCAL_BITS + TIME_BITS)) - 1)) | (np.int64(node) << (LOCAL_BITS + TIME_BITS))


def common(values: Codes, axis: int | tuple[int, ...]) -> Codes | None:
    """Return what is the same along axes, None where they differ."""
    least = values.min(axis=axis)
    return least if (least == values.max(axis=axis)).all() else None

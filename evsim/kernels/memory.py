"""Memory for what travels between layers, handed out again once nobody holds it.

Memory that is fresh from the system is cleared page by page when it is first touched: a map of spikes or currents is
written in less time than that takes.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from evsim.kernels.threads import CACHE_LINE, aligned

LEAST = 32_768
"""Bytes below which memory is not worth keeping."""

FREE = max(map(sys.getrefcount, [np.empty(1)]))
"""How many hold an array that lies in a list and nowhere else, counted as `Memory` counts them."""


class Memory:
    """Blocks of memory: those that only this object holds may be handed out."""

    def __init__(self) -> None:
        self._blocks: list[NDArray[np.uint8]] = []

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an array on a cache line; its content is whatever was left there.

        It goes back when it and all its views are gone.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < LEAST:
            return aligned(shape, dtype)
        room = size + CACHE_LINE
        fitting = [
            (self._blocks[i].size, i)
            for i, holders in enumerate(map(sys.getrefcount, self._blocks))
            if holders == FREE and self._blocks[i].size >= room
        ]
        if fitting:
            _, i = min(fitting)
        else:
            i = len(self._blocks)
            self._blocks.append(np.empty(room, np.uint8))
        offset = -self._blocks[i].ctypes.data % CACHE_LINE
        return self._blocks[i][offset : offset + size].view(dtype).reshape(shape)

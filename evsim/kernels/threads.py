"""Sharing a kernel's units among threads, and the memory that kernels work in."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from evsim.errors import OptionError

CACHE_LINE = 64
PARTS = 4
"""Parts per thread: bands of a map differ in activity, so whoever is done first takes the next part."""


MOST_THREADS = 1024
"""More than any machine has cores for: each costs memory, and beyond some thousands the system refuses."""

SMALL = 8_000_000
"""Additions (about 0.2 ms) below which waking another thread costs more than it brings."""


class Workers:
    """`threads` threads that share the units of a kernel call; kernels release the GIL.

    Every unit writes its own outputs and adds in its own order, so results do not depend on the number of threads.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.small = SMALL
        self._pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
        self._local = threading.local()

    def share(self, total: int, work: Callable[[int, int], None], effort: float = math.inf) -> None:
        """Call ``work(first, last)`` for ranges that cover 0 .. total - 1; return when all are done.

        `effort` is about how many additions it is: below `SMALL` one thread does all of it.
        """
        if self._pool is None or total < 2 or effort < self.small:
            work(0, total)
            return
        edges = [total * i // (self.threads * PARTS) for i in range(self.threads * PARTS + 1)]
        parts = iter([(a, b) for a, b in itertools.pairwise(edges) if a < b])
        lock = threading.Lock()

        def loop() -> None:
            while True:
                with lock:
                    part = next(parts, None)
                if part is None:
                    return
                work(*part)

        others = [self._pool.submit(loop) for _ in range(self.threads - 1)]
        loop()
        for other in others:
            other.result()

    def scratch(self, size: int, dtype: DTypeLike) -> NDArray[np.floating]:
        """Return this thread's own working memory of at least `size` elements; its content is whatever was left."""
        wanted = size * np.dtype(dtype).itemsize
        memory: NDArray[np.uint8] | None = getattr(self._local, "memory", None)
        if memory is None or memory.size < wanted:
            memory = self._local.memory = aligned((wanted,), np.uint8)
        assert memory is not None
        return memory[:wanted].view(dtype)


def check_threads(threads: int) -> None:
    """Refuse a number of threads that no run can have.

    Raises
    ------
    OptionError
        If it is below 1 or above `MOST_THREADS`.
    """
    if not 1 <= threads <= MOST_THREADS:
        bound = "at least 1" if threads < 1 else f"at most {MOST_THREADS}"
        raise OptionError(f"`threads` must be {bound}, got {threads}")


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialised array on a cache line: a block that straddles two costs a quarter of the speed."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    offset = -memory.ctypes.data % CACHE_LINE
    return memory[offset : offset + size].view(dtype).reshape(shape)

"""Threads that share a kernel's units, and the memory that kernels work in."""

from __future__ import annotations

import math
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from numba import config
from numpy.typing import DTypeLike, NDArray

from evsim.errors import OptionError
from evsim.kernels.together import (
    CODE,
    CURRENT,
    MANY,
    PAGES,
    PLACES,
    POSTED,
    STOP,
    finish,
    make_room,
    stand_by,
    takes_seat,
    way_in,
)

CACHE_LINE = 64
PARTS = 1
"""Into how many parts per thread the units that are left are always cut: the last ones are the shortest."""

MOST_THREADS = 1024
"""More than any machine has cores for: each costs memory, and beyond some thousands the system refuses."""

SMALL = 200_000
"""Additions (about 4 us) below which handing units out costs more than it brings."""

MOST_WAITING = 16_000_000
"""Bytes of packets, their lists aside, whose calls may wait: what nobody reads any more is kept until they are done."""

LOOKS = 8_000
"""Looks at the board (some 0.2 ms) after which a thread that nobody needs goes to sleep.

What a run does between two kernels takes less than that; waking a sleeper takes the system as long."""


class Workers:
    """`threads` threads, the calling one among them, that share the units of a kernel call.

    Every unit writes its own outputs and adds in its own order, so results do not depend on the number of threads.
    The others start with the first call that is worth it, and sleep while there is nothing to do. One call at a time.

    Attributes
    ----------
    threads
        How many.
    small
        Effort below which one thread does all of a call.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.small = SMALL
        self._rooms: dict[str, NDArray[np.uint8]] = {}
        self._views: dict[tuple[str, int, Any], NDArray[Any]] = {}
        self._begin()

    def _begin(self) -> None:
        """Start anew, without other threads: a forked process has none of those that its parent had."""
        self._process = os.getpid()
        self._turn = threading.RLock()
        self._board = aligned((PLACES,), np.int64)
        self._board[:] = 0
        self._helpers: list[Helper] = []
        self._owner = 0  # the thread whose calls wait, if any do
        self._unfinished = 0
        # arguments of what stands on the board, by page: it counts no references
        self._waiting: list[tuple[Any, ...]] = [()] * PAGES

    def share(
        self, kernel: Callable[..., Any], total: int, arguments: tuple[Any, ...], effort: float = math.inf
    ) -> None:
        """Call ``kernel(first, last, *arguments)`` for ranges that cover 0 .. total - 1; return when all are done.

        A kernel whose third parameter is `seat` gets there which thread it runs in, 0 .. `threads` - 1. `effort` is
        about how many additions it is: below `small` one thread does all of it. What was posted before is done before.
        """
        with self.turn():
            self._write(kernel, total, arguments, effort)
            self.finish()

    def post(
        self, kernel: Callable[..., Any], total: int, arguments: tuple[Any, ...], effort: float = math.inf
    ) -> None:
        """Have a call done as `share` does; within `later`, return at once: what it writes is there after `finish`.

        Calls are done in the order in which they were posted. Threads that stand by begin at once, while Python goes
        on; a thread alone does all of them in `finish`, and finds Python's own code in the caches until then.
        """
        if self._owner != threading.get_ident():
            self.share(kernel, total, arguments, effort)
        else:
            self._write(kernel, total, arguments, effort)

    @contextmanager
    def later(self) -> Iterator[None]:
        """Let calls that are posted wait while this context is open; nobody else gets a turn."""
        with self.turn():
            before, self._owner = self._owner, threading.get_ident()
            try:
                if before != self._owner:
                    with suppress(Exception):  # of calls that Ctrl-C left: nobody wants to know
                        self.finish()
                yield
            finally:
                self._owner = before
                self.finish()

    def _write(self, kernel: Callable[..., Any], total: int, arguments: tuple[Any, ...], effort: float) -> None:
        if total < 1:
            return
        if total >= MANY:
            raise OverflowError(f"{total} units are more than threads can share")
        if config.DISABLE_JIT:
            kernel(0, total, *((0,) if takes_seat(kernel) else ()), *arguments)
            return
        shares = 1
        if self.threads > 1 and total > 1 and effort >= self.small:
            shares = PARTS * self.threads
            self._call_all()
        if self._unfinished >= PAGES:
            make_room(self._board)
        # kept before it is written: Ctrl-C comes between any two lines
        self._waiting[self._board.item(POSTED) % PAGES] = arguments
        self._unfinished += 1
        way_in(kernel)(self._board, total, shares, *arguments)

    def finish(self) -> None:
        """Return when all that was posted is done."""
        if not self._unfinished:
            return
        with self.turn():
            board = self._board
            try:
                finish(board)
            finally:  # after Ctrl-C, some may not be done
                if board[CURRENT] == board[POSTED] and not board[CODE]:
                    self._unfinished = 0
                    self._waiting[:] = [()] * PAGES

    def turn(self) -> threading.RLock:
        """Return what whoever uses these threads and their memory holds: callers from several threads take turns."""
        if self._process != os.getpid():
            self._begin()
        return self._turn

    def _call_all(self) -> None:
        if not self._helpers:
            weakref.finalize(self, dismiss, self._board, self._helpers, self._waiting)
        while len(self._helpers) < self.threads - 1:  # one that cannot be started leaves those before it
            self._helpers.append(Helper(self._board, 1 + len(self._helpers)))
        for helper in self._helpers:
            if helper.sleeps:
                helper.wake()

    def room(self, use: str, size: int, dtype: DTypeLike) -> NDArray[Any]:
        """Return working memory of at least `size` elements for each thread, one's behind the other's.

        Its content is whatever was left there by the last call for the same use.
        """
        key = use, size, dtype
        room = self._views.get(key)
        if room is None:
            wanted = self.threads * size * np.dtype(dtype).itemsize
            memory = self._rooms.get(use)
            if memory is None or memory.size < wanted:
                memory = self._rooms[use] = aligned((wanted,), np.uint8)
                self._views = {known: view for known, view in self._views.items() if known[0] != use}
            room = self._views[key] = memory[:wanted].view(dtype)
        return room


class Helper:
    """A thread that stands by at a board, from when it is first woken.

    Attributes
    ----------
    sleeps
        Whether it must be woken before it looks at the board again.
    """

    def __init__(self, board: NDArray[np.int64], seat: int) -> None:
        self.sleeps = True
        self._bell = threading.Lock()
        self._bell.acquire()
        self.thread = threading.Thread(target=self._help, args=(board, seat), name=f"evsim-{seat}", daemon=True)
        self.thread.start()

    def _help(self, board: NDArray[np.int64], seat: int) -> None:
        while True:
            self._bell.acquire()
            if board[STOP]:
                return
            stand_by(board, seat, LOOKS)
            self.sleeps = True

    def wake(self) -> None:
        """Wake it from its sleep."""
        self.sleeps = False
        self._bell.release()

    def dismiss(self) -> None:
        """Let it see that it is to end, whatever it does; it alone takes the bell."""
        if self._bell.locked():
            self._bell.release()


def dismiss(board: NDArray[np.int64], helpers: list[Helper], waiting: list[tuple[Any, ...]]) -> None:
    """End the threads at a board; what they still work on is kept until then."""
    board[STOP] = 1
    for helper in helpers:
        helper.dismiss()
    for helper in helpers:
        if helper.thread is not threading.current_thread():
            helper.thread.join()
    waiting.clear()


def available() -> int:
    """Return how many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), MOST_THREADS)
    return min(os.cpu_count() or 1, MOST_THREADS)


def check_threads(threads: int | None) -> int:
    """Return a number of threads, all cores where it is None; refuse one that no run can have.

    Raises
    ------
    OptionError
        If it is below 1 or above `MOST_THREADS`.
    """
    if threads is None:
        return available()
    if not 1 <= threads <= MOST_THREADS:
        bound = "at least 1" if threads < 1 else f"at most {MOST_THREADS}"
        raise OptionError(f"`threads` must be {bound}, got {threads}")
    return threads


def aligned(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """Return an uninitialised array on a cache line: a block that straddles two costs a quarter of the speed."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.empty(size + CACHE_LINE, np.uint8)
    offset = -memory.ctypes.data % CACHE_LINE
    return memory[offset : offset + size].view(dtype).reshape(shape)

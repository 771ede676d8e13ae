"""Runs chunks in processes of this machine, which share one copy of the packed weights.

A thread of this process speaks to each. One that dies, for want of memory say, is started again, and its chunk given
out anew; a chunk that kills process after process ends the evaluation.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from evsim import files
from evsim.errors import EvsimError, OptionError
from evsim.evaluation.layout import Arrays, Layout
from evsim.evaluation.parcel import Parcel, pack
from evsim.evaluation.trials import Samples, Settings, Trials
from evsim.evaluation.worker import Failure, Order, receive, send
from evsim.files import OutputError
from evsim.hdf5_space import write_all

MOST_WORKERS = 1024

PATIENCE = 3
"""Processes that one chunk may end before the evaluation gives up."""


LAST = 5.0
"""Seconds that a process that has closed its answers takes to end, at most."""


class WorkerError(EvsimError):
    """The processes that run samples end, whatever is done."""


def check_workers(workers: int) -> None:
    """Refuse a number of workers that no machine has; OptionError."""
    if not 1 <= workers <= MOST_WORKERS:
        raise OptionError(f"`workers` must be from 1 to {MOST_WORKERS}, got {workers}")


class Here:
    """Runs chunks in this process.

    Parameters
    ----------
    trials
        What runs the samples.
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    def start(self) -> None:
        """Nothing needs to be started."""

    def run(self, chunks: Sequence[tuple[int, Sequence[int]]]) -> Generator[tuple[int, Arrays], None, None]:
        """Yield the number and columns of each chunk, a number and its samples."""
        for number, chosen in chunks:
            yield number, self._trials.run(chosen)

    def close(self) -> None:
        """Nothing needs to be ended."""


class Pool:
    """Runs chunks in several processes.

    Parameters
    ----------
    trials
        What runs the samples; packed once for all processes.
    workers
        How many.
    first
        A sample that each runs before it is ready.
    """

    def __init__(self, trials: Trials, workers: int, first: int) -> None:
        check_workers(workers)
        self.workers = workers
        self._memory = _Memory(parcel := pack(trials.simulator))
        self._order = _order(parcel, self._memory, trials.samples, trials.settings, trials.layout, first)
        self._processes: list[_Process | None] = [None] * workers

    def start(self) -> None:
        """Start all processes, and wait until each is ready.

        Raises
        ------
        WorkerError
            If one ends before.
        """
        for i in range(self.workers):
            self._processes[i] = _Process(self._order, self._memory)
        for process in self._processes:
            assert process is not None
            process.wait()

    def run(self, chunks: Sequence[tuple[int, Sequence[int]]]) -> Generator[tuple[int, Arrays], None, None]:
        """Yield the number and columns of each chunk as they come; errors as `Trials.run`, and WorkerError."""
        todo: queue.SimpleQueue[tuple[int, Sequence[int]]] = queue.SimpleQueue()
        for chunk in chunks:
            todo.put(chunk)
        answers: queue.Queue[tuple[int, Arrays] | EvsimError] = queue.Queue(2 * self.workers)
        stopped = threading.Event()
        threads = [
            threading.Thread(target=self._drive, args=(i, todo, answers, stopped), daemon=True)
            for i in range(self.workers)
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in chunks:
                answer = answers.get()
                if isinstance(answer, EvsimError):
                    raise answer
                yield answer
        finally:
            stopped.set()
            if any(thread.is_alive() for thread in threads):
                self.close()
            while any(thread.is_alive() for thread in threads):
                with suppress(queue.Empty):
                    answers.get(timeout=0.05)

    def close(self) -> None:
        """End all processes and let go of the weights."""
        for process in self._processes:
            if process is not None:
                process.end()
        self._memory.close()

    def _drive(
        self,
        which: int,
        todo: queue.SimpleQueue[tuple[int, Sequence[int]]],
        answers: queue.Queue[tuple[int, Arrays] | EvsimError],
        stopped: threading.Event,
    ) -> None:
        """Give chunks to one process until there are none."""
        while not stopped.is_set():
            try:
                number, chosen = todo.get_nowait()
            except queue.Empty:
                return
            answer: tuple[int, Arrays] | EvsimError = WorkerError("a worker's answer is none; install evsim anew")
            try:
                answer = number, self._insist(which, chosen, stopped)
            except EvsimError as error:
                answer = error
            except OSError as error:  # no process can be started any more
                answer = WorkerError(f"a worker cannot be started: {error.strerror or error}; give fewer `workers`")
            finally:
                answers.put(answer)  # whatever happens: somebody waits
            if isinstance(answer, EvsimError):
                return

    def _insist(self, which: int, chosen: Sequence[int], stopped: threading.Event) -> Arrays:
        """Return a chunk's columns, from a new process where the old one died."""
        for _ in range(PATIENCE):
            process = self._processes[which]
            if process is None:
                process = self._processes[which] = _Process(self._order, self._memory)
                process.wait()
            try:
                return process.run(chosen)
            except EOFError:
                code = process.end(itself=True)
                self._processes[which] = None
                if stopped.is_set():
                    break
        names = [self._order.samples.samples[i].name for i in (chosen[0], chosen[-1])]
        raise WorkerError(
            f"{PATIENCE} workers ended (code {code}) on the samples {names[0]} to {names[1]}, perhaps for want of "
            "memory; give fewer `workers`, and go on with `resume=True`"
        )


class _Process:
    """One worker."""

    def __init__(self, order: Order, memory: _Memory) -> None:
        paths = os.pathsep.join(entry for entry in sys.path if entry)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", "from evsim.evaluation.worker import main; main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=memory.handles,
            start_new_session=True,  # a terminal's Ctrl-C is for whoever started this: it ends its workers
            env=os.environ | {"PYTHONPATH": paths},
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._told: IO[bytes] = self._process.stdin
        self._answers: IO[bytes] = self._process.stdout
        with suppress(BrokenPipeError):  # `wait` says so
            send(self._told, order)

    def wait(self) -> None:
        """Return when it is ready; WorkerError if it ends before, or what it says is wrong."""
        try:
            self._answer()
        except EOFError:
            code = self.end(itself=True)
            raise WorkerError(
                f"a worker ended before its first sample (code {code}), perhaps for want of memory; "
                "give fewer `workers`"
            ) from None

    def run(self, chosen: Sequence[int]) -> Arrays:
        """Return the columns of these samples; EOFError if the process is gone."""
        try:
            send(self._told, list(chosen))
        except BrokenPipeError:
            raise EOFError from None
        columns: Arrays = self._answer()
        return columns

    def end(self, *, itself: bool = False) -> int:
        """End it, unless it is about to end by `itself`; return its exit code, negative for a signal."""
        with suppress(OSError):
            self._told.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST if itself else 0)
        if self._process.poll() is None:
            self._process.kill()
        code = self._process.wait()
        self._answers.close()
        return code

    def _answer(self) -> Any:
        try:
            answer = receive(self._answers)
        except (OSError, ValueError):  # closed by another thread
            raise EOFError from None
        if isinstance(answer, Failure):
            raise answer.error
        return answer


class _Memory:
    """The arrays of a parcel in memory that other processes map: without a name where the system has such."""

    def __init__(self, parcel: Parcel) -> None:
        self.handles: tuple[int, ...] = ()
        self.place: int | str = -1
        self._path: Path | None = None
        try:
            if hasattr(os, "memfd_create"):
                handle = os.memfd_create("evsim")
                self.handles, self.place = (handle,), handle
                self._write(handle, parcel)
            else:
                self._path = Path(tempfile.gettempdir()) / f"evsim.{os.getpid()}.{id(self):x}"
                files.temporaries.add(self._path)
                handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
                self.place = str(self._path)
                try:
                    self._write(handle, parcel)
                finally:
                    os.close(handle)
        except OSError as error:
            self.close()
            raise OutputError(
                f"the weights find no room in shared memory: {error.strerror}; give `workers=1`"
            ) from error

    def close(self) -> None:
        """Let go of it; processes that have mapped it keep it."""
        for handle in self.handles:
            os.close(handle)
        self.handles = ()
        if self._path is not None:
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
            files.temporaries.discard(self._path)
            self._path = None

    def _write(self, handle: int, parcel: Parcel) -> None:
        os.truncate(handle, parcel.size)
        with os.fdopen(os.dup(handle), "r+b", buffering=0) as file:
            for begin, array in zip(parcel.starts, parcel.arrays, strict=True):
                file.seek(begin)
                write_all(file, array.data)


def _order(parcel: Parcel, memory: _Memory, samples: Samples, settings: Settings, layout: Layout, first: int) -> Order:
    return Order(parcel.objects, parcel.size, memory.place, samples, settings, layout, first)

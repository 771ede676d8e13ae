"""Runs chunks on a Dask cluster: the same chunks, on processes of any number of machines.

Dask starts a chunk anew where a process died. Each process unpacks the simulator once and keeps it.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Generator, Sequence
from importlib import import_module
from typing import Any

from evsim.errors import EvsimError, OptionError
from evsim.evaluation.layout import Arrays, Layout
from evsim.evaluation.parcel import on_lines, pack, unpack
from evsim.evaluation.pool import WorkerError
from evsim.evaluation.trials import Samples, Settings, Trials

AHEAD = 3
"""Chunks in flight for each thread of the cluster: more would only lie with the scheduler."""

LEAST_AHEAD = 4


class Cluster:
    """Runs chunks on a Dask cluster.

    Parameters
    ----------
    trials
        What runs the samples.
    address
        Of the scheduler, such as ``tcp://host:8786``, or of a file that it wrote.

    Raises
    ------
    OptionError
        If Dask is not installed, or no scheduler answers there.
    """

    def __init__(self, trials: Trials, address: str) -> None:
        self._distributed = distributed()
        self._trials = trials
        try:
            if address.endswith(".json"):
                self._client = self._distributed.Client(scheduler_file=address, timeout=10)
            else:
                self._client = self._distributed.Client(address, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise OptionError(f"no Dask scheduler answers at `dask={address}` ({reason}); check the address") from error
        self._job: Any = None

    @property
    def workers(self) -> int:
        """Threads of the cluster, as many chunks run at the same time."""
        return sum(self._client.nthreads().values())

    def start(self) -> None:
        """Send the simulator to the cluster; WorkerError if it has no worker."""
        if not self.workers:
            raise WorkerError("the Dask cluster has no worker; start some: dask worker ADDRESS")
        parcel = pack(self._trials.simulator)
        trials = self._trials
        job = (uuid.uuid4().hex, parcel.objects, parcel.joined(), trials.samples, trials.settings)
        (self._job,) = self._client.scatter([(*job, trials.layout)], broadcast=True)

    def run(self, chunks: Sequence[tuple[int, Sequence[int]]]) -> Generator[tuple[int, Arrays], None, None]:
        """Yield the number and columns of each chunk as they come.

        Raises
        ------
        RecordingError, NetworkError, OptionError
            As `evsim.evaluation.trials.Trials.run`.
        WorkerError
            If Dask gives a chunk up: it ended several of its processes.
        """
        left = iter(chunks)
        flight = self._distributed.as_completed()
        numbers: dict[str, int] = {}

        def send() -> None:
            for number, chosen in left:
                future = self._client.submit(run_chunk, self._job, list(chosen), pure=False, key=_key(number))
                numbers[future.key] = number
                flight.add(future)
                return

        for _ in range(max(LEAST_AHEAD, AHEAD * self.workers)):
            send()
        for future in flight:
            if future.status != "finished":
                error = future.exception()
                if isinstance(error, EvsimError):
                    raise error
                first = type(error).__name__
                raise WorkerError(
                    f"Dask gave up chunk {numbers[future.key]} ({first}: {str(error).strip().partition(chr(10))[0]}); "
                    "look at its workers' logs, and go on with `resume=True`"
                )
            yield numbers.pop(future.key), future.result()
            future.release()
            send()

    def close(self) -> None:
        """Let go of the cluster; it stays as it is."""
        self._client.close()


def distributed() -> Any:
    """Return the library; OptionError where it is not installed."""
    try:
        return import_module("distributed")
    except ImportError:
        raise OptionError("`dask` needs Dask's distributed scheduler; install it: pip install distributed") from None


_arrays: dict[str, memoryview] = {}
"""The packed weights that this process has unpacked: one evaluation's, for all its threads."""

_lock = threading.Lock()
_own = threading.local()
"""Each thread's simulator, which runs one sample at a time."""


def run_chunk(job: tuple[str, bytes, bytes, Samples, Settings, Layout], chosen: Sequence[int]) -> Arrays:
    """Run a chunk in a process of the cluster."""
    token, objects, arrays, samples, settings, layout = job
    if getattr(_own, "token", None) != token:
        with _lock:
            if token not in _arrays:
                _arrays.clear()
                _arrays[token] = on_lines(arrays)
            memory = _arrays[token]
        _own.trials, _own.token = Trials(unpack(objects, memory), samples, settings, layout), token
    trials: Trials = _own.trials
    return trials.run(chosen)


def _key(number: int) -> str:
    return f"evsim-chunk-{number}-{uuid.uuid4().hex}"

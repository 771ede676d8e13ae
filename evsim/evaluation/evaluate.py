"""Runs a whole data set through a network, in as many processes as wanted, into an audit that no crash can damage."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evsim import api
from evsim.datasets import Dataset, open_dataset
from evsim.energy import Profile, load_profile
from evsim.energy.paper import NonSpike
from evsim.engine import Simulator
from evsim.errors import OptionError, RecordingError
from evsim.evaluation import auditfile
from evsim.evaluation.auditfile import Audit, Header, Journal
from evsim.evaluation.given import Given, Pair, given
from evsim.evaluation.layout import Arrays, Layout, layout_of
from evsim.evaluation.outcome import Evaluation, Throughput
from evsim.evaluation.pool import Here, Pool, check_workers
from evsim.evaluation.trials import UNREADABLE, Samples, Settings, Trials, attempt
from evsim.events import ReadOptions
from evsim.events.options import BY_DURATION
from evsim.files import OutputError, check_outputs, exists
from evsim.kernels.threads import available
from evsim.network import Network
from evsim.origin import Origin, array_digest, network_digest
from evsim.quantized import Precision, chosen_precision

LARGEST_CHUNK = 32
"""Samples of a chunk: what is lost at most, and what is written and checked at a time."""

SHARE = 64
"""Chunks that a small data set is cut into at least, so that all workers have some to the end."""


class Runner(Protocol):
    """Whoever runs chunks."""

    def start(self) -> None:
        """Get ready."""

    def run(self, chunks: list[tuple[int, range]]) -> Generator[tuple[int, Arrays], None, None]:
        """Yield number and columns of each chunk as they come."""
        ...

    def close(self) -> None:
        """Let go of all that it holds."""


@dataclass(frozen=True)
class Places:
    """Where samples run: in how many processes of this machine, each with how many threads, or on a Dask cluster."""

    workers: int = 1
    threads: int | None = None
    dask: str | None = None

    def each(self) -> int:
        """Return the threads of each worker: the cores divided by the workers, unless they are given."""
        if self.threads is not None:
            return self.threads
        if self.dask is not None:
            return 1
        return max(1, available() // self.workers)


def evaluate(
    network: Network,
    samples: Dataset | str | Path | Iterable[Pair],
    *,
    out: str | Path | None = None,
    resume: bool = False,
    workers: int = 1,
    dask: str | None = None,
    threads: int | None = None,
    timesteps: int | None = None,
    precision: Precision | None = None,
    options: ReadOptions | None = None,
    detail: bool = False,
    sharing: bool = False,
    strict: bool = False,
    profile: Profile | None = None,
    nonspike: NonSpike = "binary-only",
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Evaluation:
    """Run every sample of a data set and count every operation.

    Parameters
    ----------
    network
        What runs.
    samples
        From `evsim.datasets.open_dataset`; a path, which is opened so; or pairs of an input, as `evsim.api.simulate`
        takes it, and its class.
    out, resume
        audit.h5 to write, None to keep all in memory; whether to go on with it where it is there.
    workers, dask, threads
        Processes of this machine, which share one copy of the weights; address of a Dask scheduler instead; threads of
        each worker, by default the cores divided by the workers, on Dask 1. No figure depends on these.
    timesteps, precision, options
        As `evsim.api.simulate` and `evsim.api.read` take them.
    detail
        Whether to measure what moves too, for the energy method "counted-memory".
    sharing
        Whether to count additions under shared sums and operations on nonzero weights too, for the method "sharing".
    strict
        Whether a sample that cannot be read ends the evaluation; else it is listed as failed.
    profile, nonspike, seed
        Prices; how the paper's estimate charges integers; seed of the bootstrap.
    progress, tell
        Called with how many samples there are, and how many of them are done; with each note, before the long work.

    Raises
    ------
    OptionError, NetworkError, RecordingError
        If an option has no such value, the network cannot run so, no sample can be read, or one where `strict` is set.
    OutputError, AuditError
        If `out` cannot be written, is there and `resume` is not set; or was begun with other things, or is no audit.
    WorkerError
        If the processes that run samples end, whatever is done.
    """
    settings = Settings(timesteps, options or ReadOptions(), detail, strict, sharing)
    places = Places(workers, threads, dask)
    path = None if out is None else Path(out)
    chosen = chosen_precision(network.quantization, precision)
    _check(network, settings, places)
    if path is not None:
        check_out(path, resume=resume)
    listed = opened(samples, network)
    audit, speed = _Job(network, listed, settings, chosen, places, tell, progress).run(path)
    return Evaluation(audit, profile or load_profile(), nonspike, seed, speed, tuple(listed.notes))


def opened(samples: Dataset | str | Path | Iterable[Pair], network: Network) -> Samples:
    """Return what can be evaluated; errors as `evsim.datasets.open_dataset` and `given`."""
    if isinstance(samples, Dataset | Given):
        return samples
    if isinstance(samples, str | Path):
        return open_dataset(samples, network.labels, classes=network.classes)
    return given(samples, network)


@dataclass(frozen=True, eq=False)
class _Job:
    """One evaluation."""

    network: Network
    samples: Samples
    settings: Settings
    precision: Precision
    places: Places
    tell: Callable[[str], None] | None
    progress: Callable[[int, int], None] | None

    def run(self, path: Path | None) -> tuple[Audit, Throughput]:
        """Run what is missing, and return all."""
        begun = time.perf_counter()
        header = self._header()
        self._say(self.samples.notes)
        there = auditfile.load(path) if path is not None and exists(path) else None
        if there is not None:
            if reason := there.header.difference(header):
                raise auditfile.AuditError(
                    f"{path} was begun with {reason}; give what it was begun with, or another file to write"
                )
            if not there.missing:
                return there, Throughput()
        simulator = Simulator(
            self.network,
            self.settings.timesteps,
            self.precision,
            threads=self.places.each(),
        )
        first = self._first(simulator)
        layout = layout_of(first.run.counts, self.network.classes, self.precision)
        if there is not None and not there.layout.alike(layout):
            raise auditfile.AuditError(f"{path} holds other layers than this model has; give another file to write")
        if there is None:
            if path is not None:
                auditfile.create(path, header, layout, first.origin(header))
            there = Audit(header, layout, _zeros(header, layout))
        trials = Trials(simulator, self.samples, self.settings, there.layout)
        runner = self._runner(trials, first.index)
        try:
            runner.start()
            return self._gather(path, there, runner, begun)
        finally:
            runner.close()

    def _gather(self, path: Path | None, audit: Audit, runner: Runner, begun: float) -> tuple[Audit, Throughput]:
        """Take in what is missing, chunk by chunk."""
        header, missing = audit.header, audit.missing
        todo = [(i, header.span(i)) for i in missing]
        number = sum(len(span) for _, span in todo)
        arrays: dict[str, NDArray[Any]] = dict(audit.arrays)
        journal = Journal(path, header, audit.layout) if path is not None else None
        ready = time.perf_counter()
        there = len(header.samples) - number
        try:
            self._show(there)
            with closing(runner.run(todo)) as answers:  # whatever goes wrong here, the workers stop at once
                for chunk, columns in answers:
                    span = header.span(chunk)
                    if journal is not None:
                        journal.write(chunk, columns)
                    for name, values in columns.items():
                        arrays[name][span.start : span.stop] = values
                    there += len(span)
                    self._show(there)
        finally:
            if journal is not None:
                journal.close()
        lasted = time.perf_counter() - ready
        workers = getattr(runner, "workers", 1)
        return Audit(header, audit.layout, arrays), Throughput(number, lasted, ready - begun, workers)

    def _say(self, notes: Iterable[str]) -> None:
        for note in notes:
            if self.tell is not None:
                self.tell(note)

    def _show(self, there: int) -> None:
        if self.progress is not None:
            self.progress(len(self.samples.samples), there)

    def _runner(self, trials: Trials, first: int) -> Runner:
        if self.places.dask is not None:
            from evsim.evaluation.cluster import Cluster

            return Cluster(trials, self.places.dask)
        return Pool(trials, self.places.workers, first) if self.places.workers > 1 else Here(trials)

    def _first(self, simulator: Simulator) -> _First:
        """Run the first sample that can be read: kernels are compiled by that, and the columns known."""
        reasons: list[str] = []
        for index in range(len(self.samples.samples)):
            try:
                sample, run, _ = attempt(simulator, self.samples, self.settings, index)
            except UNREADABLE as error:
                if self.settings.strict:
                    raise
                reasons.append(str(error))
                continue
            self._say(f"{self.samples.samples[index].name}: {note}" for note in sample.notes)
            return _First(index, sample, run)
        raise RecordingError(f"none of {len(reasons)} samples of {self.samples.path} can be read; {reasons[0]}")

    def _header(self) -> Header:
        listed = self.samples.samples
        number = len(listed)
        names = tuple((sample.name, -1 if sample.label is None else sample.label) for sample in listed)
        header = Header(
            self.network.name,
            self.network.family,
            network_digest(self.network),
            self.network.spec.timesteps if self.settings.timesteps is None else self.settings.timesteps,
            self.precision,
            reading_of(self.settings.options),
            self.settings.detail,
            str(self.samples.path),
            self.samples.digest,
            names,
            self.samples.classes,
            _versions(),
            max(1, min(LARGEST_CHUNK, number // SHARE)),
            self.settings.sharing,
        )
        return header.printable()  # a fresh run tells what a resumed one does


@dataclass(frozen=True, eq=False)
class _First:
    """The first sample that ran: its place in the list, and what came of it."""

    index: int
    sample: api.Sample
    run: api.Run

    def origin(self, header: Header) -> Origin:
        """Return where its counts came from."""
        digest = array_digest(self.sample.values)
        inputs = ((header.samples[self.index][0], digest),)
        return Origin(header.model, header.model_digest, inputs, header.versions, header.precision)


def _check(network: Network, settings: Settings, places: Places) -> None:
    """Refuse before any work what no evaluation can be."""
    check_workers(places.workers)
    if places.dask is not None and places.workers > 1:
        raise OptionError("`workers` are processes of this machine, `dask` names others; give one of them")
    api.check_run(places.each(), settings.timesteps)
    split = settings.options.split or network.spec.frames
    if split in BY_DURATION:
        raise OptionError(
            f"`split={split}` gives each sample a T of its own, and figures by timestep need one; give `split=time` "
            "or `split=number`"
        )


def check_out(path: Path, *, resume: bool) -> None:
    """Refuse before any work a place that cannot be written to, or is taken; OutputError."""
    check_outputs({"out": path})
    if exists(path) and not path.is_file():
        raise OutputError(f"{path} is no regular file, which an audit must be; give another name")
    if exists(path) and not resume:
        raise OutputError(f"{path} is there already; go on with it by `resume=True`, or give another name")
    if exists(path) and not os.access(path, os.W_OK):
        raise OutputError(f"cannot write {path}: permission denied; give another place")


def reading_of(options: ReadOptions) -> dict[str, str]:
    """Return the options of reading that differ from their defaults, as texts."""
    plain = ReadOptions()
    return {
        f.name: str(getattr(options, f.name))
        for f in fields(options)
        if getattr(options, f.name) != getattr(plain, f.name)
    }


def _versions() -> dict[str, str]:
    import platform

    import numba

    from evsim import __version__

    return {
        "evsim": __version__,
        "numpy": np.__version__,
        "numba": numba.__version__,
        "python": platform.python_version(),
    }


def _zeros(header: Header, layout: Layout) -> dict[str, NDArray[Any]]:
    return {
        name: np.zeros((len(header.samples), *column.shape), column.dtype) for name, column in layout.columns.items()
    }

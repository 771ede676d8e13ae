"""A process that runs chunks, started by `evsim.evaluation.pool`.

It takes pickles on standard input and gives some on standard output, both from and to the process that started it. It
ends when that does: its standard input is closed then.
"""

from __future__ import annotations

import mmap
import os
import pickle
import select
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from evsim.errors import EvsimError
from evsim.evaluation.layout import Layout
from evsim.evaluation.parcel import unpack
from evsim.evaluation.trials import Samples, Settings, Trials


@dataclass(frozen=True)
class Order:
    """What a worker is told first.

    Attributes
    ----------
    objects, size
        A parcel's objects, and the bytes of its arrays.
    arrays
        Where these lie: a file descriptor, or a path.
    samples, settings, layout
        As `Trials` has them.
    first
        A sample to run before it says that it is ready, so that all is loaded; -1 for none.
    """

    objects: bytes
    size: int
    arrays: int | str
    samples: Samples
    settings: Settings
    layout: Layout
    first: int


@dataclass(frozen=True)
class Failure:
    """An error of evsim's that ends the evaluation."""

    error: EvsimError


def trials_of(order: Order) -> Trials:
    """Return what runs the samples; weights are read from the memory that the order names."""
    # a page that is written to becomes this process's own; weights never are
    if not order.size:
        memory = memoryview(bytearray())
    elif isinstance(order.arrays, int):
        memory = memoryview(mmap.mmap(order.arrays, order.size, access=mmap.ACCESS_COPY))
    else:
        with Path(order.arrays).open("rb") as file:
            memory = memoryview(mmap.mmap(file.fileno(), order.size, access=mmap.ACCESS_COPY))
    simulator = unpack(order.objects, memory)
    return Trials(simulator, order.samples, order.settings, order.layout)


def main() -> None:
    """Take the order, say that it is carried out, then run one chunk after the other."""
    told = os.fdopen(os.dup(0), "rb", buffering=0)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what a library prints must not come between the answers
    with suppress(EOFError, BrokenPipeError):  # nobody is left who wants anything
        _serve(told, answers)
    sys.stderr.flush()
    os._exit(0)  # what Python does at its end takes time, and nobody waits for it


def _serve(told: IO[bytes], answers: IO[bytes]) -> None:
    order: Order = receive(told)
    try:
        trials = trials_of(order)
        if order.first >= 0:
            trials.run([order.first])
    except EvsimError as error:
        send(answers, Failure(error))
        return
    send(answers, "ready")
    while True:
        chosen = receive(told)
        columns: dict[str, list[Any]] = {name: [] for name in order.layout.columns}
        for index in chosen:
            _end_if_alone()
            try:
                part = trials.run([index])
            except EvsimError as error:
                send(answers, Failure(error))
                return
            for name, values in part.items():
                columns[name].append(values)
        send(answers, {name: np.concatenate(parts) for name, parts in columns.items()})


def send(stream: IO[bytes], message: object) -> None:
    """Write a message, all of it."""
    content = pickle.dumps(message, protocol=5)
    left = memoryview(len(content).to_bytes(8, "little") + content)
    while left:
        left = left[stream.write(left) or 0 :]


def receive(stream: IO[bytes]) -> Any:
    """Return the next message from a process that this one started, or was started by; EOFError if there is none."""
    return pickle.loads(_exactly(stream, int.from_bytes(_exactly(stream, 8), "little")))  # noqa: S301 - our own


def _exactly(stream: IO[bytes], number: int) -> bytes:
    parts = bytearray()
    while len(parts) < number:
        part = stream.read(number - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)


def _end_if_alone() -> None:
    """End at once if whoever started this process is gone: its end of the pipe is closed then."""
    if os.name == "nt":
        return
    if select.select([0], [], [], 0)[0]:  # between a chunk and its answer nothing is sent
        os._exit(0)

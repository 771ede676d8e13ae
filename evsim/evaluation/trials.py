"""Runs samples of a data set, chunk by chunk, into the columns of an audit."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evsim import api
from evsim.anytime import Anytime
from evsim.engine import Simulator
from evsim.errors import NetworkError, OptionError, RecordingError
from evsim.evaluation.layout import FAILED, LONGEST_REASON, RAN, Layout, fill
from evsim.events import ReadOptions
from evsim.network import Network
from evsim.origin import array_digest

UNREADABLE = (RecordingError, NetworkError, OptionError)
"""What reading and running a sample raise that is not fit for the network."""


class Named(Protocol):
    """A sample of a list: its name, and the index of its class, None where nothing tells."""

    @property
    def name(self) -> str:
        """Its place within the data set."""
        ...

    @property
    def label(self) -> int | None:
        """Index of its class."""
        ...


class Samples(Protocol):
    """What can be evaluated: `evsim.datasets.Dataset`, or `evsim.evaluation.given.Given`. It can be pickled."""

    @property
    def path(self) -> Any:
        """Where it lies."""
        ...

    @property
    def samples(self) -> Sequence[Named]:
        """The list."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Name of each class."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, one line each."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 of the list."""
        ...

    def read(self, index: int, network: Network, timesteps: int | None, options: ReadOptions) -> api.Sample:
        """Return a sample as the network takes it."""
        ...


@dataclass(frozen=True)
class Settings:
    """How each sample is read and run.

    Attributes
    ----------
    timesteps
        T as it was asked for; None for the model's own.
    options
        How samples are read.
    detail
        Whether traffic is measured.
    strict
        Whether a sample that cannot be read ends the evaluation.
    sharing
        Whether shared sums are counted.
    """

    timesteps: int | None = None
    options: ReadOptions = ReadOptions()  # noqa: RUF009 - frozen
    detail: bool = False
    strict: bool = False
    sharing: bool = False


@dataclass(frozen=True, eq=False)
class Trials:
    """What runs the samples of a data set.

    Attributes
    ----------
    simulator, samples, settings
        What runs on what, and how.
    layout
        The columns to fill.
    """

    simulator: Simulator
    samples: Samples
    settings: Settings
    layout: Layout

    def run(self, chosen: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Return the columns [chosen, ...] of these samples.

        Raises
        ------
        RecordingError, NetworkError, OptionError
            If a sample cannot be read, and the settings are strict.
        """
        arrays = {
            name: np.zeros((len(chosen), *column.shape), column.dtype) for name, column in self.layout.columns.items()
        }
        for at, index in enumerate(chosen):
            try:
                reason = self._one(arrays, at, index)
            except UNREADABLE as error:
                if self.settings.strict:
                    raise
                reason = str(error)
            if reason:
                for values in arrays.values():
                    values[at] = 0
                arrays["status"][at] = FAILED
                text = np.frombuffer(_cut(reason), np.uint8)
                arrays["reason"][at, : len(text)] = text
        return arrays

    def _one(self, arrays: dict[str, NDArray[Any]], at: int, index: int) -> str:
        """Run a sample; return why it does not fit the others, or nothing."""
        sample, run, observer = attempt(self.simulator, self.samples, self.settings, index)
        if unlike := fill(self.layout, arrays, at, run.counts):
            name = self.samples.samples[index].name
            if self.settings.strict:
                raise RecordingError(f"{name}: {unlike}")
            return f"{name}: {unlike}"
        answers = observer.answers(run.logits, run.counts)
        label = self.samples.samples[index].label
        arrays["status"][at] = RAN
        arrays["input_digest"][at] = np.frombuffer(bytes.fromhex(array_digest(sample.values)), np.uint8)
        arrays["logits"][at] = run.logits
        arrays["anytime/prediction"][at] = answers.logits.argmax(axis=1)
        arrays["anytime/rank"][at] = [_rank(logits, label) for logits in answers.logits]
        arrays["anytime/sops"][at], arrays["anytime/macs"][at] = answers.sops, answers.macs
        return ""


def attempt(
    simulator: Simulator, samples: Samples, settings: Settings, index: int
) -> tuple[api.Sample, api.Run, Anytime]:
    """Read and run one sample; errors as `evsim.api.read` and `evsim.api.run_on`."""
    sample = samples.read(index, simulator.network, settings.timesteps, settings.options)
    observer = Anytime(simulator)
    run = api.run_on(simulator, sample, detail=settings.detail, sharing=settings.sharing, observers=[observer])
    return sample, run, observer


def list_digest(samples: Sequence[Named]) -> str:
    """Return the SHA-256 of names and labels, for lists that come without a digest."""
    made = hashlib.sha256()
    for sample in samples:
        made.update(f"{sample.name!r} {sample.label}\n".encode(errors="backslashreplace"))
    return made.hexdigest()


def _rank(logits: NDArray[np.floating], label: int | None) -> int:
    """Return how many classes go before the label's, the first of equals first; -1 where that is not known."""
    if label is None or not 0 <= label < len(logits):
        return -1
    return int((logits > logits[label]).sum() + (logits[:label] == logits[label]).sum())


def _cut(text: str) -> bytes:
    """Return a reason as it is kept: not beyond its length, nor within a letter."""
    return text.encode(errors="backslashreplace")[:LONGEST_REASON].decode(errors="ignore").encode()

"""A data set as evsim sees it: a list of samples with their labels, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from evsim import api
from evsim.errors import OptionError
from evsim.events import ReadOptions
from evsim.network import Network

MOST_SAMPLES = 1 << 22
"""Samples of a data set; ImageNet has 1.3 million."""

MOST_CLASSES = 1 << 17
"""Classes of a data set; ImageNet-21k has 21,843."""

TEST = ("test", "val", "valid", "validation", "eval")
"""What the part of a data set is called that is held out, the first before the next."""

PARTS = ("train", "training", *TEST)
"""What parts of a data set are called."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a data set.

    Attributes
    ----------
    name
        Its place within the data set: a path relative to DATA, or ``file.npz[17]``.
    label
        Index of its class; None where nothing tells.
    """

    name: str
    label: int | None


class Reader(Protocol):
    """Reads the samples of one listing. It is sent to other processes, so it holds no open file on the way."""

    def read(self, index: int, network: Network, timesteps: int | None, options: ReadOptions) -> api.Sample:
        """Return a sample as the network takes it."""
        ...


@dataclass(frozen=True)
class Choice:
    """What a person says of a data set.

    Attributes
    ----------
    pattern
        Place of a sample's file within DATA, made of a table's columns, e.g. ``{id}.bs2``.
    tables
        Tables of labels, read one behind the other; by default the one in DATA.
    part
        Part of a data set of several, e.g. ``train``; by default the one that is held out.
    outside
        Whether a table may name files outside DATA.
    """

    pattern: str | None = None
    tables: tuple[str, ...] = ()
    part: str | None = None
    outside: bool = False

    def refuse(self, path: Path, kind: str, *names: str) -> None:
        """Refuse options that a kind of data set has no use for; OptionError if one is there."""
        for name in names:
            if getattr(self, name):
                raise OptionError(f"{path} is {kind}, which has no use for `{name}`; leave it out")


@dataclass(frozen=True)
class Listing:
    """What a format makes of a data set, before labels become class indices.

    Attributes
    ----------
    format
        Name of the format.
    names, sizes
        Of the samples: place within the data set, and bytes of its file, -1 where there is none.
    labels
        A text from a folder or table; a number, which is the class index; None where nothing tells.
    reader
        Reads them.
    notes
        What a person should know, one line each.
    every
        Names of classes that may have no sample here, such as empty folders.
    known
        Names of the classes in their order, where the data set tells.
    """

    format: str
    names: Sequence[str]
    sizes: Sequence[int]
    labels: Sequence[str | int | None]
    reader: Reader
    notes: tuple[str, ...] = ()
    every: tuple[str, ...] = ()
    known: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, ready to be gone through; it can be sent to other processes.

    Attributes
    ----------
    path, format
        Where it lies, and its format.
    samples
        In their order, which is the same on every machine.
    classes
        Name of each class; its index, as text, where it has no name.
    notes
        What was assumed, one line each.
    digest
        SHA-256 of names, labels and sizes of the files: whether two lists are the same, wherever they lie.
    reader
        Reads the samples.
    """

    path: Path
    format: str
    samples: tuple[Sample, ...]
    classes: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str
    reader: Reader

    def __len__(self) -> int:
        return len(self.samples)

    def read(
        self, index: int, network: Network, timesteps: int | None = None, options: ReadOptions | None = None
    ) -> api.Sample:
        """Read a sample as a network takes it.

        Parameters
        ----------
        index
            Of the sample, from 0.
        network
            Tells how its input is made.
        timesteps
            T, if not the model's own.
        options
            How recordings are read and become frames.

        Returns
        -------
        evsim.api.Sample
            What `evsim.api.simulate` takes; its notes say what was assumed of this sample.

        Raises
        ------
        RecordingError, OptionError, NetworkError
            As `evsim.api.read`; OptionError too if there is no such sample.
        """
        if not 0 <= index < len(self.samples):
            raise OptionError(f"{self.path} has the samples 0 to {len(self.samples) - 1}, not {index}")
        return self.reader.read(index, network, timesteps, options or ReadOptions())

"""Samples in one array and labels in another: ``.npz`` and HDF5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from evsim import api
from evsim.datasets.items import as_input
from evsim.datasets.listing import begins
from evsim.datasets.parts import chosen
from evsim.datasets.types import MOST_SAMPLES, PARTS, Choice, Listing
from evsim.errors import RecordingError
from evsim.events import ReadOptions, npz
from evsim.events.columns import matches
from evsim.hdf5 import MAGIC, File
from evsim.network import Network
from evsim.schema import shown

NAME = "arrays"
SAMPLES = ("x", "images", "image", "data", "frames", "inputs", "input", "features", "samples", "arr_0")
"""Names of the array of samples, the first before the next."""

LABELS = ("y", "labels", "label", "targets", "target", "classes", "arr_1")
"""Names of the array of labels."""

ABOUT = (
    "`.npz` or HDF5 of samples ("
    + ", ".join(f"`{name}`" for name in SAMPLES)
    + ") and labels ("
    + ", ".join(f"`{name}`" for name in LABELS)
    + "), alone or for each part (`x_test`, `test_images`, `test/x`)"
)


FEW = 50_000
"""Samples that a file of any size may hold; beyond, it has a byte for each."""


class Rows(Protocol):
    """An array of which one row is read at a time."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def row(self, index: int) -> NDArray[np.generic]:
        """Return what stands at an index of the first axis."""
        ...

    def whole(self) -> NDArray[np.generic]:
        """Return all of it."""
        ...


class InHdf5:
    """A dataset of an HDF5 file; the file is open while rows are read from it, in each process by itself.

    Parameters
    ----------
    path
        The file.
    name
        Of the dataset.

    Attributes
    ----------
    dtype, shape
        Of the dataset.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        self._file: File | None = None
        member = self._opened().members[name]
        if member.shape is None or member.dtype is None:
            raise RecordingError(f"{path}: {shown(name)} holds no numbers; give a data set of numbers")
        self.dtype, self.shape = member.dtype, member.shape

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    def _opened(self) -> File:
        if self._file is None:
            self._file = File(self._path, RecordingError)
        return self._file

    def row(self, index: int) -> NDArray[np.generic]:
        """Return what stands at an index of the first axis; errors as `evsim.hdf5.File.read`."""
        return np.asarray(self._opened().read(self._name, index, index + 1)[0])

    def whole(self) -> NDArray[np.generic]:
        """Return all of it; errors as `evsim.hdf5.File.read`."""
        return self._opened().read(self._name)


class Texts:
    """Names of any length, which HDF5 keeps apart from numbers; likewise.

    Parameters
    ----------
    texts
        The names.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = np.array(texts, np.str_)
        self.dtype, self.shape = self._texts.dtype, self._texts.shape

    def row(self, index: int) -> NDArray[np.generic]:
        """Return what stands at an index of the first axis."""
        return np.asarray(self._texts[index])

    def whole(self) -> NDArray[np.generic]:
        """Return all of it."""
        return self._texts


@dataclass(frozen=True)
class ArrayReader:
    """Reads samples that are rows of an array.

    Attributes
    ----------
    path, kind
        The file, and its format.
    rows
        The array.
    """

    path: Path
    kind: str
    rows: Rows

    def read(self, index: int, network: Network, timesteps: int | None, options: ReadOptions) -> api.Sample:
        """Return a sample as the network takes it; errors as `evsim.datasets.items.as_input`."""
        name = f"{self.path}[{index}]"
        return as_input(self.path, name, self.kind, self.rows.row(index), network, timesteps, options)


def recognises(path: Path) -> bool:
    """Whether a file is an ``.npz`` or HDF5 file."""
    if path.is_dir():
        return False
    head = begins(path)
    return head.startswith((npz.MAGIC, MAGIC))


def listing(path: Path, choice: Choice) -> Listing:
    """List the rows of the array of samples.

    Raises
    ------
    RecordingError
        If the file is damaged or a recording, or holds no such array, or another number of labels.
    OptionError
        If there is no such part.
    """
    choice.refuse(path, "a file of arrays", "pattern", "tables", "outside")
    if begins(path).startswith(MAGIC):
        with File(path, RecordingError) as file:
            names = [name for name, member in file.members.items() if not member.group]
        made, kind = InHdf5, "hdf5 arrays"
    else:
        names, made, kind = npz.names_in(path), npz.Stored, "npz arrays"  # type: ignore[assignment]
    if matches(names):
        raise RecordingError(f"{path} is one recording (t, x, y, p), not a data set; run it by: evsim run")
    samples, labels, notes = _pair(path, names, choice.part)
    rows: Rows = made(path, samples)
    if not rows.shape:
        raise RecordingError(f"{path}: {shown(samples)} holds one number, not samples")
    number = rows.shape[0]
    if not number:
        raise RecordingError(f"{path}: {shown(samples)} holds no sample; give a data set")
    if number > MOST_SAMPLES:
        raise RecordingError(f"{path}: {shown(samples)} holds over {MOST_SAMPLES} samples; give a part of it")
    if number > FEW + path.stat().st_size:  # a shape alone may claim millions of rows of nothing
        raise RecordingError(f"{path}: {shown(samples)} claims {number} samples, more than the file has bytes; refused")
    indices: list[str | int | None] = [None] * number
    if labels is not None:
        texts = _texts(path, labels) if made is InHdf5 else None
        indices = _labels(path, labels, made(path, labels) if texts is None else Texts(texts), number)
    if labels is None:
        notes = (*notes, f"{path} holds no array of labels ({', '.join(LABELS[:3])})")
    inside = [f"{path.name}[{i}]" for i in range(number)]
    return Listing(NAME, inside, [path.stat().st_size] * number, indices, ArrayReader(path, kind, rows), notes)


def _pair(path: Path, names: Sequence[str], part: str | None) -> tuple[str, str | None, tuple[str, ...]]:
    """Return the names of the arrays of samples and of labels, and what to say of the choice."""
    lower = {name.lower(): name for name in reversed(names)}
    parts = [p for p in PARTS if any(form in lower for base in SAMPLES for form in _forms(base, p))]
    plain = next((base for base in SAMPLES if base in lower), None)
    notes: tuple[str, ...] = ()
    if parts and (plain is None or part is not None):
        part, notes = chosen(path, parts, part)
        samples, labels = (
            [lower[form] for base in bases for form in _forms(base, part) if form in lower]
            for bases in (SAMPLES, LABELS)
        )
        return samples[0], labels[0] if labels else None, notes
    if part is not None:
        chosen(path, [], part)
    if plain is None:
        held = ", ".join(map(shown, names[:8])) or "nothing"
        raise RecordingError(f"{path} holds no array of samples ({', '.join(SAMPLES[:4])} ...); it holds {held}")
    beside = next((lower[base] for base in LABELS if base in lower), None)
    if plain == "arr_0":
        notes = (f"{path}: arr_0 is taken for the samples, arr_1 for their labels",)
    return lower[plain], beside, notes


def _forms(base: str, part: str) -> tuple[str, ...]:
    return f"{base}_{part}", f"{part}_{base}", f"{part}/{base}"


def _texts(path: Path, name: str) -> list[str] | None:
    """Return names that an HDF5 file holds as texts of any length; None of any other dataset."""
    with File(path, RecordingError) as file:
        member = file.members[name]
        return file.texts(name) if member.text and member.dtype is None else None


def _labels(path: Path, name: str, rows: Rows, number: int) -> list[str | int | None]:
    """Return labels: whole numbers, texts, or rows in which one place alone is 1."""
    if not rows.shape or rows.shape[0] != number:
        raise RecordingError(f"{path}: {shown(name)} has the shape {list(rows.shape)}, for {number} samples; mend it")
    values = rows.whole().reshape(number, -1)
    if values.dtype.kind in "SU" and values.shape[1] == 1:
        texts = [v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values[:, 0]]
        return [text or None for text in texts]
    if values.dtype.kind not in "iufb":
        raise RecordingError(f"{path}: {shown(name)} holds {values.dtype}; give whole numbers or names")
    if values.shape[1] > 1:
        if not (((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all()):
            raise RecordingError(
                f"{path}: {shown(name)} has the shape {list(rows.shape)} and no row with a single 1; give class indices"
            )
        return [int(index) for index in values.argmax(axis=1)]
    column = values[:, 0]
    if column.dtype.kind == "f" and not (np.isfinite(column) & (column == np.floor(column))).all():
        raise RecordingError(f"{path}: {shown(name)} holds values that are no whole numbers; give class indices")
    return [int(index) for index in column]

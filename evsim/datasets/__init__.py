"""Data sets: one file per format, told by what lies there. A new format is a new file and one line here."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from evsim.datasets import arrays, cifar, folders, spikes, tables, trials
from evsim.datasets.labels import resolve
from evsim.datasets.types import MOST_SAMPLES, Choice, Dataset, Listing, Sample
from evsim.errors import RecordingError
from evsim.files import exists
from evsim.schema import LONGEST_NAME, printable

FORMATS: tuple[ModuleType, ...] = (spikes, arrays, cifar, trials, tables, folders)
"""Asked in turn; each has NAME and ABOUT for the list of the page "Data sets", ``recognises(path)`` and
``listing(path, choice)``."""

__all__ = ["FORMATS", "Dataset", "Sample", "format_table", "open_dataset"]


def open_dataset(
    path: str | Path,
    labels: Sequence[str] = (),
    pattern: str | None = None,
    *,
    classes: int | None = None,
    tables: Sequence[str] = (),
    part: str | None = None,
    outside: bool = False,
) -> Dataset:
    """List the samples of a data set and their labels; nothing is read of them but what tells that.

    Parameters
    ----------
    path
        A folder, a table of files and labels, or a file of arrays; for all forms see docs: Data sets.
    labels
        The model's names of its classes; may be empty.
    pattern
        Place of a sample's file within DATA, made of a table's columns, e.g. ``{id}.bs2``.
    classes
        How many classes the model has; a label beyond is refused.
    tables
        Tables of labels of a folder, read one behind the other; by default the one that lies in it.
    part
        Part of a data set of several, e.g. ``train``; by default the one that is held out.
    outside
        Whether a table may name files outside DATA.

    Returns
    -------
    Dataset
        Its `notes` say what was assumed.

    Raises
    ------
    RecordingError
        If there is no such data set, it is damaged, empty, or a label is no class.
    OptionError
        If an option means nothing for it, or nothing tells which of several things is meant.
    """
    place = Path(path)
    if not exists(place):
        raise RecordingError(f"{printable(str(place))} does not exist; check the path")
    found = _format(place, tables).listing(place, Choice(pattern, tuple(tables), part, outside))
    if not found.names:
        raise RecordingError(f"{place} holds no sample; give a data set")
    if len(found.names) > MOST_SAMPLES:
        raise RecordingError(f"{place} holds over {MOST_SAMPLES} samples; give a part of it")
    meant = resolve(place, found.labels, labels, found.every, found.known, classes)
    samples = tuple(Sample(name, label) for name, label in zip(found.names, meant.indices, strict=True))
    digest = _digest(place, found, samples)
    notes = (*found.notes, *meant.notes)
    return Dataset(place, found.format, samples, meant.classes, notes, digest, found.reader)


def format_table() -> str:
    """Return the list of formats of the page "Data sets", made of the registry."""
    rows = [f"| `{reader.NAME}` | {reader.ABOUT} |" for reader in FORMATS]
    return "\n".join(["| name | data sets |", "|---|---|", *rows]) + "\n"


def _format(path: Path, tables: Sequence[str]) -> ModuleType:
    """Return the format of what lies at a place; a table that a person names is one."""
    if tables:
        return next(reader for reader in FORMATS if reader.NAME == "table")
    for reader in FORMATS:
        if reader.recognises(path):
            return reader
    raise RecordingError(
        f"{path} is no data set that evsim knows: a folder for each class, a table of files and labels, or a file of "
        "arrays; one sample runs by: evsim run"
    )


def _digest(path: Path, found: Listing, samples: Sequence[Sample]) -> str:
    """Return what tells two lists apart: names, labels and sizes."""
    longest = max(map(len, found.names))
    if longest > 8 * LONGEST_NAME:
        raise RecordingError(f"{path} names a sample by {longest} letters, which no file has; mend the name")
    whole = hashlib.sha256()
    for sample, size in zip(samples, found.sizes, strict=True):
        whole.update(f"{sample.name}\0{sample.label}\0{size}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()

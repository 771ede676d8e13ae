"""``audit.h5``: one row per sample, layer and timestep, filled chunk by chunk; see docs/audit-format.md.

Whatever ends the program, at any moment, the file is sound: its tables are whole before the first sample runs
(`evsim.hdf5_space`), and a chunk counts once its digest stands beside it and agrees with its values.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim import countsfile, hdf5
from evsim.countscheck import fault
from evsim.datasets.types import MOST_CLASSES
from evsim.errors import EvsimError, printable
from evsim.evaluation.layout import ABSENT, FAILED, RAN, Arrays, Layout, layout_of, summed
from evsim.files import OutputError, check_input
from evsim.hdf5_group import Group
from evsim.hdf5_space import place, reserve, write_all
from evsim.origin import Origin
from evsim.schema import SchemaError, build, parsed

FORMAT, SCHEMA = "evsim-audit", 1

DIGEST = 16
"""Bytes of a chunk's digest."""

FIXED = (
    ("model_digest", "another model"),
    ("timesteps", "other `timesteps`"),
    ("precision", "another `precision`"),
    ("reading", "other options of reading"),
    ("detail", "another choice of `detail`"),
    ("sharing", "another choice of `sharing`"),
    ("data_digest", "another list of samples"),
    ("versions", "other versions"),
)
"""What no resumption may change, and how it is called."""


class AuditError(EvsimError):
    """An ``audit.h5`` is missing, damaged, unfinished, newer than this evsim, or of another run."""


@dataclass(frozen=True)
class Header:
    """What an audit is of; fixed before the first sample runs.

    Attributes
    ----------
    model, family, model_digest
        Name and family of the network; SHA-256 of graph and weights.
    timesteps, precision, reading, detail
        The options: T, precision, how samples are read (only what differs from the defaults), whether traffic is
        measured.
    data, data_digest
        The data set's path as it was given; SHA-256 of its list.
    samples
        Name and class index of each; -1 where nothing tells the class.
    classes
        Name of each class.
    versions
        Of evsim, NumPy, Numba and Python.
    chunk
        Samples of a chunk.
    sharing
        Whether shared sums are counted.
    """

    model: str
    family: str
    model_digest: str
    timesteps: int
    precision: str
    reading: Mapping[str, str]
    detail: bool
    data: str
    data_digest: str
    samples: tuple[tuple[str, int], ...]
    classes: tuple[str, ...]
    versions: Mapping[str, str]
    chunk: int
    sharing: bool = False

    @property
    def chunks(self) -> int:
        """How many chunks there are."""
        return -(-len(self.samples) // self.chunk)

    def span(self, chunk: int) -> range:
        """Return the samples of a chunk."""
        return range(chunk * self.chunk, min((chunk + 1) * self.chunk, len(self.samples)))

    def printable(self) -> Header:
        """Return it with its texts escaped where a terminal would obey them, or no file of text could hold them."""
        return replace(
            self,
            model=printable(self.model),
            family=printable(self.family),
            data=printable(self.data),
            samples=tuple((printable(name), label) for name, label in self.samples),
            classes=tuple(map(printable, self.classes)),
        )

    def difference(self, other: Header) -> str:
        """Say in what another run differs so that it cannot go on with this one, or nothing."""
        for name, said in FIXED:
            if getattr(self, name) != getattr(other, name):
                mine, theirs = _shown(getattr(self, name)), _shown(getattr(other, name))
                if name.endswith("digest"):
                    mine, theirs = (self.model, other.model) if name == "model_digest" else (self.data, other.data)
                return f"{said} ({mine}, not {theirs})" if mine != theirs else said
        if tuple((printable(name), label) for name, label in other.samples) != self.samples:
            return "another list of samples"
        return ""


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit.h5 holds, in memory.

    Attributes
    ----------
    header, layout
        What it is of, and its columns.
    arrays
        Name to [samples, ...]; a sample whose chunk is not there yet has status `ABSENT`.
    """

    header: Header
    layout: Layout
    arrays: Arrays

    @property
    def missing(self) -> list[int]:
        """Chunks that are not there yet."""
        status = self.arrays["status"]
        return [i for i in range(self.header.chunks) if status[self.header.span(i).start] == ABSENT]


class Journal:
    """An audit.h5 that is open for writing.

    Parameters
    ----------
    path
        The file, which is there and sound.
    header, layout
        What it is of, and its columns.

    Raises
    ------
    OutputError
        If it cannot be written to, or another run writes to it.
    """

    def __init__(self, path: Path, header: Header, layout: Layout) -> None:
        self.path, self.header, self.layout = path, header, layout
        with hdf5.File(path, AuditError) as file:
            self._offsets = {name: file.members[name].offset or 0 for name in (*layout.columns, "chunks")}
        try:
            self._file: io.RawIOBase = path.open("r+b", buffering=0)
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror}; change its permissions") from error
        _lock(self._file, path)

    def write(self, chunk: int, arrays: Arrays) -> None:
        """Write a chunk, and then its digest: before that it does not count.

        Raises
        ------
        OutputError
            If it cannot be written, as where the disk is full.
        """
        first = self.header.span(chunk).start
        try:
            for name, column in self.layout.columns.items():
                self._put(self._offsets[name] + first * column.size, np.ascontiguousarray(arrays[name]).tobytes())
            os.fsync(self._file.fileno())
            self._put(self._offsets["chunks"] + chunk * DIGEST, digest(self.header, self.layout, chunk, arrays))
        except OSError as error:
            raise OutputError(
                f"cannot write {self.path}: {error.strerror or error}; make room and go on with `resume=True`"
            ) from error

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _put(self, offset: int, content: bytes) -> None:
        self._file.seek(offset)
        write_all(self._file, content)


def create(path: Path, header: Header, layout: Layout, source: Origin) -> None:
    """Write an audit without samples; it appears whole or not at all.

    Parameters
    ----------
    path
        The file.
    header, layout
        What it is of, and its columns.
    source
        Where the counts of the first sample came from.

    Raises
    ------
    OutputError
        If the place cannot be written to, or has not the room for all samples.
    """

    def fill(file: Any) -> None:
        file.attrs["format"], file.attrs["schema"] = FORMAT, SCHEMA
        told = {key: value for key, value in asdict(header).items() if key != "sharing" or value}
        file.create_dataset("header", data=json.dumps(told))
        countsfile.fill(file.create_group("first"), layout.first, source)
        for name, column in layout.columns.items():
            dataset = place(file, name, (len(header.samples), *column.shape), column.dtype)
            if column.rows:
                dataset.attrs["rows"] = column.rows
        place(file, "chunks", (header.chunks, DIGEST), "u1")

    reserve(path, fill)


def load(path: str | Path) -> Audit:
    """Read an audit, finished or not.

    Raises
    ------
    AuditError
        If the file is missing, damaged, newer than this evsim, or no audit.
    """
    path = Path(path)
    again = "make it again by: evsim eval"
    check_input(path, AuditError, "an audit", "make one by: evsim eval")
    try:
        with hdf5.File(path, AuditError, again) as file:
            told = file.attributes()
            if told.get("format") != FORMAT:
                raise AuditError(f"{path} is an HDF5 file but no audit; evsim eval makes one")
            if type(told.get("schema")) is int and told["schema"] > SCHEMA:
                raise AuditError(
                    f"{path} has schema {told['schema']}, this evsim reads up to {SCHEMA}; install a newer"
                )
            return _loaded(file)
    except SchemaError as error:
        raise AuditError(f"{path} is damaged or no audit ({error}); {again}") from error


def finished(path: str | Path) -> Audit:
    """Read an audit that must be finished; errors as `load`, and if it is not."""
    audit = load(path)
    if audit.missing:
        there = int((audit.arrays["status"] != ABSENT).sum())
        raise AuditError(
            f"{path} holds {there} of {len(audit.header.samples)} samples; finish it with `resume=True` first"
        )
    if not (audit.arrays["status"] == RAN).any():
        raise AuditError(
            f"{path} holds no sample that could be read; the first failed: {reason(audit, 0) or 'unknown'}"
        )
    return audit


def origin_of(audit: Audit) -> Origin:
    """Return where the counts of all samples that ran came from."""
    header, digests = audit.header, audit.arrays["input_digest"]
    ran = np.flatnonzero(audit.arrays["status"] == RAN)
    inputs = tuple((header.samples[i][0], digests[i].tobytes().hex()) for i in ran)
    return Origin(header.model, header.model_digest, inputs, header.versions, header.precision)


def reason(audit: Audit, at: int) -> str:
    """Return why a sample failed."""
    return printable(audit.arrays["reason"][at].tobytes().rstrip(b"\0").decode(errors="replace"))


def digest(header: Header, layout: Layout, chunk: int, arrays: Arrays) -> bytes:
    """Return what stands beside a chunk that is whole."""
    made = hashlib.blake2b(f"{header.model_digest} {header.data_digest} {chunk}".encode(), digest_size=DIGEST)
    for name in sorted(layout.columns):
        made.update(np.ascontiguousarray(arrays[name]).data)
    return made.digest()


def _loaded(file: hdf5.File) -> Audit:
    header = build(Header, parsed(file.text("header")))
    if not header.chunk >= 1 or not header.samples or header.timesteps < 1 or not header.classes:
        raise SchemaError("its header has no samples, chunks or classes")
    if not (header.model_digest + header.data_digest).isascii():
        raise SchemaError("its header has digests that are none")
    try:
        first = countsfile.stored(Group(file, "first")).counts
        classes = int(_shape(file, "logits")[-1])
        layout = layout_of(first, classes, header.precision)
    except (TypeError, ValueError, IndexError) as error:
        raise SchemaError(f"its first sample is not whole: {error}") from error
    if first.timesteps != header.timesteps:
        raise SchemaError(f"its first sample ran {first.timesteps} timesteps, not {header.timesteps}")
    number = len(header.samples)
    file.check_claims([*layout.columns, "chunks"])
    arrays: dict[str, NDArray[Any]] = {}
    for name, column in layout.columns.items():
        wanted = (number, *column.shape)
        member = file.members.get(name)
        if member is None or member.offset is None or member.shape != wanted or member.dtype != np.dtype(column.dtype):
            raise SchemaError(f"{printable(name)} is not {column.dtype} {list(wanted)} in one piece")
        arrays[name] = file.read(name)
    held = file.members.get("chunks")
    if _shape(file, "chunks") != (header.chunks, DIGEST) or held is None or held.dtype != np.uint8 or not held.offset:
        raise SchemaError(f"chunks are not bytes [{header.chunks}, {DIGEST}] in one piece")
    stands = file.read("chunks")
    for chunk in range(header.chunks):
        span = header.span(chunk)
        parts = {name: values[span.start : span.stop] for name, values in arrays.items()}
        if stands[chunk].tobytes() != digest(header, layout, chunk, parts):
            for values in parts.values():
                values[...] = 0
    audit = Audit(header.printable(), layout, arrays)
    _check(audit)
    return audit


def _check(audit: Audit) -> None:
    """Refuse what no run can have given; SchemaError."""
    for name, column in audit.layout.columns.items():
        values = audit.arrays[name]
        if column.dtype == "i8" and values.size and int(values.min()) < 0:
            raise SchemaError(f"{printable(name)} holds a negative count")
        if column.dtype == "i8" and values.sum(dtype=np.float64) > countsfile.LARGEST_TOTAL:
            raise SchemaError(f"{printable(name)} sums up to more than {countsfile.LARGEST_TOTAL}")
    if not np.isin(audit.arrays["status"], (ABSENT, RAN, FAILED)).all():
        raise SchemaError("status holds what it does not know")
    classes = audit.arrays["logits"].shape[1]
    for name in ("anytime/prediction", "anytime/rank"):
        if ((audit.arrays[name] < -1) | (audit.arrays[name] >= classes)).any():
            raise SchemaError(f"{name} holds what is none of {classes} classes")
    if not classes <= len(audit.header.classes) <= MOST_CLASSES:
        raise SchemaError(f"its header names {len(audit.header.classes)} classes, for {classes} logits")
    if any(not -1 <= label < len(audit.header.classes) for _, label in audit.header.samples):
        raise SchemaError("its header labels a sample by a class that it does not name")
    ran = audit.arrays["status"] == RAN
    if (audit.arrays["anytime/prediction"][ran] < 0).any():
        raise SchemaError("anytime/prediction lacks a class of a sample that ran")
    if reason := fault(summed(audit.layout, audit.arrays, ran)) if ran.any() else "":
        raise SchemaError(reason)


def _shape(file: hdf5.File, name: str) -> tuple[int, ...]:
    member = file.members.get(name)
    if member is None or not member.shape:
        raise SchemaError(f"it holds no {name}")
    return member.shape


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text}" for key, text in value.items()) or "none"
    return str(value)


def _lock(file: io.RawIOBase, path: Path) -> None:
    """Keep others from writing, as long as the file is open; where the system has no locks, nobody is kept."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    try:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputError(f"{path} is being written to by another run; wait for it, or give another file") from None
    except OSError:  # a file system without locks
        return


Progress = Callable[[int], None]
"""Called with the number of samples that have come in."""

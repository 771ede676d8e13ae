"""SpikingJelly's ``.npz``: arrays t, x, y and p in a zip file, read piece by piece."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events import arrays
from evsim.events.columns import KEYS, Column, Columns, check_columns
from evsim.events.options import ReadOptions
from evsim.events.types import PIECE, Piece, Recording, Stream
from evsim.files import replacing

NAME = "npz"
SUFFIXES = (".npz",)
MAGIC = b"PK\x03\x04"
HARMLESS = 64 << 20
"""Bytes that the arrays may claim whatever they were compressed to."""

LARGEST_RATIO = 100
"""Beyond, arrays are a zip bomb: events compress to a fifth or so, nothing but zeros to a thousandth."""

DAMAGE = (*arrays.DAMAGE, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What zipfile and NumPy raise about damaged files."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as a zip file does."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:  # noqa: ARG001 - nothing to choose
    """Open a recording.

    Raises
    ------
    RecordingError
        If an array is missing, of another type, or of another length than the others.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bomb(path, archive)
            columns = {}
            for key in KEYS:
                with archive.open(f"{key}.npy") as member:
                    columns[key] = _column(path, key, member, archive.getinfo(f"{key}.npy").file_size)
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"{path} is a damaged .npz file ({error}); copy it again") from error
    check_columns(path, columns)
    kind = columns["t"].dtype
    said = f"times of type {kind} are taken for microseconds as SpikingJelly does, and rounded"
    return Stream(NAME, path, None, _pieces(path, columns), (said,) if kind.kind == "f" else ())


def write(recording: Recording, path: str | Path) -> None:
    """Write a recording as SpikingJelly's loaders do.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, t=recording.t, x=recording.x, y=recording.y, p=recording.p)


def _refuse_bomb(path: Path, archive: zipfile.ZipFile) -> None:
    names = {item.filename for item in archive.infolist()}
    missing = [key for key in KEYS if f"{key}.npy" not in names]
    if missing:
        raise RecordingError(f"{path} lacks {', '.join(missing)}; a recording has the arrays t, x, y and p")
    items = [archive.getinfo(f"{key}.npy") for key in KEYS]
    claimed, stored = sum(item.file_size for item in items), sum(item.compress_size for item in items)
    stored = min(stored, path.stat().st_size)
    if claimed > HARMLESS and claimed > LARGEST_RATIO * stored:
        raise RecordingError(
            f"{path} claims {claimed >> 20} MB out of {stored >> 10} kB, which no recording does; refused as a zip bomb"
        )


def _column(path: Path, key: str, member: IO[bytes], size: int) -> Column:
    """Read the header of an array; return its type and length."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise RecordingError(f"{path}: {key} is of .npy version {version}; evsim reads 1.0 and 2.0")
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers by Python 2
        shape, _, dtype = reader(member)
    column = Column(dtype, shape)
    if not dtype.hasobject and size - member.tell() != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise RecordingError(f"{path}: {key} is of another length than its header says; it is damaged")
    return column


def _pieces(path: Path, columns: dict[str, Column]) -> Iterator[Piece]:
    made = Columns(path)
    for t, x, y, p in _blocks(path, columns):
        yield made.piece(t, x, y, p)


def _blocks(path: Path, columns: dict[str, Column]) -> Iterator[list[NDArray[Any]]]:
    """Yield the arrays side by side, some events at a time."""
    try:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(path))
            members = [stack.enter_context(archive.open(f"{key}.npy")) for key in KEYS]
            for key, member in zip(KEYS, members, strict=True):
                _column(path, key, member, archive.getinfo(f"{key}.npy").file_size)
            for begin in range(0, columns["t"].shape[0], PIECE):
                number = min(PIECE, columns["t"].shape[0] - begin)
                yield [_exactly(member, columns[key].dtype, number) for key, member in zip(KEYS, members, strict=True)]
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"{path} is a damaged .npz file ({error}); copy it again") from error


def _exactly(member: IO[bytes], dtype: np.dtype[Any], number: int) -> NDArray[Any]:
    content = member.read(number * dtype.itemsize)
    if len(content) < number * dtype.itemsize:
        raise EOFError("an array ends early")
    return np.frombuffer(content, dtype)

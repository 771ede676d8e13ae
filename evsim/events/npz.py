"""``.npz``: SpikingJelly's arrays t, x, y and p in a zip file, or one table of events, read piece by piece."""

from __future__ import annotations

import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events import arrays
from evsim.events.columns import KEYS, UNIT_WORDS, Column, Columns, check_columns, matches, npz_unit, range_of, unit_in
from evsim.events.options import ReadOptions
from evsim.events.tables import is_table, table
from evsim.events.types import PIECE, Piece, Recording, Stream
from evsim.files import replacing

NAME = "npz"
SUFFIXES = (".npz",)
ABOUT = "SpikingJelly's arrays t, x, y, p; one array `events` or `arr_0`, structured or N x 4 (`columns`)"
SIZE = "nowhere"
TAKES = ("time_unit", "columns")
MAGIC = b"PK\x03\x04"
HARMLESS = 64 << 20
"""Bytes that the arrays may claim whatever they were compressed to."""

LARGEST_RATIO = 100
"""Beyond, arrays are a zip bomb: events compress to a fifth or so, nothing but zeros to a thousandth."""

LARGEST_WHOLE = 2 << 30
"""Bytes of a compressed array of samples that are held at a time."""

LOCAL = struct.Struct("<4s5H3I2H")
"""What stands before a member of a zip file; its last two numbers are the lengths of name and extra field."""

FRAMES = "frames"
"""Name of the array of SpikingJelly's cached frames, and of what evsim was fed."""

DAMAGE = (*arrays.DAMAGE, KeyError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What zipfile and NumPy raise about damaged files."""

Header = tuple[Column, bool]
"""Type and shape of an array, and whether its columns lie one behind the other."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as a zip file does."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a recording.

    Raises
    ------
    RecordingError
        If an array is missing, of another type, or of another length than the others.
    OptionError
        If nothing tells what the columns of a table are.
    """
    names = names_in(path)
    fields = matches(names)
    if not fields:
        return _table(path, names, options)
    headers = _headers(path, fields)
    columns = {key: header[0] for key, header in headers.items()}
    check_columns(path, columns)
    unit = options.time_unit or unit_in(fields["t"])
    notes: tuple[str, ...] = ()
    taken = unit or "us"
    if not unit and columns["t"].dtype.kind == "f":
        taken, note = npz_unit(columns["t"].dtype, range_of(block[0] for block in _blocks(path, {"t": fields["t"]})))
        notes = (note,)
    pieces = _pieces(path, fields, taken)
    return Stream(NAME, path, None, pieces, notes, "" if unit else UNIT_WORDS[taken])


def names_in(path: Path) -> list[str]:
    """Return the names of the arrays in a file; RecordingError if it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            return [item.filename.removesuffix(".npy") for item in archive.infolist() if item.filename.endswith(".npy")]
    except DAMAGE as error:
        raise RecordingError(f"{path} is a damaged .npz file ({error}); copy it again") from error


def holds_frames(path: Path) -> bool:
    """Whether a file holds SpikingJelly's cached frames, or what evsim was fed; RecordingError if it is damaged."""
    return FRAMES in names_in(path)


def read_frames(path: Path) -> NDArray[np.generic]:
    """Read the array ``frames`` of a file of ready input.

    Raises
    ------
    RecordingError
        If the file is damaged, or the array holds no numbers of 3 to 5 axes.
    """
    column, fortran = _headers(path, {FRAMES: FRAMES})[FRAMES]
    arrays.check_ready(path, column.dtype, column.shape)
    try:
        with zipfile.ZipFile(path) as archive, archive.open(f"{FRAMES}.npy") as member:
            _header(path, FRAMES, member, archive.getinfo(f"{FRAMES}.npy").file_size)
            values = _exactly(member, column.dtype, int(np.prod(column.shape)))
    except DAMAGE as error:
        raise RecordingError(f"{path} is a damaged .npz file ({error}); copy it again") from error
    return values.reshape(column.shape, order="F" if fortran else "C")


def read_columns(path: Path, members: dict[str, str]) -> dict[str, NDArray[np.generic]]:
    """Read some columns of numbers of one length, by the names of their arrays.

    Raises
    ------
    RecordingError
        If the file is damaged, or one is no list of numbers, or of another length.
    """
    headers = _headers(path, members)
    shapes = {column.shape for column, _ in headers.values()}
    if len(shapes) > 1 or len(shapes.copy().pop()) != 1 or any(c.dtype.kind not in "iuf" for c, _ in headers.values()):
        told = ", ".join(
            f"{members[key]} {list(column.shape)} of {column.dtype}" for key, (column, _) in headers.items()
        )
        raise RecordingError(f"{path}: {told}; wanted lists of numbers of one length")
    blocks = list(_blocks(path, members))
    return {
        key: np.concatenate([block[place] for block in blocks]) if blocks else np.empty(0, headers[key][0].dtype)
        for place, key in enumerate(members)
    }


class Stored:
    """One array of a file, read row by row where it is not compressed, else as a whole when it is first asked for.

    Parameters
    ----------
    path
        The file.
    name
        Of the array.

    Attributes
    ----------
    dtype, shape
        Of the array.

    Raises
    ------
    RecordingError
        If there is no such array, it is damaged, or claims more than the file can hold.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        (self.dtype, self.shape), fortran = _headers(path, {name: name})[name]
        if self.dtype.hasobject:
            raise RecordingError(f"{path}: {name} holds objects of Python's, which are not read; give numbers")
        self._order: Literal["C", "F"] = "F" if fortran else "C"
        self._place = -1 if fortran else _place_of(path, name)
        self._whole: NDArray[np.generic] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_whole": None}

    def row(self, index: int) -> NDArray[np.generic]:
        """Return what stands at an index of the first axis; errors as `whole`."""
        if self._place < 0:
            if self._whole is None:
                self._whole = self.whole()
            return np.asarray(self._whole[index])
        number = int(np.prod(self.shape[1:], dtype=object))
        with self._path.open("rb") as file:
            file.seek(self._place + index * number * self.dtype.itemsize)
            content = file.read(number * self.dtype.itemsize)
        if len(content) < number * self.dtype.itemsize:
            raise RecordingError(f"{self._path} is a damaged .npz file ({self._name} is cut short); copy it again")
        return np.frombuffer(content, self.dtype).reshape(self.shape[1:])

    def whole(self) -> NDArray[np.generic]:
        """Return all of it.

        Raises
        ------
        RecordingError
            If it is damaged, or too large to be held.
        """
        number = int(np.prod(self.shape, dtype=object))
        if number * self.dtype.itemsize > LARGEST_WHOLE:
            raise RecordingError(
                f"{self._path}: {self._name} is compressed and takes {number * self.dtype.itemsize >> 20} MB, over "
                f"{LARGEST_WHOLE >> 20}; store it uncompressed (numpy.savez), so that it is read sample by sample"
            )
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(f"{self._name}.npy") as member:
                _header(self._path, self._name, member, archive.getinfo(f"{self._name}.npy").file_size)
                return _exactly(member, self.dtype, number).reshape(self.shape, order=self._order)
        except DAMAGE as error:
            raise RecordingError(f"{self._path} is a damaged .npz file ({error}); copy it again") from error


def _place_of(path: Path, name: str) -> int:
    """Return where the values of an array begin in a file, -1 where they are compressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            item = archive.getinfo(f"{name}.npy")
            if item.compress_type != zipfile.ZIP_STORED:
                return -1
            with archive.open(item) as member:
                _header(path, name, member, item.file_size)
                within = member.tell()
        with path.open("rb") as file:
            file.seek(item.header_offset)
            head = file.read(LOCAL.size)
            names, extra = LOCAL.unpack(head)[-2:]
    except (*DAMAGE, struct.error) as error:
        raise RecordingError(f"{path} is a damaged .npz file ({error}); copy it again") from error
    return int(item.header_offset + LOCAL.size + names + extra + within)


def write(recording: Recording, path: str | Path) -> None:
    """Write a recording as SpikingJelly's loaders do.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, t=recording.t, x=recording.x, y=recording.y, p=recording.p)


def _table(path: Path, names: list[str], options: ReadOptions) -> Stream:
    """Open a file whose events are one array."""
    headers = _headers(path, {name: name for name in names[:8]})
    tables = [name for name, (column, _) in headers.items() if name != FRAMES and is_table(*column)]
    if not tables:
        if FRAMES in names:
            raise RecordingError(f"{path} holds frames, which `evsim run` takes as they are, not events")
        missing = [key for key in KEYS if key not in names]
        held = ", ".join(names[:8]) or "no arrays"
        raise RecordingError(
            f"{path} lacks {', '.join(missing)}; a recording has the arrays t, x, y, p; it holds {held}"
        )
    if len(tables) > 1:
        raise RecordingError(f"{path} holds several tables of events ({', '.join(tables)}); give a file with one")
    column, fortran = headers[tables[0]]

    def blocks() -> Iterator[NDArray[Any]]:
        if not fortran:
            for block in _blocks(path, {"t": tables[0]}):
                yield block[0]
            return
        for whole in _blocks(path, {"t": tables[0]}, max(column.shape[0], 1)):  # a file lies column by column
            yield whole[0].reshape(-1).reshape(column.shape, order="F")

    pieces, unit = table(path, *column, blocks, options)
    return Stream(NAME, path, None, pieces, unit=unit)


def _headers(path: Path, members: dict[str, str]) -> dict[str, Header]:
    """Read the headers of some arrays, and refuse a file that claims far more than it holds."""
    headers = {}
    try:
        with zipfile.ZipFile(path) as archive:
            items = [archive.getinfo(f"{name}.npy") for name in members.values()]
            _refuse_bomb(path, items)
            for (key, name), item in zip(members.items(), items, strict=True):
                with archive.open(item) as member:
                    headers[key] = _header(path, name, member, item.file_size)
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"{path} is a damaged .npz file ({error}); copy it again") from error
    return headers


def _refuse_bomb(path: Path, items: list[zipfile.ZipInfo]) -> None:
    claimed, stored = sum(item.file_size for item in items), sum(item.compress_size for item in items)
    stored = min(stored, path.stat().st_size)
    if claimed > HARMLESS and claimed > LARGEST_RATIO * stored:
        raise RecordingError(
            f"{path} claims {claimed >> 20} MB out of {stored >> 10} kB, which no recording does; refused as a zip bomb"
        )


def _header(path: Path, name: str, member: IO[bytes], size: int) -> Header:
    """Read the header of an array."""
    version = np.lib.format.read_magic(member)
    if version not in ((1, 0), (2, 0)):
        raise RecordingError(f"{path}: {name} is of .npy version {version}; evsim reads 1.0 and 2.0")
    reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of headers by Python 2
        shape, fortran, dtype = reader(member)
    column = Column(dtype, shape)
    if not dtype.hasobject and size - member.tell() != dtype.itemsize * int(np.prod(shape, dtype=object)):
        raise RecordingError(f"{path}: {name} is of another length than its header says; it is damaged")
    return column, fortran


def _pieces(path: Path, fields: dict[str, str], unit: str) -> Iterator[Piece]:
    events = Columns(path, unit)
    for t, x, y, p in _blocks(path, {key: fields[key] for key in KEYS}):
        yield events.piece(t, x, y, p)


def _blocks(path: Path, members: dict[str, str], rows: int = PIECE) -> Iterator[list[NDArray[Any]]]:
    """Yield some arrays of one length side by side, `rows` rows at a time."""
    try:
        with ExitStack() as stack:
            archive = stack.enter_context(zipfile.ZipFile(path))
            opened = []
            for name in members.values():
                member = stack.enter_context(archive.open(f"{name}.npy"))
                column, _ = _header(path, name, member, archive.getinfo(f"{name}.npy").file_size)
                opened.append((member, column))
            length = opened[0][1].shape[0]
            for begin in range(0, length, rows):
                number = min(rows, length - begin)
                yield [
                    _exactly(member, column.dtype, number * int(np.prod(column.shape[1:]))).reshape(
                        number, *column.shape[1:]
                    )
                    for member, column in opened
                ]
    except RecordingError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"{path} is a damaged .npz file ({error}); copy it again") from error


def _exactly(member: IO[bytes], dtype: np.dtype[Any], number: int) -> NDArray[Any]:
    content = member.read(number * dtype.itemsize)
    if len(content) < number * dtype.itemsize:
        raise EOFError("an array ends early")
    return np.frombuffer(content, dtype)

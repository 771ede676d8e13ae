"""Recordings packed alone into a zip file, or by gzip: unpacked into a temporary folder while they are read."""

from __future__ import annotations

import gzip
import secrets
import shutil
import tempfile
import weakref
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from evsim.errors import EvsimError, RecordingError, printable
from evsim.events.options import ReadOptions
from evsim.events.types import Piece, Stream
from evsim.files import OutputError, temporaries

ZIP, GZIP = b"PK\x03\x04", b"\x1f\x8b\x08"
HARMLESS, LARGEST_RATIO = 64 << 20, 100
"""Bytes that a file may unpack to whatever its size, and how many times its size beyond."""

DAMAGE = (OSError, EOFError, RuntimeError, NotImplementedError, ValueError, zipfile.BadZipFile, zlib.error)
"""What zipfile and gzip raise about damaged files."""

Opener = Callable[[Path, ReadOptions], Stream]


def holds_file(path: Path, head: bytes) -> bool:
    """Whether a file is packed and holds another file, not arrays of NumPy.

    Raises
    ------
    RecordingError
        If it is a zip file and damaged.
    """
    if head.startswith(GZIP):
        return True
    if not head.startswith(ZIP):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.endswith(".npy") for name in archive.namelist())
    except DAMAGE as error:
        raise RecordingError(f"{path} is a damaged .npz or zip file ({error}); copy it again") from error


def stream(path: Path, options: ReadOptions, opener: Opener) -> Stream:
    """Open the recording within a packed file.

    Parameters
    ----------
    path
        The packed file.
    options
        As for the recording itself.
    opener
        Opens what was unpacked.

    Raises
    ------
    RecordingError
        If it holds none or several, unpacks to far more than it holds, or the recording cannot be read.
    """
    folder = _Folder(path)
    name, inner = _unpack(path, folder.path)
    try:
        opened = opener(inner, options)
    except EvsimError as error:
        raise _renamed(error, path, inner) from error
    notes = (f"{name} within {path.name} is read", *opened.notes)
    return replace(opened, path=path, notes=notes, pieces=_pieces(path, inner, folder, opened.pieces))


class _Folder:
    """A temporary folder that goes with its last holder: an error, or a stream that is through or was never begun."""

    def __init__(self, path: Path) -> None:
        try:
            self.path = Path(tempfile.gettempdir()) / f"evsim-{secrets.token_hex(8)}"
        except OSError as error:
            raise _no_room(path, error) from error
        self.remove = weakref.finalize(self, _remove, self.path)
        temporaries.add(self.path)  # before it exists, or a signal in between would leave it
        try:
            self.path.mkdir(mode=0o700)
        except OSError as error:
            raise _no_room(path, error) from error


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    temporaries.discard(folder)


def _renamed(error: EvsimError, path: Path, inner: Path) -> EvsimError:
    """Return an error that names the packed file instead of what was unpacked."""
    return type(error)(str(error).replace(str(inner), f"{path} ({inner.name})"))


def _pieces(path: Path, inner: Path, folder: _Folder, pieces: Iterator[Piece]) -> Iterator[Piece]:
    """Yield the events, and remove what was unpacked, whatever happens."""
    try:
        yield from pieces
    except EvsimError as error:
        raise _renamed(error, path, inner) from error
    finally:
        folder.remove()


def _unpack(path: Path, folder: Path) -> tuple[str, Path]:
    """Write the one file within into a folder; return its name and place."""
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP)) == GZIP
        if packed:
            name = Path(path.name).stem if path.suffix.lower() == ".gz" else path.name
            with gzip.open(path) as content:
                return name, _copy(path, content, folder / name)
        with zipfile.ZipFile(path) as archive:
            item = _only(path, archive)
            name = printable(Path(item.filename).name) or "recording"  # messages look for it
            with archive.open(item) as content:
                return name, _copy(path, content, folder / name)
    except EvsimError:
        raise
    except DAMAGE as error:
        raise RecordingError(f"{path} cannot be unpacked ({error}); copy it again") from error


def _only(path: Path, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
    items = [item for item in archive.infolist() if not item.filename.endswith("/")]  # a name may be empty
    items = [item for item in items if not item.filename.startswith("__MACOSX")]
    if len(items) != 1:
        held = ", ".join(item.filename for item in items[:6]) or "nothing"
        raise RecordingError(f"{path} is a zip file of {len(items)} files ({held}); unpack it and give one of them")
    return items[0]


def _copy(path: Path, content: IO[bytes] | gzip.GzipFile, target: Path) -> Path:
    most, written = max(HARMLESS, LARGEST_RATIO * path.stat().st_size), 0
    with _open(path, target) as file:
        while block := content.read(1 << 20):
            written += len(block)
            if written > most:
                raise RecordingError(f"{path} unpacks to more than {most >> 20} MB, which no recording does; refused")
            try:
                file.write(block)
            except OSError as error:
                raise _no_room(path, error) from error
    return target


def _open(path: Path, target: Path) -> IO[bytes]:
    try:
        return target.open("wb", buffering=0)
    except OSError as error:
        raise _no_room(path, error) from error


def _no_room(path: Path, error: OSError) -> OutputError:
    return OutputError(f"cannot unpack {path}: {error.strerror}; set TMPDIR to a folder with room")

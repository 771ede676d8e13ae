"""Recordings: one file per format. A new format is a new file and one line here."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from evsim.errors import OptionError, RecordingError
from evsim.events import (
    aedat1,
    aedat2,
    aedat3,
    aedat4,
    arrays,
    atis,
    dat,
    es,
    evt,
    hdf5,
    images,
    mat,
    npz,
    packed,
    text,
)
from evsim.events.options import ReadOptions
from evsim.events.reading import collect
from evsim.events.types import Recording, Stream
from evsim.files import check_input
from evsim.manual import page

FORMATS: tuple[ModuleType, ...] = (
    aedat2, aedat3, aedat4, aedat1, npz, arrays, hdf5, mat, es, evt, dat, text, atis,
)  # fmt: skip
"""Readers, asked in turn by content; each has NAME, SUFFIXES, ABOUT and SIZE for the list of the page "Recordings",
``recognises(head)`` and ``stream(path, options)``, and in TAKES the options that not every format has a use for."""

PARTIAL = ("time_unit", "camera", "columns")
"""Options that a reader must name in its TAKES; with others they are refused."""

__all__ = [
    "FORMATS",
    "ReadOptions",
    "Recording",
    "Stream",
    "format_of",
    "format_table",
    "head_of",
    "open_stream",
    "read",
]

HEAD = 4096
"""Bytes of a file that tell its format."""


def head_of(path: str | Path) -> bytes:
    """Return the first bytes of a file.

    Raises
    ------
    RecordingError
        If it is missing, a folder, or empty.
    """
    path = Path(path)
    check_input(path, RecordingError)
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise RecordingError(f"{path} is empty; give a recording with events")
    return head


def open_stream(path: str | Path, options: ReadOptions | None = None) -> Stream:
    """Open a recording of any known format, told by its content, or by its suffix where the format has no mark.

    Raises
    ------
    RecordingError
        If the file is missing, of no known format, or its header is damaged.
    """
    path, head = Path(path), head_of(path)
    options = options or ReadOptions()
    if packed.holds_file(path, head):
        return packed.stream(path, options, open_stream)
    reader = _reader(path, head)
    for name in PARTIAL:
        if getattr(options, name) is not None and name not in getattr(reader, "TAKES", ()):
            raise OptionError(f"{path} is of the format {reader.NAME}, which has no use for `{name}`; leave it out")
    if options.axis or options.item is not None:
        raise OptionError(f"{path} is a recording of events; `axis` and `item` are for arrays of images")
    stream: Stream = reader.stream(path, options)
    return stream


def format_of(path: str | Path) -> str:
    """Return the name of a recording's format, as its first bytes tell it; "" of what is no recording."""
    try:
        head = head_of(path)
    except RecordingError:
        return ""
    return next((reader.NAME for reader in FORMATS if reader.recognises(head)), "")


def _reader(path: Path, head: bytes) -> ModuleType:
    """Return the reader of a file, by its content, or by its suffix where the format has no mark."""
    for reader in FORMATS:
        if reader.recognises(head):
            return reader
    if images.recognises(head):
        raise RecordingError(f"{path} is a picture, not a recording; make one of it by: evsim record {path} out.aedat")
    if head.startswith(b"version https://git-lfs"):
        raise RecordingError(f"{path} is a Git LFS pointer, not the file; fetch it by: git lfs pull")
    if head.lstrip().lower().startswith((b"<!doctype html", b"<html")):
        raise RecordingError(f"{path} is a web page, not the file; download the file itself")
    suffix = path.suffix.lower()
    if suffix in atis.SUFFIXES:
        return atis
    if suffix in aedat1.SUFFIXES and aedat1.plausible(path):
        return aedat1
    for reader in FORMATS:
        if suffix in reader.SUFFIXES:
            raise RecordingError(
                f"{path} has the suffix of {reader.NAME} but does not begin like it (it begins with {head[:12]!r}); "
                f"it is damaged or misnamed: copy it again, or name it by what it is ({page('recordings')})"
            )
    known = ", ".join(f"{reader.NAME} ({', '.join(reader.SUFFIXES or reader.USUAL)})" for reader in FORMATS)
    raise RecordingError(f"{path} is of no format that evsim reads: {known}; and .npy, PNG and JPEG for image models")


def read(path: str | Path, options: ReadOptions | None = None) -> Recording:
    """Read a recording into memory.

    Raises
    ------
    RecordingError
        If the file is missing, of no known format, damaged or truncated.
    """
    options = options or ReadOptions()
    return collect(open_stream(path, options), options)


def format_table() -> str:
    """Return the list of formats of the page "Recordings", made of the registry."""
    rows = []
    for reader in FORMATS:
        suffixes = ", ".join(f"`{suffix}`" for suffix in reader.SUFFIXES or reader.USUAL)
        rows.append(f"| `{reader.NAME}` | {suffixes} | {reader.ABOUT} | {reader.SIZE} |")
    return "\n".join(["| name | suffix | files | sensor size from |", "|---|---|---|---|", *rows]) + "\n"

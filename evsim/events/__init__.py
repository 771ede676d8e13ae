"""Recordings: one file per format. A new format is a new file and one line here."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from evsim.errors import RecordingError
from evsim.events import aedat2, aedat3, aedat4, arrays, atis, dat, evt, hdf5, images, npz
from evsim.events.options import ReadOptions
from evsim.events.reading import collect
from evsim.events.types import Recording, Stream
from evsim.files import check_input

FORMATS: tuple[ModuleType, ...] = (aedat2, aedat3, aedat4, npz, hdf5, evt, dat, atis)
"""Readers, asked in turn by content; each has NAME, SUFFIXES, ``recognises(head)`` and ``stream(path, options)``."""

__all__ = ["FORMATS", "ReadOptions", "Recording", "Stream", "head_of", "open_stream", "read"]

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
    for reader in FORMATS:
        if reader.recognises(head):
            stream: Stream = reader.stream(path, options)
            return stream
    if head.startswith(arrays.MAGIC):
        raise RecordingError(f"{path} holds an array (frames or an image), not events")
    if images.recognises(head):
        raise RecordingError(f"{path} is a picture, not a recording; make one of it by: evsim record {path} out.aedat")
    if path.suffix.lower() in atis.SUFFIXES:
        return atis.stream(path, options)
    for reader in FORMATS:
        if path.suffix.lower() in reader.SUFFIXES:
            raise RecordingError(
                f"{path} has the suffix of {reader.NAME} but does not begin like it (it begins with {head[:12]!r}); "
                "it is damaged or misnamed"
            )
    known = ", ".join(f"{reader.NAME} ({', '.join(reader.SUFFIXES)})" for reader in FORMATS)
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

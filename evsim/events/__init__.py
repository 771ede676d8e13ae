"""Recordings: one file per format. A new format is a new file and one line here."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from evsim.errors import RecordingError
from evsim.events import aedat2, aedat3, npz
from evsim.events.binary import ReadOptions
from evsim.events.types import Recording

FORMATS: tuple[ModuleType, ...] = (aedat2, aedat3, npz)
"""Readers, asked in turn by content; each has NAME, SUFFIXES, ``recognises(head)`` and ``read(path, options)``."""

__all__ = ["FORMATS", "ReadOptions", "Recording", "head_of", "read"]


def head_of(path: str | Path) -> bytes:
    """Return the first bytes of a file.

    Raises
    ------
    RecordingError
        If it is missing, a folder, or empty.
    """
    path = Path(path)
    if path.is_dir():
        raise RecordingError(f"{path} is a folder; give a file")
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}; check the path of --input") from error
    if not head:
        raise RecordingError(f"{path} is empty; give a recording with events")
    return head


def read(path: str | Path, options: ReadOptions | None = None) -> Recording:
    """Read a recording of any known format, told by its content.

    Raises
    ------
    RecordingError
        If the file is missing, of no known format, damaged or truncated.
    """
    path, head = Path(path), head_of(path)
    for reader in FORMATS:
        if reader.recognises(head):
            recording: Recording = reader.read(path, options or ReadOptions())
            return recording
    known = ", ".join(reader.NAME for reader in FORMATS)
    raise RecordingError(f"{path} is of no format that evsim reads ({known}, and .npy for frames and images)")

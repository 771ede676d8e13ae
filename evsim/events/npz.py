"""SpikingJelly's ``.npz``: arrays t, x, y and p in a zip file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from evsim.errors import RecordingError
from evsim.events.binary import ReadOptions, greatest, pack
from evsim.events.types import Recording

NAME = "npz"
SUFFIXES = (".npz",)
MAGIC = b"PK\x03\x04"
KEYS = ("t", "x", "y", "p")
LARGEST_RATIO = 1100
"""Deflate cannot compress further than 1032 to 1."""

LARGEST = 8 << 30
"""Bytes that one array may claim."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as a zip file does."""
    return head.startswith(MAGIC)


def read(path: Path, options: ReadOptions) -> Recording:  # noqa: ARG001 - nothing to choose
    """Read a recording.

    Raises
    ------
    RecordingError
        If an array is missing, of another type, or of another length than the others.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for item in archive.infolist():
                if item.file_size > LARGEST or item.file_size > LARGEST_RATIO * max(1, item.compress_size) + 1024:
                    raise RecordingError(f"{path}: {item.filename} claims {item.file_size} bytes; refused")
        with np.load(path, allow_pickle=False) as file:
            missing = [key for key in KEYS if key not in file]
            if missing:
                raise RecordingError(f"{path} lacks {', '.join(missing)}; a recording has t, x, y and p")
            t, x, y, p = (file[key] for key in KEYS)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, RecordingError):
            raise
        raise RecordingError(f"{path} is a damaged .npz file ({error}); copy it again") from error
    for key, values in zip(KEYS, (t, x, y, p), strict=True):
        if values.ndim != 1 or len(values) != len(t) or values.dtype.kind not in "iub":
            raise RecordingError(
                f"{path}: {key} has shape {list(values.shape)} of {values.dtype}, wanted [{len(t)}] of integers"
            )
    for key, values in (("x", x), ("y", y), ("p", p)):
        if len(values) and (int(values.min()) < 0 or int(values.max()) > (1 if key == "p" else 65535)):
            raise RecordingError(f"{path}: {key} has values outside 0 .. {1 if key == 'p' else 65535}")
    return pack((t, x, y, p), greatest(x, y), NAME, path)

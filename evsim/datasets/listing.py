"""The files of a data set: which there are, which evsim can read, and the reader of samples that are files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from evsim import api
from evsim.datasets.types import MOST_SAMPLES
from evsim.errors import RecordingError
from evsim.events import FORMATS, HEAD, ReadOptions, arrays, images
from evsim.files import check_input
from evsim.network import Network

PICTURES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp")
"""Suffixes of pictures, whose beginning need not be looked at."""


KNOWN = frozenset({*PICTURES, *(suffix for reader in FORMATS for suffix in reader.SUFFIXES)})
"""Suffixes of all that evsim reads as one sample."""


@dataclass(frozen=True)
class Files:
    """Reads samples that are files.

    Attributes
    ----------
    root
        The folder that names are relative to.
    names
        Of the samples.
    """

    root: Path
    names: Sequence[str]

    def read(self, index: int, network: Network, timesteps: int | None, options: ReadOptions) -> api.Sample:
        """Return a sample as the network takes it; errors as `evsim.api.read`."""
        return api.read(self.root / self.names[index], network, timesteps, options)


def readable(path: Path) -> bool:
    """Whether a file has the suffix of a format, or begins like one."""
    if path.suffix.lower() in KNOWN:
        return True
    try:
        head = begins(path)
    except RecordingError:  # no regular file, or one without permission
        return False
    return bool(head) and (
        head.startswith(arrays.MAGIC) or images.recognises(head) or any(reader.recognises(head) for reader in FORMATS)
    )


def begins(path: Path) -> bytes:
    """Return the first bytes of a file, none of an empty one; RecordingError if it cannot be read."""
    check_input(path, RecordingError, "a data set")
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}; check the path") from error


def folders_in(path: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, hidden ones left out; errors as `files_in`."""
    with _scanned(path) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))


def files_in(path: Path) -> list[str]:
    """Return the names of the files in a folder, sorted, hidden ones left out; of links what they lead to.

    Raises
    ------
    RecordingError
        If the folder cannot be read.
    """
    with _scanned(path) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and not _is_folder(entry))


def files_below(path: Path) -> Iterator[str]:
    """Yield the files in a folder and its folders, relative to it, in the order of their names.

    Links are followed, each folder is gone through once.

    Raises
    ------
    RecordingError
        If a folder cannot be read, or there are more files than a data set has.
    """
    seen: set[tuple[int, int]] = set()
    waiting, number = [""], 0
    while waiting:
        below = waiting.pop()
        place = path / below
        with suppress(OSError):
            status = place.stat()
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
        for name in files_in(place):
            number += 1
            if number > MOST_SAMPLES:
                raise RecordingError(f"{path} holds over {MOST_SAMPLES} files; give a part of it")
            yield f"{below}{name}"
        waiting += [f"{below}{name}/" for name in reversed(folders_in(place))]


def sizes_of(root: Path, names: Sequence[str]) -> list[int]:
    """Return the bytes of each file, -1 where there is none."""
    sizes = []
    for name in names:
        size = -1
        with suppress(OSError, ValueError):
            size = os.stat(root / name).st_size  # noqa: PTH116 - Path.stat is the same
        sizes.append(size)
    return sizes


def passed_over(path: Path, names: Sequence[str]) -> tuple[str, ...]:
    """Return what to say of files of no known format."""
    if not names:
        return ()
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return (f"{path}: passed over {len(names)} files of no format that evsim reads: {shown}",)


def _scanned(path: Path) -> os._ScandirIterator[str]:
    try:
        return os.scandir(path)
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}; check the path") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False

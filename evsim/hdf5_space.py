"""HDF5 files that are filled bit by bit: every dataset has its place from the start, its values are written later.

HDF5 itself survives no crash while a file grows: its own tables are half written then. So the tables are written once,
whole, with all places allotted, and appear together; from then on only values change, at offsets that are known, and
any reader finds a sound file at any moment.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from numpy.typing import DTypeLike

from evsim.files import replacing

PAGE = 1 << 16
"""Bytes of a page that is kept in memory; what is never written has none."""


def place(group: Any, name: str, shape: Sequence[int], dtype: DTypeLike) -> Any:
    """Give a dataset its place in the file, without values, and return it.

    Parameters
    ----------
    group
        An open h5py group.
    name, shape, dtype
        Of the dataset, which lies there in one piece.
    """
    import h5py
    import numpy as np

    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    parents, _, leaf = name.rpartition("/")
    home = group.require_group(parents) if parents else group
    space = h5py.h5s.create_simple(tuple(shape))
    kind = h5py.h5t.py_create(np.dtype(dtype))
    return h5py.Dataset(h5py.h5d.create(home.id, leaf.encode(), kind, space, settings))


def reserve(path: str | Path, fill: Callable[[Any], None]) -> None:
    """Write an HDF5 file that appears whole or not at all; values of datasets of `place` are zeros.

    The disk space of all values is taken at once, so that a disk that is too small tells so before the work, not
    after hours of it.

    Parameters
    ----------
    path
        The file.
    fill
        Called with the open h5py.File.

    Raises
    ------
    OutputError
        If the place cannot be written to, or is too small.
    """
    import h5py

    pages = _Pages()
    with h5py.File(pages, "w") as file:  # the oldest layout holds no times, so the same content is the same bytes
        fill(file)
    with replacing(path) as temporary, temporary.open("r+b", buffering=0) as out:
        out.truncate(pages.size)
        if hasattr(os, "posix_fallocate") and pages.size:
            try:
                os.posix_fallocate(out.fileno(), 0, pages.size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):  # a file system without that
                    raise
        for number, page in sorted(pages.pages.items()):
            out.seek(number * PAGE)
            write_all(out, memoryview(page)[: max(0, pages.size - number * PAGE)])
        with suppress(OSError):  # a pipe or a device has nothing to sync
            os.fsync(out.fileno())


def write_all(out: io.RawIOBase, content: bytes | memoryview) -> None:
    """Write all of a content into an unbuffered file; OSError if the disk is full."""
    left = memoryview(content).cast("B")
    while left:
        left = left[out.write(left) or 0 :]


class _Pages(io.RawIOBase):
    """A file in memory that has pages only where something was written."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}
        self.size = 0
        self._at = 0

    def readable(self) -> bool:
        """Return that it is."""
        return True

    def writable(self) -> bool:
        """Return that it is."""
        return True

    def seekable(self) -> bool:
        """Return that it is."""
        return True

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move, and return where to."""
        self._at = offset + (0, self._at, self.size)[whence]
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def truncate(self, size: int | None = None) -> int:
        """Set the size."""
        self.size = self._at if size is None else size
        return self.size

    def write(self, content: Any) -> int:
        """Write at the place, and return how many bytes."""
        source = memoryview(content).cast("B")
        for begin, end, page, inside in self._parts(len(source)):
            kept = self.pages.setdefault(page, bytearray(PAGE))
            kept[inside : inside + end - begin] = source[begin:end]
        self._at += len(source)
        self.size = max(self.size, self._at)
        return len(source)

    def readinto(self, target: Any) -> int:
        """Read at the place, and return how many bytes."""
        sink = memoryview(target).cast("B")
        number = max(0, min(len(sink), self.size - self._at))
        for begin, end, page, inside in self._parts(number):
            kept = self.pages.get(page)
            sink[begin:end] = kept[inside : inside + end - begin] if kept else bytes(end - begin)
        self._at += number
        return number

    def _parts(self, number: int) -> list[tuple[int, int, int, int]]:
        """Return (first, last) of the bytes that lie in one page, the page, and where in it."""
        parts, begin = [], 0
        while begin < number:
            page, inside = divmod(self._at + begin, PAGE)
            end = min(number, begin + PAGE - inside)
            parts.append((begin, end, page, inside))
            begin = end
        return parts

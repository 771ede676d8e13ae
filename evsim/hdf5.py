"""HDF5 files of strangers: the one place where evsim opens them.

libhdf5 crashes or never ends on some damaged files, and follows links to other files. So it runs in a child process
with limits on memory and time (`evsim.hdf5_child`), and what leads out of the file is refused. Arrays that lie in the
file as they are (not compressed) are read from there directly; others come as memory that both processes share.
"""

from __future__ import annotations

import os
import re
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from evsim.child import FAILED, Child
from evsim.errors import EvsimError
from evsim.files import check_input, write_whole
from evsim.schema import printable

MAGIC = b"\x89HDF\r\n\x1a\n"
HARMLESS = 64 << 20
"""Bytes that datasets may claim whatever the file holds of them."""

MOST_COMPRESSED = 1100
"""Deflate, HDF5's own compression, cannot shrink data further than 1032 to 1."""

LARGEST_WHOLE = 256 << 20
"""Bytes, beside four times the file's own, that all that is read as a whole may take."""

CUT = re.compile(r"truncated file: eof = (\d+).*stored_eof = (\d+)")
"""How libhdf5 says that a file has fewer bytes than it should."""

PATIENCE = 30.0
"""Seconds, beside one for every megabyte, after which an answer is no longer waited for."""


Wanted = tuple[tuple[int, ...], np.dtype[Any]]
"""Shape and type of an array."""


@dataclass(frozen=True)
class Member:
    """A group or dataset, as the file describes it.

    Attributes
    ----------
    shape, dtype
        Of a dataset; None for a group. `shape` is None for a dataset of nothing, `dtype` for one that is no array.
    group
        Whether it is a group.
    text
        Whether it is of texts.
    stored
        Bytes that the file holds of it.
    offset
        Where its values lie in the file as they are; None where they are compressed, converted or never written.
    chunk
        Bytes of the blocks that it is compressed in.
    missing
        Number and name of each compression of it that is not installed.
    lists
        Type of the numbers of a dataset whose each element is a list of them, of any length; None for another.
    address
        Where its header lies in the file: members of one address are one thing by several names.
    """

    shape: tuple[int, ...] | None = None
    dtype: np.dtype[Any] | None = None
    group: bool = False
    text: bool = False
    stored: int = 0
    offset: int | None = None
    chunk: int = 0
    missing: tuple[tuple[int, str], ...] = ()
    lists: np.dtype[Any] | None = None
    address: int = 0

    @property
    def claimed(self) -> int:
        """Bytes that it takes in memory."""
        if self.shape is None or self.dtype is None:
            return 0
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


class File:
    """An HDF5 file, open for reading.

    A context manager; without one, what it holds is let go of with the object. Texts from the file may hold lone
    surrogates and control characters.

    Parameters
    ----------
    path
        The file.
    error
        Class of the errors to raise.
    remedy
        What a person can do about a damaged file, e.g. "copy it again".

    Attributes
    ----------
    path
        The file.
    members
        Path within the file, without the first slash, to what it is; links are followed within the file.

    Raises
    ------
    EvsimError
        Of class `error`, if there is no such file, or it cannot be read, is in use, damaged, no HDF5, or leads out of
        itself by external storage, links or virtual datasets.
    """

    def __init__(self, path: str | Path, error: type[EvsimError], remedy: str = "copy it again") -> None:
        self.path, self._error, self._remedy = Path(path), error, remedy
        check_input(self.path, error)
        self._raw = self.path.open("rb", buffering=0)
        self._release = weakref.finalize(self, self._raw.close)
        self._child: Child | None = None
        self._lock = threading.RLock()
        self.size = os.fstat(self._raw.fileno()).st_size
        if not _has_magic(self._raw, self.size):
            self.close()
            raise error(f"{self.path} is no HDF5 file, or cut short; {remedy}")
        try:
            self.members: Mapping[str, Member] = self._start()
        except error:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; nothing can be read any more."""
        self.rest()
        self._release()

    def rest(self) -> None:
        """End the child process; `read` starts it again if need be."""
        if self._child is not None:
            self._child.end()
            self._child = None

    def attributes(self, name: str = "") -> dict[str, Any]:
        """Return numbers, texts and short lists of them that are attributes of a member; "" is the root."""
        found: dict[str, Any] = self._ask({"do": "attributes", "name": name})["attributes"]
        return found

    def text(self, name: str) -> str:
        """Return a dataset of one text."""
        if not self._member(name).text:
            self._damaged(f"{name} is no text")
        return str(self._ask({"do": "text", "name": name})["text"])

    def texts(self, name: str) -> list[str]:
        """Return a dataset of texts, its axes rolled into one; their number follows from the member's shape."""
        return [str(text) for text in self._ask({"do": "texts", "name": name})["texts"]]

    def read(self, name: str, begin: int | None = None, end: int | None = None) -> NDArray[Any]:
        """Return a dataset, or a range along its first axis.

        Raises
        ------
        EvsimError
            If there is none of that name, it is damaged, of no type that NumPy has, or claims more than the file can
            hold.
        """
        member = self._member(name)
        if member.shape is None or member.dtype is None:
            self._damaged(f"{name} holds no numbers")
        self.check_claims([name], whole=False)
        shape, first = member.shape, 0
        if shape and (begin, end) != (None, None):
            span = range(*slice(begin, end).indices(shape[0]))
            shape, first = (len(span), *shape[1:]), span.start
        size = int(np.prod(shape, dtype=object)) * member.dtype.itemsize
        if size > 4 * self.size + LARGEST_WHOLE:
            self._too_large(name, size)
        if member.offset is not None:
            row = member.claimed // member.shape[0] if shape and member.shape[0] else 0
            return self._direct(name, member.offset + first * row, np.empty(shape, member.dtype))
        touched = size + 2 * member.chunk  # whole blocks are unpacked, at both ends of the range
        request = {"do": "read", "name": name, "begin": begin, "end": end, "bytes": touched}
        values: NDArray[Any] = self._ask(request, (shape, member.dtype))
        return values

    def read_list(self, name: str, index: int) -> NDArray[Any]:
        """Return one element of a dataset of lists of numbers, see `Member.lists`; errors as `read`."""
        member = self._member(name)
        if member.lists is None or member.shape is None or len(member.shape) != 1 or not 0 <= index < member.shape[0]:
            self._damaged(f"{name} holds no list {index} of numbers")
        values: NDArray[Any] = self._ask({"do": "list", "name": name, "begin": index}, member.lists)
        return values

    def check_claims(self, names: Iterable[str], *, whole: bool = True) -> None:
        """Refuse datasets that claim more than the file justifies.

        Parameters
        ----------
        names
            Of the datasets.
        whole
            Whether all of them will be in memory at a time.

        Raises
        ------
        EvsimError
            If one claims more than any compression explains, or all together more than four times the file.
        """
        total = 0
        for name in names:
            member = self._member(name)
            total += member.claimed
            most = max(member.claimed, member.chunk)
            if most > max(HARMLESS, MOST_COMPRESSED * member.stored):
                self._too_large(name, most)
            if whole and total > 4 * self.size + LARGEST_WHOLE:
                self._too_large(name, total)

    def _member(self, name: str) -> Member:
        if name not in self.members:
            self._damaged(f"it holds no {name}")
        return self.members[name]

    def _direct(self, name: str, offset: int, values: NDArray[Any]) -> NDArray[Any]:
        """Fill an array from the file itself."""
        left = values.reshape(-1).view(np.uint8).data
        with self._lock:
            self._raw.seek(offset)
            while left:
                number = self._raw.readinto(left)
                if not number:
                    self._damaged(f"{name} is cut short")
                left = left[number:]
        return values

    def _start(self) -> dict[str, Member]:
        self._child = Child(self.path)
        weakref.finalize(self, self._child.end)
        reply = self._reply(self.size)
        members = {}
        for name, facts in reply["members"].items():
            dtype = None if facts.get("dtype") is None else np.lib.format.descr_to_dtype(_tuples(facts["dtype"]))
            shape = None if facts.get("shape") is None else tuple(facts["shape"])
            missing = tuple((code, said) for code, said in facts.get("missing", ()))
            member = Member(
                shape,
                dtype,
                group=facts.get("group", False),
                text=facts.get("text", False),
                stored=facts.get("stored", 0),
                chunk=facts.get("chunk", 0),
                missing=missing,
                lists=None if facts.get("lists") is None else np.dtype(facts["lists"]),
                address=facts["address"],
            )
            offset = facts.get("offset")
            if offset is not None and offset + member.claimed <= self.size:
                member = replace(member, offset=offset)
            members[name] = member
        return members

    def _ask(self, request: dict[str, Any], wanted: Wanted | np.dtype[Any] | None = None) -> Any:
        with self._lock:
            return self._answer(request, wanted)

    def _answer(self, request: dict[str, Any], wanted: Wanted | np.dtype[Any] | None) -> Any:
        if self._child is None:
            self._start()
        assert self._child is not None
        try:
            self._child.send(request)
        except OSError:
            self._broken()
        reply = self._reply(request.get("bytes", self.size))
        if wanted is None:
            return reply
        if isinstance(wanted, np.dtype):  # of any length, as the file says
            wanted = (reply["bytes"] // wanted.itemsize,), wanted
        shape, dtype = wanted
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        if reply["bytes"] != size:
            self._damaged(f"{request['name']} is of another size than it says")
        try:
            body = self._child.body(size, shared=reply["shared"])
        except OSError:
            self._broken()
        if body is None:
            self._broken()
        return np.frombuffer(body, dtype).reshape(shape)

    def _reply(self, size: int) -> dict[str, Any]:
        assert self._child is not None
        try:
            reply = self._child.receive(PATIENCE + size / (1 << 20))
        except TimeoutError:
            self.rest()
            self._damaged("the HDF5 library does not come to an end")
        except OSError:
            reply = None
        if reply is None:
            self._broken()
        if "locked" in reply:
            raise self._error(f"{self.path} is in use by another program; close it, or set HDF5_USE_FILE_LOCKING=FALSE")
        if "lacking" in reply:
            self._lacks(reply["lacking"])
        if "refused" in reply:
            raise self._error(f"{self.path} is refused: {printable(reply['refused'])}")
        if "damaged" in reply:
            self._damaged(reply["damaged"])
        return reply

    def _broken(self) -> NoReturn:
        """Say how the child ended."""
        assert self._child is not None
        code = self._child.end(crashed=True)
        self._child = None
        if -code == getattr(signal, "SIGXCPU", 0):
            self._damaged("the HDF5 library does not come to an end")
        if code == FAILED:
            self._lacks("code 3")
        name = signal.Signals(-code).name if code < 0 else f"code {code}"
        raise self._error(f"{self.path} is damaged: the HDF5 library crashed ({name}); {self._remedy}")

    def _lacks(self, what: str) -> NoReturn:
        raise self._error(
            f"{self.path} cannot be read: its process lacks files or memory ({what}); allow more (ulimit -n)"
        )

    def _damaged(self, what: str) -> NoReturn:
        if cut := CUT.search(what):
            raise self._error(
                f"{self.path} is a damaged HDF5 file: {cut[1]} of its {cut[2]} bytes are there; {self._remedy}"
            )
        raise self._error(f"{self.path} is a damaged HDF5 file ({printable(what)}); {self._remedy}")

    def _too_large(self, name: str, size: int) -> NoReturn:
        raise self._error(f"{self.path}: {printable(name)} claims {size} bytes, more than the file can hold; refused")


def is_hdf5(path: str | Path) -> bool:
    """Whether a file, which must be readable, bears HDF5's signature."""
    with Path(path).open("rb", buffering=0) as file:
        return _has_magic(file, os.fstat(file.fileno()).st_size)


def write(path: str | Path, fill: Callable[[Any], None], libver: str | tuple[str, str] | None = None) -> None:
    """Write an HDF5 file that appears whole or not at all.

    It is made in memory, for libhdf5 crashes where the disk is full.

    Parameters
    ----------
    path
        The file.
    fill
        Called with the open h5py.File.
    libver
        HDF5 releases that can read the file, as h5py takes them.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    """
    import h5py

    buffer = BytesIO()
    with h5py.File(buffer, "w", libver=libver) as file:
        fill(file)
    write_whole(path, buffer.getbuffer())


def _has_magic(file: RawIOBase, size: int) -> bool:
    """Whether a file bears HDF5's signature: at its start, or behind a block of the user's, at 512, 1024, 2048 ..."""
    place = 0
    while place < size:
        file.seek(place)
        if file.read(len(MAGIC)) == MAGIC:
            return True
        place = max(512, 2 * place)
    return False


def _tuples(descr: Any) -> Any:
    """Return NumPy's description of a type as it was before it became JSON."""
    if not isinstance(descr, list):
        return descr
    return [tuple(_tuples(part) if i == 1 else _listed(part) for i, part in enumerate(field)) for field in descr]


def _listed(part: Any) -> Any:
    return tuple(part) if isinstance(part, list) else part

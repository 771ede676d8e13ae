"""Child process of `evsim.hdf5`: here libhdf5 reads a stranger's file, and what breaks it breaks nothing else.

The process is forked from evsim's own, or runs as ``python -P hdf5_child.py SOCKET FILE``. It sends what the file
holds, then answers requests; each message is a length, JSON, and the bytes that the JSON announces. Arrays that are
not small travel as memory that both processes share. Nothing here imports evsim.
"""

from __future__ import annotations

import errno
import importlib
import json
import mmap
import os
import signal
import socket
import struct
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from h5py import h5d, h5l, h5o, h5t, h5z
from numpy.typing import NDArray

MOST_MEMBERS = 100_000
"""Groups and datasets of one file; a state_dict has some hundred, a recording a dozen."""

LONGEST_NAME = 4096
"""Bytes of the path of a member."""

LARGEST_ATTRIBUTE = 1 << 20
"""Bytes of one attribute."""

LARGEST_TEXT = 64 << 20
"""Bytes of a dataset of text."""

ROOM = 320 << 20
"""Bytes of memory beside four times the file's own size: libhdf5's caches, and what small files may hold."""

SECONDS = 1
"""Of computing, beside one for every `BYTES_PER_SECOND` of the file and of what is read."""

BYTES_PER_SECOND = 20 << 20
INLINE = 1 << 16
"""Bytes of an array up to which it travels by the socket."""

PLUGINS_FROM = 256
"""Filters (compressions) of HDF5 from this number on are not its own; `hdf5plugin` has many."""

DAMAGE = (
    OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError, ArithmeticError,
    MemoryError, RecursionError, SystemError, UnicodeError, NotImplementedError, LookupError,
)  # fmt: skip
"""What h5py raises on damaged files."""


class RefusedError(Exception):
    """The file asks for what evsim does in no file."""


class Answer(NamedTuple):
    """Facts, an array, and the file descriptor of its memory if that can be shared."""

    facts: dict[str, Any]
    values: NDArray[Any] | None = None
    handle: int | None = None


class Reader:
    """An open file: what it holds, and answers to requests; errors as h5py raises them, or `RefusedError`.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: str) -> None:
        self._file = h5py.File(path, "r")
        self.members = dict(_members(self._file))

    def answer(self, request: dict[str, Any]) -> Answer:
        """Return facts, and an array if one was asked for."""
        name = request["name"]
        if request["do"] == "attributes":
            return Answer({"attributes": _attributes(self._file[name or "/"])})
        dataset = self._file[name]
        for code, said in _missing(dataset.id.get_create_plist()):
            raise RefusedError(f"it is compressed by {said} (HDF5 filter {code}); to read it: pip install hdf5plugin")
        if request["do"] == "text":
            return Answer({"text": _text(dataset)})
        if request["do"] == "texts":
            return Answer({"texts": _texts(dataset)})
        if request["do"] == "list":
            values = np.ascontiguousarray(dataset[request["begin"]])
            return Answer({"bytes": values.nbytes}, values)
        shape, wanted = dataset.shape, slice(request["begin"], request["end"])
        if shape:
            shape = (len(range(*wanted.indices(shape[0]))), *shape[1:])
        values, handle = _room_for(shape, dataset.dtype)
        if values.size:
            dataset.read_direct(values, wanted if shape else ())
        return Answer({"bytes": values.nbytes}, values, handle)


def serve(connection: socket.socket, path: str, *, limited: bool = True) -> None:
    """Open a file, send what it holds, and answer requests until the other side hangs up.

    Parameters
    ----------
    connection
        To the other side.
    path
        The file.
    limited
        Whether to limit the memory and time of this process, which then must serve nothing else.
    """
    try:
        size = Path(path).stat().st_size
        if limited:
            limit_memory(size)
            _limit_time(size)
        reader = Reader(path)
    except RefusedError as error:
        _send(connection, {"refused": str(error)})
        return
    except BlockingIOError as error:
        _send(connection, {"locked": str(error)})
        return
    except DAMAGE as error:
        lacking = isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
        _send(connection, {"lacking" if lacking else "damaged": _said(error)})
        return
    _send(connection, {"members": reader.members})
    while (request := receive(connection)) is not None:
        if limited:
            _limit_time(request.get("bytes", 0))
        try:
            answer = reader.answer(request)
        except RefusedError as error:
            _send(connection, {"refused": str(error)})
        except DAMAGE as error:
            _send(connection, {"damaged": _said(error)})
        else:
            _send(connection, *answer)


def serve_here(connection: socket.socket, path: str) -> None:
    """Serve in a thread, without limits; whatever the other side does, it ends with the connection."""
    with connection, suppress(OSError):
        serve(connection, path, limited=False)


def receive(connection: socket.socket) -> dict[str, Any] | None:
    """Return the next message, None at the end."""
    head = exactly(connection, 4)
    body = exactly(connection, struct.unpack("<I", head)[0]) if head else b""
    message: dict[str, Any] | None = json.loads(body) if body else None
    return message


def exactly(connection: socket.socket, size: int) -> bytes:
    """Return so many bytes, or none if the other side hung up."""
    parts = bytearray()
    while len(parts) < size:
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            return b""
        parts += part
    return bytes(parts)


def limit_memory(size: int) -> None:
    """Let this process take so much more memory as a file of this size (in bytes) justifies, and leave no core."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - one number of the kernel's
            now = int(file.read().split()[5]) * mmap.PAGESIZE
    except (OSError, ValueError, IndexError):  # not on macOS, which does not heed this limit either
        return
    _lower(resource.RLIMIT_DATA, now + 4 * size + ROOM)


def _limit_time(size: int) -> None:
    try:
        import resource
    except ImportError:
        return
    spent = resource.getrusage(resource.RUSAGE_SELF)
    _lower(resource.RLIMIT_CPU, int(spent.ru_utime + spent.ru_stime) + 1 + SECONDS + size // BYTES_PER_SECOND)


def _lower(which: int, limit: int) -> None:
    """Set a soft limit of this process, within its hard one."""
    import resource

    _, hard = resource.getrlimit(which)
    resource.setrlimit(which, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _send(
    connection: socket.socket, facts: dict[str, Any], values: NDArray[Any] | None = None, handle: int | None = None
) -> None:
    """Send a message, and behind it an array: as bytes, or as a file descriptor of its memory."""
    text = json.dumps(facts | {"shared": handle is not None}).encode()
    connection.sendall(struct.pack("<I", len(text)) + text)
    if handle is not None:
        socket.send_fds(connection, [b"."], [handle])
        os.close(handle)
    elif values is not None:
        connection.sendall(values.tobytes())


def _room_for(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[NDArray[Any], int | None]:
    """Return an empty array; if it is large, in memory that can be shared, with the file descriptor of that."""
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size <= INLINE or not hasattr(socket, "send_fds"):
        return np.empty(shape, dtype), None
    if hasattr(os, "memfd_create"):
        handle = os.memfd_create("evsim")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, size)
    return np.frombuffer(mmap.mmap(handle, size), dtype).reshape(shape), handle


def _members(file: h5py.File) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield path and facts of every group and dataset; links must stay within the file.

    Soft links lead by their path; those that lead nowhere are left out.
    """
    groups: list[tuple[str, Any]] = [("", file.id)]
    seen, count = {h5o.get_info(file.id).addr}, 0
    soft: list[tuple[str, str]] = []
    known: dict[str, dict[str, Any]] = {}
    while groups:
        above, group = groups.pop()
        for raw in group:
            name = f"{above}/{_decoded(raw)}".removeprefix("/")
            count += 1
            if count > MOST_MEMBERS or len(name) > LONGEST_NAME:
                raise RefusedError(f"it holds more than {MOST_MEMBERS} members, or names that never end")
            kind = group.links.get_info(raw).type
            if kind == h5l.TYPE_SOFT:
                soft.append((name, _decoded(group.links.get_val(raw))))
                continue
            if kind != h5l.TYPE_HARD:
                raise RefusedError(f"{name} is a link to another file, which evsim never follows")
            member = h5o.open(group, raw)
            address = h5o.get_info(member).addr
            if isinstance(member, h5py.h5g.GroupID):
                known[name] = {"group": True, "address": address}
                if address not in seen:
                    seen.add(address)
                    groups.append((name, member))
            elif isinstance(member, h5d.DatasetID):
                known[name] = _facts(name, member) | {"address": address}
    yield from sorted(known.items())
    for name, target in soft:
        inside = os.path.normpath("/" + (target if target.startswith("/") else f"{name}/../{target}")).strip("/")
        if inside in known and "group" not in known[inside]:
            yield name, known[inside]


def _facts(name: str, dataset: Any) -> dict[str, Any]:
    """Return shape, type and place of a dataset; refuse one that lies in other files."""
    settings = dataset.get_create_plist()
    if settings.get_external_count():
        raise RefusedError(f"{name} lies in another file (external storage), which evsim never reads")
    layout = settings.get_layout()
    if layout == h5d.VIRTUAL:
        raise RefusedError(f"{name} is a virtual dataset, made of other files, which evsim never reads")
    facts: dict[str, Any] = {"shape": dataset.shape, "dtype": None, "stored": dataset.get_storage_size()}
    try:
        dtype = dataset.dtype
        described = _described(dtype)
    except DAMAGE:  # a type that NumPy does not know
        return facts
    if dataset.shape is None or dtype.hasobject or dtype.subdtype:
        facts["text"] = h5py.check_string_dtype(dtype) is not None and dataset.shape is not None
        inner = h5py.check_vlen_dtype(dtype)
        if isinstance(inner, np.dtype) and inner.kind in "iuf":
            facts |= {"lists": inner.str, "missing": list(_missing(settings)) if layout == h5d.CHUNKED else []}
        return facts
    facts |= {"dtype": described, "text": dtype.kind == "S"}
    if layout == h5d.CHUNKED:
        facts["chunk"] = int(np.prod(settings.get_chunk(), dtype=object)) * dtype.itemsize
        facts["missing"] = list(_missing(settings))
    elif layout == h5d.CONTIGUOUS and dtype.kind in "fiu" and dataset.get_type() == h5t.py_create(dtype):
        facts["offset"] = dataset.get_offset()
    return facts


def _described(dtype: np.dtype[Any]) -> Any:
    """Return NumPy's description of a type as JSON has it, without names of numbers; ValueError if it has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that the names of numbers are left out
        described = np.lib.format.dtype_to_descr(dtype)
    if np.lib.format.descr_to_dtype(described) != dtype:
        raise ValueError(dtype)
    return described


def _attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes that are numbers, texts or short lists of them; others are left out."""
    found: dict[str, Any] = {}
    for name in holder.attrs:
        attribute = holder.attrs.get_id(name)
        try:
            shape, dtype = attribute.shape, attribute.dtype
        except TypeError:  # a type that NumPy does not know
            continue
        text = h5py.check_string_dtype(dtype) is not None
        if shape is None or not (text or dtype.kind in "iufb"):
            continue
        if int(np.prod(shape, dtype=object)) * dtype.itemsize > LARGEST_ATTRIBUTE:
            raise RefusedError(f"its attribute {name} is of more than {LARGEST_ATTRIBUTE} bytes")
        found[name] = _plain(holder.attrs[name]) if text else np.asarray(holder.attrs[name]).tolist()
    return found


def _text(dataset: Any) -> str:
    """Return a dataset of one text."""
    if dataset.shape not in ((), (1,)) or dataset.dtype.itemsize > LARGEST_TEXT:
        raise RefusedError(f"{dataset.name} is not one text")
    value = dataset[()] if dataset.shape == () else dataset[0]
    return _decoded(value)


def _texts(dataset: Any) -> list[str]:
    """Return a dataset of texts, row by row."""
    if h5py.check_string_dtype(dataset.dtype) is None:
        raise RefusedError(f"{dataset.name} holds no texts")
    number = int(np.prod(dataset.shape, dtype=object))
    if number > 2 * MOST_MEMBERS or number * dataset.dtype.itemsize > LARGEST_TEXT:
        raise RefusedError(f"{dataset.name} holds more than {2 * MOST_MEMBERS} texts, or longer ones than any name")
    texts = [_decoded(value) for value in np.asarray(dataset[()]).ravel()]
    if sum(map(len, texts)) > LARGEST_TEXT:
        raise RefusedError(f"{dataset.name} holds texts of more than {LARGEST_TEXT} letters")
    return texts


def _missing(settings: Any) -> Iterator[tuple[int, str]]:
    """Yield number and name of each filter (compression) of a dataset that libhdf5 lacks."""
    for place in range(settings.get_nfilters()):
        code, _, _, name = settings.get_filter(place)
        if h5z.filter_avail(code):
            continue
        if code >= PLUGINS_FROM:
            with suppress(ImportError):
                importlib.import_module("hdf5plugin")
        if not h5z.filter_avail(code):
            yield code, _decoded(name).strip() or "an unknown codec"


def _decoded(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _plain(value: Any) -> Any:
    """Return bytes, arrays of texts and NumPy's numbers as JSON has them."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.ravel()]
    if isinstance(value, bytes):
        return _decoded(value)
    return value.item() if isinstance(value, np.generic) else value


def _said(error: BaseException) -> str:
    """Return what an error says, in one line of sensible length."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def main(handle: int, path: str) -> None:
    """Serve on a socket that is open already; an interrupt is the parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=handle) as connection:
        serve(connection, path)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

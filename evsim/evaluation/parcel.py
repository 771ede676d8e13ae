"""A simulator on its way to other processes: weights folded and packed once, and read by all from the same memory.

A parcel is two parts: the objects, pickled, and all arrays behind each other, each on a cache line. Where the second part
lies in shared memory, no process has a copy of it. Parcels go from this program to processes that it started, or to a
Dask cluster that a person named; never are they read from files.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.engine import Simulator
from evsim.errors import NetworkError
from evsim.kernels.threads import CACHE_LINE, Workers, aligned
from evsim.network import Network, Origin
from evsim.origin import network_digest


@dataclass(frozen=True)
class Parcel:
    """A packed simulator.

    Attributes
    ----------
    objects
        Pickled, without the arrays.
    spans
        Where each array lies: (first byte, bytes).
    arrays
        The arrays, in pieces.
    """

    objects: bytes
    spans: tuple[tuple[int, int], ...]
    arrays: tuple[memoryview, ...]

    @property
    def size(self) -> int:
        """Bytes that the arrays take."""
        return _up(sum(self.spans[-1])) if self.spans else 0

    def joined(self) -> bytes:
        """Return the arrays as one piece, for a network that takes bytes."""
        whole = bytearray(self.size)
        for (begin, number), part in zip(self.spans, self.arrays, strict=True):
            whole[begin : begin + number] = part
        return bytes(whole)


def pack(simulator: Simulator) -> Parcel:
    """Return a simulator as a parcel; its network's own weights stay behind where a file has them."""
    buffers: list[pickle.PickleBuffer] = []
    stream = io.BytesIO()
    _Pickler(stream, simulator.network, buffers).dump(simulator)
    parts = tuple(buffer.raw() for buffer in buffers)
    spans, at = [], 0
    for part in parts:
        spans.append((at, part.nbytes))
        at = _up(at + part.nbytes)
    return Parcel(stream.getvalue(), tuple(spans), parts)


def unpack(objects: bytes, spans: tuple[tuple[int, int], ...], arrays: memoryview) -> Simulator:
    """Return the simulator of a parcel.

    Parameters
    ----------
    objects, spans
        As `Parcel` has them.
    arrays
        One piece of memory, read-only if it is shared; the simulator reads its weights from there.
    """
    buffers = [arrays[begin : begin + number] for begin, number in spans]
    unpickler = _Unpickler(io.BytesIO(objects), buffers=buffers)
    simulator: Simulator = unpickler.load()
    return simulator


def on_lines(content: bytes) -> memoryview:
    """Return a copy of arrays in one piece that begins on a cache line, read-only."""
    memory = aligned((max(1, len(content)),), np.uint8)
    memory[: len(content)] = np.frombuffer(content, np.uint8)
    memory.flags.writeable = False
    return memory.data


class _Pickler(pickle.Pickler):
    """Leaves behind what does not travel: threads, and weights that the other side can read for itself."""

    def __init__(self, stream: io.BytesIO, network: Network, buffers: list[pickle.PickleBuffer]) -> None:
        super().__init__(stream, protocol=5, buffer_callback=buffers.append)
        self._weights, self._file = network.weights, network.file
        self._digest = network_digest(network) if network.file else ""

    def persistent_id(self, obj: object) -> object:
        """Return what stands for an object that does not travel; None for one that does."""
        if isinstance(obj, Workers):
            return ("workers", obj.threads)
        if obj is self._weights and self._file is not None:
            return ("weights", self._file, self._digest)
        return None


class _Unpickler(pickle.Unpickler):
    def persistent_load(self, pid: Any) -> object:
        """Return what stands in the place of an object that did not travel."""
        match pid:
            case ("workers", threads):
                return Workers(threads)
            case ("weights", file, digest):
                return Again(file, digest)
        raise pickle.UnpicklingError(f"{pid!r} stands for nothing")


class Again(Mapping[str, NDArray[np.floating]]):
    """The weights of a network, read again from its file if anybody asks: packed as they are, hardly anybody does.

    Parameters
    ----------
    file
        Where they lie.
    digest
        Of the network that they belong to.
    """

    def __init__(self, file: Origin, digest: str) -> None:
        self._file, self._digest = file, digest
        self._weights: Mapping[str, NDArray[np.floating]] | None = None

    def __getitem__(self, key: str) -> NDArray[np.floating]:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _read(self) -> Mapping[str, NDArray[np.floating]]:
        if self._weights is None:
            from evsim.api import load

            network = load(self._file.path, allow_memory=self._file.allow_memory)
            if network_digest(network) != self._digest:
                raise NetworkError(f"{self._file.path} is not the model that was packed; give `workers=1`")
            self._weights = network.weights
        return self._weights


def _up(size: int) -> int:
    return -(-size // CACHE_LINE) * CACHE_LINE

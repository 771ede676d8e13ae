"""A simulator on its way to other processes: weights folded and packed once, and read by all from the same memory.

A parcel is two parts: the objects, pickled, and their arrays behind each other, each on a cache line: packed weights,
whatever a layer calls them, are nearly all of these. Where the second part lies in shared memory, no process has a copy
of it, but of the pages that it writes to. Parcels go from this program to processes that it started, or to a Dask
cluster that a person named; never are they read from files.
"""

from __future__ import annotations

import io
import itertools
import math
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from evsim.engine import Simulator
from evsim.errors import NetworkError
from evsim.kernels.threads import CACHE_LINE, Workers, aligned
from evsim.network import Network, Origin
from evsim.origin import network_digest
from evsim.quantized import IntegerLayer

T = TypeVar("T")

LEAST = 4096
"""Bytes of an array, a page of memory, from which on it lies beside the objects; a smaller one is pickled with them."""


@dataclass(frozen=True)
class Parcel:
    """A packed simulator.

    Attributes
    ----------
    objects
        Pickled, without the arrays.
    arrays
        All that are not small, packed weights above all.
    """

    objects: bytes
    arrays: tuple[NDArray[np.generic], ...]

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each array begins in one piece of memory."""
        ends = itertools.accumulate((_up(array.nbytes) for array in self.arrays), initial=0)
        return tuple(ends)[:-1]

    @property
    def size(self) -> int:
        """Bytes of that piece."""
        return sum(_up(array.nbytes) for array in self.arrays)

    def joined(self) -> bytes:
        """Return the arrays as one piece, for a network that takes bytes."""
        return b"".join(bytes(array.data) + bytes(_up(array.nbytes) - array.nbytes) for array in self.arrays)


def pack(simulator: Simulator) -> Parcel:
    """Return a simulator as a parcel; its network's own weights stay behind where a file has them."""
    stream = io.BytesIO()
    pickler = _Pickler(stream, simulator)
    pickler.dump(simulator)
    return Parcel(stream.getvalue(), tuple(pickler.arrays))


def unpack(objects: bytes, arrays: memoryview) -> Simulator:
    """Return the simulator of a parcel.

    Parameters
    ----------
    objects
        As `Parcel` has them.
    arrays
        One piece of memory, which begins on a cache line, and can be written without anybody else seeing it: packed
        weights are read from there, and never written, potentials are.
    """
    simulator: Simulator = _Unpickler(io.BytesIO(objects), arrays).load()
    return simulator


def on_lines(content: bytes) -> memoryview:
    """Return a copy of arrays in one piece that begins on a cache line."""
    memory = aligned((max(1, len(content)),), np.uint8)
    memory[: len(content)] = np.frombuffer(content, np.uint8)
    return memory.data


class _Pickler(pickle.Pickler):
    """Leaves behind what does not travel: threads, arrays, and weights that the other side can read itself."""

    def __init__(self, stream: io.BytesIO, simulator: Simulator) -> None:
        super().__init__(stream, protocol=5)
        network = simulator.network
        self._weights, self._file = network.weights, network.file
        self._integers = network.quantization.layers if network.quantization else None
        self._digest = network_digest(network) if network.file else ""
        self._starts: dict[int, int] = {}
        self._end = 0
        self.arrays: list[NDArray[np.generic]] = []

    def persistent_id(self, obj: object) -> object:
        """Return what stands for an object that does not travel; None for one that does."""
        if isinstance(obj, Workers):
            return ("workers", obj.threads)
        if obj is self._weights and self._file is not None:
            return ("weights", self._file, self._digest)
        if obj is self._integers is not None and self._file is not None:  # None is in many places
            return ("integers", self._file, self._digest)
        if isinstance(obj, np.ndarray) and obj.nbytes >= LEAST and obj.flags.c_contiguous and obj.dtype.kind in "biuf":
            if id(obj) not in self._starts:
                self._starts[id(obj)] = self._end
                self._end += _up(obj.nbytes)
                self.arrays.append(obj)
            return ("array", self._starts[id(obj)], obj.shape, obj.dtype.str)
        return None


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: io.BytesIO, memory: memoryview) -> None:
        super().__init__(stream)
        self._memory = memory

    def persistent_load(self, pid: Any) -> object:
        """Return what stands in the place of an object that did not travel."""
        match pid:
            case ("workers", threads):
                return Workers(threads)
            case ("weights", file, digest):
                return Again(file, digest)
            case ("integers", file, digest):
                return IntegersAgain(file, digest)
            case ("array", start, shape, dtype):
                number = math.prod(shape)
                return np.frombuffer(self._memory, np.dtype(dtype), number, start).reshape(shape)
        raise pickle.UnpicklingError(f"{pid!r} stands for nothing")


class _Reread(Mapping[str, T]):
    """Arrays of a network, read again from its file if anybody asks: packed as they are, hardly anybody does.

    Parameters
    ----------
    file
        Where they lie.
    digest
        Of the network that they belong to.
    """

    def __init__(self, file: Origin, digest: str) -> None:
        self._file, self._digest = file, digest
        self._arrays: Mapping[str, T] | None = None

    def __getitem__(self, key: str) -> T:
        return self._read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def _of(self, network: Network) -> Mapping[str, T]:
        """Return the arrays of a network that are meant."""
        raise NotImplementedError

    def _read(self) -> Mapping[str, T]:
        if self._arrays is None:
            from evsim.api import load

            network = load(self._file.path, allow_memory=self._file.allow_memory)
            if network_digest(network) != self._digest:
                raise NetworkError(f"{self._file.path} is not the model that was packed; give `workers=1`")
            self._arrays = self._of(network)
        return self._arrays


class Again(_Reread[NDArray[np.floating]]):
    """The weights of a network."""

    def _of(self, network: Network) -> Mapping[str, NDArray[np.floating]]:
        return network.weights


class IntegersAgain(_Reread[IntegerLayer]):
    """The integers of a network."""

    def _of(self, network: Network) -> Mapping[str, IntegerLayer]:
        assert network.quantization is not None
        return network.quantization.layers


def _up(size: int) -> int:
    return -(-size // CACHE_LINE) * CACHE_LINE

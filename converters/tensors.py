"""A tensor of a checkpoint, of whatever file: its shape and type at once, its values when they are asked for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evsim.errors import CheckpointError

NUMPY = {
    "float64": "<f8",
    "float32": "<f4",
    "float16": "<f2",
    "bfloat16": "<u2",
    "int64": "<i8",
    "int32": "<i4",
    "int16": "<i2",
    "int8": "i1",
    "uint64": "<u8",
    "uint32": "<u4",
    "uint16": "<u2",
    "uint8": "u1",
    "bool": "?",
}
"""Types of number that are read, and how NumPy holds them; bfloat16, which it lacks, is the upper half of a float32."""

MOST_AXES = 16
LARGEST_AXIS = 1 << 48


class Bytes(Protocol):
    """Something that holds the values of tensors: a member of an archive, a part of a file or of a pickle."""

    @property
    def whole(self) -> bool:
        """Whether all is read where a part is asked for."""
        ...

    def size(self) -> int:
        """Return how many bytes there are."""
        ...

    def read(self, start: int, stop: int) -> bytes | memoryview:
        """Return the bytes from `start` to `stop`."""
        ...


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor on demand.

    Attributes
    ----------
    path
        The file, for messages.
    dtype
        Its type of number as PyTorch or NumPy name it; those that are not in `NUMPY` cannot be read, only named.
    shape
        Its axes.
    strides, offset
        Where its values lie, in elements of its storage.
    storage
        The bytes; None where there are none.
    name
        The storage, for messages.
    big_endian
        Whether the bytes of a number are in the other order.
    dense
        Whether `shape` is known: it is not of sparse tensors and the like.
    """

    path: Path
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...] = ()
    offset: int = 0
    storage: Bytes | None = None
    name: str = ""
    big_endian: bool = False
    dense: bool = True

    @property
    def extent(self) -> int:
        """Bytes of the storage from its first to its last value."""
        if self.dtype not in NUMPY or 0 in self.shape:
            return 0
        reach = sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        return (reach + 1) * np.dtype(NUMPY[self.dtype]).itemsize

    @property
    def known(self) -> bool:
        """Whether its type is one that is read."""
        return self.dtype in NUMPY

    @property
    def cost(self) -> int:
        """Bytes that reading it takes: of an array in a pickle all that stand there."""
        within = self.storage is not None and self.storage.whole and self.known
        return max(self.extent, self.storage.size()) if within and self.storage is not None else self.extent

    def refusal(self, key: str) -> CheckpointError:
        """Return the error that says of which type it is."""
        return CheckpointError(
            f"{self.path}: {key} holds {self.dtype}, not real numbers that evsim reads; save it as float32"
        )

    def read(self, key: str) -> NDArray[np.generic]:
        """Return the values.

        Raises
        ------
        CheckpointError
            If no layer can take this type of number, or the storage is shorter than the tensor says.
        """
        if self.dtype not in NUMPY or self.storage is None:
            raise self.refusal(key)
        kind = np.dtype(NUMPY[self.dtype])
        if self.big_endian:
            kind = kind.newbyteorder(">")
        if 0 in self.shape:
            return np.empty(self.shape, kind)
        held, start = self.storage.size(), self.offset * kind.itemsize
        if start + self.extent > held or math.prod(self.shape) * kind.itemsize > held:
            raise CheckpointError(
                f"{self.path}: {key}, a tensor of shape {list(self.shape)}, does not fit its storage of "
                f"{held // kind.itemsize} values"
            )
        stored = np.frombuffer(self.storage.read(start, start + self.extent), kind)
        steps = tuple(
            step * kind.itemsize if size > 1 else 0 for size, step in zip(self.shape, self.strides, strict=True)
        )
        values = np.lib.stride_tricks.as_strided(stored, self.shape, steps, writeable=False)
        if self.dtype == "bfloat16":
            return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return np.array(values, kind.newbyteorder("="))


def contiguous(shape: tuple[int, ...], *, fortran: bool = False) -> tuple[int, ...]:
    """Return the strides, in elements, of values that lie one after the other."""
    order = range(len(shape)) if fortran else reversed(range(len(shape)))
    steps, step = [0] * len(shape), 1
    for axis in order:
        steps[axis], step = step, step * shape[axis]
    return tuple(steps)


def check_shape(path: Path, shape: object, strides: object = (), offset: object = 0) -> None:
    """Refuse a shape that no tensor has, strides that do not belong to it, or an offset before its storage."""
    whole: Callable[[object], bool] = lambda n: type(n) is int and 0 <= n <= LARGEST_AXIS  # noqa: E731
    sound = isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) <= MOST_AXES
    if not sound or not whole(offset) or not all(map(whole, (*shape, *strides))):  # type: ignore[misc]
        raise CheckpointError(f"{path}: a tensor has an impossible shape; copy the file again")


def dtype_of_numpy(kind: np.dtype[np.generic]) -> str:
    """Return how messages name a type of NumPy's."""
    return {"S": "text", "U": "text", "O": "objects", "V": "a compound type"}.get(kind.kind, kind.name)

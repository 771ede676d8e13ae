"""Reads PyTorch's zip files without torch, and without running anything that the file asks for.

A pickle is a program: it may name any function and have it called. The unpickler here knows a fixed list of names
(tensors, their storages, containers); every other name becomes an inert stand-in that keeps what it was given, and
names of functions outside that list are refused outright when the file tries to call them.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import CheckpointError

STORAGES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
"""PyTorch's storage classes and the NumPy types that they hold."""

HARMLESS_BUILTINS = {"set": set, "frozenset": frozenset, "complex": complex, "slice": slice, "bytearray": bytearray}
LARGEST_PICKLE = 64 << 20
"""Bytes of pickle (not of weights) beyond which a file is no checkpoint."""


@dataclass
class LazyTensor:
    """A tensor of a zip file, read on demand: shape, strides and offset in elements of its storage."""

    archive: Path
    member: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> NDArray[np.generic]:
        """Return the tensor's values.

        Raises
        ------
        CheckpointError
            If the storage is shorter than the tensor says.
        """
        with zipfile.ZipFile(self.archive) as archive:
            try:
                raw = archive.read(self.member)
            except (KeyError, zipfile.BadZipFile, EOFError) as error:
                raise CheckpointError(
                    f"{self.archive}: the weights {self.member} are missing or damaged; copy the file again"
                ) from error
        stored = np.frombuffer(raw, "<u2" if self.dtype == "bfloat16" else self.dtype)
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        if 0 in self.shape:
            return np.empty(self.shape, stored.dtype)
        if self.offset < 0 or min(self.strides, default=0) < 0 or last >= len(stored):
            raise CheckpointError(
                f"{self.archive}: a tensor of shape {list(self.shape)} does not fit its storage of {len(stored)} values"
            )
        steps = tuple(step * stored.itemsize for step in self.strides)
        values = np.lib.stride_tricks.as_strided(stored[self.offset :], self.shape, steps, writeable=False)
        if self.dtype == "bfloat16":  # the upper half of a float32
            return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return np.array(values)


class Inert:
    """Stand-in for a class that is not on the list: takes whatever the pickle gives it and does nothing."""

    origin = "unknown"

    def __init__(self, *args: object, **_: object) -> None:
        self.args = args
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def __setitem__(self, key: object, value: object) -> None:
        """Swallow items of unknown mappings."""

    def append(self, value: object) -> None:
        """Swallow items of unknown lists."""

    def extend(self, values: object) -> None:
        """Swallow items of unknown lists."""


def read_zip(path: Path) -> object:
    """Return the object in a PyTorch zip file, its tensors as `LazyTensor`.

    Raises
    ------
    CheckpointError
        If the file is damaged, or asks for a call that no checkpoint needs.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name for name in archive.namelist() if name.split("/")[-1] == "data.pkl"]
            if len(names) != 1:
                raise CheckpointError(f"{path} is a zip file but no PyTorch checkpoint (it has no data.pkl)")
            if archive.getinfo(names[0]).file_size > LARGEST_PICKLE:
                raise CheckpointError(
                    f"{path}: its pickle claims over {LARGEST_PICKLE >> 20} MB; this is no checkpoint"
                )
            root = names[0].removesuffix("data.pkl")
            order = root + "byteorder"
            if order in archive.namelist() and archive.read(order).strip() != b"little":
                raise CheckpointError(f"{path} was saved on a big-endian machine; load and save it again in PyTorch")
            data = archive.read(names[0])
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise CheckpointError(f"{path} is a damaged zip file ({error}); copy it again") from error
    reader = _Reader(io.BytesIO(data), path, root)
    try:
        return reader.load()
    except CheckpointError:
        raise
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError,
        OverflowError, MemoryError, RecursionError, UnicodeDecodeError,
    ) as error:  # fmt: skip
        raise CheckpointError(
            f"{path}: its pickle is damaged ({type(error).__name__}: {error}); copy it again"
        ) from error


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, path: Path, root: str) -> None:
        super().__init__(file, encoding="utf-8")
        self.path, self.root = path, root

    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("torch._tensor", "_rebuild_from_type_v2"): lambda function, _type, args, _state: function(*args),
            ("torch", "Size"): tuple,
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if module == "builtins" and name in HARMLESS_BUILTINS:
            return HARMLESS_BUILTINS[name]
        # a class by its name; a function (lower case) would be called, and no checkpoint needs that
        looks_like_class = name.rsplit(".", maxsplit=1)[-1][:1].isupper() or module.startswith("torch")
        if not looks_like_class and (module, name) not in INERT_FUNCTIONS:
            raise CheckpointError(
                f"{self.path} asks to run {module}.{name}: refused, it may be malicious; save its state_dict alone"
            )
        return type(name, (Inert,), {"origin": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        kind, storage, key, *_ = pid
        if kind != "storage" or not isinstance(storage, str) or not isinstance(key, str):
            raise CheckpointError(f"{self.path} refers to {pid!r}, which is no tensor storage that evsim knows")
        return storage, f"{self.root}data/{key}"

    def _tensor(self, storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Any:
        dtype, member = storage
        return LazyTensor(self.path, member, dtype, int(offset), tuple(shape), tuple(strides))


INERT_FUNCTIONS = {
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("_codecs", "encode"),
    ("copyreg", "_reconstructor"),
    ("builtins", "object"),
}
"""Functions that honest checkpoints name beside their weights (NumPy scalars among metrics): never called either."""

"""Reads PyTorch's zip files without torch, and without running anything that the file asks for.

A pickle is a program: it may name any function and have it called. The unpickler here knows a fixed list of names
(tensors, their storages, containers); any other class becomes an inert stand-in that keeps what it was given and does
nothing, and a file that names a function, or anything of the modules that run things, is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import struct
import zipfile
import zlib
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

HARMLESS_BUILTINS = {"set": set, "frozenset": frozenset, "complex": complex, "slice": slice}
RUNNING_MODULES = frozenset(
    """
    _io _posixsubprocess asyncio bdb builtins cProfile code codeop commands ctypes distutils doctest functools http
    importlib io marshal multiprocessing nt numba operator os pdb pickle pip pkgutil posix profile pty runpy shutil
    site smtplib socket ssl subprocess sys tempfile threading timeit trace types urllib webbrowser
    """.split()  # noqa: SIM905 - one name per line would fill the screen
)
"""Modules whose functions and classes run programs, write files or open connections: no checkpoint names them."""

PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Protocol 2, which PyTorch writes, uses Python 2's names."""

TORCH_MODULES = ("_utils", "_tensor", "storage", "serialization")
"""Modules of torch whose functions rebuild tensors."""

TORCH_VALUES = ("float", "bfloat", "int", "uint", "bool", "complex", "half", "double", "device", "strided", "sparse")
"""How the names of dtypes, devices and layouts begin that torch spells in lower case."""

LARGEST_PICKLE = 64 << 20
"""Bytes of pickle (not of weights) beyond which a file is no checkpoint."""

DAMAGE = (
    pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, TypeError,
    KeyError, IndexError, AttributeError, OverflowError, MemoryError, RecursionError, RuntimeError,
)  # fmt: skip
"""What the standard library raises on a damaged zip file or pickle."""


@dataclass
class LazyTensor:
    """A tensor of a zip file, read on demand: shape, strides and offset in elements of its storage."""

    archive: Path
    member: str
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __setstate__(self, state: object) -> None:
        raise TypeError("a pickle may not alter a tensor")  # such as which file it reads

    def read(self) -> NDArray[np.generic]:
        """Return the tensor's values.

        Raises
        ------
        CheckpointError
            If the storage is shorter than the tensor says.
        """
        try:
            with zipfile.ZipFile(self.archive) as archive:
                raw = archive.read(self.member)
            stored = np.frombuffer(raw, "<u2" if self.dtype == "bfloat16" else self.dtype)
        except DAMAGE as error:
            raise CheckpointError(
                f"{self.archive}: the weights {self.member} are missing or damaged; copy the file again"
            ) from error
        if 0 in self.shape:
            return np.empty(self.shape, stored.dtype)
        last = self.offset + sum((size - 1) * step for size, step in zip(self.shape, self.strides, strict=True))
        if last >= len(stored) or math.prod(self.shape) > len(stored):
            raise CheckpointError(
                f"{self.archive}: a tensor of shape {list(self.shape)} does not fit its storage of {len(stored)} values"
            )
        steps = tuple(
            step * stored.itemsize if size > 1 else 0 for size, step in zip(self.shape, self.strides, strict=True)
        )
        values = np.lib.stride_tricks.as_strided(stored[self.offset :], self.shape, steps, writeable=False)
        if self.dtype == "bfloat16":  # the upper half of a float32
            return (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return np.array(values)


class Inert:
    """Stand-in for a class that is not on the list: takes whatever the pickle gives it and does nothing."""

    origin = "unknown"
    state: object = None

    def __init__(self, *_: object, **__: object) -> None:
        """Take whatever the pickle gives."""

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
            data, root = _pickle_in(archive, path)
        _check_sizes(data, path)
        return _Reader(io.BytesIO(data), path, root).load()
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise CheckpointError(f"{path} is damaged ({type(error).__name__}: {error}); copy it again") from error


def _pickle_in(archive: zipfile.ZipFile, path: Path) -> tuple[bytes, str]:
    """Return the pickle, and the folder within the archive where it lies."""
    names = [name for name in archive.namelist() if name.split("/")[-1] == "data.pkl"]
    if len(names) != 1:
        raise CheckpointError(f"{path} is a zip file but no PyTorch checkpoint (it has no data.pkl)")
    if archive.getinfo(names[0]).file_size > LARGEST_PICKLE:
        raise CheckpointError(f"{path}: its pickle claims over {LARGEST_PICKLE >> 20} MB; this is no checkpoint")
    root = names[0].removesuffix("data.pkl")
    order = root + "byteorder"
    if order in archive.namelist() and archive.read(order).strip() != b"little":
        raise CheckpointError(f"{path} was saved on a big-endian machine; load and save it again in PyTorch")
    return archive.read(names[0]), root


def _check_sizes(data: bytes, path: Path) -> None:
    """Walk over the opcodes, which checks every length against what is there, and refuse a memo beyond the pickle.

    The unpickler itself makes room for any length and any memo index that a few bytes claim.
    """
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and int(argument or 0) > len(data):
            raise CheckpointError(f"{path} is damaged (its pickle remembers an object {argument}); copy it again")


class _Reader(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, path: Path, root: str) -> None:
        super().__init__(file, encoding="utf-8")
        self.path, self.root = path, root

    def find_class(self, module: str, name: str) -> Any:
        module = PYTHON_2.get(module, module)
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
        if not _harmless(module, name):
            raise CheckpointError(
                f"{self.path} asks to run {module}.{name}: refused, it may be malicious; save its state_dict alone"
            )
        return type("Inert", (Inert,), {"origin": f"{module}.{name}"})

    def persistent_load(self, pid: Any) -> tuple[str, str]:
        kind, storage, key, *_ = pid
        if kind != "storage" or storage not in STORAGES.values() or not isinstance(key, str):
            raise CheckpointError(f"{self.path} refers to {pid!r}, which is no tensor storage that evsim knows")
        return storage, f"{self.root}data/{key}"

    def _tensor(self, storage: Any, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> Any:
        dtype, member = storage
        if not all(type(n) is int and n >= 0 for n in (offset, *shape, *strides)) or len(shape) != len(strides):
            raise CheckpointError(f"{self.path}: a tensor has the impossible shape {shape}; copy the file again")
        return LazyTensor(self.path, member, dtype, offset, tuple(shape), tuple(strides))


def _harmless(module: str, name: str) -> bool:
    """Whether a name may get a stand-in: a class by its spelling, or something that honest checkpoints name."""
    if (module, name) in INERT_NAMES:
        return True
    root, _, rest = module.partition(".")
    if root in RUNNING_MODULES:
        return False
    is_class = name.rsplit(".", maxsplit=1)[-1].lstrip("_")[:1].isupper()
    if root == "numpy":
        return is_class or name.startswith("_")  # what its own arrays and generators are rebuilt by
    if root == "torch":
        return is_class or rest in TORCH_MODULES or (not rest and name.startswith(TORCH_VALUES))
    return is_class


INERT_NAMES = {
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("_codecs", "encode"),
    ("copyreg", "_reconstructor"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("datetime", "datetime"),
    ("datetime", "date"),
    ("datetime", "timedelta"),
    ("builtins", "object"),
    ("builtins", "bytearray"),
    ("builtins", "range"),
    ("types", "SimpleNamespace"),
}
"""What honest checkpoints name beside their weights, such as NumPy scalars among metrics: never called either."""

"""What the names in a checkpoint's pickle stand for: tensors, arrays, containers; all others are inert, or refused."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evsim.converters.archive import Archive
from evsim.converters.tensors import Tensor, check_shape, contiguous, dtype_of_numpy
from evsim.converters.unpickle import DamagedError
from evsim.converters.values import LongText, Name, Opaque, kind_of, shown
from evsim.errors import CheckpointError

STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "QInt8Storage": "quantized qint8",
    "QUInt8Storage": "quantized quint8",
    "QInt32Storage": "quantized qint32",
    "QUInt4x2Storage": "quantized quint4x2",
    "QUInt2x4Storage": "quantized quint2x4",
    "UntypedStorage": "bytes without a type",
}
"""PyTorch's storage classes, and how the types of number that they hold are named."""

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

TORCH_VALUES = (
    "float", "bfloat", "int", "uint", "bool", "complex", "half", "double", "device", "strided", "sparse", "q", "per_",
    "bits", "preserve_format", "contiguous_format", "channels_last",
)  # fmt: skip
"""How the names of dtypes, devices and layouts begin that torch spells in lower case."""

INERT_NAMES = {
    ("_codecs", "encode"),
    ("copyreg", "_reconstructor"),
    ("collections", "defaultdict"),
    ("collections", "deque"),
    ("datetime", "datetime"),
    ("datetime", "date"),
    ("datetime", "timedelta"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    *(("builtins", name) for name in ("object", "bytearray", "range", "set", "frozenset", "complex", "slice")),
    *(("builtins", name) for name in ("dict", "list", "tuple", "int", "float", "str", "bytes", "bool")),
    ("types", "SimpleNamespace"),
}
"""What honest checkpoints name beside their weights: none of these is ever called."""

FUNCTIONS_OF_TORCH = {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_tensor_v3", "_rebuild_qtensor"}
LONGEST_SCALAR = 64
DEEPEST_TYPE = 4


@dataclass(frozen=True, eq=False)
class Storage:
    """A storage that a persistent id names: its type and the member of the archive that holds it."""

    dtype: str
    member: str


@dataclass(frozen=True)
class _InArchive:
    archive: Archive
    member: str
    whole: bool = False

    def size(self) -> int:
        return self.archive.size(self.member)

    def read(self, start: int, stop: int) -> bytes:
        return self.archive.read(self.member, start, stop)


LONGEST_KEY = 256
"""Bytes that are decoded at once."""


class Encoded:
    """Bytes that protocol 2 writes as a text of Latin letters; decoded when they are asked for."""

    __slots__ = ("text",)

    def __init__(self, text: str | LongText) -> None:
        self.text = text

    def __len__(self) -> int:
        """Return the number of bytes, which is that of letters."""
        if isinstance(self.text, str):
            return len(self.text)
        return self.text.letters

    def bytes(self) -> bytes:
        """Return the bytes; piece by piece, because a text of Python's takes up to four bytes for each letter."""
        if isinstance(self.text, str):
            return self.text.encode("latin-1")
        decoder, raw, out = codecs.getincrementaldecoder("utf-8")(), self.text.raw, bytearray()
        for start in range(0, len(raw), 1 << 20):
            out += decoder.decode(raw[start : start + (1 << 20)]).encode("latin-1")
        return bytes(out)


@dataclass(frozen=True)
class _InPickle:
    path: Path
    raw: bytes | memoryview | Encoded
    whole: bool = True

    def size(self) -> int:
        return len(self.raw)

    def read(self, start: int, stop: int) -> bytes | memoryview:
        try:
            whole = self.raw.bytes() if isinstance(self.raw, Encoded) else self.raw
        except UnicodeError as error:
            raise CheckpointError(f"{self.path} is damaged (an array of letters that are no bytes)") from error
        return whole[start:stop]


class NumpyType:
    """A dtype of NumPy's that a pickle rebuilds."""

    __slots__ = ("code", "order")

    def __init__(self, code: str) -> None:
        self.code, self.order = code, "<"

    @property
    def dtype(self) -> str:
        """Name of the type, for messages and `Tensor`."""
        try:
            return dtype_of_numpy(np.dtype(self.code))
        except (TypeError, ValueError):
            return "a compound type"


class NumpyArray:
    """An array that a pickle rebuilds, before its state is there."""

    __slots__ = ("tensor",)

    def __init__(self) -> None:
        self.tensor: Tensor | None = None


class Rebuilder:
    """Gives the names, calls and states of one pickle their meaning.

    Attributes
    ----------
    path
        The file, for messages.
    archive
        Where the storages lie; None for a plain pickle.
    root
        Folder of the archive that holds them.
    """

    def __init__(self, path: Path, archive: Archive | None, root: str) -> None:
        self.path, self.archive, self.root = path, archive, root
        numpy = ("numpy.core", "numpy._core")
        self._calls: dict[tuple[str, str], Callable[..., object]] = {
            ("collections", "OrderedDict"): self._dict,
            ("collections", "defaultdict"): lambda *_: {},
            ("builtins", "dict"): self._dict,
            ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
            ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
            ("torch._utils", "_rebuild_tensor"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v2"): self._tensor,
            ("torch._utils", "_rebuild_tensor_v3"): self._typed,
            ("torch._utils", "_rebuild_qtensor"): self._tensor,
            ("torch", "Size"): lambda sizes=(): sizes,
            ("torch.serialization", "_get_layout"): lambda name: name,
            ("_codecs", "encode"): self._encoded,
            ("numpy", "dtype"): lambda code, *_: NumpyType(code if type(code) is str else "V"),
            **{(f"{n}.multiarray", "_reconstruct"): lambda *_: NumpyArray() for n in numpy},
            **{(f"{n}.multiarray", "scalar"): self._scalar for n in numpy},
            **{(f"{n}.numeric", "_frombuffer"): self._from_buffer for n in numpy},
        }

    def find(self, module: str, name: str) -> Name:
        """Return a name; refuse those that no checkpoint has."""
        module = PYTHON_2.get(module, module)
        if not _harmless(module, name):
            raise CheckpointError(
                f"{self.path} asks to run {shown(module)}.{shown(name)}: refused, it may be malicious; "
                "save its state_dict alone"
            )
        return Name(module, name)

    def persistent(self, pid: object) -> Storage:
        """Return the storage that a persistent id names."""
        parts: tuple[Any, ...] = pid if isinstance(pid, tuple) and len(pid) >= 3 else ("", None, None)
        kind, storage, key, *_ = parts
        known = isinstance(storage, Name) and storage.name in STORAGES and storage.module in ("torch", "torch.storage")
        if kind != "storage" or type(key) is not str or not known:
            raise CheckpointError(f"{self.path} refers to something that is no tensor storage that evsim knows")
        return Storage(STORAGES[storage.name], f"{self.root}data/{key}")

    def call(self, function: object, arguments: object) -> object:
        """Return what a name makes of its arguments; what is unknown makes a stand-in."""
        for _ in range(DEEPEST_TYPE):
            if not isinstance(function, Name) or type(arguments) is not tuple:
                raise DamagedError("it calls what is no name")
            if (function.module, function.name) != ("torch._tensor", "_rebuild_from_type_v2"):
                break
            if len(arguments) < 3:
                raise DamagedError("a type without arguments")
            function, arguments = arguments[0], arguments[2]
        else:
            raise DamagedError("a type of types")
        known = self._calls.get((function.module, function.name))
        if known is not None:
            return known(*arguments)
        if function.full == "copyreg._reconstructor" and arguments and isinstance(arguments[0], Name):
            return Opaque(arguments[0].full)
        if function.module == "torch._utils" and function.name.startswith("_rebuild"):
            kind = function.name.removeprefix("_rebuild_").replace("_", " ")
            return Tensor(self.path, f"a tensor of another kind ({shown(kind)})", (), dense=False)
        return Opaque(function.full, arguments)

    def build(self, target: object, state: object) -> None:
        """Give an object its state."""
        if isinstance(target, Opaque):
            target.state = state
        elif isinstance(target, NumpyArray):
            self._array(target, state)
        elif isinstance(target, NumpyType):
            if type(state) is tuple and len(state) > 1 and state[1] in ("<", ">", "=", "|"):
                target.order = state[1]
        elif isinstance(target, Tensor):
            raise CheckpointError(f"{self.path} is damaged: a pickle may not alter a tensor")
        elif type(target) is dict:
            attributes = state if type(state) is dict else {}
            odd = [key for key in attributes if key != "_metadata"]
            if odd:  # an attribute would hide what a dict does
                raise CheckpointError(f"{self.path} sets {shown(odd[0])} of a dict, which no checkpoint does; refused")
        else:
            raise DamagedError(f"it gives {kind_of(target)} a state")

    def _dict(self, pairs: object = ()) -> dict[object, object]:
        if not pairs:
            return {}
        raise CheckpointError(f"{self.path} was saved by Python 2; load and save it again in PyTorch")

    def _tensor(self, storage: object, offset: object, shape: object, strides: object = (), *_: object) -> Tensor:
        if isinstance(storage, Opaque):
            raise CheckpointError(f"{self.path} was written by pickle.dump, not by torch.save; save it by torch.save")
        if not isinstance(storage, Storage) or self.archive is None:
            raise DamagedError("a tensor without a storage")
        return self._view(storage, storage.dtype, offset, shape, strides)

    def _typed(
        self, storage: object, offset: object, shape: object, strides: object, _grad: object, _hooks: object,
        dtype: object, *_: object,
    ) -> Tensor:  # fmt: skip
        if not isinstance(storage, Storage) or not isinstance(dtype, Name):
            raise DamagedError("a tensor without a type")
        return self._view(storage, shown(dtype.name), offset, shape, strides)

    def _view(self, storage: Storage, dtype: str, offset: object, shape: object, strides: object) -> Tensor:
        check_shape(self.path, shape, strides, offset)
        assert self.archive is not None
        assert isinstance(shape, tuple)
        assert isinstance(strides, tuple)
        if len(shape) != len(strides):
            raise CheckpointError(f"{self.path}: a tensor has an impossible shape; copy the file again")
        held = _InArchive(self.archive, storage.member)
        return Tensor(self.path, dtype, shape, strides, offset, held, storage.member)  # type: ignore[arg-type]

    def _array(self, target: NumpyArray, state: object) -> None:
        if target.tensor is not None or type(state) is not tuple or len(state) != 5:
            raise DamagedError("an array that is none")
        _, shape, kind, fortran, raw = state
        target.tensor = self._from_parts(raw, kind, shape, fortran=bool(fortran is True))

    def _from_buffer(self, raw: object, kind: object, shape: object, order: object, *_: object) -> NumpyArray:
        array = NumpyArray()
        array.tensor = self._from_parts(raw, kind, shape, fortran=order == "F")
        return array

    def _from_parts(self, raw: object, kind: object, shape: object, *, fortran: bool) -> Tensor:
        check_shape(self.path, shape)
        if not isinstance(kind, NumpyType) or type(shape) is not tuple:
            raise DamagedError("an array without a type")
        if isinstance(raw, LongText | str):  # by Python 2, whose texts are bytes
            raw = raw.raw if isinstance(raw, LongText) else raw.encode("utf-8", "surrogateescape")
        if type(raw) not in (bytes, memoryview, Encoded):
            return Tensor(self.path, kind.dtype if kind.dtype == "objects" else "objects", shape)
        held = _InPickle(self.path, raw)  # type: ignore[arg-type]
        steps = contiguous(shape, fortran=fortran)
        return Tensor(self.path, kind.dtype, shape, steps, 0, held, "an array", kind.order == ">")

    def _scalar(self, kind: object, raw: object = None, *_: object) -> object:
        """Return a NumPy scalar as a number of Python's."""
        values = raw.bytes() if isinstance(raw, Encoded) and len(raw) <= LONGEST_SCALAR else raw
        if not isinstance(kind, NumpyType) or type(values) is not bytes or len(values) > LONGEST_SCALAR:
            return Opaque("numpy.scalar")
        try:
            value = np.frombuffer(values, np.dtype(kind.code).newbyteorder(">" if kind.order == ">" else "<"), 1)[
                0
            ].item()
        except (TypeError, ValueError):
            return Opaque("numpy.scalar")
        return value if type(value) in (int, float, bool) else Opaque("numpy.scalar")

    @staticmethod
    def _encoded(text: object = "", encoding: object = "") -> object:
        if not isinstance(text, str | LongText) or encoding not in ("latin1", "latin-1"):
            raise DamagedError("bytes that are none")
        if isinstance(text, LongText) or len(text) > LONGEST_KEY:
            return Encoded(text)
        try:
            return text.encode("latin-1")  # they may be the key of a dict
        except UnicodeEncodeError:
            raise DamagedError("letters that are no bytes") from None


def arrays_as_tensors(value: Any) -> Any:
    """Return a value, the tensor of it where it is an array of NumPy's."""
    return value.tensor if isinstance(value, NumpyArray) and value.tensor is not None else value


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

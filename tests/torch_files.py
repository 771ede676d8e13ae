"""Writes PyTorch's checkpoint files without PyTorch, honest and otherwise: what a converter must take or refuse."""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

__all__ = ["MARKER", "Call", "Namespace", "Tensor", "as_tensors", "text_opcode", "with_opcodes", "write_checkpoint"]

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}
STORAGES["complex64"] = "ComplexFloatStorage"


def _rebuild_tensor_v2(*_: object) -> None:
    """Stand where torch's function of this name would: the pickle holds its name alone."""


def _fake_torch() -> dict[str, ModuleType]:
    torch, utils = ModuleType("torch"), ModuleType("torch._utils")
    for name in STORAGES.values():
        setattr(torch, name, type(name, (), {"__module__": "torch"}))
    _rebuild_tensor_v2.__module__ = "torch._utils"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    torch._utils = utils
    return {"torch": torch, "torch._utils": utils}


class _Storage:
    def __init__(self, values: np.ndarray) -> None:
        self.values, self.key = values, ""


class Tensor:
    """An array that pickles as a torch.Tensor does; `shape` and `strides` may lie."""

    def __init__(self, values: np.ndarray, shape: Any = None, strides: Any = None) -> None:
        self.storage = _Storage(np.ascontiguousarray(values))
        self.shape = values.shape if shape is None else shape
        steps = [int(np.prod(values.shape[i + 1 :])) for i in range(values.ndim)]
        self.strides = tuple(steps) if strides is None else strides

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_tensor_v2, (self.storage, 0, self.shape, self.strides, False, OrderedDict())


class Call:
    """What an attacker puts into a pickle: a call of `function`."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


def as_tensors(state: dict[str, np.ndarray]) -> OrderedDict[str, Tensor]:
    """Return a state_dict of tensors."""
    return OrderedDict((key, Tensor(value)) for key, value in state.items())


def write_checkpoint(path: Path, content: object) -> Path:
    """Write `content`, which may hold `Tensor` and `Call`, as ``torch.save`` does; return the path."""
    storages: list[_Storage] = []
    with mock.patch.dict(sys.modules, _fake_torch()):
        torch = sys.modules["torch"]

        class Writer(pickle.Pickler):
            def persistent_id(self, item: object) -> object:
                if not isinstance(item, _Storage):
                    return None
                if item not in storages:
                    item.key = str(len(storages))
                    storages.append(item)
                kind = getattr(torch, STORAGES[item.values.dtype.name])
                return "storage", kind, item.key, "cpu", item.values.size

        buffer = io.BytesIO()
        Writer(buffer, protocol=2).dump(content)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", buffer.getvalue())
        archive.writestr("archive/byteorder", "little")
        for storage in storages:
            archive.writestr(f"archive/data/{storage.key}", storage.values.tobytes())
        archive.writestr("archive/version", "3\n")
    return path


MARKER = 1.5
"""A number among the content of `write_checkpoint`, for which `with_opcodes` puts opcodes of its own."""


def with_opcodes(path: Path, opcodes: bytes, method: int = zipfile.ZIP_STORED) -> Path:
    """Replace `MARKER` in the pickle of a checkpoint by opcodes, and compress the file by `method`; return the path."""
    old = pickle.BINFLOAT + struct.pack(">d", MARKER)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    assert old in members["archive/data.pkl"]
    members["archive/data.pkl"] = members["archive/data.pkl"].replace(old, opcodes)
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def text_opcode(text: str) -> bytes:
    """Return the opcode that pushes a text."""
    raw = text.encode("utf-8", "surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(raw)) + raw

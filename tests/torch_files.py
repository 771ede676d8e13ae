"""Writes PyTorch's checkpoint files without PyTorch, honest and otherwise: what a converter must take or refuse."""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import numpy as np

__all__ = ["Call", "Namespace", "Tensor", "as_tensors", "write_checkpoint"]

STORAGES = {"float32": "FloatStorage", "float64": "DoubleStorage", "float16": "HalfStorage", "int64": "LongStorage"}


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

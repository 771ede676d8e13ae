"""A checkpoint as tensors by name and the arguments of its training, whatever file it sits in."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from evsim import hdf5
from evsim.converters.unpickle import Inert, LazyTensor, read_zip
from evsim.errors import CheckpointError
from evsim.files import check_input

T = TypeVar("T")
ZIP_MAGIC = b"PK\x03\x04"
PICKLE_MAGIC = b"\x80"
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
LEGACY_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19."
"""PyTorch before 1.6 began a file with this pickled number."""

NUMBERS = "fiubcmM"
"""Kinds of arrays that tensors may be; a layer that needs real numbers refuses others by name."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a checkpoint holds.

    Attributes
    ----------
    path
        The file.
    tensors
        Parameter name to array, read on access.
    shapes
        Parameter name to shape.
    args
        Arguments of the training, as far as the file has them.
    notes
        What a person should know, one line each.
    digest
        SHA-256 of the file.
    dtypes
        Parameter name to the type of number that the file stores, as far as it is known.
    """

    path: Path
    tensors: Mapping[str, NDArray[np.generic]]
    shapes: Mapping[str, tuple[int, ...]]
    args: Mapping[str, object]
    notes: tuple[str, ...]
    digest: str
    dtypes: Mapping[str, str] = field(default_factory=dict)


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a ``.pth``, ``.pth.tar`` (zip format) or HDF5 state_dict, without torch and without running its code.

    Raises
    ------
    CheckpointError
        If there is no such file, or it holds no state_dict that can be read safely.
    """
    path = Path(path)
    head, digest = _identify(path)
    notes: list[str] = []
    tensors: _LazyState | _HDF5State
    args: dict[str, object] = {}
    if head.startswith(HDF5_MAGIC):
        tensors = _from_hdf5(path, notes)
    elif zipfile.is_zipfile(path):
        state, args = _state_of(read_zip(path), path)
        tensors = _LazyState(_without_prefix(state, notes))
    elif LEGACY_MAGIC in head:
        raise CheckpointError(
            f"{path} is in PyTorch's format of before 1.6; if you trust it, run in PyTorch "
            "torch.save(torch.load(FILE, map_location='cpu', weights_only=False), NEW) and convert NEW"
        )
    elif head.startswith(ZIP_MAGIC):
        raise CheckpointError(f"{path} is a truncated or damaged zip file; copy the checkpoint again")
    elif head.startswith(PICKLE_MAGIC):
        raise CheckpointError(
            f"{path} is a plain pickle, which may run anything and is not read; "
            "save the state_dict by torch.save, or as HDF5 with one dataset per key"
        )
    else:
        raise CheckpointError(f"{path} is neither a PyTorch checkpoint nor HDF5; give a .pth, .pth.tar or .h5 file")
    shapes = {key: tensors.shape(key) for key in tensors}
    dtypes = {key: tensors.dtype(key) for key in tensors}
    return Checkpoint(path, tensors, shapes, args, tuple(notes), digest, dtypes)


def _identify(path: Path) -> tuple[bytes, str]:
    """Return the first bytes of the file and its SHA-256."""
    check_input(path, CheckpointError, "a checkpoint file (.pth, .pth.tar or .h5)", "check the path of the checkpoint")
    try:
        with path.open("rb") as file:
            head = file.read(64)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if not head:
        raise CheckpointError(f"{path} is empty; copy the checkpoint again")
    return head, digest


class _LazyState(Mapping[str, NDArray[np.generic]]):
    """Tensors of a zip file, read on access."""

    def __init__(self, state: Mapping[str, LazyTensor]) -> None:
        self._state = state

    def __getitem__(self, key: str) -> NDArray[np.generic]:
        return self._state[key].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._state)

    def __len__(self) -> int:
        return len(self._state)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a tensor, without reading it."""
        return self._state[key].shape

    def dtype(self, key: str) -> str:
        """Type of a tensor, which NumPy need not know."""
        name = self._state[key].dtype
        return name if name == "bfloat16" else np.dtype(name).name


class _HDF5State(Mapping[str, NDArray[np.generic]]):
    """Datasets of an HDF5 file, read on access."""

    def __init__(self, file: hdf5.File, names: Mapping[str, str]) -> None:
        self._file, self._names = file, names

    def __getitem__(self, key: str) -> NDArray[np.generic]:
        return self._file.read(self._names[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a dataset, without reading it."""
        return self._file.members[self._names[key]].shape or ()

    def dtype(self, key: str) -> str:
        """Type of a dataset."""
        dtype = self._file.members[self._names[key]].dtype
        assert dtype is not None
        return dtype.name


def _from_hdf5(path: Path, notes: list[str]) -> _HDF5State:
    file = hdf5.File(path, CheckpointError)
    tensors = [n for n, member in file.members.items() if member.dtype is not None and member.dtype.kind in NUMBERS]
    for name, member in file.members.items():
        if member.shape is not None and member.dtype is None and not member.text:
            raise CheckpointError(f"{path}: {name} holds values of a type that NumPy lacks; store it as float32")
    if not tensors:
        raise CheckpointError(f"{path} is an HDF5 file without any tensor; give a model.h5 or a state_dict")
    file.check_claims(tensors)
    state = _HDF5State(file, _without_prefix({name.replace("/", "."): name for name in tensors}, notes))
    if all(file.members[name].offset is not None for name in tensors):
        file.rest()
    return state


def _state_of(loaded: object, path: Path) -> tuple[dict[str, LazyTensor], dict[str, object]]:
    """Find the state_dict and the arguments in what the file holds."""
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {_name(loaded)}, not a state_dict; save model.state_dict()")
    args = loaded.get("args")
    arguments = args.state if isinstance(args, Inert) else args
    for candidate in (loaded.get("state_dict"), loaded.get("model"), loaded):
        if isinstance(candidate, dict):
            tensors = {k: value for k, value in candidate.items() if isinstance(value, LazyTensor) and type(k) is str}
            if tensors:
                return tensors, dict(arguments) if isinstance(arguments, dict) else {}
    raise CheckpointError(f"{path} holds no state_dict (looked under 'state_dict', 'model' and at the top)")


def _without_prefix(state: dict[str, T], notes: list[str]) -> dict[str, T]:
    if all(key.startswith("module.") for key in state):
        notes.append("dropped the prefix 'module.' that DataParallel gave to every key")
        return {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _name(value: object) -> str:
    return getattr(value, "origin", type(value).__name__)

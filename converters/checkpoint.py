"""A checkpoint as tensors by name and the arguments of its training, whatever file it sits in."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.converters.unpickle import Inert, LazyTensor, read_zip
from evsim.errors import CheckpointError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
LEGACY_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19."
"""PyTorch before 1.6 began a file with this pickled number."""


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
    """

    path: Path
    tensors: Mapping[str, NDArray[np.generic]]
    shapes: Mapping[str, tuple[int, ...]]
    args: Mapping[str, object]
    notes: tuple[str, ...]
    digest: str


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a ``.pth``, ``.pth.tar`` (zip format) or HDF5 state_dict, without torch and without running its code.

    Raises
    ------
    CheckpointError
        If there is no such file, or it holds no state_dict that can be read safely.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder; give a checkpoint file (.pth, .pth.tar or .h5)")
    if not path.exists():
        raise CheckpointError(f"{path} does not exist; check the path of the checkpoint")
    with path.open("rb") as file:
        head = file.read(64)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if not head:
        raise CheckpointError(f"{path} is empty; copy the checkpoint again")
    notes: list[str] = []
    tensors: _LazyState | _HDF5State
    args: dict[str, object] = {}
    if head.startswith(HDF5_MAGIC):
        tensors = _from_hdf5(path)
    elif zipfile.is_zipfile(path):
        state, args = _state_of(read_zip(path), path)
        tensors = _LazyState(_without_prefix(state, notes))
    elif LEGACY_MAGIC in head:
        raise CheckpointError(
            f"{path} is in PyTorch's format of before 1.6; in PyTorch, run "
            "torch.save(torch.load(FILE, map_location='cpu', weights_only=False), NEW) and convert NEW"
        )
    else:
        raise CheckpointError(f"{path} is neither a PyTorch checkpoint nor HDF5; give a .pth, .pth.tar or .h5 file")
    shapes = {key: tensors.shape(key) for key in tensors}
    if not shapes:
        raise CheckpointError(f"{path} holds no tensors; give a file with a state_dict")
    return Checkpoint(path, tensors, shapes, args, tuple(notes), digest)


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


class _HDF5State(Mapping[str, NDArray[np.generic]]):
    """Datasets of an HDF5 file, read on access."""

    def __init__(self, path: Path, shapes: Mapping[str, tuple[int, ...]], names: Mapping[str, str]) -> None:
        self._path, self._shapes, self._names = path, shapes, names

    def __getitem__(self, key: str) -> NDArray[np.generic]:
        import h5py

        with h5py.File(self._path) as file:
            return np.asarray(file[self._names[key]][()])

    def __iter__(self) -> Iterator[str]:
        return iter(self._shapes)

    def __len__(self) -> int:
        return len(self._shapes)

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a dataset, without reading it."""
        return self._shapes[key]


def _from_hdf5(path: Path) -> _HDF5State:
    import h5py

    found: dict[str, tuple[str, tuple[int, ...]]] = {}

    def take(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiub":
            found[name.replace("/", ".").removeprefix("module.")] = (name, item.shape)

    try:
        with h5py.File(path) as file:
            file.visititems(take)
    except (OSError, RuntimeError) as error:
        raise CheckpointError(f"{path} is a damaged HDF5 file ({error}); copy it again") from error
    names = {key: name for key, (name, _) in found.items()}
    return _HDF5State(path, {key: shape for key, (_, shape) in found.items()}, names)


def _state_of(loaded: object, path: Path) -> tuple[dict[str, LazyTensor], dict[str, object]]:
    """Find the state_dict and the arguments in what the file holds."""
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {_name(loaded)}, not a state_dict; save model.state_dict()")
    args = loaded.get("args")
    arguments = args.state if isinstance(args, Inert) else args
    for candidate in (loaded.get("state_dict"), loaded.get("model"), loaded):
        if isinstance(candidate, dict):
            tensors = {key: value for key, value in candidate.items() if isinstance(value, LazyTensor)}
            if tensors:
                return tensors, dict(arguments) if isinstance(arguments, dict) else {}
    raise CheckpointError(f"{path} holds no state_dict (looked under 'state_dict', 'model' and at the top)")


def _without_prefix(state: dict[str, LazyTensor], notes: list[str]) -> dict[str, LazyTensor]:
    if all(key.startswith("module.") for key in state):
        notes.append("dropped the prefix 'module.' that DataParallel gave to every key")
        return {key.removeprefix("module."): value for key, value in state.items()}
    return state


def _name(value: object) -> str:
    return getattr(value, "origin", type(value).__name__)

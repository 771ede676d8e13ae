"""Reads a state_dict from HDF5: one dataset per key, a slash or a dot between its parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.converters.archive import room_of
from evsim.converters.tensors import NUMPY, Tensor, dtype_of_numpy
from evsim.converters.values import shown
from evsim.errors import CheckpointError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
DEEPEST = 16
MOST_ITEMS = 100_000
DAMAGE = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    IndexError,
    OverflowError,
    MemoryError,
)
"""What h5py raises on a damaged file."""


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a file; the one place where this reader does."""
    import h5py

    with h5py.File(path) as file:
        yield file


class Dataset(Tensor):
    """A dataset as a tensor on demand; `name` is its place in the file."""

    @property
    def cost(self) -> int:
        """Bytes that reading it takes."""
        return int(np.prod(self.shape, dtype=object)) * (np.dtype(NUMPY[self.dtype]).itemsize if self.known else 0)

    def read(self, key: str) -> NDArray[np.generic]:
        """Return the values; errors as `Tensor.read`."""
        if not self.known:
            raise self.refusal(key)
        try:
            with opened(self.path) as file:
                return np.asarray(file[self.name][()])
        except DAMAGE as error:
            raise CheckpointError(f"{self.path}: {key} cannot be read ({error}); copy the file again") from error


def read_hdf5(path: Path, notes: list[str]) -> dict[str, Tensor]:
    """Return the datasets of a file by name.

    Raises
    ------
    CheckpointError
        If the file is damaged, holds no tensor, leads out of itself, or claims more than it can hold.
    """
    room, texts = room_of(path.stat().st_size), list[str]()
    found: dict[str, Tensor] = {}
    try:
        with opened(path) as file:
            if {"nodes", "weights"} <= set(file):
                raise CheckpointError(  # noqa: TRY301 - said where it is known
                    f"{path} is laid out as a model.h5, but says that it is something else, of no family that evsim "
                    "knows; make it again by: evsim convert CHECKPOINT"
                )
            for name, item in _datasets(file, path):
                kind, shape = _kind(item), item.shape or ()
                if kind == "text" and not shape:
                    texts.append(name)
                    continue
                tensor = Dataset(path, kind, shape, name=name)
                if tensor.cost > room:
                    raise CheckpointError(  # noqa: TRY301 - said where it is known
                        f"{path}: {shown(name)} claims {tensor.cost} bytes, more than the file can hold; refused"
                    )
                found[name.replace("/", ".")] = tensor
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise CheckpointError(f"{path} is a damaged HDF5 file ({shown(str(error))}); copy it again") from error
    if not found:
        raise CheckpointError(f"{path} is an HDF5 file without any tensor; give a model.h5 or a state_dict")
    if texts:
        notes.append(f"passed over texts beside the weights: {', '.join(map(shown, texts[:8]))}")
    return found


def _datasets(file: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """Yield every dataset with its place; refuse links, by which a file can read another, and endless nesting."""
    import h5py

    waiting, items = [("", file, 0)], 0
    while waiting:
        place, group, depth = waiting.pop()
        for name in group:
            items += 1
            inner = f"{place}/{name}" if place else name
            if items > MOST_ITEMS or depth > DEEPEST:
                raise CheckpointError(f"{path} nests groups or holds datasets beyond what a state_dict does; refused")
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise CheckpointError(
                    f"{path}: {shown(inner)} is a link to another place, which is not followed; refused"
                )
            item = group[name]
            if isinstance(item, h5py.Group):
                waiting.append((inner, item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                if item.is_virtual or item.external:
                    raise CheckpointError(f"{path}: {shown(inner)} keeps its values in another file; refused")
                yield inner, item


def _kind(item: Any) -> str:
    """Return the name of a dataset's type, which NumPy need not know."""
    try:
        kind: np.dtype[Any] = item.dtype
    except TypeError:
        return "a type that NumPy lacks, such as a time"
    return "no values" if item.shape is None else "text" if kind.kind == "O" else dtype_of_numpy(kind)

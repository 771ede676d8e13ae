"""Reads a state_dict from HDF5: one dataset per key, a slash or a dot between its parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim import hdf5
from evsim.converters.choose import renamed
from evsim.converters.tensors import Tensor, dtype_of_numpy
from evsim.converters.values import shown
from evsim.errors import CheckpointError
from evsim.ownfiles import own_kind

MODEL = {"nodes", "weights"}
"""What a model.h5 holds at its top."""

MOST_SHOWN = 8
"""Texts that a note names."""


@dataclass(frozen=True, eq=False)
class Dataset(Tensor):
    """A dataset as a tensor on demand; `name` is its place in the file."""

    file: hdf5.File | None = None

    def read(self, key: str) -> NDArray[np.generic]:
        """Return the values; errors as `Tensor.read` and `hdf5.File.read`."""
        if not self.known or self.file is None:
            raise self.refusal(key)
        values: NDArray[np.generic] = self.file.read(self.name)
        return values.astype(values.dtype.newbyteorder("="), copy=False)


def read_hdf5(path: Path, notes: list[str]) -> dict[str, Tensor]:
    """Return the datasets of a file by name.

    Raises
    ------
    CheckpointError
        If the file holds no tensor, or two of one name, or `hdf5.File` refuses it.
    """
    file = hdf5.File(path, CheckpointError)
    if file.members.keys() >= MODEL:
        raise CheckpointError(
            f"{path} is laid out as a model.h5, but says that it is something else, of no family that evsim knows; "
            "make it again by: evsim convert CHECKPOINT"
        )
    if kind := own_kind(file):
        raise CheckpointError(f"{path} is no checkpoint: it holds {kind}")
    tensors: dict[str, Tensor] = {}
    texts: list[str] = []
    for name, member in file.members.items():
        if member.group:
            continue
        if member.text and not member.shape and member.shape is not None:
            texts.append(name)
            continue
        tensors[name] = Dataset(path, _kind(member), member.shape or (), name=name, file=file)
    if not tensors:
        raise CheckpointError(f"{path} is an HDF5 file without any tensor; give a model.h5 or a state_dict")
    if texts:
        notes.append(f"passed over texts beside the weights: {', '.join(map(shown, texts[:MOST_SHOWN]))}")
    file.check_claims(tensors)
    if all(file.members[name].offset is not None for name in tensors):
        file.rest()
    return renamed(tensors, {name: name.replace("/", ".") for name in tensors}, path)


def _kind(member: hdf5.Member) -> str:
    """Return how messages name the type of a dataset's values, which NumPy need not know."""
    if member.shape is None:
        return "no values"
    if member.text:
        return "text"
    return "a type that NumPy lacks, such as a time" if member.dtype is None else dtype_of_numpy(member.dtype)

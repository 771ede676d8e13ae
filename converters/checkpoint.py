"""A checkpoint as tensors by name and the arguments of its training, whatever file it sits in."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim import hdf5
from evsim.converters import safetensors
from evsim.converters.archive import room_of
from evsim.converters.choose import TOP, arguments_of, begins, check_name, choose, states_of, tensors_of, unwrapped
from evsim.converters.datasets import read_hdf5
from evsim.converters.pickles import read_pickle, read_zip
from evsim.converters.tensors import Tensor
from evsim.converters.values import Opaque, kind_of, shown
from evsim.errors import CheckpointError, OptionError
from evsim.files import check_input

ZIP_MAGIC = b"PK\x03\x04"
PICKLE_MAGIC = b"\x80"
LEGACY_MAGIC = b"l\xfc\x9cF\xf9 j\xa8P\x19."
"""PyTorch before 1.6 began a file with this pickled number."""

SUFFIXES = (".pth", ".pt", ".tar", ".ckpt", ".bin", ".safetensors", ".pkl")
"""How checkpoints are named; what is in them decides, but these are never a model.h5."""

READ = {
    "zip": "PyTorch's format since version 1.6 (`.pth`, `.pth.tar`, `.pt`, `.ckpt`, `.bin`)",
    "pickle": "a plain pickle of NumPy arrays (`.pkl`)",
    "safetensors": "safetensors (`.safetensors`)",
    "hdf5": "HDF5 with one dataset per key (`.h5`)",
}
"""The forms that are read, for the documentation."""

NOT_CHECKPOINTS = {
    b"version https://git-lfs.github.com/": "is a Git LFS pointer, not the file that it stands for; get it by: "
    "git lfs pull",
    b"<!doctype": "is a web page, not the file; download it again, by the link of the file itself",
    b"<html": "is a web page, not the file; download it again, by the link of the file itself",
    b"<?xml": "is an XML page, such as a server's message, not the file; download it again",
    b"\x1f\x8b": "is compressed by gzip; unpack it first, by gunzip or tar xzf",
    b"bzh": "is compressed by bzip2; unpack it first, by bunzip2 or tar xjf",
    b"\xfd7zxz": "is compressed by xz; unpack it first, by unxz or tar xJf",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; unpack it first, by unzstd",
    b"7z\xbc\xaf": "is a 7z archive; unpack it first",
    b"rar!": "is a RAR archive; unpack it first",
    b"gguf": "is a GGUF file, which evsim does not read; give the PyTorch checkpoint",
}
"""What lies about under the name of a checkpoint, by its first bytes in lower case."""


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


def read_checkpoint(path: str | Path, weights: str | None = None) -> Checkpoint:
    """Read a checkpoint without torch and without running its code; `READ` lists the forms.

    Parameters
    ----------
    path
        The file.
    weights
        Which weights, where a file holds several: the path of their dict, such as ``state_dict_ema``.

    Raises
    ------
    CheckpointError
        If there is no such file, or it holds no state_dict that can be read safely.
    OptionError
        If it holds several and `weights` names none of them.
    """
    path = Path(path)
    head, digest = _identify(path)
    notes: list[str] = []
    args: dict[str, object] = {}
    stored = hdf5.is_hdf5(path)
    if stored or safetensors.recognises(head):
        flat = read_hdf5(path, notes) if stored else safetensors.read_safetensors(path)
        if weights not in (None, TOP) and not begins(flat, weights):
            raise OptionError(f"{path} holds one set of weights, none under {shown(weights)}; leave `weights` out")
        for key in flat:
            check_name(key, path)
        tensors = unwrapped(flat, path, notes)
    else:
        held = _unpickled(path, head)
        tensors = tensors_of(choose(_states(held, path), weights, path, notes), path, notes)
        _check_claims(tensors, path)
        args = arguments_of(held)
    return of_tensors(path, tensors, args, tuple(notes), digest)


def of_tensors(
    path: Path, tensors: Mapping[str, Tensor], args: Mapping[str, object], notes: tuple[str, ...], digest: str
) -> Checkpoint:
    """Return a checkpoint of tensors."""
    shapes = {key: tensor.shape for key, tensor in tensors.items()}
    dtypes = {key: tensor.dtype for key, tensor in tensors.items()}
    return Checkpoint(path, Values(tensors), shapes, args, notes, digest, dtypes)


class Values(Mapping[str, NDArray[np.generic]]):
    """Tensors of a file, each read on access.

    Attributes
    ----------
    tensors
        What is read, by name.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def __getitem__(self, key: str) -> NDArray[np.generic]:
        return self.tensors[key].read(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def is_checkpoint(path: Path) -> bool:
    """Whether a file that is no HDF5 is meant as a checkpoint: by its first bytes, or by its name."""
    try:
        if not path.is_file():  # a pipe has nothing to look at
            return False
        with path.open("rb") as file:
            head = file.read(512)
    except (OSError, ValueError):
        return False  # the reader of models says what is wrong
    begins = head.startswith((ZIP_MAGIC, PICKLE_MAGIC)) or safetensors.recognises(head)
    return not head.startswith(hdf5.MAGIC) and bool(head) and (begins or path.suffix in SUFFIXES)


def check_file(path: Path) -> None:
    """Refuse what is no regular file that can be read.

    Raises
    ------
    CheckpointError
        With what it is.
    """
    check_input(
        path,
        CheckpointError,
        "a checkpoint file (.pth, .pth.tar, .safetensors or .h5)",
        "check the path of the checkpoint",
    )


def _identify(path: Path) -> tuple[bytes, str]:
    """Return the first bytes of the file and its SHA-256."""
    check_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    if not head:
        raise CheckpointError(f"{path} is empty; copy the checkpoint again")
    begin = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for first, what in NOT_CHECKPOINTS.items():
        if begin.startswith(first):
            raise CheckpointError(f"{path} {what}")
    return head, digest


def _unpickled(path: Path, head: bytes) -> object:
    """Return what a zip file or pickle holds, or say what the file is instead."""
    if zipfile.is_zipfile(path):
        return read_zip(path)
    if LEGACY_MAGIC in head:
        raise CheckpointError(
            f"{path} is in PyTorch's format of before 1.6; if you trust it, run in PyTorch "
            "torch.save(torch.load(FILE, map_location='cpu', weights_only=False), NEW) and convert NEW"
        )
    if head.startswith(ZIP_MAGIC):
        raise CheckpointError(f"{path} is a truncated or damaged zip file; copy the checkpoint again")
    if head.startswith(PICKLE_MAGIC):
        return read_pickle(path)
    raise CheckpointError(
        f"{path} is neither a PyTorch checkpoint nor HDF5; give a .pth, .pth.tar, .safetensors or .h5 file"
    )


def _check_claims(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors that overlap so much that reading them never ends."""
    total = sum(tensor.cost for tensor in tensors.values())
    if total > room_of(path.stat().st_size):
        raise CheckpointError(f"{path} claims {total} bytes of weights, more than the file can hold; refused")


def _states(held: object, path: Path) -> dict[str, dict[str, object]]:
    """Return the dicts of weights, of which there must be one at least."""
    if type(held) is not dict:
        raise CheckpointError(f"{path} holds a {shown(kind_of(held))}, not a state_dict; save model.state_dict()")
    states = states_of(held)
    if states:
        return states
    whole = [key for key, value in held.items() if type(key) is str and isinstance(value, Opaque) and key != "args"]
    if whole:
        model = held[whole[0]]
        raise CheckpointError(
            f"{path} holds under {shown(whole[0])} a whole {shown(kind_of(model))}, not a state_dict; "
            "save model.state_dict()"
        )
    keys = ", ".join(shown(key) for key in list(held)[:8] if type(key) is str) or "nothing"
    raise CheckpointError(
        f"{path} holds no state_dict, only {keys}; save the state_dict by torch.save, or as HDF5 with one dataset "
        "per key"
    )

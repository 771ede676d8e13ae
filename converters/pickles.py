"""Reads what a PyTorch zip file or a plain pickle holds: plain values, and tensors on demand."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

from evsim.converters.archive import Archive
from evsim.converters.rebuild import Rebuilder
from evsim.converters.unpickle import DamagedError, Machine
from evsim.converters.values import shown
from evsim.errors import CheckpointError

LARGEST_PICKLE = 32 << 20
"""Bytes of compressed pickle (not of weights) beyond which a file is no checkpoint."""

DAMAGE = (
    DamagedError, zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, TypeError,
    KeyError, IndexError, AttributeError, OverflowError, MemoryError, RecursionError, RuntimeError,
)  # fmt: skip
"""What the machine, its helpers and the reader of zip files raise on a damaged file."""


def read_zip(path: Path) -> object:
    """Return the object in a PyTorch zip file, its tensors as `Tensor`.

    Raises
    ------
    CheckpointError
        If the file is damaged, or asks for a call that no checkpoint needs.
    """
    try:
        archive = Archive(path)
        root = _root(archive)
        return _load(archive.read(f"{root}data.pkl"), path, Rebuilder(path, archive, root))
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise _damaged(path, error) from error


def read_pickle(path: Path) -> object:
    """Return the object in a plain pickle; its tensors are the arrays of NumPy's in it.

    Raises
    ------
    CheckpointError
        If the file is damaged, or asks for a call that no checkpoint needs.
    """
    try:
        return _load(path.read_bytes(), path, Rebuilder(path, None, ""))
    except CheckpointError:
        raise
    except DAMAGE as error:
        raise _damaged(path, error) from error


def _load(data: bytes, path: Path, rebuilder: Rebuilder) -> object:
    return Machine(data, path, rebuilder.find, rebuilder.call, rebuilder.build, rebuilder.persistent).load()


def _damaged(path: Path, error: Exception) -> CheckpointError:
    reason = shown(str(error)) if isinstance(error, DamagedError) else f"{type(error).__name__}: {shown(str(error))}"
    return CheckpointError(f"{path} is damaged ({reason}); copy it again")


def _root(archive: Archive) -> str:
    """Return the folder within the archive where the pickle lies."""
    path, members = archive.path, archive.members
    names = [name for name in members if name.rsplit("/", 1)[-1] == "data.pkl"]
    if len(names) != 1:
        raise CheckpointError(f"{path} is a zip file but no PyTorch checkpoint (it has no data.pkl)")
    root = names[0].removesuffix("data.pkl")
    if f"{root}constants.pkl" in members:
        raise CheckpointError(f"{path} is a TorchScript program; in PyTorch save torch.jit.load(FILE).state_dict()")
    member = members[names[0]]
    if member.size != member.packed and member.size > LARGEST_PICKLE:
        raise CheckpointError(f"{path}: its pickle claims over {LARGEST_PICKLE >> 20} MB; this is no checkpoint")
    order = f"{root}byteorder"
    if order in members and (members[order].size > len(" little ") or archive.read(order).strip() != b"little"):
        raise CheckpointError(f"{path} was saved on a big-endian machine; load and save it again in PyTorch")
    return root

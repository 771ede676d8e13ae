"""Reads ``.safetensors``: eight bytes of length, a JSON header, the values. All of the header is checked first."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evsim.converters.tensors import NUMPY, Tensor, check_shape, contiguous
from evsim.converters.values import shown
from evsim.errors import CheckpointError

DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn_x2",
    "C64": "complex64",
}
"""The format's names of the types of number, and PyTorch's."""

LARGEST_HEADER = 4 << 20
"""Bytes of header beyond which a file is no checkpoint: room for some 40,000 tensors."""


MOST_CLAIMED = 1 << 32
"""Bytes of header beyond which a file is of another format, whose first eight bytes are no length."""


@dataclass(frozen=True)
class _Part:
    """Bytes of a file from `begin` to `end`."""

    path: Path
    begin: int
    end: int
    whole: bool = False

    def size(self) -> int:
        return self.end - self.begin

    def read(self, start: int, stop: int) -> bytes:
        try:
            with self.path.open("rb") as file:
                file.seek(self.begin + start)
                return file.read(stop - start)
        except OSError as error:
            raise CheckpointError(f"{self.path} cannot be read ({error.strerror}); check the file") from error


def recognises(head: bytes) -> bool:
    """Whether a file begins as the format does."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 9 and head[8:9] == b"{" and 2 <= length <= MOST_CLAIMED


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a file by name.

    Raises
    ------
    CheckpointError
        If the header is damaged, or a tensor's type, shape or place is not what the format allows.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, LARGEST_HEADER):
            raise CheckpointError(f"{path} claims a header of {length} bytes; it is cut short or no .safetensors file")
        header = file.read(length)
    try:
        entries = json.loads(header.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has a damaged .safetensors header ({_short(error)}); copy it again") from error
    if type(entries) is not dict:
        raise CheckpointError(f"{path} has a .safetensors header that is no object; copy it again")
    entries.pop("__metadata__", None)
    tensors = {name: _tensor(path, name, entry, 8 + length) for name, entry in entries.items()}
    end = 8 + length
    for name, part in sorted(((n, t.storage) for n, t in tensors.items()), key=_place):
        assert isinstance(part, _Part)
        if part.begin != end:
            what = "overlaps another tensor" if part.begin < end else "lies behind bytes of no tensor"
            raise CheckpointError(f"{path}: {shown(name)} {what}, which the format forbids; copy the file again")
        end = part.end
    if end != size:
        how = "is cut short" if end > size else "has bytes of no tensor at its end"
        raise CheckpointError(f"{path} {how} ({size} bytes, its header tells of {end}); copy it again")
    return tensors


def _tensor(path: Path, name: str, entry: object, base: int) -> Tensor:
    parts = entry if type(entry) is dict and entry.keys() == {"dtype", "shape", "data_offsets"} else {}
    dtype, shape, offsets = (parts.get(key) for key in ("dtype", "shape", "data_offsets"))
    sound = type(dtype) is str and type(shape) is list and type(offsets) is list and len(offsets) == 2
    if not sound or not all(type(n) is int and 0 <= n < 1 << 60 for n in offsets):  # type: ignore[union-attr]
        raise CheckpointError(f"{path}: the header's entry of {shown(name)} is no tensor's; copy the file again")
    axes = tuple(shape)  # type: ignore[arg-type]
    check_shape(path, axes)
    begin, end = offsets  # type: ignore[misc]
    known = DTYPES.get(str(dtype), f"the type {shown(dtype)}")
    if begin > end or (known in NUMPY and end - begin != math.prod(axes) * np.dtype(NUMPY[known]).itemsize):
        raise CheckpointError(
            f"{path}: {shown(name)} has {end - begin} bytes, which is not its shape {list(axes)} of {known}; "
            "copy the file again"
        )
    return Tensor(path, known, axes, contiguous(axes), 0, _Part(path, base + begin, base + end), name)


def _place(entry: tuple[str, object]) -> tuple[int, int]:
    part = entry[1]
    assert isinstance(part, _Part)
    return part.begin, part.end


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name stands there twice")
    return made


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number that JSON knows")


def _short(error: BaseException) -> str:
    return shown(str(error)) if isinstance(error, ValueError) else "nested too deep"

"""``.npy``: ready input (an image [C, H, W] or frames [T, C, H, W]), or a table of events."""

from __future__ import annotations

import tokenize
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.options import ReadOptions
from evsim.events.tables import is_table, table
from evsim.events.types import PIECE, Stream

NAME = "npy"
SUFFIXES = (".npy",)
ABOUT = "a structured array (tonic, expelliarmus, Metavision: fields t, x, y, p by name) or N x 4 (`columns`)"
SIZE = "nowhere"
TAKES = ("time_unit", "columns")
MAGIC = b"\x93NUMPY"
DAMAGE = (OSError, ValueError, TypeError, EOFError, OverflowError, SyntaxError, MemoryError, tokenize.TokenError)
"""What NumPy raises about damaged headers of arrays."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as ``.npy`` does."""
    return head.startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a table of events.

    Raises
    ------
    RecordingError
        If the array is no table of events, or damaged.
    OptionError
        If nothing tells what its columns are.
    """
    array = _opened(path)
    if not is_table(array.dtype, array.shape):
        fields = f", its fields are {', '.join(array.dtype.names)}" if array.dtype.names else ""
        raise RecordingError(
            f"{path} holds an array (frames or an image), not events: {list(array.shape)} of "
            f"{'a structure' if fields else array.dtype}{fields}"
        )

    def blocks() -> Iterator[NDArray[Any]]:
        for begin in range(0, len(array), PIECE):
            yield np.asarray(array[begin : begin + PIECE])

    pieces, unit = table(path, array.dtype, array.shape, blocks, options)
    return Stream(NAME, path, None, pieces, unit=unit)


def holds_events(path: Path) -> bool:
    """Whether the array is a table of events, and no image or frames; errors as `read_array`."""
    array = _opened(path)
    return is_table(array.dtype, array.shape)


def read_array(path: Path) -> NDArray[np.generic]:
    """Read an image or frames.

    Raises
    ------
    RecordingError
        If the file is damaged, or holds no numbers of 2 to 5 axes.
    """
    array = _opened(path)
    check_ready(path, array.dtype, array.shape)
    return np.asarray(array)


def check_ready(path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse what is neither an image nor frames.

    Raises
    ------
    RecordingError
        If there are no numbers, or they have other than 2 to 5 axes.
    """
    if dtype.kind not in "fiub" or not 2 <= len(shape) <= 5 or 0 in shape:
        raise RecordingError(
            f"{path} holds {dtype} of shape {list(shape)}; wanted an image [C, H, W] or frames [T, C, H, W]"
        )


def _opened(path: Path) -> NDArray[Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers by Python 2
            array: NDArray[Any] = np.load(path, allow_pickle=False, mmap_mode="r")
    except DAMAGE as error:
        raise RecordingError(f"{path} is no .npy file of numbers, or damaged ({error})") from error
    return array

"""Ready input in ``.npy``: an image [C, H, W] or frames [T, C, H, W]."""

from __future__ import annotations

import tokenize
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError

MAGIC = b"\x93NUMPY"
DAMAGE = (OSError, ValueError, EOFError, OverflowError, SyntaxError, MemoryError, tokenize.TokenError)
"""What NumPy raises about damaged headers of arrays."""


def read_array(path: Path) -> NDArray[np.generic]:
    """Read an image or frames.

    Raises
    ------
    RecordingError
        If the file is damaged, or holds no numbers of 2 to 4 axes.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers by Python 2
            array: NDArray[np.generic] = np.load(path, allow_pickle=False, mmap_mode="r")
    except DAMAGE as error:
        raise RecordingError(f"{path} is no .npy file of numbers, or damaged ({error})") from error
    if array.dtype.kind not in "fiub" or array.ndim not in (2, 3, 4) or array.size == 0:
        raise RecordingError(
            f"{path} holds {array.dtype} of shape {list(array.shape)}; wanted an image [C, H, W] or frames [T, C, H, W]"
        )
    return np.asarray(array)

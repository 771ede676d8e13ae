"""Grey images for the recorder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.arrays import read_array


def read_grey(path: str | Path) -> NDArray[np.generic]:
    """Read an image [H, W] from ``.npy``, or from PNG and the like where Pillow is installed (extra ``images``).

    Raises
    ------
    RecordingError
        If the file is missing, damaged, or no grey image.
    """
    from evsim.events import head_of
    from evsim.events.arrays import MAGIC

    path = Path(path)
    if head_of(path).startswith(MAGIC):
        array = read_array(path)
        if array.ndim != 2:
            raise RecordingError(f"{path} has shape {list(array.shape)}; the recorder takes an image [H, W]")
        return array
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise RecordingError(
            f"{path} is no .npy file; to read pictures install: pip install 'evsim[images]'"
        ) from error
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("L"))
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise RecordingError(f"{path} is no picture that Pillow reads, nor .npy ({error})") from error

"""Pictures by Pillow (extra ``images``): grey for the recorder, resized and normalised for image models."""

from __future__ import annotations

import math
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.arrays import MAGIC, read_array
from evsim.inputspec import InputSpec

PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
"""How PNG, JPEG, GIF, BMP and TIFF begin."""

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's kinds of picture of more than 8 bits per value: converting them to 8 would cut off, not scale."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as a picture does."""
    return head.startswith(PICTURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


def read_grey(path: str | Path) -> NDArray[np.generic]:
    """Read an image [H, W] from ``.npy``, or from a picture where Pillow is installed.

    Raises
    ------
    RecordingError
        If the file is missing, damaged, or no grey image.
    """
    from evsim.events import head_of

    path = Path(path)
    if head_of(path).startswith(MAGIC):
        array = read_array(path)
        if array.ndim == 3 and array.shape[0] == 1:
            array = array[0]
        if array.ndim != 2:
            raise RecordingError(f"{path} has shape {list(array.shape)}; the recorder takes an image [H, W]")
        return array
    with _picture(path) as picture:
        return np.asarray(picture if picture.mode in DEEP_MODES else picture.convert("L"))


def read_picture(path: str | Path, spec: InputSpec) -> NDArray[np.float32]:
    """Read a picture as timm prepares it at evaluation.

    The shorter side is resized (by the model's interpolation) to floor(size / crop_pct), the middle is cropped, values
    are divided by 255, then normalised by the model's mean and standard deviation.

    Returns
    -------
    numpy.ndarray
        [C, H, W] float32.

    Raises
    ------
    RecordingError
        If the file is damaged, or the model takes no pictures of 1 or 3 channels.
    """
    if spec.channels not in (1, 3):
        raise RecordingError(f"{path} is a picture, but the model takes {spec.channels} channels")
    with _picture(Path(path)) as picture:
        if picture.mode in DEEP_MODES:
            raise RecordingError(f"{path} has more than 8 bits per value, which Pillow would cut off; convert it to 8")
        values = _cropped(picture.convert("RGB" if spec.channels == 3 else "L"), spec)
    scaled = values.reshape(spec.height, spec.width, spec.channels).astype(np.float32) / np.float32(255.0)
    mean, std = (np.array(numbers, np.float32) for numbers in (spec.mean, spec.std))
    return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))


def _cropped(picture: Any, spec: InputSpec) -> NDArray[np.uint8]:
    """As torchvision's Resize and CenterCrop, which timm chains; black where the picture is too narrow."""
    from PIL import Image

    size = math.floor(spec.height / spec.crop_pct), math.floor(spec.width / spec.crop_pct)
    width, height = picture.size
    if size[0] == size[1]:
        short, long = min(width, height), max(width, height)
        wanted = size[0], int(size[0] * long / short)
        width, height = wanted if width <= height else wanted[::-1]
    else:
        height, width = size
    filtered = Image.Resampling[spec.interpolation.upper()]
    resized = picture.resize((width, height), filtered) if picture.size != (width, height) else picture
    top, left = round((height - spec.height) / 2.0), round((width - spec.width) / 2.0)
    box = (left, top, left + spec.width, top + spec.height)
    return np.asarray(resized.crop(box), np.uint8)


@contextmanager
def _picture(path: Path) -> Iterator[Any]:
    """Open a picture, and turn all that Pillow raises about damaged files into one error."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError as error:
        raise RecordingError(f"{path}: to read pictures install: pip install 'evsim[images]'") from error
    damage = (
        UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning,
        OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError, struct.error, zlib.error,
    )  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
                yield picture
    except RecordingError:
        raise
    except damage as error:
        raise RecordingError(f"{path} is no picture that Pillow reads, nor .npy, or it is damaged ({error})") from error

"""Pictures by Pillow (extra ``images``): grey for the recorder, resized and normalised for image models."""

from __future__ import annotations

import logging
import math
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.arrays import MAGIC, read_array
from evsim.inputspec import InputSpec

PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\x00", b"MM\x00*")
"""How PNG, JPEG, GIF, BMP and TIFF begin."""

KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
"""What Pillow may open: of others it would start another program, such as Ghostscript."""

LARGEST = 100 << 20
"""Bytes that a picture may take when decoded, and when resized; Pillow takes 4 for a pixel."""

ORIENTATION = 0x0112
"""Tag of EXIF that says how a picture is to be turned."""

DEEP_MODES = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
"""Pillow's kinds of picture of more than 8 bits per value: converting them to 8 would cut off, not scale."""


def recognises(head: bytes) -> bool:
    """Whether a file begins as a picture does."""
    return head.startswith(PICTURES) or (head.startswith(b"RIFF") and head[8:12] == b"WEBP")


class Picture(NamedTuple):
    """An image's values, and what a person should know of it, one line each."""

    values: NDArray[np.generic]
    notes: tuple[str, ...] = ()


def read_grey(path: str | Path) -> Picture:
    """Read an image [H, W] from ``.npy``, or from a picture where Pillow is installed, turned as its EXIF data say.

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
        return Picture(array)
    with _picture(path) as picture:
        from PIL import ImageOps

        turned = _turned(picture)
        notes = (f"{path}: turned as its EXIF data say ({turned})",) if turned else ()
        notes = (*_several(picture, Path(path)), *notes)
        opaque, said = _opaque(ImageOps.exif_transpose(picture) if turned else picture, path)
        return Picture(np.asarray(opaque if opaque.mode in DEEP_MODES else opaque.convert("L")), (*notes, *said))


def read_picture(path: str | Path, spec: InputSpec) -> Picture:
    """Read a picture as timm prepares it at evaluation.

    The shorter side is resized (by the model's interpolation) to floor(size / crop_pct), the middle is cropped, values
    are divided by 255, then normalised by the model's mean and standard deviation. Transparent pixels are laid on
    white.

    Returns
    -------
    Picture
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
        turned = _turned(picture)
        notes = (f"{path}: its EXIF data ({turned}) are left alone, as timm does; turn it first if need be",)
        notes = (*_several(picture, Path(path)), *(notes if turned else ()))
        opaque, said = _opaque(picture, Path(path))
        values = _cropped(opaque.convert("RGB" if spec.channels == 3 else "L"), spec, Path(path))
    return Picture(_normalised(values, spec), (*notes, *said))


def of_pixels(path: str | Path, pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Return a picture's pixels [H, W] or [H, W, 3] as `read_picture` does; Pillow is needed for another size alone.

    Raises
    ------
    RecordingError
        If the model takes no pictures of 1 or 3 channels, or Pillow is needed and absent.
    """
    if spec.channels not in (1, 3):
        raise RecordingError(f"{path} holds pictures, but the model takes {spec.channels} channels")
    alike = pixels.ndim == (3 if spec.channels == 3 else 2) and pixels.shape[:2] == (spec.height, spec.width)
    if alike and spec.crop_pct == 1.0:
        return _normalised(pixels, spec)
    try:
        from PIL import Image
    except ImportError as error:
        raise RecordingError(
            f"{path}: to make {spec.size} of pictures of shape {list(pixels.shape)} install Pillow: pip install pillow"
        ) from error
    _refuse_large(Path(path), pixels.shape[1], pixels.shape[0], "decoded")
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    return _normalised(_cropped(picture.convert("RGB" if spec.channels == 3 else "L"), spec, Path(path)), spec)


def _normalised(values: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Divide pixels by 255 and normalise them; [C, H, W]."""
    scaled = values.reshape(spec.height, spec.width, spec.channels).astype(np.float32) / np.float32(255.0)
    mean, std = (np.array(numbers, np.float32) for numbers in (spec.mean, spec.std))
    return np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1))


def _turned(picture: Any) -> str:
    """Return what the EXIF data say of the orientation, "" if a picture stands as it is stored."""
    value = picture.getexif().get(ORIENTATION, 1)
    return f"orientation {value}" if value in range(2, 9) else ""


def _opaque(picture: Any, path: Path) -> tuple[Any, tuple[str, ...]]:
    """Lay what is transparent on white; and what to say of it."""
    from PIL import Image

    if not (picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info):
        return picture, ()
    clear = picture.convert("RGBA")
    if clear.getchannel("A").getextrema()[0] == 255:
        return picture, ()
    white = Image.new("RGB", clear.size, (255, 255, 255))
    white.paste(clear, mask=clear.getchannel("A"))
    return white, (f"{path}: its transparent pixels are laid on white",)


def _several(picture: Any, path: Path) -> tuple[str, ...]:
    """Tell of a file of several pictures (GIF, TIFF, WEBP, PNG), whose number may take long to count."""
    return (f"{path}: it holds several pictures; the first is taken",) if getattr(picture, "is_animated", False) else ()


def _cropped(picture: Any, spec: InputSpec, path: Path) -> NDArray[np.uint8]:
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
    _refuse_large(path, width, max(height, picture.size[1]), "resized")
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
        raise RecordingError(f"{path}: to read pictures install Pillow: pip install pillow") from error
    damage = (
        UnidentifiedImageError, Image.DecompressionBombError, Image.DecompressionBombWarning,
        OSError, ValueError, SyntaxError, EOFError, IndexError, TypeError, OverflowError, struct.error, zlib.error,
    )  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            logging.getLogger("PIL").addHandler(logging.NullHandler())  # or what it logs is a second line
            content = BytesIO(path.read_bytes())  # of a file, Pillow makes room for all that a chunk claims to hold
            with Image.open(content, formats=KINDS) as picture:
                _refuse_large(path, picture.width, picture.height, "decoded")
                with _silent(picture.format == "TIFF"):
                    picture.load()
                yield picture
    except RecordingError:
        raise
    except damage as error:
        reason = "" if isinstance(error, UnidentifiedImageError) else f" ({error})"
        raise RecordingError(
            f"{path} is no picture ({', '.join(KINDS)}) that Pillow reads, nor .npy, or it is damaged{reason}"
        ) from error


@contextmanager
def _silent(needed: bool) -> Iterator[None]:
    """Let standard error go nowhere: libtiff writes there what it finds, and Pillow does not keep it from that."""
    try:
        kept = os.dup(2) if needed else -1
    except OSError:  # nobody listens
        kept = -1
    if kept < 0:
        yield
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    os.close(nothing)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _refuse_large(path: Path, width: int, height: int, what: str) -> None:
    if 4 * width * height > LARGEST:
        raise RecordingError(
            f"{path} of {width} x {height} pixels would take {4 * width * height >> 20} MB {what}, more than "
            f"{LARGEST >> 20}; make it smaller"
        )

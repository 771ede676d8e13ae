"""One sample of an array of many, as a network takes it: pixels, a normalised image, or frames."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim import api
from evsim.errors import RecordingError
from evsim.events import ReadOptions, images, ready
from evsim.intake import check_timesteps
from evsim.needs import check_needs
from evsim.network import Network

COLOURS = (1, 3)
"""Numbers of channels that pictures have."""


def as_input(
    path: Path,
    name: str,
    kind: str,
    values: NDArray[np.generic],
    network: Network,
    timesteps: int | None,
    options: ReadOptions,
) -> api.Sample:
    """Return a sample that stands in an array.

    Parameters
    ----------
    path
        Of the file, for messages.
    name
        Of the sample.
    kind
        Of the file.
    values
        Pixels of type uint8: [H, W], [H, W, C] or [C, H, W]; an image [C, H, W] or [H, W] that is normalised; frames
        [T, C, H, W]. What stands in one row (of the image, of each frame) is taken for the model's [C, H, W].
    network, timesteps, options
        As `evsim.api.read` takes them.

    Raises
    ------
    RecordingError, OptionError, NetworkError
        As `evsim.api.read`.
    """
    if timesteps is not None:
        check_timesteps(timesteps)
    check_needs(network, timesteps)
    ready.refuse_options(path, options, pictures=True)
    spec = network.spec
    size, shape = (spec.channels, spec.height, spec.width), list(values.shape)
    if values.dtype.kind not in "fiub":
        raise RecordingError(f"{path} holds samples of {values.dtype}; give numbers")
    if spec.kind == "image" and values.ndim == 1 and len(values) == math.prod(size):
        values = values.reshape(size)
    elif spec.kind != "image" and values.ndim == 2 and values.shape[1] == math.prod(size):
        values = values.reshape(-1, *size)
    if spec.kind == "image" and values.dtype == np.uint8 and values.ndim in (2, 3):
        pixels = images.of_pixels(path, _channels_last(path, values, size), spec)
        return api.Sample(pixels, name, kind)
    if spec.kind == "image" and values.ndim == 2 and spec.channels == 1:
        values = values[None]
    wanted = (3, 4) if spec.kind == "image" else (4,)
    if values.ndim not in wanted:
        form = (
            "an image [C, H, W], or pixels [H, W, 3] of type uint8" if spec.kind == "image" else "frames [T, C, H, W]"
        )
        raise RecordingError(f"{path}: a sample has the shape {shape}; the model takes {form} with {spec.size}")
    values, notes = ready.fitted(
        path, values, network, timesteps or spec.timesteps, replace(options, axis=None), stated=True
    )
    return api.Sample(values, name, kind, notes=notes)


def _channels_last(path: Path, values: NDArray[np.generic], size: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Return pixels [H, W] or [H, W, 3]."""
    pixels: NDArray[np.uint8] = values.astype(np.uint8, copy=False)
    if pixels.ndim == 3:
        first, last = pixels.shape[0] in COLOURS, pixels.shape[2] in COLOURS
        if not (first or last):
            raise RecordingError(f"{path}: pixels of shape {list(pixels.shape)} have no axis of 1 or 3 colours")
        if first and (not last or pixels.shape == size):
            pixels = pixels.transpose(1, 2, 0)
        if pixels.shape[2] == 1:
            pixels = pixels[..., 0]
    return pixels

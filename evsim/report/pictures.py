"""What a network was fed, as pictures."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from evsim.api import Run, Sample
from evsim.inputspec import InputSpec
from evsim.report.recordings import coloured, png

MOST = 16
"""Frames of a strip."""

SMALL = 160
"""Pixels that the longer side of a frame is enlarged to, at least."""

LARGEST = 320
"""Pixels of the longer side at most: of a larger frame, each so many-th pixel is shown."""

Pixels = NDArray[np.uint8]


def strip(run: Run) -> list[tuple[str, str]]:
    """Return captions and ``data:`` addresses of the frames, or of the one image, that a run was fed."""
    values, spec = np.asarray(run.sample.values), run.network.spec
    if spec.kind == "image" and values.ndim == 3:
        return [("the image", address(_image(values, spec)))]
    chosen = np.unique(np.linspace(0, len(values) - 1, min(MOST, len(values))).round().astype(int))
    return [(f"t = {t}", address(_frame(values[t]))) for t in chosen]


def whole(sample: Sample, spec: InputSpec) -> str:
    """Return the ``data:`` address of the image, or of all frames added up."""
    values = np.asarray(sample.values)
    if spec.kind == "image" and values.ndim == 3:
        return address(_image(values, spec))
    return address(_frame(values.sum(axis=0)))


def address(pixels: Pixels) -> str:
    """Return a picture [H, W, 3] as a ``data:`` address, small ones enlarged without blur."""
    longer = max(pixels.shape[:2])
    if longer > LARGEST:
        every = -(-longer // LARGEST)
        pixels = pixels[::every, ::every]
    elif longer < SMALL:
        factor = -(-SMALL // longer)
        pixels = pixels.repeat(factor, axis=0).repeat(factor, axis=1)
    return f"data:image/png;base64,{base64.b64encode(png(np.ascontiguousarray(pixels))).decode()}"


def _frame(frame: NDArray[np.generic]) -> Pixels:
    """Return OFF and ON events in two colours; other frames by their greatest channel."""
    values = np.abs(np.asarray(frame, np.float64))
    if len(values) in (2, 3):  # OFF, ON, and of some models their sum
        return coloured(values[:2])
    return coloured(np.stack([np.zeros_like(values[0]), values.max(axis=0)]))


def _image(values: NDArray[np.generic], spec: InputSpec) -> Pixels:
    """Return the image before it was normalised."""
    light = np.asarray(values, np.float64)
    if len(spec.mean) == len(light):
        light = light * np.array(spec.std)[:, None, None] + np.array(spec.mean)[:, None, None]
    pixels: Pixels = np.clip(np.rint(light * 255), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return pixels if pixels.shape[2] == 3 else pixels[..., :1].repeat(3, axis=2)

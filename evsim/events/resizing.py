"""Frames of the whole sensor, resized to a model's input: real values, as torchvision's Resize makes them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.frames import Frames, to_frames
from evsim.events.options import Fit, Split
from evsim.events.types import Recording


def to_real_frames(
    recording: Recording,
    timesteps: int,
    split: Split,
    height: int,
    width: int,
    *,
    duration_us: int | None = None,
    fit: Fit = "error",
) -> Frames:
    """Count the events of each pixel of the sensor in slices of the recording, and resize what comes.

    Parameters
    ----------
    recording, timesteps, split
        As `to_frames` takes them.
    height, width
        Size of the frames that are returned.
    duration_us
        As `to_frames` takes it.
    fit
        "crop" and "bin" make frames of that size by counting alone, in place of resizing.

    Raises
    ------
    RecordingError
        As `to_frames`, and if the size of the sensor is not known.
    """
    if fit != "error":
        counted = to_frames(recording, timesteps, split, height, width, duration_us=duration_us, fit=fit)
        return Frames(counted.counts.astype(np.float32), counted.notes, counted.left_out)
    if not recording.size_known:
        raise RecordingError(
            f"{recording.path or 'the recording'} names no sensor size, but the model takes frames of the whole "
            f"sensor, resized to {width} x {height}; give `sensor=WxH`"
        )
    whole = to_frames(recording, timesteps, split, recording.height, recording.width, duration_us=duration_us)
    sensor = f"{recording.width} x {recording.height}"
    if (recording.height, recording.width) == (height, width):
        return Frames(whole.counts.astype(np.float32), whole.notes, whole.left_out)
    note = f"frames of {sensor} pixels are resized to the model's {width} x {height}: bilinear, anti-aliased"
    return Frames(resized(whole.counts, height, width), (*whole.notes, note), whole.left_out)


def resized(frames: NDArray[np.generic], height: int, width: int) -> NDArray[np.float32]:
    """Resize maps bilinearly, with the window as wide as an output pixel where they become smaller.

    That is torchvision's ``Resize(..., antialias=True)`` and Pillow's BILINEAR: output i is a weighted mean of the
    inputs around ``(i + 1/2) s - 1/2``, s the ratio of the sizes, by a triangle of half-width max(s, 1).

    Parameters
    ----------
    frames
        [..., H, W].
    height, width
        Of the maps that are returned.

    Returns
    -------
    numpy.ndarray
        [..., height, width], rounded once, from float64.
    """
    down, across = _weights(frames.shape[-2], height), _weights(frames.shape[-1], width)
    values: NDArray[np.float32] = (down @ (frames.astype(np.float64) @ across.T)).astype(np.float32)
    return values


def _weights(inner: int, outer: int) -> NDArray[np.float64]:
    """Return the weights [outer, inner] of the triangle, each row of sum 1."""
    scale = inner / outer
    reach = max(scale, 1.0)
    centres = (np.arange(outer)[:, np.newaxis] + 0.5) * scale
    pixels = np.arange(inner) + 0.5
    triangle = np.maximum(0.0, 1.0 - np.abs(pixels - centres) / reach)
    weights: NDArray[np.float64] = triangle / triangle.sum(axis=1, keepdims=True)
    return weights

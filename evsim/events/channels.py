"""From counts by polarity and pixel to the channels that a network takes: maps, or one position of many channels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.inputspec import InputSpec, Polarity

NAMES = {"first": "polarity, y, x", "last": "y, x, polarity", "merged": "y, x (polarities added up)"}
"""Order of the channels of a network without space, in words."""


def frame_size(spec: InputSpec, sensor: tuple[int, int] | None, path: str) -> tuple[int, int]:
    """Return height and width of the frames that a recording becomes on the way to a network.

    Parameters
    ----------
    spec
        What the network takes.
    sensor
        Width and height that are known of the recording; of use where the network has no space.
    path
        For messages.

    Raises
    ------
    RecordingError
        If the network takes other channels than polarities, or nothing tells the sensor of one without space.
    """
    if not spec.flat or spec.channels in (1, 2):
        if spec.channels not in (1, 2, 3):
            raise RecordingError(
                f"{path} gives frames of 2 channels (OFF, ON), of 1 with their sum, or of 3 with it beside them; the "
                f"model takes {spec.channels}"
            )
        return spec.height, spec.width
    width, height = spec.sensor or sensor or (0, 0)
    if not width:
        raise RecordingError(
            f"{path} names no sensor size, which a model of {spec.channels} channels and no space needs to number the "
            "pixels; give `sensor=WxH`"
        )
    return height, width


def arranged(
    counts: NDArray[np.generic], spec: InputSpec, polarity: Polarity | None, path: str
) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """Return frames [T, C, H, W] as the network takes them, of counts [T, 2, H, W], and what to say of the order.

    Raises
    ------
    RecordingError
        If pixels and polarities do not make as many channels as the network has.
    """
    steps, _, height, width = counts.shape
    if (spec.height, spec.width) == (height, width) and spec.channels in (1, 2, 3):
        total = counts.sum(axis=1, keepdims=True, dtype=counts.dtype)
        if spec.channels == 1:
            return total, ("OFF and ON events are added up: the model takes one channel",)
        return (counts if spec.channels == 2 else np.concatenate([counts, total], axis=1)), ()
    order = polarity or spec.polarity
    notes: tuple[str, ...] = ()
    if polarity is None and order != "merged" and spec.channels == height * width:
        order, notes = "merged", ("OFF and ON events are added up: the model takes as many channels as pixels",)
    match order:
        case "merged":
            rows = counts.sum(axis=1, dtype=counts.dtype)
        case "last":
            rows = counts.transpose(0, 2, 3, 1)
        case _:
            rows = counts
    flat = np.ascontiguousarray(rows).reshape(steps, -1)
    if flat.shape[1] != spec.channels:
        raise RecordingError(
            f"{path}: {width} x {height} pixels give {flat.shape[1]} channels in the order {NAMES[order]}, the model "
            f"takes {spec.channels}; give `sensor`, `crop` or `polarity`"
        )
    return flat[:, :, np.newaxis, np.newaxis], (*notes, f"channels are numbered by {NAMES[order]}")

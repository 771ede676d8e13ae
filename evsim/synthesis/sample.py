"""The input on which a synthetic model is calibrated, and the files beside its model.h5."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim import hdf5
from evsim.files import write_whole
from evsim.network import Network
from evsim.synthesis.moments import moments
from evsim.synthesis.philox import GRID, Philox


def save_state(state: Mapping[str, NDArray[Any]], path: str | Path) -> None:
    """Write a state_dict as HDF5, one dataset per key, as `evsim convert` and the benchmarks read it.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """

    def fill(file: Any) -> None:
        for key, value in state.items():
            file.create_dataset(key, data=value)

    hdf5.write(path, fill, "latest")


def save_sample(sample: NDArray[np.float32], path: str | Path) -> None:
    """Write an input as ``.npy``; OutputError if the file cannot be written."""
    buffer = io.BytesIO()
    np.save(buffer, sample)
    write_whole(path, buffer.getvalue())


def make_sample(network: Network, random: Philox) -> NDArray[np.float32]:
    """Return a random input: a smooth image with noise, normalised as the model wants it, or event frames.

    Nothing but integers, sums, products, quotients and square roots, which are the same everywhere.
    """
    spec = network.spec
    size = (spec.height, spec.width)
    if spec.kind == "image":
        smooth = _smoothed(random.normal((spec.channels, *size))).astype(np.float64)
        _, variance = moments(smooth.reshape(spec.channels, -1).T)
        smooth = smooth / np.sqrt(variance)[:, np.newaxis, np.newaxis]
        noise = random.normal(smooth.shape) / GRID
        image = np.clip(0.45 + 0.22 * smooth + 0.05 * noise, 0.0, 1.0)
        mean, std = (np.array(values)[:, np.newaxis, np.newaxis] for values in (spec.mean, spec.std))
        # on a grid, so that products with weights on theirs add up exactly; a step of 8 bits is 60 and more of its own
        normalised: NDArray[np.float32] = (np.rint((np.rint(image * 255) / 255 - mean) / std * GRID) / GRID).astype(
            "f4"
        )
        return normalised
    y, x = np.mgrid[: size[0], : size[1]] / np.array(size)[:, np.newaxis, np.newaxis]
    frames = np.empty((spec.timesteps, spec.channels, *size), np.float32)
    for i, frame in enumerate(frames):
        centre = 0.3 + 0.4 * i / max(1, spec.timesteps - 1)
        edge = _bell((np.sqrt((x - centre) * (x - centre) + (y - 0.5) * (y - 0.5)) - 0.25) / 0.045)
        rates = np.array([0.02 + 0.8 * edge * (x > centre), 0.02 + 0.8 * edge * (x <= centre)])
        frame[:2] = _counts(rates, random)
        frame[2:] = frame[0] + frame[1]  # of three channels
    return frames


def _smoothed(noise: NDArray[np.int32]) -> NDArray[np.int64]:
    """Blur noise [C, H, W] about as a Gaussian of 1/24 of the size does: three box filters in turn along each axis."""
    blurred = noise.astype(np.int64) << 12
    for axis in (1, 2):
        deviation = noise.shape[axis] / 24
        reach = round((math.sqrt(4 * deviation * deviation + 1) - 1) / 2)
        width = 2 * reach + 1
        for _ in range(3):
            padding = [(0, 0)] * 3
            padding[axis] = (reach + 1, reach)
            sums = np.moveaxis(np.cumsum(np.pad(blurred, padding, "symmetric"), axis=axis), axis, 0)
            blurred = np.moveaxis((sums[width:] - sums[:-width]) // width, 0, axis)
    return blurred


def _bell(distance: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return nearly ``exp(-distance^2 / 2)``: ``(1 + distance^2 / 32)^-16``."""
    bell = 1.0 / (1.0 + distance * distance / 32.0)
    for _ in range(4):
        bell = bell * bell
    return bell


def _counts(rates: NDArray[np.floating], random: Philox) -> NDArray[np.int64]:
    """Draw counts of given means, 16 at most: of 16 chances of an event, nearly Poisson."""
    chance = np.floor(rates * (65536 / 16))
    counts = np.zeros(rates.shape, np.int64)
    for _ in range(16):
        counts += random.shorts(rates.size).reshape(rates.shape) < chance
    return counts

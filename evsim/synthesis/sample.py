"""The input on which a synthetic model is calibrated, and the files beside its model.h5."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim import hdf5
from evsim.files import write_whole
from evsim.network import Network


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


def make_sample(network: Network, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a random input: a smooth image with noise, normalised as the model wants it, or Poisson event frames."""
    from scipy.ndimage import gaussian_filter

    spec = network.spec
    size = (spec.height, spec.width)
    if spec.kind == "image":
        smooth = gaussian_filter(rng.standard_normal((spec.channels, *size)), (0, size[0] / 24, size[1] / 24))
        smooth /= smooth.std(axis=(1, 2), keepdims=True)
        image = np.clip(0.45 + 0.22 * smooth + 0.05 * rng.standard_normal(smooth.shape), 0.0, 1.0)
        mean, std = (np.array(values)[:, np.newaxis, np.newaxis] for values in (spec.mean, spec.std))
        normalised: NDArray[np.float32] = ((np.round(image * 255) / 255 - mean) / std).astype(np.float32)
        return normalised
    y, x = np.mgrid[: size[0], : size[1]] / np.array(size)[:, np.newaxis, np.newaxis]
    frames = []
    for centre in np.linspace(0.3, 0.7, spec.timesteps):
        edge = np.exp(-((np.hypot(x - centre, y - 0.5) - 0.25) ** 2) / 0.004)
        frames.append([0.02 + 0.8 * edge * (x > centre), 0.02 + 0.8 * edge * (x <= centre)])
    return rng.poisson(np.array(frames)).astype(np.float32)

"""Arrays that are ready for a network: which axis is which, whether they fit, and what their values tell."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events.options import ReadOptions
from evsim.inputspec import InputSpec
from evsim.network import Network

OF_ARRAYS = ("axis", "item")
"""Options that arrays have a use for."""

TOLERANCE = 1e-3
"""By how much a normalised value may miss its range: sums in float32, and resizing overshoots anyway."""


def refuse_options(path: str | Path, options: ReadOptions, *, pictures: bool) -> None:
    """Refuse options of recordings for a file that is none; pictures take those of arrays no more.

    Raises
    ------
    OptionError
        If one is given.
    """
    given = [field.name for field in fields(options) if getattr(options, field.name) != field.default]
    given = [name for name in given if pictures or name not in OF_ARRAYS]
    if given:
        names = ", ".join(f"`{name.removesuffix('_us')}`" for name in sorted(given))
        raise OptionError(f"{path} is no recording of events, for which alone there is {names}; leave it out")


def fitted(
    path: str | Path,
    values: NDArray[np.generic],
    network: Network,
    timesteps: int | None,
    options: ReadOptions,
    *,
    stated: bool = False,
) -> tuple[NDArray[np.generic], tuple[str, ...]]:
    """Return an image [C, H, W] or frames [T, C, H, W] that fit a network, and what to say of them.

    Parameters
    ----------
    path
        For messages.
    values
        Of 2 to 5 axes.
    network
        Tells size and kind of its input.
    timesteps
        T of the run, None for as many as there are frames.
    options
        `axis` and `item`.
    stated
        Whether the file itself says that its first axis is time.

    Raises
    ------
    RecordingError
        If shape, number of timesteps or values do not fit.
    OptionError
        If nothing tells whether the first axis is a batch or time, or `item` is not in it.
    """
    spec = network.spec
    if values.shape[-3:] != (spec.channels, spec.height, spec.width):
        raise RecordingError(_other_shape(path, values, spec))
    notes: list[str] = []
    if values.ndim == 5:
        values, notes = _of_batch(path, values, options, spec)
    elif spec.kind == "image" and values.ndim == 4 and not stated and options.axis != "time":
        values, notes = _of_images(path, values, timesteps, options)
    elif options.item is not None or (options.axis == "batch"):
        raise OptionError(f"{path}: shape {list(values.shape)} is no batch; leave out `axis` and `item`")
    if spec.kind != "image" and values.ndim == 3:
        raise RecordingError(_other_shape(path, values, spec))
    if timesteps is not None and values.ndim == 4 and len(values) != timesteps:
        raise RecordingError(_other_length(path, len(values), timesteps))
    _check_values(path, values, spec)
    return values, (*notes, *_unlikely(values, spec))


def _of_batch(
    path: str | Path, values: NDArray[np.generic], options: ReadOptions, spec: InputSpec
) -> tuple[NDArray[np.generic], list[str]]:
    """Frames of a batch [N, T, C, H, W], or [T, 1, C, H, W] as SpikingJelly has it."""
    shape, number = list(values.shape), len(values)
    if options.item is None and number > 1 and values.shape[1] == 1:
        return values[:, 0], [f"{path}: shape {shape} is taken for T timesteps of a batch of one"]
    if options.item is None and number > 1:
        raise OptionError(
            f"{path} holds a batch of {number} inputs [N, T, {spec.size[1:]}; evsim runs one, give `item=0` to "
            f"`item={number - 1}`"
        )
    return _item(path, values, options), [f"{path}: shape {shape} is taken for a batch of {number}"]


def _of_images(
    path: str | Path, values: NDArray[np.generic], timesteps: int | None, options: ReadOptions
) -> tuple[NDArray[np.generic], list[str]]:
    """One image of a batch [N, C, H, W] for a model that sees the same image at every timestep."""
    number = len(values)
    if number == 1 or options.item is not None:
        image = _item(path, values, options)
        shown = f"image {options.item or 0} is shown at every timestep"
        return image, [f"{path}: shape {list(values.shape)} is taken for a batch of {number}; {shown}"]
    which = f"a batch, `item=0` to `item={number - 1}`"
    if options.axis == "batch":
        raise OptionError(f"{path} holds {number} images and evsim runs one; of {which}")
    steps = "" if number == timesteps else f" and `timesteps={number}`"
    raise OptionError(
        f"{path} of shape {list(values.shape)} holds {number} images: for one of {which}; for one image at each "
        f"timestep, `axis=time`{steps}"
    )


def _item(path: str | Path, values: NDArray[np.generic], options: ReadOptions) -> NDArray[np.generic]:
    item = options.item or 0
    if item >= len(values):
        raise OptionError(
            f"{path} holds a batch of {len(values)}, so `item` must be 0 to {len(values) - 1}, got {item}"
        )
    return np.asarray(values[item])


def _other_shape(path: str | Path, values: NDArray[np.generic], spec: InputSpec) -> str:
    frames = f"frames [T, {spec.size[1:]}"
    takes = frames if spec.kind != "image" else f"an image {spec.size} or {frames}"
    return f"{path}: the model takes {takes}, but the input has shape {list(values.shape)}"


def _other_length(path: str | Path, held: int, timesteps: int) -> str:
    if held == 1:
        return (
            f"{path}: the input holds one timestep, the run has {timesteps}, on which prediction and energy depend; "
            "give as many frames"
        )
    return f"{path}: the input holds {held} timesteps, the run has {timesteps}; give `timesteps={held}` to run as many"


def _check_values(path: str | Path, values: NDArray[np.generic], spec: InputSpec) -> None:
    if not np.isfinite(values).all():
        raise RecordingError(f"{path}: the input holds NaN or infinite values; mend the file")
    counted = spec.kind != "events" or values.dtype.kind in "ub"
    if not counted and bool((np.less(values, 0) | (values != np.floor(values))).any()):
        raise RecordingError(f"{path}: the model takes event counts, but the input holds negative or fractional values")


def _unlikely(values: NDArray[np.generic], spec: InputSpec) -> list[str]:
    """Return what to say if an image model is about to see pixel values that nobody normalised."""
    if spec.kind != "image":
        return []
    least, greatest = float(values.min()), float(values.max())
    trained = f"the model was trained on (x / 255 - {spec.mean}) / {spec.std}"
    if values.dtype.kind in "iu" and greatest > 1:
        return [f"the file holds whole numbers up to {values.max()}; {trained}"]
    low = min((0.0 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True))
    high = max((1.0 - mean) / std for mean, std in zip(spec.mean, spec.std, strict=True))
    margin = TOLERANCE * (high - low)
    if least < low - margin or greatest > high + margin:
        return [
            f"the file holds {least:g} to {greatest:g}, beyond normalised pixels, {low:.4g} to {high:.4g}; {trained}"
        ]
    if max(spec.mean) > 0.0 and least >= 0.0:
        return [f"the file holds {least:g} to {greatest:g}, nothing below 0, so it may not be normalised; {trained}"]
    return []

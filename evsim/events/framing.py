"""From a recording to the frames that a network takes: by which rule, of how many timesteps, in which channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evsim.events import channels
from evsim.events.frames import Frames, to_frames
from evsim.events.options import BY_DURATION, ReadOptions, Split
from evsim.events.resizing import to_real_frames
from evsim.events.types import Recording
from evsim.inputspec import InputSpec


def with_defaults(options: ReadOptions, spec: InputSpec) -> ReadOptions:
    """Return options with the orientation and the crop of the model where a person said none."""
    crop = options.crop
    if crop is None and spec.crop:
        width, height, left, top = spec.crop
        crop = width, height, left, top
    return replace(options, orientation=options.orientation or spec.orientation, crop=crop)


def split_of(spec: InputSpec, options: ReadOptions) -> Split:
    """Return how events become frames: as an option says, else the model."""
    return "bin" if options.bin_us else options.split or spec.frames


def steps_of(
    values: NDArray[np.generic], timesteps: int | None, split: Split, spec: InputSpec, options: ReadOptions
) -> tuple[int | None, tuple[str, ...]]:
    """Return T where the input decides it, and what to say of it."""
    steps = len(values)
    if split in BY_DURATION:
        said = f"T = {steps}: frames of {options.duration_us} us; the model was trained with {spec.timesteps}"
        return steps, (said,)
    if not spec.open_time or timesteps is not None:
        return None, ()
    if split == "bin":
        length = options.bin_us or spec.bin_us
        return steps, (f"T = {steps}: bins of {length} us to the last event, for the model fixes no T",)
    return steps, (f"T = {steps} is assumed, for the model fixes none; give `timesteps`",)


def framed(
    recording: Recording, timesteps: int | None, split: Split, spec: InputSpec, options: ReadOptions
) -> tuple[NDArray[np.generic], tuple[str, ...], Mapping[str, int]]:
    """Return the frames of a recording as the network takes them, counts or resized, and what to say of them.

    The last of the three is `Frames.left_out`.

    Parameters
    ----------
    recording
        At least one event.
    timesteps
        T, None for the model's own.
    split
        How events become frames, as `split_of` says.
    spec, options
        What the network takes, and how the recording is read.

    Raises
    ------
    RecordingError
        As `to_frames`, and if channels do not fit.
    """
    if spec.kind != "frames":
        sensor = (recording.width, recording.height) if recording.size_known else None
        size = channels.frame_size(spec, sensor, str(recording.path))
        frames = counted(recording, timesteps, split, spec, options, size)
        counts, said = channels.arranged(frames.counts, spec, options.polarity, str(recording.path))
        return counts, (*frames.notes, *said), frames.left_out
    real = to_real_frames(
        recording,
        timesteps or spec.timesteps,
        split,
        spec.height,
        spec.width,
        duration_us=options.duration_us,
        fit=options.fit,
    )
    values: NDArray[np.generic] = real.counts
    if spec.channels == 3:
        values = np.concatenate([values, values.sum(axis=1, keepdims=True, dtype=values.dtype)], axis=1)
    return values, real.notes, real.left_out


def counted(
    recording: Recording,
    timesteps: int | None,
    split: Split,
    spec: InputSpec,
    options: ReadOptions,
    size: tuple[int, int],
) -> Frames:
    """Return the counts of a recording on so many rows and columns; bins are those of options or model."""
    fixed = timesteps or (0 if spec.open_time and split == "bin" else spec.timesteps)
    length, begin = options.duration_us, None
    if split == "bin":
        length = options.bin_us or spec.bin_us
        begin = options.start.value if options.start is not None and options.start.unit == "us" else None
        if options.chooses and begin is None and len(recording):
            begin = int(recording.t.min())
    return to_frames(recording, fixed, split, *size, duration_us=length, begin_us=begin, fit=options.fit)

"""From events to frames, as SpikingJelly makes them: trained models depend on every count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.types import Recording


@dataclass(frozen=True, eq=False)
class Frames:
    """Event counts [T, 2, H, W] int32, channel 0 = OFF, 1 = ON, and what a person should know."""

    counts: NDArray[np.int32]
    notes: tuple[str, ...] = ()


def to_frames(
    recording: Recording, timesteps: int, split: Literal["number", "time"], height: int, width: int
) -> Frames:
    """Count the events of each pixel in `timesteps` slices.

    Parameters
    ----------
    recording
        Events; its sensor must not be larger than the frames.
    timesteps
        Number of slices T.
    split
        "number": slices of N // T events; "time": slices of (t[-1] - t[0]) // T microseconds. The last slice takes
        the remainder in both.
    height, width
        Size of the frames.

    Raises
    ------
    RecordingError
        If there are no events, fewer than T, or some outside the frames.
    """
    n, where = len(recording), recording.path or "the recording"
    if n == 0:
        raise RecordingError(f"{where} holds no events; give another recording")
    if n < timesteps:
        raise RecordingError(f"{where} holds {n} events, too few for {timesteps} timesteps; give fewer by --timesteps")
    outside = int(((recording.x >= width) | (recording.y >= height)).sum())
    too_large = recording.size_known and (recording.width > width or recording.height > height)
    if outside or too_large:
        raise RecordingError(
            f"{where} comes from a sensor of {recording.width} x {recording.height} pixels, the model takes "
            f"{width} x {height}; give a recording of that size"
        )
    notes: list[str] = []
    edges = _edges(recording, timesteps, split)
    counts = np.zeros((timesteps, 2, height, width), np.int32)
    pixels = (recording.p.astype(np.int64) * height + recording.y) * width + recording.x
    for i, (begin, end) in enumerate(edges):
        if end <= begin:
            notes.append(f"no events fall into frame {i} of {timesteps}")
            continue
        counts[i] = np.bincount(pixels[begin:end], minlength=2 * height * width).reshape(2, height, width)
    return Frames(counts, tuple(notes))


def _edges(recording: Recording, timesteps: int, split: str) -> list[tuple[int, int]]:
    """First event and end of each slice."""
    n = len(recording)
    if split == "number":
        size = n // timesteps
        return [(i * size, n if i == timesteps - 1 else (i + 1) * size) for i in range(timesteps)]
    t = recording.t
    span = int(t[-1] - t[0]) // timesteps
    edges = []
    for i in range(timesteps):
        begin = int(t[0]) + i * span
        inside = np.flatnonzero((t >= begin) & (t < begin + span))
        if not len(inside):
            edges.append((0, 0))
            continue
        edges.append((int(inside[0]), n if i == timesteps - 1 else int(inside[-1]) + 1))
    return edges

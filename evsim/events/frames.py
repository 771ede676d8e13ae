"""From events to frames, as SpikingJelly makes them: trained models depend on every count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events.options import BY_DURATION, Fit, Split
from evsim.events.types import BEFORE, BEHIND, BEHIND_BINS, OUTSIDE_CROP, PIECE, Recording
from evsim.inputspec import LARGEST_TIMESTEPS

LARGEST = 256 << 20
"""Bytes that the frames of one recording may take."""

Columns = tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.uint8], NDArray[np.int64]]
"""x, y, p and t."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Event counts [T, 2, H, W], channel 0 = OFF, 1 = ON, and what a person should know.

    They are int32; those of frames that were resized are real values, float32. `left_out` tells why events of the
    recording are in no frame, and how many: reason to number.
    """

    counts: NDArray[np.int32 | np.float32]
    notes: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def to_frames(
    recording: Recording,
    timesteps: int,
    split: Split,
    height: int,
    width: int,
    *,
    duration_us: int | None = None,
    begin_us: int | None = None,
    fit: Fit = "error",
) -> Frames:
    """Count the events of each pixel in slices of the recording.

    Parameters
    ----------
    recording
        At least one event.
    timesteps
        Number of slices T; not used by split "duration"; 0 for as many bins as the recording spans.
    split
        "number": slices of N // T events in the order of the file; "time": slices of (t[-1] - t[0]) // T microseconds;
        "duration": slices of `duration_us`, as many as the recording gives. The last slice takes the remainder in all
        three. "duration-0.0.0.0.12": each slice begins at the event behind the last one, and holds what is at most
        `duration_us` later, as SpikingJelly 0.0.0.0.12 has it. "bin": slices of `duration_us` from `begin_us` on; what
        comes later is left out. All but "number" take events in order of time.
    height, width
        Size of the frames.
    duration_us
        For split "duration" and "bin".
    begin_us
        When the first bin begins; None for time 0.
    fit
        What becomes of a larger sensor: "error"; "crop" keeps its middle; "bin" sums square blocks of pixels.

    Raises
    ------
    RecordingError
        If there are no events, some lie outside the frames, or the frames would be too many.
    """
    where = recording.path or "the recording"
    if not len(recording):
        raise RecordingError(f"{where} holds no events; give another recording or range")
    (x, y, p, t), notes = _fitted(recording, height, width, fit, where)
    if split != "number":
        (x, y, p, t), said = _in_order(x, y, p, t)
        notes += said
    if split in BY_DURATION:
        if not duration_us:
            raise OptionError(f"`split={split}` needs the length of a frame; give `duration`, e.g. 100ms")
        timesteps = max(1, -(-int(t[-1] - t[0]) // duration_us))
    edges: list[tuple[int, int]] = []
    if split == "bin":
        edges, said = _of_bins(t, timesteps, duration_us or 0, begin_us or 0, where)
        notes += said
    elif split == "duration-0.0.0.0.12":
        edges = _from_event_to_event(t, duration_us or 0, LARGEST // (8 * height * width))
    timesteps = len(edges) or timesteps
    _refuse_many(timesteps, height, width, where)
    n = len(t)
    if n < timesteps and split == "number":
        notes.append(f"{n} events are fewer than {timesteps} frames: all fall into the last, as in SpikingJelly")
    edges = edges or _edges(t, timesteps, split, duration_us or 0)
    _refuse_empty(edges, t, where)
    counts = np.zeros((timesteps, 2, height, width), np.int32)
    for i, (begin, end) in enumerate(edges):
        if end > begin:
            _count(counts[i], x[begin:end], y[begin:end], p[begin:end])
    notes += [] if split == "bin" else _empty_notes(edges, n, split)  # bins of a millisecond often are
    return Frames(counts, tuple(notes), _left_out(len(recording) - n, edges, n, split))


def _left_out(cropped: int, edges: list[tuple[int, int]], n: int, split: Split) -> dict[str, int]:
    """Return why events are in no frame, and how many; frames share no events."""
    before = edges[0][0] if split == "bin" else 0
    behind = n - before - sum(end - begin for begin, end in edges)
    reasons = {OUTSIDE_CROP: cropped, BEFORE: before, BEHIND_BINS if split == "bin" else BEHIND: behind}
    return {reason: number for reason, number in reasons.items() if number}


def _refuse_many(timesteps: int, height: int, width: int, where: str) -> None:
    """Refuse frames that take too much memory."""
    if 8 * timesteps * height * width > LARGEST:
        raise RecordingError(
            f"{where} would become {timesteps} frames of {width} x {height}, over {LARGEST >> 20} MB; "
            "give fewer, longer frames"
        )


def _refuse_empty(edges: list[tuple[int, int]], t: NDArray[np.int64], where: str) -> None:
    """Refuse frames that no event falls into."""
    if all(end <= begin for begin, end in edges):
        raise RecordingError(
            f"{where} spans {int(t[-1] - t[0])} us, too little for {len(edges)} windows of time: no event would be in "
            "any frame; give `split=number`"
        )


def _in_order(
    x: NDArray[np.uint16], y: NDArray[np.uint16], p: NDArray[np.uint8], t: NDArray[np.int64]
) -> tuple[Columns, list[str]]:
    """Put events in order of time, so that each falls into the frame of its time; and what to say of it."""
    backward = int(np.count_nonzero(t[1:] < t[:-1]))
    if not backward:
        return (x, y, p, t), []
    order = np.argsort(t, kind="stable")
    note = (
        f"time runs backward {backward} times, so events are put in order of time first and each falls into the frame "
        "of its time; SpikingJelly, which does not, would count some twice or not at all"
    )
    return (x[order], y[order], p[order], t[order]), [note]


def bins(t: NDArray[np.int64], begin: int, length: int, where: str) -> int:
    """Return how many bins reach to the last event.

    Raises
    ------
    RecordingError
        If they are more than any run has timesteps.
    """
    number = max(1, (int(t[-1]) - begin) // length + 1)
    if number > LARGEST_TIMESTEPS:
        raise RecordingError(
            f"{where} spans {number} bins of {length} us from {begin} us on, over {LARGEST_TIMESTEPS}; "
            "give `timesteps`, a longer `bin`, or a range by `start` (`start=0ev` for the first event)"
        )
    return number


def _of_bins(
    t: NDArray[np.int64], timesteps: int, length: int, begin: int, where: str
) -> tuple[list[tuple[int, int]], list[str]]:
    """Return first event and end of each bin, and what to say of events in none."""
    timesteps = timesteps or bins(t, begin, length, where)
    places = np.searchsorted(t, begin + length * np.arange(timesteps + 1, dtype=np.int64), side="left").tolist()
    before, behind = places[0], len(t) - places[-1]
    if before + behind == len(t):
        raise RecordingError(
            f"{where} holds no event in {timesteps} bins of {length} us from {begin} us on; its events are at "
            f"{int(t[0])} to {int(t[-1])} us: give `start`, `start=0ev` for the first event"
        )
    notes = [f"{before} events before {begin} us are in no bin"] if before else []
    if behind:
        notes.append(f"{behind} of {len(t)} events come after {timesteps} bins of {length} us and are left out")
    return list(pairwise(places)), notes


def _from_event_to_event(t: NDArray[np.int64], duration: int, most: int) -> list[tuple[int, int]]:
    """Slices of SpikingJelly 0.0.0.0.12; at most one more than `most`."""
    edges: list[tuple[int, int]] = []
    begin = 0
    while begin < len(t) and len(edges) <= most:
        end = int(np.searchsorted(t, t[begin] + duration, side="right"))
        edges.append((begin, end))
        begin = end
    return edges


def _count(frame: NDArray[np.int32], x: NDArray[np.uint16], y: NDArray[np.uint16], p: NDArray[np.uint8]) -> None:
    """Add events to a frame, some at a time: the pixel numbers take more memory than the events."""
    _, height, width = frame.shape
    flat = frame.reshape(-1)
    for begin in range(0, len(x), PIECE):
        piece = slice(begin, begin + PIECE)
        pixels = p[piece].astype(np.int64)
        pixels *= height
        pixels += y[piece]
        pixels *= width
        pixels += x[piece]
        flat += np.bincount(pixels, minlength=len(flat)).astype(np.int32)


def _edges(t: NDArray[np.int64], timesteps: int, split: Split, duration: int) -> list[tuple[int, int]]:
    """First event and end of each slice."""
    n = len(t)
    if split == "number":
        size = n // timesteps
        return [(i * size, n if i == timesteps - 1 else (i + 1) * size) for i in range(timesteps)]
    if split == "duration":
        ends = np.searchsorted(t, t[0] + duration * np.arange(1, timesteps), side="left").tolist()
        return list(zip([0, *ends], [*ends, n], strict=True))
    span = int(t[-1] - t[0]) // timesteps
    edges = []
    for i in range(timesteps):
        begin = int(t[0]) + i * span
        first, end = (int(place) for place in np.searchsorted(t, (begin, begin + span), side="left"))
        if end <= first:
            first = end = 0
        edges.append((first, n if i == timesteps - 1 and end > first else end))
    return edges


def _empty_notes(edges: list[tuple[int, int]], n: int, split: Split) -> list[str]:
    empty = [i for i, (begin, end) in enumerate(edges) if end <= begin]
    if not empty or (split == "number" and n < len(edges)):
        return []
    numbers = ", ".join(str(i) for i in empty[:8]) + (", ..." if len(empty) > 8 else "")
    notes = [f"no events fall into {len(empty)} of {len(edges)} frames (frame {numbers})"]
    left = n - max((end for _, end in edges), default=0)
    if left > 0:
        notes.append(f"the last {left} events lie behind the last window of time, which is empty: they are in no frame")
    return notes


def _fitted(recording: Recording, height: int, width: int, fit: Fit, where: str) -> tuple[Columns, list[str]]:
    """Coordinates within the frames, by the policy for larger sensors; and what to say of it."""
    columns = recording.x, recording.y, recording.p, recording.t
    size = f"{recording.width} x {recording.height}"
    if recording.width <= width and recording.height <= height:
        if not recording.size_known:
            found = f"the file names no sensor size ({recording.size_from}: {size})"
            return columns, [f"{found}; the model's {width} x {height} is taken; if it is another, give `sensor=WxH`"]
        if (recording.width, recording.height) != (width, height):
            return columns, [f"the sensor of {size} pixels fills the upper left of the model's {width} x {height}"]
        return columns, []
    size = f"{size} pixels"
    if not recording.size_known:
        raise RecordingError(
            f"{where} names no sensor size and holds events outside the model's {width} x {height} "
            f"(up to {size}); give `sensor=WxH`, and `fit=crop` or `fit=bin`"
        )
    if fit == "error":
        raise RecordingError(
            f"{where} comes from a sensor of {size}, the model takes {width} x {height}; "
            "give `fit=crop` (its middle) or `fit=bin` (sums of square blocks)"
        )
    return _cropped(recording, height, width) if fit == "crop" else _binned(recording, height, width)


def _cropped(recording: Recording, height: int, width: int) -> tuple[Columns, list[str]]:
    left, top = max(0, (recording.width - width) // 2), max(0, (recording.height - height) // 2)
    x, y = recording.x, recording.y
    keep = (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
    number = int(np.count_nonzero(keep))
    note = f"cropped to x from {left}, y from {top}, {width} x {height} pixels: {number} of {len(x)} events"
    if not number:
        raise RecordingError(f"{recording.path or 'the recording'}: no event lies in its middle; use `fit=bin`")
    return (
        (x[keep] - left).astype(np.uint16),
        (y[keep] - top).astype(np.uint16),
        recording.p[keep],
        recording.t[keep],
    ), [note]


def _binned(recording: Recording, height: int, width: int) -> tuple[Columns, list[str]]:
    side = max(-(-recording.width // width), -(-recording.height // height))
    size = f"{-(-recording.width // side)} x {-(-recording.height // side)}"
    note = f"summed blocks of {side} x {side} pixels: {size} in the upper left of the model's {width} x {height}"
    x, y = (recording.x // side).astype(np.uint16), (recording.y // side).astype(np.uint16)
    return (x, y, recording.p, recording.t), [note]

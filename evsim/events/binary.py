"""What the binary readers share: opening a file with clear errors, and packing columns into a recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.types import GREATEST_INDEX, Recording

Orientation = Literal["spikingjelly", "jaer", "raw"]


@dataclass(frozen=True)
class ReadOptions:
    """How a recording is read.

    Attributes
    ----------
    orientation
        Axis convention of DVS128 recordings in AEDAT 2.0: as SpikingJelly's CIFAR10-DVS loader turns them, as jAER
        shows them, or as they are stored.
    layout
        Address layout of an AEDAT 2.0 file whose header does not name its chip.
    allow_truncated
        Whether to read the whole events of a file that ends within one.
    """

    orientation: Orientation = "spikingjelly"
    layout: Literal["dvs128", "davis"] | None = None
    allow_truncated: bool = False


def column(path: Path, offset: int, dtype: np.dtype[np.void] | str, options: ReadOptions) -> tuple[NDArray, int]:  # type: ignore[type-arg]
    """Map the rest of a file as records; return them and the bytes left over behind the last whole one.

    Raises
    ------
    RecordingError
        If bytes are left over, unless truncated files are allowed.
    """
    size = path.stat().st_size - offset
    record = np.dtype(dtype)
    whole, rest = divmod(size, record.itemsize)
    if rest and not options.allow_truncated:
        raise RecordingError(
            f"{path} is truncated: {whole} whole events and {rest} bytes of another; "
            "copy it again, or read those by --allow-truncated"
        )
    if not whole:
        return np.empty(0, record), rest
    return np.memmap(path, record, "r", offset, (whole,)), rest


def backward_note(t: NDArray[np.int64]) -> tuple[str, ...]:
    """Return a note if time runs backward somewhere."""
    steps = int(np.count_nonzero(np.diff(t) < 0)) if len(t) else 0
    return (f"time runs backward {steps} times",) if steps else ()


def greatest(x: NDArray[np.integer], y: NDArray[np.integer]) -> tuple[int, int, str]:
    """Return the sensor size that the events themselves show."""
    return (int(x.max()) + 1 if len(x) else 0, int(y.max()) + 1 if len(y) else 0, GREATEST_INDEX)


def pack(
    columns: tuple[NDArray[np.integer], NDArray[np.integer], NDArray[np.integer], NDArray[np.integer]],
    size: tuple[int, int, str],
    name: str,
    path: Path,
    skipped: Mapping[str, int] | None = None,
    notes: tuple[str, ...] = (),
) -> Recording:
    """Make a recording of t, x, y, p; refuse coordinates outside the sensor."""
    t, x, y, p = columns
    width, height, size_from = size
    if len(x) and (int(x.max()) >= width or int(y.max()) >= height or int(x.min()) < 0 or int(y.min()) < 0):
        raise RecordingError(
            f"{path} holds events at up to x {int(x.max())}, y {int(y.max())}, outside its sensor of "
            f"{width} x {height}; it is damaged or of another layout"
        )
    return Recording(
        np.asarray(t, np.int64), np.asarray(x, np.uint16), np.asarray(y, np.uint16), np.asarray(p, np.uint8),
        width, height, size_from, name, skipped or {}, (*notes, *backward_note(np.asarray(t, np.int64))), str(path),
    )  # fmt: skip

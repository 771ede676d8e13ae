"""An input ready for a network, and what became of the events of the file that it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.events.types import Recording


@dataclass(frozen=True, eq=False)
class Sample:
    """An input ready for the network.

    Attributes
    ----------
    values
        Image [C, H, W] or frames [T, C, H, W].
    path, kind
        Where it came from, and its format.
    events
        Number of events of a recording within the range and the crop that were asked for, None for frames and images.
    notes
        What a person should know, one line each.
    timesteps
        T where the input decides it (frames of a given duration) or `read` was given it, else None: the model's own.
    fed
        Events of them that are in the frames: what the network was fed.
    left_out
        Why events of the file were not fed, and how many: reason to number.
    in_file
        Events of the whole file; None where it was not read to its end.
    """

    values: NDArray[np.generic]
    path: str = ""
    kind: str = "array"
    events: int | None = None
    notes: tuple[str, ...] = ()
    timesteps: int | None = None
    fed: int | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)
    in_file: int | None = None

    @classmethod
    def of_events(
        cls,
        values: NDArray[np.generic],
        recording: Recording,
        left_out: Mapping[str, int],
        notes: tuple[str, ...],
        timesteps: int | None,
        path: str | Path,
    ) -> Sample:
        """Return the frames of a recording, with what became of its events.

        Parameters
        ----------
        values
            Frames [T, C, H, W].
        recording
            What they are made of.
        left_out
            As of `evsim.events.frames.Frames`.
        notes, timesteps, path
            As of a sample.
        """
        fed = len(recording) - sum(left_out.values())
        reasons = {**recording.left_out}
        for reason, number in left_out.items():
            reasons[reason] = reasons.get(reason, 0) + number
        return cls(
            values, str(path), recording.format, len(recording), notes, timesteps, fed, reasons, recording.in_file
        )

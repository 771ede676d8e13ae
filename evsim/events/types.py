"""A recording of an event camera: four columns and what is known of their origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Recording:
    """Events in the order of the file.

    Attributes
    ----------
    t
        int64, microseconds.
    x, y
        uint16, column and row; row 0 on top.
    p
        uint8, 1 = ON (brighter), 0 = OFF.
    width, height
        Size of the sensor in pixels.
    size_from
        Where the sensor size came from, in words; "greatest index" means that the file names none.
    format
        Name of the format, e.g. "aedat2".
    skipped
        What the file holds besides events, and how often: kind to number.
    notes
        What a person should know, one line each.
    path
        Where it was read from, or "".
    """

    t: NDArray[np.int64]
    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]
    width: int
    height: int
    size_from: str
    format: str
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    path: str = ""

    def __len__(self) -> int:
        return len(self.t)

    @property
    def size_known(self) -> bool:
        """Whether the file or its format names the sensor size."""
        return self.size_from != GREATEST_INDEX


GREATEST_INDEX = "greatest index + 1"
"""`Recording.size_from` where a file names no sensor size."""

"""Formats without a mark are read by their suffix alone: what cannot be a recording must not become one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError

LOOKED_AT = 1 << 18
"""Events from the beginning of a file that are looked at."""

FEW, FEW_SAME = 4, 100
"""Steps backward, and events like the one before, that are of no account: clocks wrap, and cameras glitch."""

SHARE_BACKWARD, SHARE_SAME = 20, 2
"""Refused is what runs backward in more than a 20th of its steps, or of which half the words repeat the one before."""


def refuse_other(path: Path, t: NDArray[np.integer], words: NDArray[np.void], what: str) -> None:
    """Refuse what is no recording, by the first of its would-be events.

    Parameters
    ----------
    path
        For messages.
    t
        Their times.
    words
        The events as stored.
    what
        Name of the format, for messages.

    Raises
    ------
    RecordingError
        If time runs backward too often, or most events are the same as the one before.
    """
    steps = len(t) - 1
    if steps < FEW:
        return
    backward = int(np.count_nonzero(t[1:] < t[:-1]))
    if backward > max(FEW, steps // SHARE_BACKWARD):
        raise RecordingError(
            f"{path} is no recording of {what}: read as one, time runs backward in {backward} of {steps} steps; "
            "it is another kind of file, or damaged"
        )
    same = int(np.count_nonzero(words[1:] == words[:-1]))
    if same > max(FEW_SAME, steps // SHARE_SAME):
        raise RecordingError(
            f"{path} is no recording of {what}: read as one, {same} of {steps + 1} events repeat the one before; "
            "it is another kind of file, or damaged"
        )

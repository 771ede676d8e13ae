"""From one file of events to another: AEDAT 2.0 or 3.1, SpikingJelly's ``.npz``, or text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from evsim.errors import OptionError
from evsim.events import aedat2, aedat3, npz
from evsim.events.options import ReadOptions
from evsim.events.types import PIECE, Recording
from evsim.files import replacing

Version = Literal["2.0", "3.1"]


def write(
    recording: Recording, path: str | Path, version: str | None = None, options: ReadOptions | None = None
) -> str:
    """Write a recording in the format that the suffix names; return that format in words.

    Parameters
    ----------
    recording
        What to write.
    path
        ``.aedat``, ``.npz`` or ``.csv``.
    version
        Of AEDAT: "2.0" or "3.1"; by default 2.0 where the recording fits a DVS128, else 3.1.
    options
        How the recording was read: an AEDAT 2.0 file of a DVS128 becomes one of the same addresses, whatever the
        orientation it was read in. All others are written so that SpikingJelly's loader sees them as they are.

    Raises
    ------
    OptionError
        If the suffix or the version is another.
    RecordingError
        If the recording does not fit the format.
    OutputError
        If the file cannot be written.
    """
    check_target(path, version)
    suffix = Path(path).suffix.lower()
    if suffix == ".aedat":
        if (version or ("2.0" if aedat2.fits(recording) else "3.1")) == "2.0":
            stored = recording.format == aedat2.NAME and options is not None and options.orientation
            aedat2.write(recording, path, stored or "spikingjelly")
            return "AEDAT 2.0"
        aedat3.write(recording, path)
        return "AEDAT 3.1"
    writers: dict[str, Callable[[Recording, str | Path], None]] = {".npz": npz.write, ".csv": write_csv}
    writers[suffix](recording, path)
    return {".npz": "SpikingJelly's .npz", ".csv": "text"}[suffix]


def check_target(path: str | Path, version: str | None = None) -> None:
    """Refuse a suffix or version that `write` cannot write, before a recording is made for it.

    Raises
    ------
    OptionError
        If it is one.
    """
    suffix = Path(path).suffix.lower()
    if version not in (None, "2.0", "3.1"):
        raise OptionError(f"`aedat` must be 2.0 or 3.1, got {version}")
    if version and suffix != ".aedat":
        raise OptionError(f"`aedat={version}` writes .aedat, but {path} has the suffix {suffix or 'none'}")
    if suffix not in (".aedat", ".npz", ".csv"):
        raise OptionError(f"cannot write {path}: its suffix must be .aedat, .npz or .csv")


def write_csv(recording: Recording, path: str | Path) -> None:
    """Write a line ``t,x,y,p``, then one line per event.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w") as file:
        file.write("t,x,y,p\n")
        for begin in range(0, len(recording), PIECE):
            piece = slice(begin, begin + PIECE)
            columns = (recording.t[piece], recording.x[piece], recording.y[piece], recording.p[piece])
            rows = np.stack([column.astype(np.int64) for column in columns], axis=1)
            np.savetxt(file, rows, "%d", ",")

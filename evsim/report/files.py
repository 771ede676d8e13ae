"""Files of a run, written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from evsim.api import Run, Sample
from evsim.files import write_whole


def save_spikes(run: Run, path: str | Path) -> None:
    """Write the recorded spike trains: ``spikes/<LIF>`` bit-packed, attribute `shape`; see docs/json.md.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        group = file.create_group("spikes")
        for name, (packed, shape) in run.spikes.items():
            group.create_dataset(name, data=packed).attrs["shape"] = shape
    write_whole(Path(path), buffer.getvalue())


def save_frames(sample: Sample, path: str | Path) -> None:
    """Write what the network was fed as ``frames`` in an ``.npz``.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, frames=np.asarray(sample.values, np.float32))
    write_whole(Path(path), buffer.getvalue())

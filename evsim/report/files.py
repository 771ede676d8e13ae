"""Files of a run, written whole or not at all."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from evsim import countsfile, spikesfile
from evsim.api import Run, Sample
from evsim.counters import Counts, merged
from evsim.countsfile import Origin
from evsim.files import OutputError, write_whole


def save_spikes(run: Run, path: str | Path) -> None:
    """Write the recorded spike trains: ``spikes/<name>`` bit-packed, attributes `shape`, `levels`.

    For the layout see docs: The JSON of a run.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    spikesfile.save(path, run.spikes, run.network, run.counts)


def save_frames(sample: Sample, path: str | Path) -> None:
    """Write what the network was fed as ``frames`` in an ``.npz``.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    buffer = io.BytesIO()
    np.savez_compressed(buffer, frames=np.asarray(sample.values, np.float32))
    write_whole(path, buffer.getbuffer())


class CountsFolder:
    """Counts of several runs as counts.h5 files of a folder, the runs under one name summed.

    Parameters
    ----------
    folder
        Made if it is missing; nothing is written before `save`.
    """

    SUFFIX = ".counts.h5"

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._kept: dict[str, tuple[list[Counts], Origin]] = {}

    def add(self, name: str, run: Run) -> None:
        """Add a run to those of that name, which becomes part of a file name."""
        source = run.origin()
        counts, first = self._kept.get(name, ([], replace(source, inputs=())))
        self._kept[name] = ([merged([*counts, run.counts])], replace(first, inputs=(*first.inputs, *source.inputs)))

    def save(self) -> list[Path]:
        """Write ``<name>.counts.h5`` for each name and return the paths.

        Raises
        ------
        OutputError
            If the folder cannot be made or written to.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot make {self.folder}: {error.strerror}; give another folder") from error
        paths = []
        for name, ((counts,), source) in self._kept.items():
            paths.append(self.folder / f"{name}{self.SUFFIX}")
            countsfile.save(paths[-1], counts, source)
        return paths

"""SHD and SSC: HDF5 with a list of times and of units for each sample, as Zenke's laboratory publishes them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim import api
from evsim.datasets.arrays import FEW, InHdf5
from evsim.datasets.listing import begins
from evsim.datasets.types import MOST_SAMPLES, Choice, Listing
from evsim.errors import OptionError, RecordingError
from evsim.events import ReadOptions
from evsim.events.columns import Columns
from evsim.events.frames import to_frames
from evsim.events.options import BY_DURATION
from evsim.events.reading import collect
from evsim.events.types import Recording, Size, Stream
from evsim.hdf5 import MAGIC, File
from evsim.intake import check_timesteps
from evsim.needs import check_needs
from evsim.network import Network

NAME = "spikes"
ABOUT = "SHD and SSC: HDF5 with `spikes/times` (seconds), `spikes/units` and `labels`"
TIMES, UNITS, LABELS = "spikes/times", "spikes/units", "labels"
NUMBER = 700
"""Units of SHD and SSC: channels of their model of a cochlea."""

USELESS = ("orientation", "layout", "honour_validity", "trial", "camera", "columns", "axis", "item", "allow_truncated")
"""Options of reading that mean nothing here."""


@dataclass
class SpikeReader:
    """Reads samples that are lists of times and units; the file is open meanwhile, in each process by itself.

    Attributes
    ----------
    path
        The file.
    """

    path: Path
    _file: File | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"path": self.path, "_file": None}

    def read(self, index: int, network: Network, timesteps: int | None, options: ReadOptions) -> api.Sample:
        """Return the spikes of a sample as frames of counts.

        Raises
        ------
        RecordingError
            If it cannot be read, or the model's input is not of its units or of sums of neighbours.
        OptionError
            If an option means nothing for spikes, or T is decided twice.
        NetworkError
            As `evsim.api.read`.
        """
        spec = network.spec
        if timesteps is not None:
            check_timesteps(timesteps)
        check_needs(network, timesteps)
        for name in USELESS:
            if getattr(options, name) not in (None, False):
                raise OptionError(f"{self.path} holds lists of spikes, for which there is no `{name}`; leave it out")
        split = options.split or spec.frames
        if split in BY_DURATION and timesteps is not None:
            raise OptionError(f"`timesteps` and `split={split}` both decide T; give one of them")
        if spec.kind == "image":
            raise RecordingError(f"{self.path} holds spikes, but the model takes images; give a model of events")
        recording = self._recording(index, options)
        wanted = math.prod((spec.channels, spec.height, spec.width))
        units = recording.width * recording.height
        if units % wanted:
            raise RecordingError(
                f"{self.path} holds spikes of {units} units; the model takes {spec.size}, which is neither so many nor "
                "sums of as many neighbours; if there are other units, give `sensor=Nx1`"
            )
        whole = to_frames(recording, timesteps or spec.timesteps, split, 1, units, duration_us=options.duration_us)
        notes = (*recording.notes, *whole.notes)
        if units != wanted:
            notes += (f"{self.path}: {units // wanted} neighbours of the {units} units each are summed to {wanted}",)
        counts = whole.counts[:, 1, 0].reshape(-1, wanted, units // wanted).sum(axis=2, dtype=np.int32)
        values: NDArray[np.generic] = counts.reshape(-1, spec.channels, spec.height, spec.width)
        steps = len(values) if split in BY_DURATION else None
        return api.Sample.of_events(
            values, recording, whole.left_out, notes, steps or timesteps, f"{self.path}[{index}]"
        )

    def _recording(self, index: int, options: ReadOptions) -> Recording:
        if self._file is None:
            self._file = File(self.path, RecordingError)
        t, units = (self._file.read_list(name, index) for name in (TIMES, UNITS))
        if len(t) != len(units):
            raise RecordingError(
                f"{self.path}: sample {index} has {len(t)} times and {len(units)} units; it is damaged"
            )
        order = np.argsort(t, kind="stable")
        t, units = t[order], units[order]
        piece = Columns(self.path, options.time_unit or "s").piece(
            t, units, np.zeros(len(t), np.int64), np.ones(len(t), np.int64)
        )
        size = Size(NUMBER, 1, "SHD and SSC")
        if options.sensor:
            number = math.prod(options.sensor)
            size, options = Size(number, 1, "the option sensor"), replace(options, sensor=(number, 1))
        return collect(Stream(NAME, Path(f"{self.path}[{index}]"), size, iter([piece])), options)


def recognises(path: Path) -> bool:
    """Whether a file is HDF5 with lists of spikes."""
    if path.is_dir() or not begins(path).startswith(MAGIC):
        return False
    with File(path, RecordingError) as file:
        return TIMES in file.members and UNITS in file.members


def listing(path: Path, choice: Choice) -> Listing:
    """List the samples of a file.

    Raises
    ------
    RecordingError
        If times, units and labels are not of one number, or no lists of numbers.
    """
    choice.refuse(path, "a file of spikes", "pattern", "tables", "part", "outside")
    with File(path, RecordingError) as file:
        times, units = file.members[TIMES], file.members[UNITS]
        known = LABELS in file.members
    if times.lists is None or units.lists is None or times.shape != units.shape or len(times.shape or ()) != 1:
        raise RecordingError(f"{path}: {TIMES} and {UNITS} are no lists of numbers, one for each sample; copy it again")
    assert times.shape is not None
    number = times.shape[0]
    if number > MOST_SAMPLES:
        raise RecordingError(f"{path} holds over {MOST_SAMPLES} samples; give a part of it")
    if number > FEW + path.stat().st_size:
        raise RecordingError(f"{path} claims {number} samples, more than the file has bytes; refused")
    labels: list[int | None] = [None] * number
    if known:
        held = InHdf5(path, LABELS)
        if held.shape != (number,) or held.dtype.kind not in "iu":
            raise RecordingError(f"{path}: {LABELS} has the shape {list(held.shape)}, for {number} samples; mend it")
        labels = [int(label) for label in held.whole()]
    names = [f"{path.name}[{i}]" for i in range(number)]
    return Listing(NAME, names, [path.stat().st_size] * number, labels, SpikeReader(path))

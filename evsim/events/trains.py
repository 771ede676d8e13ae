"""Spike trains, for networks without space: times and numbers of channels, in ``.npz`` or HDF5.

``.npz``: arrays t and i. HDF5: datasets t and i, or those of the Heidelberg data sets (SHD, SSC): ``spikes/times`` and
``spikes/units``, a list for each sample, and ``labels``; the option `sample` chooses one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events import hdf5, npz
from evsim.events.columns import UNIT_WORDS, Columns, unit_in
from evsim.events.options import ReadOptions
from evsim.events.types import Size, Stream
from evsim.hdf5 import File
from evsim.schema import printable

NAMES = {
    "t": ("t", "times", "time", "ts", "timestamps"),
    "i": ("i", "units", "unit", "idx", "index", "indices", "ids", "channels", "neurons"),
}
"""Names that times and channels have in public files, in small letters."""

MOST_CHANNELS = 1 << 16
"""Channels that can be numbered: they stand where a recording has x."""

MOST_SPIKES = 1 << 26
"""Of one sample; those published have some ten thousand."""


class _Lists(NamedTuple):
    """Where times and channels stand in a file, and whether each is a dataset of lists, one for each sample."""

    times: str
    units: str
    samples: int | None


def holds_trains(path: str | Path, head: bytes) -> bool:
    """Whether a file holds spike trains, and no events with x and y; RecordingError if it is damaged."""
    if npz.recognises(head):
        return bool(_matched(npz.names_in(Path(path))))
    if not hdf5.recognises(head):
        return False
    with File(path, RecordingError) as file:
        return _place(file) is not None


def stream(path: str | Path, head: bytes, channels: int, options: ReadOptions) -> Stream:
    """Open a spike train as a recording of one row: a spike of channel i is an event at x = i, y = 0.

    Parameters
    ----------
    path, head
        The file and its first bytes, of which `holds_trains` is true.
    channels
        Of the network.
    options
        `sample` and `time_unit`; ranges are the affair of who reads the stream.

    Raises
    ------
    RecordingError
        If the file is damaged, or a channel is none of the network's.
    OptionError
        If the file holds several samples and `sample` names none of them.
    """
    path = Path(path)
    notes: list[str] = []
    if channels > MOST_CHANNELS:
        raise RecordingError(f"{path}: spike trains have at most {MOST_CHANNELS} channels, the model takes {channels}")
    if npz.recognises(head):
        _no_sample(path, options)
        names = _matched(npz.names_in(path))
        columns = npz.read_columns(path, names)
        times, units, name = columns["t"], columns["i"], names["t"]
    else:
        times, units, name = _of_hdf5(path, options, notes)
    _check(path, times, units, channels)
    unit = options.time_unit or unit_in(name) or ("s" if times.dtype.kind == "f" else "us")
    if not (options.time_unit or unit_in(name)):
        kind = "real" if unit == "s" else "whole"
        notes.append(f"times are {kind} numbers and taken for {UNIT_WORDS[unit]}; if that is wrong, give `time_unit`")
    zeros = np.zeros(len(times), np.uint8)
    piece = Columns(path, unit).piece(times, units, zeros, zeros)
    return Stream("spike trains", path, Size(channels, 1, "the model's channels"), iter([piece]), tuple(notes))


def _matched(names: list[str]) -> dict[str, str]:
    """Return which name stands for times and which for channels; empty if not each has one, or there is an x."""
    held = {name.lower(): name for name in names}
    taken = {key: held[known] for key, all_known in NAMES.items() for known in reversed(all_known) if known in held}
    return taken if len(taken) == 2 and not held.keys() & {"x", "xs", "y", "ys", "x_coordinate"} else {}


def _place(file: File) -> _Lists | None:
    """Return where a file holds spike trains."""
    for above in ("spikes/", ""):
        inside = [
            name.removeprefix(above)
            for name, member in file.members.items()
            if name.startswith(above) and not member.group and "/" not in name.removeprefix(above)
        ]
        if not (names := _matched(inside)):
            continue
        times, units = (file.members[above + names[key]] for key in ("t", "i"))
        if times.shape is None or units.shape is None or len(times.shape) != 1 or times.shape != units.shape:
            continue
        lists = times.lists is not None and units.lists is not None
        if lists or (times.dtype is not None and units.dtype is not None):
            return _Lists(above + names["t"], above + names["i"], times.shape[0] if lists else None)
    return None


def _of_hdf5(path: Path, options: ReadOptions, notes: list[str]) -> tuple[NDArray[Any], NDArray[Any], str]:
    """Return times and channels of the chosen sample, and the name of the times."""
    with File(path, RecordingError) as file:
        place = _place(file)
        assert place is not None
        if place.samples is None:
            _no_sample(path, options)
            return file.read(place.times), file.read(place.units), place.times
        if options.sample is None and place.samples != 1:
            raise OptionError(
                f"{path} holds {place.samples} samples; choose one by `sample=0` to `sample={place.samples - 1}`"
            )
        number = options.sample or 0
        if number >= place.samples:
            raise OptionError(
                f"{path} holds {place.samples} samples, so `sample` must be 0 to {place.samples - 1}, got {number}"
            )
        label = file.members.get("labels")
        told = ""
        if label is not None and label.dtype is not None and label.shape == (place.samples,):
            told = f", label {printable(str(file.read('labels', number, number + 1)[0]))}"
        notes.append(f"sample {number} of {place.samples}{told}")
        return file.read_list(place.times, number), file.read_list(place.units, number), place.times


def _no_sample(path: Path, options: ReadOptions) -> None:
    if options.sample:
        raise OptionError(f"{path} holds one spike train, so `sample={options.sample}` means nothing; leave it out")


def _check(path: Path, times: NDArray[Any], units: NDArray[Any], channels: int) -> None:
    """Refuse what is no spike train of so many channels."""
    if times.ndim != 1 or times.shape != units.shape or {times.dtype.kind, units.dtype.kind} - set("iuf"):
        raise RecordingError(
            f"{path}: times {list(times.shape)} of {times.dtype} and channels {list(units.shape)} of {units.dtype} are "
            "no spike train; wanted two lists of numbers of one length"
        )
    if len(times) > MOST_SPIKES:
        raise RecordingError(f"{path} holds {len(times)} spikes in one train, over {MOST_SPIKES}; give a part of it")
    if not len(units):
        return
    if units.dtype.kind == "f" and not (units == np.rint(units)).all():
        raise RecordingError(f"{path}: its channels are no whole numbers")
    if units.min() < 0 or units.max() >= channels:
        raise RecordingError(
            f"{path} holds spikes of channels {units.min():g} to {units.max():g}, the model has 0 to {channels - 1}"
        )

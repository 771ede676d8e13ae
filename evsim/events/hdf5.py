"""Event HDF5: columns t, x, y, p in a group of any name (DSEC, E2VID, M3ED) or one table (v2e, MVSEC, Metavision)."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events.columns import (
    KEYS,
    UNIT_WORDS,
    Column,
    Columns,
    check_columns,
    float_unit,
    matches,
    range_of,
    unit_in,
)
from evsim.events.options import ReadOptions
from evsim.events.tables import is_table, table
from evsim.events.types import PIECE, Piece, Size, Stream, empty_piece

NAME = "hdf5"
SUFFIXES = (".h5", ".hdf5")
ABOUT = (
    "columns t, x, y, p or ts, xs, ys, ps in a group of any name (DSEC with `t_offset`, E2VID, ESIM, M3ED), a table "
    "`events` (v2e, MVSEC), Metavision's `CD/events`; `camera` chooses one of several"
)
SIZE = "`geometry` (Metavision), `calib/resolution` (M3ED), the camera of MVSEC; else nowhere"
TAKES = ("time_unit", "camera", "columns")
MAGIC = b"\x89HDF\r\n\x1a\n"
HARMLESS = 64 << 20
"""Bytes that the datasets may claim whatever they were compressed to."""

LARGEST_RATIO = 1100
"""Beyond, datasets are mostly fill values that were never written."""

CODECS = {
    36559: "Prophesee's ECF",
    32001: "Blosc",
    32026: "Blosc2",
    32004: "LZ4",
    32015: "Zstandard",
    32008: "bitshuffle",
}
"""Filters of HDF5 that it has no code for itself."""

REMEDIES = {36559: "set HDF5_PLUGIN_PATH to the plug-in of OpenEB's hdf5_ecf, or convert it by metavision_file_to_csv"}
MVSEC_SIZE = Size(346, 260, "the DAVIS of MVSEC")

DAMAGE = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, OverflowError, MemoryError)
"""What h5py raises about damaged files."""


class Place(NamedTuple):
    """Where events stand in a file: datasets of t, x, y and p, or one dataset under the key "table"."""

    name: str
    datasets: dict[str, str]


def recognises(head: bytes) -> bool:
    """Whether a file begins as HDF5 does, or as MATLAB 7.3, which is HDF5 behind 512 bytes of its own."""
    return head.startswith(MAGIC) or head[512:].startswith(MAGIC)


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a recording.

    Raises
    ------
    RecordingError
        If nothing or several things hold t, x, y and p, or these are of other types or lengths.
    OptionError
        If `camera` fits none of several, or nothing tells what the columns of a table are.
    """
    if importlib.util.find_spec("hdf5plugin"):  # DSEC is compressed by Blosc, which this adds to HDF5
        importlib.import_module("hdf5plugin")
    with _opened(path) as file:
        place = _chosen(path, _places(file), options.camera, list(file))
        datasets = {key: file[name] for key, name in place.datasets.items()}
        columns = {key: Column(dataset.dtype, tuple(dataset.shape)) for key, dataset in datasets.items()}
        _refuse_unreadable(path, list(datasets.values()))
        size = _size(file, place)
        shift = _shift(path, file, place)
    notes = (f"times are shifted by t_offset, {shift} us",) if shift else ()
    if "table" in columns:
        order, unit = _layout(place, columns["table"])
        pieces, taken = table(
            path, *columns["table"], lambda: _blocks(path, place.datasets["table"]), options, order, unit
        )
        return Stream(NAME, path, size, pieces, notes, taken)
    check_columns(path, columns)
    known = options.time_unit or unit_in(place.datasets["t"])
    if known or columns["t"].dtype.kind != "f" or not columns["t"].shape[0]:
        return Stream(
            NAME, path, size, _pieces(path, place, known or "us", shift, ()), notes,
            "" if known or shift else UNIT_WORDS["us"],
        )  # fmt: skip
    taken, note = float_unit(columns["t"].dtype, range_of(_blocks(path, place.datasets["t"])))
    return Stream(NAME, path, size, _pieces(path, place, taken, shift, (note,)), notes, UNIT_WORDS[taken])


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file, and turn all that h5py raises about damaged ones into one error: the one place that opens HDF5."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (RecordingError, OptionError):
        raise
    except DAMAGE as error:
        hint = "; for data compressed by Blosc: pip install hdf5plugin" if "filter" in str(error) else "; copy it again"
        raise RecordingError(f"{path} is a damaged HDF5 file ({error}){hint}") from error


def _places(file: Any) -> list[Place]:
    """All that can be a recording."""
    import h5py

    places: list[Place] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Group):
            held = [key for key in item if isinstance(item.get(key), h5py.Dataset)]
            if fields := matches(held):
                places.append(Place(name, {key: f"{name}/{field}" for key, field in fields.items()}))
        elif isinstance(item, h5py.Dataset) and is_table(item.dtype, tuple(item.shape)) and _called_events(name, item):
            places.append(Place(name, {"table": name}))

    visit("/", file)
    file.visititems(visit)
    return places


def _called_events(name: str, item: Any) -> bool:
    """Whether a dataset is a table of events by its fields, or by its name where it has none."""
    return bool(item.dtype.names) or name.rsplit("/", 1)[-1].lower() in ("events", "event", "event_data")


def _chosen(path: Path, places: list[Place], camera: str | None, held: list[str]) -> Place:
    if not places:
        raise RecordingError(
            f"{path} has no group with the datasets t, x, y and p, nor a table of events; "
            f"it holds {', '.join(held[:8]) or 'nothing'}"
        )
    names = ", ".join(place.name for place in places)
    if camera:
        wanted = camera.strip("/").split("/")
        places = [place for place in places if _within(wanted, place.name.strip("/").split("/"))]
        if not places:
            raise OptionError(f"{path}: `camera={camera}` is in none of its recordings: {names}")
    if len(places) > 1:
        names = ", ".join(place.name for place in places)
        raise RecordingError(f"{path} holds several recordings ({names}); choose one by `camera`, e.g. `camera=left`")
    return places[0]


def _within(wanted: list[str], parts: list[str]) -> bool:
    """Whether some parts of a path follow one another in it."""
    return any(parts[i : i + len(wanted)] == wanted for i in range(len(parts) - len(wanted) + 1))


def _refuse_unreadable(path: Path, datasets: list[Any]) -> None:
    """Refuse datasets of codecs that are not there, and those that claim far more than the file holds."""
    import h5py

    for dataset in datasets:
        filters = dataset.id.get_create_plist()
        for i in range(filters.get_nfilters()):
            number = int(filters.get_filter(i)[0])
            if not h5py.h5z.filter_avail(number):
                codec = f"{CODECS[number]} codec" if number in CODECS else "codec"
                remedy = REMEDIES.get(number, "pip install hdf5plugin, which may have it")
                raise RecordingError(
                    f"{path}: {dataset.name} is compressed by the {codec} (HDF5 filter {number}), which is not "
                    f"installed; {remedy}"
                )
    claimed = sum(dataset.dtype.itemsize * int(np.prod(dataset.shape, dtype=object)) for dataset in datasets)
    stored = sum(dataset.id.get_storage_size() for dataset in datasets)
    if claimed > HARMLESS and claimed > LARGEST_RATIO * stored:
        raise RecordingError(
            f"{path} claims {claimed >> 20} MB out of {stored >> 10} kB, which no recording does; refused"
        )


def _layout(place: Place, column: Column) -> tuple[str | None, str | None]:
    """Order of the columns of a nameless table and the unit of its times, by where it stands."""
    dtype, shape = column
    if dtype.names:
        return None, "us" if place.name == "CD/events" else None
    if shape[1] == 4 and place.name == "events" and dtype.kind in "iu":
        return "txyp", "us"  # v2e
    if shape[1] == 4 and place.name.startswith("davis/") and dtype.kind == "f":
        return "xytp", "s"  # MVSEC
    return None, None


def _size(file: Any, place: Place) -> Size | None:
    """Sensor size, where the makers of the file say it."""
    geometry = file.attrs.get("geometry")
    if isinstance(geometry, bytes):
        geometry = geometry.decode("ascii", "replace")
    if isinstance(geometry, str):
        width, _, height = geometry.partition("x")
        return _checked(width, height, "geometry in the file")
    calibration = f"{place.name}/calib/resolution"
    if calibration in file:
        values = np.asarray(file[calibration][()]).ravel()
        if len(values) == 2 and values.dtype.kind in "iu":
            return _checked(str(values[0]), str(values[1]), "calib/resolution in the file")
    return MVSEC_SIZE if place.name.startswith("davis/") and "table" in place.datasets else None


def _checked(width: str, height: str, source: str) -> Size | None:
    if not (width.isdecimal() and height.isdecimal()) or max(len(width), len(height)) > 5:
        return None
    return Size(int(width), int(height), source) if int(width) and int(height) else None


def _shift(path: Path, file: Any, place: Place) -> int:
    """DSEC's t_offset, beside the group or within it."""
    for holder in (file, file[place.name]):
        if "table" not in place.datasets and "t_offset" in holder:
            value = np.asarray(holder["t_offset"][()])
            if value.size != 1 or value.dtype.kind not in "iu" or abs(int(value.item())) >= 1 << 62:
                raise RecordingError(f"{path}: t_offset is no whole number of microseconds")
            return int(value.item())
    return 0


def _pieces(path: Path, place: Place, unit: str, shift: int, notes: tuple[str, ...]) -> Iterator[Piece]:
    if notes:
        yield empty_piece(notes=notes)
    events = Columns(path, unit, shift)
    with _opened(path) as file:
        datasets = [file[place.datasets[key]] for key in KEYS]
        for begin in range(0, datasets[0].shape[0], PIECE):
            yield events.piece(*(np.asarray(dataset[begin : begin + PIECE]) for dataset in datasets))


def _blocks(path: Path, name: str) -> Iterator[NDArray[Any]]:
    """Yield the rows of one dataset, some at a time."""
    with _opened(path) as file:
        dataset = file[name]
        for begin in range(0, dataset.shape[0], PIECE):
            yield np.asarray(dataset[begin : begin + PIECE])

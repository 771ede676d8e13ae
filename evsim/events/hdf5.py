"""Event HDF5: columns t, x, y, p in a group of any name (DSEC, E2VID, M3ED) or one table (v2e, MVSEC, Metavision)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.events import mat
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
from evsim.hdf5 import MAGIC, File, Member
from evsim.ownfiles import own_kind
from evsim.schema import printable

NAME = "hdf5"
SUFFIXES = (".h5", ".hdf5")
ABOUT = (
    "columns t, x, y, p or ts, xs, ys, ps in a group of any name (DSEC with `t_offset`, E2VID, ESIM, M3ED), a table "
    "`events` (v2e, MVSEC), Metavision's `CD/events`; `camera` chooses one of several"
)
SIZE = "`geometry` (Metavision), `calib/resolution` (M3ED), the camera of MVSEC; else nowhere"
TAKES = ("time_unit", "camera", "columns")
BEHIND = (0, 512, 1024, 2048)
"""Where HDF5 begins in a file: at its start, or behind a block of another format."""

MATLAB = b"MATLAB 7.3 MAT-file"
"""How the block before MATLAB's HDF5 begins."""

LARGEST_BLOCK = 64 << 20
"""Bytes of a column that are read at a time where it is compressed in larger blocks than a piece."""

MOST_NAMED = 8
"""Names that a message lists."""

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


class Place(NamedTuple):
    """Where events stand in a file: datasets of t, x, y and p, or one dataset under the key "table"."""

    name: str
    datasets: dict[str, str]


def recognises(head: bytes) -> bool:
    """Whether a file begins as HDF5 does, or holds it behind a block of another format, as MATLAB 7.3 does."""
    return any(head[begin:].startswith(MAGIC) for begin in BEHIND)


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a recording.

    Raises
    ------
    RecordingError
        If nothing or several things hold t, x, y and p, or these are of other types or lengths.
    OptionError
        If `camera` fits none of several, or nothing tells what the columns of a table are.
    """
    with ExitStack() as held:
        file = held.enter_context(File(path, RecordingError))
        place = _chosen(file, options.camera)
        stream = _read(file, place, options)
        held.pop_all()
    return stream


def _read(file: File, place: Place, options: ReadOptions) -> Stream:
    path, names = file.path, list(place.datasets.values())
    _refuse_missing(file, names)
    if "table" not in place.datasets and _is_matlab(path):
        return _matlab(file, place, options)
    columns = {key: _column(file.members[name]) for key, name in place.datasets.items()}
    file.check_claims(names, whole=False)
    size, shift = _size(file, place), _shift(file, place)
    notes = (f"times are shifted by t_offset, {shift} us",) if shift else ()
    if "table" in columns:
        order, unit = _layout(place, columns["table"])
        pieces, taken = table(path, *columns["table"], lambda: _rows(file, names[0]), options, order, unit)
        return Stream(NAME, path, size, _closing(file, pieces), notes, taken)
    check_columns(path, columns)
    known = options.time_unit or unit_in(place.datasets["t"])
    if known or columns["t"].dtype.kind != "f" or not columns["t"].shape[0]:
        pieces = _pieces(file, place, known or "us", shift, ())
        return Stream(
            NAME, path, size, _closing(file, pieces), notes, "" if known or shift else UNIT_WORDS["us"]
        )  # fmt: skip
    taken, note = float_unit(columns["t"].dtype, range_of(_rows(file, place.datasets["t"])))
    pieces = _pieces(file, place, taken, shift, (note,))
    return Stream(NAME, path, size, _closing(file, pieces), notes, UNIT_WORDS[taken])


def _closing(file: File, pieces: Iterator[Piece]) -> Iterator[Piece]:
    with file:
        yield from pieces


def _column(member: Member) -> Column:
    """Type and shape of a dataset; what is no array of NumPy's counts as objects, which no column may be."""
    return Column(np.dtype(object) if member.dtype is None else member.dtype, member.shape or ())


def _places(file: File) -> list[Place]:
    """All that can be a recording."""
    held: dict[str, list[str]] = {}
    places: list[Place] = []
    for name, member in file.members.items():
        if member.group:
            continue
        above, _, last = name.rpartition("/")
        held.setdefault(above, []).append(last)
        column = _column(member)
        named = bool(column.dtype.names) or last.lower() in ("events", "event", "event_data")
        if named and is_table(*column):
            places.append(Place(name, {"table": name}))
    for above, names in held.items():
        if fields := matches(names):
            places.append(
                Place(above or "/", {key: f"{above}/{field}".removeprefix("/") for key, field in fields.items()})
            )
    return sorted(places)


def _chosen(file: File, camera: str | None) -> Place:
    path, places = file.path, _places(file)
    if not places:
        if kind := own_kind(file):
            raise RecordingError(f"{path} is no recording: it holds {kind}")
        held = [printable(name) for name in file.members if "/" not in name]
        raise RecordingError(
            f"{path} has no group with the datasets t, x, y and p, nor a table of events; "
            f"it holds {', '.join(held[:MOST_NAMED]) or 'nothing'}"
        )
    names = _listed(places)
    if camera:
        wanted = camera.strip("/").split("/")
        places = [place for place in places if _within(wanted, place.name.strip("/").split("/"))]
        if not places:
            raise OptionError(f"{path}: `camera={camera}` is in none of its recordings: {names}")
    places = _different(file, places)
    if len(places) > 1:
        raise RecordingError(
            f"{path} holds several recordings ({_listed(places)}); choose one by `camera`, e.g. `camera=left`"
        )
    return places[0]


def _listed(places: Sequence[Place]) -> str:
    """Names of places, at most so many as a message can hold."""
    names = ", ".join(printable(place.name) for place in places[:MOST_NAMED])
    return names if len(places) <= MOST_NAMED else f"{names} and {len(places) - MOST_NAMED} more"


def _different(file: File, places: list[Place]) -> list[Place]:
    """Keep one of the places that are links to the same datasets."""
    known: dict[tuple[int, ...], Place] = {}
    for place in places:
        known.setdefault(tuple(file.members[name].address for name in place.datasets.values()), place)
    return list(known.values())


def _within(wanted: list[str], parts: list[str]) -> bool:
    """Whether some parts of a path follow one another in it."""
    return any(parts[i : i + len(wanted)] == wanted for i in range(len(parts) - len(wanted) + 1))


def _refuse_missing(file: File, names: list[str]) -> None:
    """Refuse datasets of codecs that are not there."""
    for name in names:
        for number, _ in file.members[name].missing:
            codec = f"{CODECS[number]} codec" if number in CODECS else "codec"
            remedy = REMEDIES.get(number, "pip install hdf5plugin, which may have it")
            raise RecordingError(
                f"{file.path}: {printable(name)} is compressed by the {codec} (HDF5 filter {number}), which is not "
                f"installed; {remedy}"
            )


def _is_matlab(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MATLAB)) == MATLAB


def _matlab(file: File, place: Place, options: ReadOptions) -> Stream:
    """Return what MATLAB 7.3 wrote: HDF5 in which each vector is a matrix of one row or column."""
    file.check_claims(place.datasets.values())
    vectors = {key: (name.rpartition("/")[2], mat.vector(file.read(name))) for key, name in place.datasets.items()}
    file.close()
    return mat.of_vectors(file.path, vectors, options)


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


def _size(file: File, place: Place) -> Size | None:
    """Sensor size, where the makers of the file say it."""
    geometry = file.attributes().get("geometry")
    if isinstance(geometry, str):
        width, _, height = geometry.partition("x")
        return _checked(width, height, "geometry in the file")
    values = _small(file, f"{place.name}/calib/resolution".lstrip("/"), 2)
    if values is not None:
        return _checked(str(values[0]), str(values[1]), "calib/resolution in the file")
    return MVSEC_SIZE if place.name.startswith("davis/") and "table" in place.datasets else None


def _small(file: File, name: str, number: int) -> NDArray[Any] | None:
    """Return a dataset of so many whole numbers, None if there is none of that name and kind."""
    member = file.members.get(name)
    if member is None or member.shape is None or member.dtype is None or member.dtype.kind not in "iu":
        return None
    return file.read(name).reshape(-1) if np.prod(member.shape, dtype=object) == number else None


def _checked(width: str, height: str, source: str) -> Size | None:
    if not (width.isdecimal() and height.isdecimal()) or max(len(width), len(height)) > 5:
        return None
    return Size(int(width), int(height), source) if int(width) and int(height) else None


def _shift(file: File, place: Place) -> int:
    """DSEC's t_offset, beside the group or within it."""
    for name in ("t_offset", f"{place.name}/t_offset"):
        if "table" not in place.datasets and name in file.members:
            value = _small(file, name, 1)
            if value is None or abs(int(value[0])) >= 1 << 62:
                raise RecordingError(f"{file.path}: t_offset is no whole number of microseconds")
            return int(value[0])
    return 0


def _pieces(file: File, place: Place, unit: str, shift: int, notes: tuple[str, ...]) -> Iterator[Piece]:
    if notes:
        yield empty_piece(notes=notes)
    events = Columns(file.path, unit, shift)
    for columns in _blocks(file, [place.datasets[key] for key in KEYS]):
        yield events.piece(*columns)


def _rows(file: File, name: str) -> Iterator[NDArray[Any]]:
    """Yield the rows of one dataset, some at a time."""
    for (rows,) in _blocks(file, [name]):
        yield rows


def _blocks(file: File, names: Sequence[str]) -> Iterator[list[NDArray[Any]]]:
    """Yield the rows of datasets of one length, a piece at a time.

    What is compressed in larger blocks is read by these, for each read unpacks all blocks that it touches.
    """
    members = [file.members[name] for name in names]
    length = (members[0].shape or (0,))[0]
    step = PIECE
    for member in members:
        row = member.claimed // length if length else 0
        if row:
            step = max(step, min(member.chunk, LARGEST_BLOCK) // row)
    for begin in range(0, length, step):
        block = [file.read(name, begin, begin + step) for name in names]
        for at in range(0, len(block[0]), PIECE):
            yield [values[at : at + PIECE] for values in block]

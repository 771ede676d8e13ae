"""Text: events one a line, as RPG's data sets, E2VID and v2e have them (``t x y p``), and CSV with named columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.errors import RecordingError
from evsim.events.columns import UNIT_WORDS, Columns, Range, float_unit, matches, order_of, range_of, unit_in
from evsim.events.options import ReadOptions
from evsim.events.types import Piece, Size, Stream, empty_piece

NAME = "text"
SUFFIXES = ()  # texts of other kinds have the same ones: content alone tells
USUAL = (".txt", ".csv")
ABOUT = (
    "CSV whose first line names the columns (evsim's own), or without names (`columns`); RPG, E2VID and v2e text: "
    "`t x y p`, t in seconds, behind a line `width height` or comments, if any"
)
SIZE = "a first line `width height` or `%geometry:W,H`; else nowhere"
TAKES = ("time_unit", "columns")
BYTES = 4 << 20
"""Text that is decoded at a time."""

LONGEST_LINE = 4096
EXACT = float(1 << 53)
"""Whole numbers beyond are not exact in a float."""

LINE = re.compile(rb"^[ \t]*[-+]?\d[-+.\deE]*(?:[ \t]*[,;\t ][ \t]*(?:[-+]?[\d.][-+.\deE]*|True|False)){3,7}[ \t]*$")
"""A line of 4 to 8 numbers."""

NAME_CELL = re.compile(r"[A-Za-z_][\w \[\]()]*")
"""What a name of a column looks like."""

SIZE_LINE = re.compile(rb"^[ \t]*(\d{1,5})[ \t,]+(\d{1,5})[ \t]*$")
GEOMETRY = re.compile(rb"^%[ ]?geometry[:= ](\d{1,5})[,x](\d{1,5})$")
NOT_TEXT = bytes(set(range(32)) - {9, 10, 13})


class Head(NamedTuple):
    """What stands above the events: names of the columns, sensor size, how cells are parted, where the events begin."""

    names: tuple[str, ...]
    size: Size | None
    prophesee: bool
    delimiter: str | None
    number: int
    lines: int


def recognises(head: bytes) -> bool:
    """Whether a file begins with text of which a line holds 4 numbers or more, or names t, x, y and p."""
    return _head(head) is not None


def stream(path: Path, options: ReadOptions) -> Stream:
    """Open a recording.

    Raises
    ------
    RecordingError
        If a line cannot be read.
    OptionError
        If nothing tells what the columns are.
    """
    with path.open("rb") as file:
        head = _head(file.read(LONGEST_LINE))
    assert head is not None, path
    fields = matches(head.names)
    unit: str | None = options.time_unit
    if head.names and not fields and not options.columns:
        raise RecordingError(f"{path} names its columns {', '.join(head.names)}; wanted t, x, y and p among them")
    if options.columns or not fields:
        order = "xypt" if head.prophesee else "txyp" if head.delimiter is None and head.number == 4 else None
        places = order_of(path, options.columns or order, head.number)
    else:
        places = {key: head.names.index(name) for key, name in fields.items()}
        unit = unit or unit_in(fields["t"])
    times = range_of(t for t, _, _, _ in _blocks(path, head, places, np.float64))
    notes: tuple[str, ...] = ()
    taken = unit or "us"
    if not unit and not times.whole:
        taken, note = _unit(times)
        notes = (note,)
    exact = times.whole and (times.number == 0 or max(abs(times.least), abs(times.greatest)) >= EXACT)
    pieces = _pieces(path, head, places, taken, np.int64 if exact else np.float64)
    return Stream(NAME, path, head.size, pieces, notes, "" if unit else UNIT_WORDS[taken])


def _unit(times: Range) -> tuple[str, str]:
    unit, note = float_unit(np.dtype(np.float64), times)
    return unit, note.replace("times of type float64", "times with fractions")


def _head(content: bytes) -> Head | None:
    """Read the lines above the events, and the first event; None if this is no such text."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    if content.translate(None, NOT_TEXT) != content or content.startswith(b"#!AER-DAT"):
        return None
    names: tuple[str, ...] = ()
    size: Size | None = None
    prophesee = False
    for number, raw in enumerate(content.split(b"\n")[:200]):
        line = raw.strip()
        if found := GEOMETRY.match(line):
            size, prophesee = Size(int(found[1]), int(found[2]), "%geometry in the file"), True
        elif not line or line.startswith((b"#", b"%")):
            continue
        elif LINE.match(line):
            cells = _cells(line)
            delimiter = next((letter for letter in ",;" if letter.encode() in line), None)
            return Head(names, size, prophesee, delimiter, len(cells), number)
        elif (found := SIZE_LINE.match(line)) and not names and size is None:
            size = Size(int(found[1]), int(found[2]), "the first line")
        elif not names and len(cells := _cells(line)) >= 4 and (matches(cells) or all(map(NAME_CELL.fullmatch, cells))):
            names = tuple(cells)
        else:
            return None
    return Head(names, size, False, ",", len(names), number) if names and matches(names) else None


def _cells(line: bytes) -> list[str]:
    text = line.decode("utf-8", "replace")
    parted = re.split(r"[,;]", text) if re.search(r"[,;]", text) else text.split()
    return [cell.strip().strip('"') for cell in parted]


def _pieces(path: Path, head: Head, places: dict[str, int], unit: str, kind: type) -> Iterator[Piece]:
    events = Columns(path, unit)
    for t, x, y, p in _blocks(path, head, places, kind):
        yield events.piece(t, x, y, p)
    if cut := _unfinished(path, head):
        yield empty_piece(cut=cut)


def _blocks(path: Path, head: Head, places: dict[str, int], kind: type) -> Iterator[list[NDArray[Any]]]:
    """Yield the columns t, x, y and p, some lines at a time; t of the type asked for."""
    cut = bool(_unfinished(path, head))
    order = sorted(places, key=lambda key: places[key])
    dtype = np.dtype([(key, kind if key == "t" else np.float64) for key in order])
    before = head.lines
    with path.open("rb") as file:
        for _ in range(head.lines):
            file.readline(1 << 20)
        while lines := file.readlines(BYTES):
            number = len(lines)
            if cut and not lines[-1].endswith(b"\n"):
                lines.pop()
            rows = [line.rstrip() for line in lines]
            if max(map(len, rows), default=0) > LONGEST_LINE:
                raise RecordingError(f"{path} has a line of more than {LONGEST_LINE} bytes below line {before}")
            text = b"\n".join(row for row in rows if row and not row.startswith((b"#", b"%")))
            if text:
                table = _parsed(path, text, head, dtype, [places[key] for key in order], before)
                yield [np.atleast_1d(table[key]) for key in ("t", "x", "y", "p")]
            before += number


def _parsed(path: Path, text: bytes, head: Head, dtype: np.dtype[Any], columns: list[int], before: int) -> NDArray[Any]:
    text = text.replace(b"True", b"1").replace(b"False", b"0")
    try:
        return np.loadtxt(
            text.decode("ascii").split("\n"), dtype, comments=None, delimiter=head.delimiter, usecols=columns, ndmin=1
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise RecordingError(f"{path}: a line below line {before} is no event ({error}); mend the file") from error


def _unfinished(path: Path, head: Head) -> str:
    """Return what a file ends with whose last line was cut off; "" if that line is whole."""
    with path.open("rb") as file:
        length = file.seek(0, 2)
        file.seek(max(0, length - LONGEST_LINE))
        last = file.read().rsplit(b"\n", 1)[-1].strip()
    if not last or last.startswith((b"#", b"%")) or len(_cells(last)) >= head.number:
        return ""
    return f"a line of {len(_cells(last))} columns instead of {head.number}"

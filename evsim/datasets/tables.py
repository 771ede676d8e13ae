"""A table of files and their labels: CSV, TSV or columns parted by blanks, e.g. N-MNIST's and ImageNet's."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from evsim.datasets.listing import Files, begins, files_in, folders_in, sizes_of
from evsim.datasets.types import MOST_SAMPLES, Choice, Listing
from evsim.errors import OptionError, RecordingError
from evsim.files import check_input
from evsim.schema import shown

NAME = "table"
ABOUT = (
    "a table of files and labels, itself or in their folder: CSV, TSV or columns parted by blanks; N-MNIST's "
    "`id label`, ImageNet's LOC_val_solution.csv"
)
SUFFIXES = (".csv", ".tsv", ".txt")
LARGEST = 256 << 20
"""Bytes of a table; that of ImageNet's training images has 80 MB."""

FILE = ("file", "events_file_path", "path", "file_path", "filepath", "filename", "file_name", "image", "recording")
"""Names of the column of files, the first before the next."""

ID = ("id", "imageid", "image_id", "sample", "sample_id", "index", "name")
"""Names of the column of what a file is called without its folder and suffix."""

PICTURE_ID = ("imageid", "image_id")
"""Those of them that no table of the names of classes has."""

LABEL = ("label", "class", "class_index", "predictionstring", "target", "category", "labels", "class_id", "class_name")
"""Names of the column of labels."""

HOLE = re.compile(r"\{(\w+)\}")
PLACES = ("", "val", "images", "ILSVRC/Data/CLS-LOC/val")
"""Folders where files of an id are looked for."""

LOOKED_AT = 8
"""Rows whose files are looked for to tell their folder."""

SOLUTION = "LOC_val_solution.csv"
ABOVE = 4
"""Folders above ImageNet's `val` where its table is looked for."""


@dataclass(frozen=True)
class Table:
    """Rows of a table, and which of its columns are what; -1 where there is none."""

    path: Path
    header: tuple[str, ...]
    rows: list[list[str]]
    file: int
    id: int
    label: int


def recognises(path: Path) -> bool:
    """Whether this is a table of files or labels, or a folder without folders that holds one."""
    if path.is_dir():
        return bool(_tables_in(path)) or _solution(path) is not None
    return path.suffix.lower() in SUFFIXES


def listing(path: Path, choice: Choice) -> Listing:
    """List the files that a table names.

    Raises
    ------
    RecordingError
        If a table cannot be read, names files outside DATA, or none that is there.
    OptionError
        If nothing tells which table or file is meant, or `pattern` names a column that is not there.
    """
    choice.refuse(path, "a table of labels", "part")
    root, places = _places(path, choice.tables)
    holes = [hole.lower() for hole in HOLE.findall(choice.pattern or "")]
    if choice.pattern is not None and not holes:
        raise OptionError(f"`pattern={choice.pattern}` names no column of {places[0]}; e.g. `pattern={{id}}.bin`")
    names: list[str] = []
    labels: list[str | int | None] = []
    notes: list[str] = []
    for place in places:
        table = read_table(place, holes)
        found, said = _files(table, root, choice)
        names += found
        labels += _labels(table)
        notes += said
        if table.label < 0:
            notes.append(f"{place} has no column of labels ({', '.join(LABEL[:3])})")
    sizes = sizes_of(root, names)
    if all(size < 0 for size in sizes):
        raise RecordingError(
            f"{places[0]} names {len(names)} files, e.g. {shown(names[0])}, of which none is in {root}; say how a "
            "file is called by `pattern`, e.g. `pattern={id}.bin`"
        )
    if missing := sum(size < 0 for size in sizes):
        notes.append(f"{path}: {missing} of the {len(names)} files are not there")
    return Listing(NAME, names, sizes, labels, Files(root, names), tuple(notes))


def read_table(path: Path, holes: Sequence[str] = ()) -> Table:
    """Read a table; its first row names the columns, or it has two without names, file and label.

    Parameters
    ----------
    path
        Of the table.
    holes
        Names of columns that a pattern asks for; where there is one, no column of files is needed.

    Raises
    ------
    RecordingError
        If it is no such table, or larger than any is.
    """
    check_input(path, RecordingError, "a table of files and labels")
    if path.stat().st_size > LARGEST:
        raise RecordingError(f"{path} is too long for a table of labels, over {LARGEST >> 20} MB; give a part of it")
    try:
        text = path.read_text("utf-8-sig")
        if text.count("\n") > MOST_SAMPLES:  # before each row becomes a list
            raise RecordingError(f"{path} has over {MOST_SAMPLES} rows; give a part of it")
        rows = _rows(text.splitlines())
    except (UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path} is no table of files and labels ({error}); give CSV or TSV in UTF-8") from error
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}; check the path") from error
    if not rows:
        raise RecordingError(f"{path} is an empty table; give one with a row for each file")
    if len(rows) > MOST_SAMPLES:
        raise RecordingError(f"{path} has over {MOST_SAMPLES} rows; give a part of it")
    header = _header(rows[0])
    file, identity, label = (_column(header, names) for names in (FILE, ID, LABEL))
    asked = [header.index(hole) for hole in holes if hole in header]
    if file < 0 and identity < 0 and not (holes and label >= 0):
        if len(rows[0]) not in (1, 2) or label >= 0:
            raise RecordingError(
                f"{path} has no column named file or id (its first row is {shown(', '.join(rows[0]))}); name the "
                "columns in the first row, e.g. file,label"
            )
        header, file, label = ["file", "label"][: len(rows[0])], 0, len(rows[0]) - 1 or -1
    else:
        rows = rows[1:]
    if not rows:
        raise RecordingError(f"{path} names no file: below its first row there is none")
    least = max(file, identity, label, *asked) + 1
    for number, row in enumerate(rows):
        if len(row) < least:
            raise RecordingError(
                f"{path}: row {number + 1} has {len(row)} of {len(header)} columns ({shown(', '.join(row))}); mend it"
            )
    return Table(path, tuple(header), rows, file, identity, label)


def _rows(lines: Sequence[str]) -> list[list[str]]:
    """Part the lines by what parts the first one: tabs, commas, semicolons, else blanks."""
    lines = [line for line in lines if line.strip()]
    if not lines:
        return []
    mark = next((mark for mark in "\t,;" if mark in lines[0]), None)
    parted = csv.reader(lines, delimiter=mark) if mark else (line.split() for line in lines)
    return [[cell.strip() for cell in row] for row in parted]


def _header(row: Sequence[str]) -> list[str]:
    return [cell.lstrip("#").strip().lower() for cell in row]


def _column(header: Sequence[str], names: Sequence[str]) -> int:
    return next((header.index(name) for name in names if name in header), -1)


def _labels(table: Table) -> list[str | None]:
    if table.label < 0:
        return [None] * len(table.rows)
    cells = [row[table.label] for row in table.rows]
    if table.header[table.label] == "predictionstring":  # ImageNet's: the class, then boxes
        cells = [cell.split(maxsplit=1)[0] if cell else "" for cell in cells]
    return [cell or None for cell in cells]


def _files(table: Table, root: Path, choice: Choice) -> tuple[list[str], list[str]]:
    """Return the place of each row's file in DATA, and what was assumed."""
    if choice.pattern is not None:
        return [_within(table, root, place, choice) for place in _by_pattern(table, choice.pattern)], []
    if table.file >= 0:
        cells = [row[table.file] for row in table.rows]
        if any(PurePosixPath(cell).suffix for cell in cells) or table.id >= 0:
            place = _folder_of(root, cells)
            said = [f"{table.path}: files are found in {place}, e.g. {shown(cells[0])}"] if place else []
            return [_within(table, root, f"{place}/{cell}" if place else cell, choice) for cell in cells], said
    else:
        cells = [row[table.id] for row in table.rows]
    for place in PLACES:
        if (stems := _stems(root / place)).keys() & set(cells[:1]):
            prefix = f"{place}/" if place else ""
            names = [_within(table, root, prefix + _of_stem(table, stems, cell), choice) for cell in cells]
            return names, [f"{table.path}: a file is found by its name without suffix: {cells[0]} is {names[0]}"]
    if table.file >= 0:
        return [_within(table, root, cell, choice) for cell in cells], []
    raise OptionError(
        f"{table.path} names its files by {table.header[table.id]} and {root} has none named {shown(cells[0])}; say "
        f"how they are called by `pattern`, e.g. `pattern={{{table.header[table.id]}}}.bin`"
    )


def _folder_of(root: Path, cells: Sequence[str]) -> str:
    """Return the folder that holds files which a table names as they are called there, "" where DATA itself does."""
    first = next((cell for cell in cells[:LOOKED_AT] if cell and cell == PurePosixPath(cell).name), "")
    if not first or any((root / cell).exists() for cell in cells[:LOOKED_AT] if "\0" not in cell):
        return ""
    named = [place for place in PLACES if place and "\0" not in first and (root / place / first).is_file()]
    return named[0] if named else ""


def _by_pattern(table: Table, pattern: str) -> list[str]:
    """Fill a pattern's holes with a row's cells; `id` is the column of ids or files, whatever its name."""
    places = {name: place for place, name in reversed([*enumerate(table.header)])}
    if (place := max(table.id, table.file)) >= 0:
        places.setdefault("id", table.id if table.id >= 0 else place)
        places.setdefault("file", table.file if table.file >= 0 else place)
    for hole in HOLE.findall(pattern):
        if hole.lower() not in places:
            raise OptionError(
                f"`pattern={pattern}`: {table.path} has no column {hole}, but {', '.join(map(shown, table.header))}"
            )
    return [HOLE.sub(lambda hole, row=row: row[places[hole[1].lower()]], pattern) for row in table.rows]  # type: ignore[misc]


def _stems(folder: Path) -> dict[str, str]:
    """Return the files of a folder by their names without suffix; "" where several share one."""
    stems: dict[str, str] = {}
    for name in files_in(folder) if folder.is_dir() else []:
        stem = name.partition(".")[0]
        stems[stem] = "" if stem in stems else name
    return stems


def _of_stem(table: Table, stems: dict[str, str], cell: str) -> str:
    if not stems.get(cell, cell):
        raise OptionError(f"{table.path}: several files are named {shown(cell)}; say which by `pattern`")
    return stems.get(cell, cell)


def _within(table: Table, root: Path, name: str, choice: Choice) -> str:
    """Return a file's place relative to DATA; refuse one outside, which a stranger's table has no business to name."""
    plain = name.replace("\\", "/") if os.sep == "\\" else name
    if not plain or "\0" in plain:
        raise RecordingError(f"{table.path} has a row that names no file ({shown(name)}); mend it")
    place = os.path.normpath(plain)
    if choice.outside:
        return place
    if Path(place).is_absolute():
        place = os.path.relpath(place, root.absolute())
    if place == ".." or place.startswith(f"..{os.sep}"):
        raise RecordingError(
            f"{table.path} names {shown(name)}, which lies outside {root}; if you trust it, allow that by "
            "`outside=True`"
        )
    return place.replace(os.sep, "/")


def _places(path: Path, tables: Sequence[str]) -> tuple[Path, list[Path]]:
    """Return the folder of the files, and the tables."""
    if not path.is_dir():
        return path.parent, [path, *map(Path, tables)]
    if tables:
        return path, [_placed(path, table) for table in tables]
    held = _tables_in(path)
    if len(held) > 1:
        raise OptionError(
            f"{path} holds several tables of labels ({', '.join(held[:4])}); give one of them as DATA, or by `tables`"
        )
    solution = _solution(path)
    return path, [path / held[0]] if held else [solution] if solution else []


def _placed(path: Path, table: str) -> Path:
    """Return where a table that was named lies: as it is said, else within DATA."""
    return Path(table) if Path(table).exists() or not (path / table).exists() else path / table


def _tables_in(path: Path) -> list[str]:
    """Return the files of a folder that are tables of files and labels by the names of their columns.

    Beside folders, a table of ids and labels may tell the names of the classes: there one of files or pictures counts.
    """
    names = [name for name in files_in(path) if name.lower().endswith(SUFFIXES)]
    columns = (*FILE, *PICTURE_ID) if names and folders_in(path) else (*FILE, *ID)
    return [name for name in names if name == SOLUTION or _names_both(path / name, columns)]


def _names_both(path: Path, columns: Sequence[str]) -> bool:
    try:
        head = begins(path).decode("utf-8-sig", "replace").splitlines()
    except RecordingError:  # no regular file, or one without permission
        return False
    header = _header(_rows(head[:1])[0]) if head and head[0].strip() else []
    return _column(header, LABEL) >= 0 and _column(header, columns) >= 0


def _solution(path: Path) -> Path | None:
    """Return ImageNet's table of a folder `val`, which lies some folders above."""
    if path.name != "val":
        return None
    above = list(path.absolute().parents)[:ABOVE]
    return next((folder / SOLUTION for folder in above if (folder / SOLUTION).is_file()), None)

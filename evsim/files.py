"""Writing files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from evsim.errors import EvsimError


class OutputError(EvsimError):
    """A file cannot be written where it was asked for."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file beside `path`, which takes its place if the block ends well, else is removed.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    """
    path = Path(path)
    check_place(path)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; give another place") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; give another place") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: str | Path, content: bytes) -> None:
    """Write a file that appears whole or not at all.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def refuse_same(source: str | Path, target: str | Path) -> None:
    """Refuse to write over the file that is being read.

    Raises
    ------
    OutputError
        If both paths lead to one file.
    """
    source, target = Path(source), Path(target)
    if source.exists() and target.exists() and source.samefile(target):
        raise OutputError(f"{target} is the very file that is read; give another name to write to")


def check_outputs(targets: Mapping[str, str | Path | None], *sources: str | Path) -> None:
    """Find out before a long run whether all files that it is to write can be written, each in its own place.

    Parameters
    ----------
    targets
        Option to path, None where it is not given; ``-`` (standard output) is for ``--json`` alone.
    sources
        Files that are read, which none of them may replace.

    Raises
    ------
    OutputError
        If a place cannot be written to, two are the same, or one is that of a source.
    """
    taken: dict[Path, str] = {}
    for option, target in targets.items():
        if target is None or (str(target) == "-" and option == "--json"):
            continue
        if str(target) == "-":
            raise OutputError(f"{option} - names no file, and standard output is for --json alone; give a file name")
        check_place(target)
        for source in sources:
            refuse_same(source, target)
        other = taken.setdefault(Path(target).resolve(), option)
        if other != option:
            raise OutputError(f"{other} and {option} both write {target}; give each a file of its own")


def check_place(path: str | Path) -> None:
    """Find out before a long run whether a file can be written at its end.

    Raises
    ------
    OutputError
        If the place is a folder, or in a folder that does not exist or may not be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give a file name")
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}; make it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: permission denied; give another place")

"""Writing files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
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


def check_outputs(
    targets: Mapping[str, str | Path | None],
    inputs: Iterable[str | Path | None] = (),
    folder: str | Path | None = None,
    suffix: str = "",
) -> None:
    """Find out before any work whether every output can be written: in its place, over no input, over no other.

    Parameters
    ----------
    targets
        Option to file, None where it is not given; ``-`` (standard output) is for ``--json`` and ``--csv`` alone.
    inputs
        Files that are read; None is no file.
    folder
        Where files named ``*<suffix>`` will be written besides; made if it is missing.
    suffix
        Of these files.

    Raises
    ------
    OutputError
        If one cannot.
    """
    wanted = {option: Path(target) for option, target in targets.items() if target is not None}
    read = [Path(source) for source in inputs if source is not None]
    for i, (option, target) in enumerate(wanted.items()):
        if str(target) == "-" and option not in ("--json", "--csv"):
            raise OutputError(f"{option} - names no file, and standard output is for --json alone; give a file name")
        for other in list(wanted)[:i]:
            if str(target) == str(wanted[other]) == "-":
                raise OutputError(f"{other} - and {option} - would both fill standard output; give one of them a file")
            if _same(target, wanted[other]):
                raise OutputError(f"{other} and {option} both write {target}; give each a file of its own")
        if str(target) != "-":
            check_place(target)
            for source in read:
                refuse_same(source, target)
    if folder is not None:
        _check_folder(Path(folder), [path for path in (*wanted.values(), *read) if str(path) != "-"], suffix)


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


def _check_folder(folder: Path, files: Iterable[Path], suffix: str) -> None:
    """Refuse a folder that cannot be made or written to, or whose new files could be written over these files."""
    above = folder.absolute()
    while not above.exists():
        above = above.parent
    if not above.is_dir():
        raise OutputError(f"cannot make {folder}: {above} is a file; give another folder")
    if not os.access(above, os.W_OK | os.X_OK):
        raise OutputError(f"cannot make files in {folder}: permission denied; give another folder")
    for file in files:
        place = file.resolve()
        inside = place.parent == folder.resolve() and place.name.endswith(suffix)
        if inside or (not file.is_dir() and place in (folder.resolve(), *folder.resolve().parents)):
            raise OutputError(f"{file} is in the way of the files that go to {folder}; give another folder")


def _same(first: Path, second: Path) -> bool:
    if first.exists() and second.exists():
        return first.samefile(second)
    return first.resolve() == second.resolve()

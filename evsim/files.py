"""Files that are read, and files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from evsim.errors import EvsimError

SUFFIXES: dict[str, tuple[str, ...]] = {
    "json": (".json",),
    "csv": (".csv",),
    "record_spikes": (".h5", ".hdf5"),
    "counts": (".h5", ".hdf5"),
    "save_frames": (".npz",),
    "out": (".h5", ".hdf5"),
    "graph": (".nir",),
    "state_dict": (".h5", ".hdf5"),
    "sample": (".npy",),
    "png": (".png",),
    "html": (".html", ".htm"),
}
"""Outputs, by the option that asks for one (`OUT` and `GRAPH` are arguments): suffixes that fit what is written."""

TELLING = (
    ".h5", ".hdf5", ".npz", ".npy", ".json", ".csv", ".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp",
    ".svg", ".pdf", ".pt", ".pth", ".tar", ".zip", ".gz", ".bz2", ".xz", ".zst", ".toml", ".xlsx", ".parquet", ".mat",
    ".aedat", ".aedat4", ".safetensors", ".nir",
)  # fmt: skip
"""Suffixes that say a format; any other name, or none, fits every output."""

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)

temporaries: set[Path] = set()
"""Files and folders that this process will remove, before they exist; whoever ends it at once removes them."""


class OutputError(EvsimError):
    """A file cannot be written where it was asked for."""


def check_input(
    path: str | Path, error: type[EvsimError], give: str = "a file", missing: str = "check the path"
) -> None:
    """Refuse what is no regular file that can be read: a pipe or device may never end.

    Parameters
    ----------
    path
        Of the file.
    error
        What to raise.
    give, missing
        What a person is told to give instead; and to do if there is no such file.

    Raises
    ------
    EvsimError
        Of class `error`.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - Path.stat is the same
        if stat.S_ISREG(mode):
            with Path(path).open("rb"):
                return
    except FileNotFoundError:
        raise error(f"{path} does not exist; {missing}") from None
    except PermissionError:
        raise error(f"{path} cannot be read: permission denied; change its permissions") from None
    except OSError as reason:
        raise error(f"{path} cannot be read: {reason.strerror}; check the path") from reason
    except ValueError:  # a zero byte, or what this system's encoding lacks
        raise error(f"{str(path)!r} cannot be the name of a file; check the path") from None
    why = "" if stat.S_ISDIR(mode) else ", no regular file, which might never end"
    raise error(f"{path} is {_kind(mode)}{why}; give {give}")


def exists(path: str | Path) -> bool:
    """Whether there is such a file or folder; of a name that none can have there is none."""
    try:
        os.stat(path)  # noqa: PTH116 - Path.exists raises where a name is too long
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file, which takes the place of `path` if the block ends well, else is removed.

    The target of a link is replaced, not the link; the mode of a file that is replaced stays. Into a pipe or device
    the content is written.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    """
    path = Path(path)
    check_place(path)
    stream = _is_stream(path)
    target = path if stream else Path(os.path.realpath(path))
    try:
        folder = Path(tempfile.gettempdir()) if stream else target.parent
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; set TMPDIR") from error
    temporary = folder / f".{target.name[:50]}.{secrets.token_hex(8)}"  # hidden: nobody takes it for an output
    temporaries.add(temporary)  # before it exists, or a signal in between would leave it
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        yield temporary
        if stream:
            with temporary.open("rb") as source, _opened(path) as sink, suppress(BrokenPipeError):
                shutil.copyfileobj(source, sink)
        else:
            _dress_as(target, temporary)
            temporary.replace(target)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; give another place") from error
    finally:
        with suppress(OSError):  # a folder that has gone, or a disk that has become read-only
            temporary.unlink(missing_ok=True)
        temporaries.discard(temporary)


def write_whole(path: str | Path, content: bytes | memoryview) -> None:
    """Write a file that appears whole or not at all; errors as `replacing`."""
    path = Path(path)
    if not _is_stream(path):
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        return
    check_place(path)
    try:
        with suppress(BrokenPipeError), _opened(path) as sink:  # whoever reads has seen enough
            sink.write(content)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}; give another place") from error


def refuse_same(source: str | Path, target: str | Path) -> None:
    """Refuse to write over the file that is being read.

    Raises
    ------
    OutputError
        If both paths lead to one file.
    """
    source, target = Path(source), Path(target)
    if exists(source) and exists(target) and source.samefile(target):
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
        Option (``json`` or ``--json``) to file, None where it is not given; ``-`` (standard output) is for ``--json``
        and ``--csv`` alone.
    inputs
        Files that are read; None is no file.
    folder
        Where files named ``*<suffix>`` will be written besides; made if it is missing.
    suffix
        Of these files.

    Raises
    ------
    OutputError
        If one cannot, or its suffix says another format than is written.
    """
    wanted = {option: Path(target) for option, target in targets.items() if target is not None}
    read = [Path(source) for source in inputs if source is not None]
    for i, (option, target) in enumerate(wanted.items()):
        name = _named(option)
        if str(target) == "-" and name not in ("`json`", "`csv`"):
            raise OutputError(f"{name}: - names no file, and standard output is for `json` alone; give a file name")
        if str(target) != "-":
            check_place(target)
        for other in list(wanted)[:i]:
            if str(target) == str(wanted[other]) == "-":
                both = f"{_named(other)} and {name}"
                raise OutputError(f"{both} would both fill standard output; give one of them a file")
            if _same(target, wanted[other]):
                raise OutputError(f"{_named(other)} and {name} both write {target}; give each a file of its own")
        for source in read:
            refuse_same(source, target)
    if folder is not None:
        _check_folder(Path(folder), [path for path in (*wanted.values(), *read) if str(path) != "-"], suffix)
    for option, target in wanted.items():
        check_suffix(option, target)


def check_suffix(option: str, path: str | Path) -> None:
    """Refuse a file name that says another format than an option writes; `SUFFIXES` has those that fit.

    Raises
    ------
    OutputError
        If it does.
    """
    fitting = SUFFIXES.get(_plain(option), ())
    suffix = Path(path).suffix.lower()
    if fitting and suffix in TELLING and suffix not in fitting:
        raise OutputError(f"{_named(option)} writes {fitting[0]}, but {path} says {suffix}; give it that suffix")


def check_place(path: str | Path) -> None:
    """Find out before a long run whether a file can be written at its end.

    Raises
    ------
    OutputError
        If the place is a folder, or in a folder that does not exist or may not be written to.
    """
    try:
        mode = os.stat(path).st_mode if os.path.exists(path) else 0  # noqa: PTH110, PTH116 - bytes and links alike
        target = Path(os.path.realpath(path))
        with suppress(FileNotFoundError, NotADirectoryError):
            target.lstat()
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror}; give another place") from error
    except ValueError:
        raise OutputError(f"cannot write {str(path)!r}: no file can be named so; give another name") from None
    if _is_stream(path):
        if stat.S_ISBLK(mode) or stat.S_ISSOCK(mode):
            raise OutputError(f"cannot write {path}: it is {_kind(mode)}; give a file name")
        if not os.access(path, os.W_OK):
            raise OutputError(f"cannot write {path}: permission denied; give another place")
        return
    if target.is_dir():
        raise OutputError(f"cannot write {path}: it is a folder; give a file name")
    if target.is_symlink():
        raise OutputError(f"cannot write {path}: its links lead in a circle; give another place")
    if not target.parent.is_dir():
        parent = target.parent if Path(path).is_symlink() else Path(path).parent
        raise OutputError(f"cannot write {path}: there is no folder {parent}; make it first")
    if not os.access(target.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: permission denied; give another place")


def _is_stream(path: str | Path) -> bool:
    """Whether a path is written into rather than replaced: a pipe, a device, or an open file under ``/dev/fd``."""
    path = Path(path)
    with suppress(OSError, ValueError):
        for _ in range(40):  # links that the system itself would follow
            above = os.path.realpath(path.parent)
            if path.is_symlink() and (above == "/dev" or above.startswith(("/dev/fd", "/proc/"))):
                return True
            if not path.is_symlink():
                break
            path = path.parent / path.readlink()
        mode = path.stat().st_mode
        return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
    return False


@contextmanager
def _opened(path: Path) -> Iterator[_Sink]:
    """Open a pipe or device for writing: never made, never cut; a file behind ``/dev/fd`` is written on at its end."""
    with open(os.open(path, os.O_WRONLY | os.O_APPEND), "wb", buffering=0) as raw:  # noqa: PTH123 - a descriptor
        yield _Sink(raw.fileno())


class _Sink:
    """Writes all of a content, whatever part a pipe takes at a time."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def write(self, content: bytes | memoryview) -> int:
        """Write and return how many bytes."""
        left = memoryview(content).cast("B")
        while left:
            left = left[os.write(self._handle, left) :]
        return len(content)


def _dress_as(target: Path, temporary: Path) -> None:
    """Give a new file the mode of the one that it replaces, and its owner where that is allowed."""
    try:
        old = target.stat()
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        return
    if hasattr(os, "chown"):
        with suppress(OSError):
            os.chown(temporary, old.st_uid, old.st_gid)
    temporary.chmod(stat.S_IMODE(old.st_mode))


def _check_folder(folder: Path, files: Iterable[Path], suffix: str) -> None:
    """Refuse a folder that cannot be made or written to, or whose new files could be written over these files."""
    try:
        with suppress(OSError):  # which tells what making the folder will tell
            folder.lstat()
    except ValueError:
        raise OutputError(f"cannot make {str(folder)!r}: no folder can be named so; give another name") from None
    above = folder.absolute()
    while not exists(above):
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
    if _is_stream(first) and _is_stream(second):
        return False  # two outputs may go the same way
    if exists(first) and exists(second):
        return first.samefile(second)
    return first.resolve() == second.resolve()


def _kind(mode: int) -> str:
    return next((name for test, name in KINDS if test(mode)), "no file")


def _plain(option: str) -> str:
    return option.lstrip("-").replace("-", "_").lower()


def _named(option: str) -> str:
    """Return an option as messages name it; an argument, such as `OUT`, stays as it is."""
    return option if option.isupper() else f"`{_plain(option)}`"

"""What tests leave outside their temporary folders: the plugin of conftest.py that names it and fails the session.

Two nets. The tree of the checkout is held against what it was; the session gets a home and a temporary folder of its
own, which its child processes inherit, and which must be empty at the end. And Python tells of every file that this
process opens for writing, makes, moves or removes elsewhere, with the test that did it.

Exceptions: ``__pycache__`` (kernels and modules are compiled there), ``NUMBA_CACHE_DIR``, ``.venv``, ``build``,
``.git`` and the caches of linters. Sources that change are not the tests' doing: somebody is at work while they run.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

EXCEPTIONS = ("__pycache__", ".venv", "build", ".git", ".ruff_cache", ".mypy_cache")
SOURCES = (".py", ".md", ".toml", ".txt")
DEVICES = ("/dev/", "/proc/")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
EVENTS: dict[str, Callable[[tuple], list]] = {
    "open": lambda arguments: [(arguments[0], -1)] if arguments[2] & WRITES else [],
    "os.mkdir": lambda arguments: [(arguments[0], arguments[2])],
    "os.rename": lambda arguments: [(arguments[0], arguments[2]), (arguments[1], arguments[3])],
    "os.link": lambda arguments: [(arguments[1], arguments[3])],
    "os.symlink": lambda arguments: [(arguments[1], arguments[2])],
    "os.remove": lambda arguments: [(arguments[0], arguments[1])],
    "os.rmdir": lambda arguments: [(arguments[0], arguments[1])],
    "os.truncate": lambda arguments: [(arguments[0], -1)],
}
"""Paths that Python's audit events say change, each with the open folder that it is relative to; -1 is none."""

Stamp = tuple[int, int]


def tree(root: Path) -> dict[str, Stamp]:
    """Return size and time of every file and folder below a root, by relative path, but for the exceptions."""
    return dict(_below(root, ""))


def _below(folder: Path, prefix: str) -> Iterator[tuple[str, Stamp]]:
    for entry in os.scandir(folder):
        if entry.name in EXCEPTIONS or entry.name.endswith((".egg-info", ".pyc")):
            continue
        name = prefix + entry.name
        if entry.is_dir(follow_symlinks=False):
            yield name + "/", (0, 0)
            yield from _below(Path(entry.path), name + "/")
        else:
            status = entry.stat(follow_symlinks=False)
            yield name, (status.st_size, status.st_mtime_ns)


def differences(before: dict[str, Stamp], after: dict[str, Stamp]) -> list[str]:
    """Return a line for each path that came, went or changed; sources excepted, and scripts that changed."""
    lines = []
    for path in sorted(before | after):
        script = path in before and path in after and not Path(path).suffix
        if before.get(path) != after.get(path) and not script and not path.endswith(SOURCES):
            lines.append(
                f"{path} {'is new' if path not in before else 'is gone' if path not in after else 'has changed'}"
            )
    return lines


class Strays:
    """The two nets of one session of tests.

    Parameters
    ----------
    checkout
        The folder whose tree must stay as it is.
    temporary
        pytest's own folder, in which the session gets one.
    """

    def __init__(self, checkout: Path, temporary: Path) -> None:
        self.checkout = checkout
        self.allowed = self._allowed(temporary)
        session = temporary / "session"
        self.own = {"HOME": session / "home", "TMPDIR": session / "tmp"}
        self.touches: dict[str, str] = {}
        self.watching = True
        for variable, folder in self.own.items():
            folder.mkdir(parents=True)
            os.environ[variable] = str(folder)
        tempfile.tempdir = None
        os.environ.setdefault("HYPOTHESIS_STORAGE_DIRECTORY", str(session / "hypothesis"))
        self.before = tree(checkout)
        sys.addaudithook(self._hear)

    def lines(self) -> list[str]:
        """Return a line for each stray, and stop watching."""
        self.watching = False
        strays = [f"{self.checkout}/{line}" for line in differences(self.before, tree(self.checkout))]
        for folder in self.own.values():
            strays += [f"{folder}/{line}, left behind" for line in differences({}, tree(folder))]
        return strays + [f"{path} is touched by {test}" for path, test in sorted(self.touches.items())]

    def _allowed(self, temporary: Path) -> tuple[str, ...]:
        cache = os.environ.get("NUMBA_CACHE_DIR")
        if temporary.name.startswith("popen-"):  # one of several processes: theirs lie in one folder
            temporary = temporary.parent
        kept = [
            temporary.parent if temporary.parent.name.startswith("pytest-of-") else temporary,
            Path(sys.prefix),
            *([Path(cache)] if cache else []),
        ]
        kept += [self.checkout / name for name in EXCEPTIONS]
        return (*DEVICES, *(os.path.realpath(path) + os.sep for path in kept))

    def _hear(self, event: str, arguments: tuple) -> None:
        if not self.watching or event not in EVENTS:
            return
        for path, folder in EVENTS[event](arguments):
            if isinstance(path, str | bytes | os.PathLike):
                self._note(str(Path(f"/proc/self/fd/{folder}" if folder >= 0 else "", os.fsdecode(path))))

    def _note(self, path: str) -> None:
        folder, name = os.path.split(path)
        real = f"{os.path.realpath(folder)}{os.sep}{name}"
        if "__pycache__" not in real and not f"{real}{os.sep}".startswith(self.allowed):
            test = os.environ.get("PYTEST_CURRENT_TEST", "the session").removesuffix(" (call)")
            self.touches.setdefault(real, test)

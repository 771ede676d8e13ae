"""One decorator for all kernels: how they are compiled, and where their machine code is kept.

Numba keeps machine code beside the source (or in a folder of the user, or where NUMBA_CACHE_DIR says) and looks at a
kernel's own file alone to tell whether it is stale. But a kernel has within it the code of those that it calls. So
the names of all kept files carry a digest of every kernel's source: after an edit of any, none of the old is found.
Each file says itself what it is: in Numba's own index of them two processes that compile at the same time put each
other's code under wrong types.

``EVSIM_CHECKED=1`` is a build for tests: what intrinsics load and store is compared with the ends of its array, which
Numba's own NUMBA_BOUNDSCHECK does not see. Files of a checked build have names of their own.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import pickle
import secrets
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numba
from numba import config, njit
from numba.core.caching import CompileResultCacheImpl, FunctionCache
from numba.core.serialize import dumps

Result = TypeVar("Result")

DAMAGE = (
    OSError, EOFError, ValueError, OverflowError, MemoryError, LookupError, AttributeError, ImportError, TypeError,
    pickle.UnpicklingError,
)  # fmt: skip
"""What reading a damaged file of machine code raises."""

ABANDONED = 3600
"""Seconds after which nobody is still writing a file."""

temporaries: set[Path] = set()
"""Files that this process is writing; whoever ends it at once removes them."""

CHECKED = os.environ.get("EVSIM_CHECKED", "0") == "1" and not config.DISABLE_JIT
"""Whether intrinsics check their addresses (evsim.kernels.emit)."""


def kernel(function: Callable[..., Result]) -> Callable[..., Result]:
    """Compile a function at its first call: it releases the GIL, and divides by zero as NumPy does.

    The machine code is kept for later runs, where a folder can be found for it. With ``NUMBA_DISABLE_JIT=1`` the
    function stays as it is. Numba, not the type checker, looks at the arguments of a call.
    """
    return _compiled(function, inner=False)


def inner(function: Callable[..., Result]) -> Callable[..., Result]:
    """Compile a function that kernels alone call: without the way in from Python, which takes longer than most."""
    return _compiled(function, inner=True)


def _compiled(function: Callable[..., Result], *, inner: bool) -> Callable[..., Result]:
    options = {"no_cpython_wrapper": inner, "no_cfunc_wrapper": True}
    dispatcher = njit(nogil=True, error_model="numpy", **options)(function)
    if not config.DISABLE_JIT:
        try:
            dispatcher._cache = MachineCode(function)  # noqa: SLF001 - Numba has no other way to name the files
        except RuntimeError:  # a read-only installation, and no home to write to
            tell("no writable folder; set NUMBA_CACHE_DIR")
    return dispatcher  # type: ignore[no-any-return]


def digest_of(folder: Path) -> str:
    """Return 16 hexadecimal digits that stand for all Python sources of a folder."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        source = path.read_bytes()
        digest.update(f"{path.name} {len(source)} ".encode())
        digest.update(source)
    return digest.hexdigest()[:16]


DIGEST = digest_of(Path(__file__).parent) + ("-checked" if CHECKED else "")


class Files(CompileResultCacheImpl):  # type: ignore[misc]
    """How the files that hold a kernel's machine code are called, and where they lie: as Numba finds a place."""

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        """Return the beginning of their names: not the line that the kernel stands in, but the digest."""
        return f"{fullname}-{DIGEST}.py{sys.version_info[0]}{sys.version_info[1]}{abiflags}"


class Kept:
    """The files of one kernel: one for each signature and CPU, which appears whole; what `Cache` asks of Numba's own.

    Parameters
    ----------
    folder, base
        Where they lie, and how their names begin.
    """

    def __init__(self, folder: str, base: str) -> None:
        self._folder, self._base = Path(folder), base

    def save(self, key: Any, data: Any) -> None:
        """Keep machine code under a key."""
        path = self._path(key)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
        temporaries.add(temporary)
        try:
            temporary.write_bytes(dumps((numba.__version__, key, data)))
            temporary.replace(path)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            temporaries.discard(temporary)

    def load(self, key: Any) -> Any:
        """Return what is kept under a key; None if nothing is, or it is damaged, of another key or Numba."""
        try:
            version, kept, data = pickle.loads(self._path(key).read_bytes())  # noqa: S301 - the user's own folder
        except DAMAGE:
            return None
        return data if (version, kept) == (numba.__version__, key) else None

    def _path(self, key: Any) -> Path:
        return self._folder / f"{self._base}.{hashlib.sha256(str(key).encode()).hexdigest()[:16]}.nbc"


class MachineCode(FunctionCache):  # type: ignore[misc]
    """Numba's cache, in files of evsim's own; one that cannot be read or written stops no run.

    Attributes
    ----------
    behind
        Tells, for a signature, the name of machine code that the function calls without holding it, if there is any:
        processes that compile at the same time give it names of their own.
    """

    _impl_class = Files
    behind: Callable[[Any], str] | None = None

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = Kept(self._cache_path, self._impl.filename_base)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        key = super()._index_key(sig, codegen)
        return key if self.behind is None else (*key, self.behind(sig))

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for a signature, and remove what nobody will look for again."""
        try:
            super().save_overload(sig, data)
            sweep(Path(self.cache_path))
        except OSError as error:
            tell(f"{self.cache_path}: {(error.strerror or 'error').lower()}; set NUMBA_CACHE_DIR")


@functools.cache
def sweep(folder: Path) -> None:
    """Remove, once, the machine code of other sources, and what processes that were killed have left.

    Numba gives each folder of sources one of its own.
    """
    for path in folder.glob("*.nb[ic]*"):
        whole = path.suffix in (".nbi", ".nbc")
        with suppress(OSError):  # another process does the same
            if DIGEST not in path.name or (not whole and time.time() - path.stat().st_mtime > ABANDONED):
                path.unlink()


@functools.cache
def log_once(message: str) -> None:
    """Log a line; where nobody has set up logging, Python writes it to stderr as it is."""
    logging.getLogger(__name__).warning(message)


def tell(reason: str) -> None:
    """Say why compiled kernels cannot be kept; whatever the number of kernels, a reason is said once."""
    log_once(f"compiled kernels cannot be kept: {reason}")

"""Where a command begins: it can be stopped from its first moment, and says in one line why it cannot be loaded.

Nothing heavy is imported here, so that a signal during the imports is met too.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from contextlib import suppress
from types import FrameType

STOPS = {"SIGINT": "interrupted", "SIGTERM": "ended by SIGTERM", "SIGHUP": "ended, its terminal is gone"}
"""Signals that end a command cleanly, and what is said of each."""

LEAST = 1000 << 20
"""Bytes of address space below which the libraries of linear algebra do not load: they end in loops, not in errors."""

WRITERS = ("evsim.files", "evsim.kernels.compiling")
"""Modules that tell what they have half written, as `temporaries`."""


def main() -> None:
    """Entry point of the program: load the commands and run one; a signal ends it with exit code 128 + its number."""
    _listen()
    _check_room()
    try:
        from evsim.cli.main import main as command

        command()
    except (ImportError, OSError, MemoryError) as error:  # commands load what they need when they need it
        _fail_to_load(error)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is written; Python's own end would die of it


def _listen() -> None:
    owner = os.getpid()

    def stop(number: int, _frame: FrameType | None) -> None:
        """Remove what is half written and end at once: an exception could be lost where Python calls back."""
        if os.getpid() == owner:  # not in a child that was forked a moment ago
            _remove_temporaries()
            _say(STOPS[signal.Signals(number).name])
        os._exit(128 + number)

    for name in STOPS:
        number = getattr(signal, name, None)
        # who starts a command in the background, or by nohup, may have it ignore these
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, stop)


def _check_room() -> None:
    """Refuse a limit of address space (ulimit -v) that is too low for any command."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST:
        _say(f"the limit of address space is {limit >> 20} MB, and evsim needs {LEAST >> 20}; raise it (ulimit -v)")
        sys.exit(2)


def _remove_temporaries() -> None:
    for module in WRITERS:
        for path in tuple(getattr(sys.modules.get(module), "temporaries", ())):
            with suppress(OSError):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _fail_to_load(error: ImportError | OSError | MemoryError) -> None:
    lines = str(error).strip().splitlines()  # the last one of NumPy's is the cause
    reason = lines[-1].strip() if lines else "not enough memory"
    _say(f"a library cannot be loaded ({reason}); give more memory and open files, or install evsim anew")
    sys.exit(2)


def _say(text: str) -> None:
    with suppress(OSError):  # nobody listens
        os.write(2, f"evsim: {text}\n".encode(errors="backslashreplace"))

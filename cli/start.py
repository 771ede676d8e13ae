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

WRITERS = ("evsim.files", "evsim.kernels.compiling")
"""Modules that tell what they have half written, as `temporaries`."""


def main() -> None:
    """Entry point of the program: load the commands and run one; a signal ends it with exit code 128 + its number."""
    _listen()
    try:
        from evsim.cli.main import main as command
    except (ImportError, OSError, MemoryError) as error:
        _fail_to_load(error)
    command()


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


def _remove_temporaries() -> None:
    for module in WRITERS:
        for path in tuple(getattr(sys.modules.get(module), "temporaries", ())):
            with suppress(OSError):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)


def _fail_to_load(error: ImportError | OSError | MemoryError) -> None:
    reason = " ".join(str(error).split()) or "not enough memory"
    _say(f"cannot be loaded ({reason}); give it more memory and open files, or install it anew")
    sys.exit(2)


def _say(text: str) -> None:
    with suppress(OSError):  # nobody listens
        os.write(2, f"evsim: {text}\n".encode(errors="backslashreplace"))

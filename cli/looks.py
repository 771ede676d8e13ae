"""How reports look: what a person asks for, and what standard output takes."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evsim.cli.shared import OUTPUT, Shared, option, shared

if TYPE_CHECKING:
    from evsim.report.terminal import View

BLOCKS = "█▏─"
"""What drawn tables are made of; an encoding without them gets plain characters."""


@dataclass(frozen=True)
class Look:
    """What a person asks for: options of that name."""

    format: str = "table"
    wide: bool = False
    brief: bool = False

    def __post_init__(self) -> None:
        if self.format != "table" or self.brief:  # the defaults need nothing loaded
            from evsim.errors import OptionError
            from evsim.report.terminal import checked_format

            checked_format(self.format)
            if self.brief and (self.wide or self.format != "table"):
                raise OptionError(f"`brief` shows no table, so `{'wide' if self.wide else 'format'}` means nothing")

    def view(self) -> View:
        """Return how a report is shown on standard output as it is now."""
        from evsim.report.terminal import View, checked_format

        terminal = is_terminal()
        return View(
            format=checked_format(self.format),
            width=None if self.wide else _width(terminal=terminal),
            ascii=not _takes_blocks(),
            colour=terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb",
            brief=self.brief,
        )


LOOK = Shared(
    (
        shared(
            "format", str, option("table, markdown, latex, csv or json", OUTPUT, "--format", metavar="NAME"), "table"
        ),
        shared("wide", bool, option("all columns, however wide", OUTPUT, "--wide"), False),
        shared("brief", bool, option("the headline alone", OUTPUT, "--brief"), False),
    ),
    Look,
)


def is_terminal() -> bool:
    """Whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def _width(*, terminal: bool) -> int | None:
    """Return the columns of the terminal, or those that COLUMNS names; a pipe has none."""
    if not terminal and not os.environ.get("COLUMNS", "").isdigit():
        return None
    return shutil.get_terminal_size().columns or None


def _takes_blocks() -> bool:
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    try:
        BLOCKS.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True

"""What every command with ``--html`` does, apart from its own page."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from evsim.cli.words import spell
from evsim.errors import OptionError, spelled
from evsim.files import write_whole


def check_page(html_file: str | None) -> None:
    """Refuse before any work a page that could not be drawn, or has no name of a page.

    Raises
    ------
    OptionError
        If the extra `report` is missing, or the file does not end in .html.
    """
    from evsim.charts.drawing import check_installed

    if html_file is None:
        return
    if Path(html_file).suffix.lower() not in (".html", ".htm"):
        raise OptionError(f"`html` writes a page; give a file that ends in .html, got {html_file}")
    check_installed()


def command_line() -> str:
    """Return the line that was typed."""
    return shlex.join(["evsim", *sys.argv[1:]])


def write_page(html_file: str, page: str) -> None:
    """Write a page, its options spelled as they are typed; OutputError if that place cannot be written to."""
    write_whole(html_file, spelled(page, spell).encode(errors="xmlcharrefreplace"))

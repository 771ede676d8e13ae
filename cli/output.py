"""What the command line prints and writes; every option in a text is spelled as it is typed."""

from __future__ import annotations

import codecs
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, TextIO

from evsim.cli.words import spell
from evsim.errors import spelled
from evsim.schema import printable

if TYPE_CHECKING:
    from evsim.cli.looks import Look
    from evsim.report.tables import Report

PLAIN = {"█": "#", "×": "x", "→": ">", "–": "-", "—": "-", "…": "~", "µ": "u", "─": "-"} | dict(
    zip("▁▂▃▄▅▆▇", "__--==#", strict=True)
)
"""Plain characters in place of those that a code page may lack; anything else becomes a question mark."""

LONGEST_WORD = 500
"""Letters of a word of a message; the middle of a longer one is left out."""


_told: list[str] = []
"""Lines of the running command that name a file that it wrote."""


def prepare() -> None:
    """Make standard output take any text in any code page, and keep files off the place of a closed stream."""
    codecs.register_error("evsim", _plainer)
    try:
        while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # a file opened later would be written to as a stream
            pass
        os.close(number)
    except OSError:  # a machine without such a device loses this care alone
        pass
    if sys.stderr is None:  # what is said beside the result is nobody's then; progress bars want a stream
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - stays open to the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # tests and notebooks put streams in their place that know no encoding
            stream.reconfigure(errors="evsim")


def say(text: str, *, kept: bool = False) -> None:
    """Print a text on standard output.

    Parameters
    ----------
    text
        What to print; a newline is added.
    kept
        Whether what the command is for lies in a file: then nothing is lost where standard output is closed.

    Raises
    ------
    OSError, OutputError
        If it cannot be printed; the latter where standard output is closed.
    """
    _heed(text)
    if sys.stdout is not None:
        sys.stdout.write(f"{_tame(spelled(text, spell))}\n")
    elif not kept:
        _refuse_closed()


def aside(text: str) -> None:
    """Print a line on standard error."""
    _heed(text)
    beside(_tame(spelled(text, spell)))


def beside(line: str) -> None:
    """Write a line on standard error as it is; where that is broken, nobody listens, and nothing else is lost."""
    try:
        sys.stderr.write(f"{line}\n")
    except OSError:
        leave(sys.stderr)


def leave(stream: TextIO | None) -> None:
    """Let what is left for a broken stream go nowhere, or Python would fail once more at its end."""
    with suppress(OSError, ValueError):  # a stream that is none of the system's
        if stream is not None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def check_stream(files: Iterable[object]) -> None:
    """Refuse before any work what could only be printed where standard output is closed.

    Parameters
    ----------
    files
        What the outputs of the command were given: a file, ``-`` for standard output, or None.

    Raises
    ------
    OutputError
        If standard output is closed and needed.
    """
    wanted = [str(file) for file in files if file is not None]
    if sys.stdout is None and (not wanted or "-" in wanted):
        _refuse_closed()


def begin() -> None:
    """Forget what an earlier command of this process wrote."""
    _told.clear()


def _heed(text: str) -> None:
    if text.startswith("wrote "):
        _told.append(text)


def wrote(places: Iterable[object]) -> None:
    """Say on standard error which files there are now, but for those that the command itself told of, and streams.

    Parameters
    ----------
    places
        What the outputs of the command were given: a file or folder, ``-`` for standard output, or None.
    """
    for place in map(str, filter(None, places)):
        named = re.compile(rf"(?:wrote|and) {re.escape(place)}(?:[/\\]\S*)?(?=[:;, (]|$)")
        if place != "-" and not any(map(named.search, _told)) and (os.path.isfile(place) or os.path.isdir(place)):  # noqa: PTH112, PTH113 - names of files may hold what Path refuses
            aside(f"wrote {one_line(place)}")


def notes(texts: Iterable[str]) -> None:
    """Print notes on standard error, a line each."""
    for text in texts:
        aside(f"note: {one_line(text)}")


def warning(text: str) -> None:
    """Print a warning on standard error, a line."""
    aside(f"warning: {one_line(text)}")


def one_line(text: str) -> str:
    """Return a message as one line: names that people and files give may hold anything, and be thousands long."""
    return " ".join(printable(_shortened(word)) for word in text.split())


def show(
    text: Report | str,
    document: Mapping[str, Any],
    json_file: str | None,
    look: Look | None = None,
    *,
    kept: bool = False,
) -> None:
    """Print the text, or the document where ``--json -`` asks for it alone; write it where a file is named.

    Parameters
    ----------
    text
        For people.
    document
        For programs: nothing but what JSON knows.
    json_file
        What ``--json`` was given.
    look
        How a report is shown; where its format is JSON, the document is shown.
    kept
        As `say` takes it.

    Raises
    ------
    OSError, OutputError
        If it cannot be printed or written.
    """
    from evsim.files import write_whole

    content = json.dumps(document, indent=1, allow_nan=False)
    if json_file == "-":
        raw(content)
        return
    if json_file:
        write_whole(json_file, f"{content}\n".encode())
    if look is not None and look.format == "json":
        raw(content)
        return
    tell(text, look, kept=kept or bool(json_file))


def tell(report: Report | str, look: Look | None = None, *, kept: bool = False) -> None:
    """Print a report as it is to look; parameters and errors as `show`."""
    if isinstance(report, str):
        say(report, kept=kept)
        return
    from evsim.cli.looks import Look
    from evsim.report.terminal import shown

    look = look or Look()
    text = shown(report, look.view())
    if look.format != "table":
        raw(text)
    elif sys.stdout is not None:
        sys.stdout.write(f"{spelled(text, spell)}\n")  # escaped where it was drawn, or colours would be too
    elif not kept:
        _refuse_closed()


def raw(content: str) -> None:
    """Print text for programs as it is: its options stay as Python spells them."""
    if sys.stdout is None:
        _refuse_closed()
    sys.stdout.write(f"{content}\n")


def _refuse_closed() -> NoReturn:
    from evsim.files import OutputError

    raise OutputError("standard output is closed, so nothing can be printed; leave it open, or send it to a file")


def _tame(text: str) -> str:
    """Return lines without what a terminal would obey, which names of files, labels and nodes may hold."""
    return text if text.isprintable() else "\n".join(printable(line) for line in text.split("\n"))


def _shortened(word: str) -> str:
    half = LONGEST_WORD // 2
    return word if len(word) <= LONGEST_WORD else f"{word[:half]}...{word[-half:]}"


def _plainer(error: UnicodeError) -> tuple[str, int]:
    """Replace what the code page of a stream lacks."""
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(letter, "?") for letter in error.object[error.start : error.end]), error.end

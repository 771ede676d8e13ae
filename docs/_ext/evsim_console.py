"""Colours of a console block: ``$ `` begins a command, all else is output.

Pygments' own lexer takes a line ``(columns left out: ...)`` for the prompt of a virtual environment, and ``%`` or ``#``
for that of other shells.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from pygments.lexers.shell import BashSessionLexer
from sphinx.application import Sphinx


class Console(BashSessionLexer):
    """Sessions as pages of evsim show them."""

    name = "Console of evsim's pages"
    aliases: ClassVar[list[str]] = ["console"]
    filenames: ClassVar[list[str]] = []
    mimetypes: ClassVar[list[str]] = []
    url = ""
    _venv = re.compile(r"(?!)()()")
    _ps1rgx = re.compile(r"^(\$ )(.*\n?)")


def setup(app: Sphinx) -> dict[str, Any]:
    """Take it for blocks named console."""
    app.add_lexer("console", Console)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

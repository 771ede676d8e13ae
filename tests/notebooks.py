"""Make the notebooks of docs/notebooks from their one source: ``python tests/notebooks.py`` writes them.

The source, class.md, is a page like all others of the docs: its code runs in CI, and what it prints is held against
what it shows. ``<!-- for: student -->``, ``teacher`` and ``all``, each on a line of its own, say whom the lines behind
are for. Notebooks have no outputs: with them every change of a chart would change the file, and the page shows them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
SOURCE = FOLDER / "class.md"
AUDIENCES = ("student", "teacher")
MARK = re.compile(r"<!-- for: (\w+) -->")
COMMENT = re.compile(r"<!-- (?:is|source)\b.*? -->")


def path_of(audience: str) -> Path:
    """Return where the notebook of an audience lies."""
    return FOLDER / f"class-{audience}.ipynb"


def notebook(text: str, audience: str) -> str:
    """Return the notebook of an audience, as the text of a file without outputs.

    Parameters
    ----------
    text
        The source.
    audience
        "student" or "teacher".
    """
    cells = [_cell(kind, lines, number) for number, (kind, lines) in enumerate(_cells(text, audience), 1)]
    language = {"display_name": "Python 3", "language": "python", "name": "python3"}
    whole = {
        "cells": cells,
        "metadata": {"kernelspec": language, "language_info": {"name": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False) + "\n"


def _cells(text: str, audience: str) -> list[tuple[str, list[str]]]:
    """Return kind and lines of each cell: Markdown up to a block of Python, or that block; shown output is left out."""
    cells: list[tuple[str, list[str]]] = []
    kind, reader, lines = "markdown", "all", []
    for line in text.splitlines():
        mark = MARK.fullmatch(line)
        if kind == "markdown" and (mark or line in ("```python", "```output")):
            cells.append((kind, lines))
            lines = []
            reader, kind = (mark[1], kind) if mark else (reader, line.removeprefix("```"))
        elif kind in ("python", "output") and line == "```":
            cells.append((kind if reader in ("all", audience) else "output", lines))
            kind, lines = "markdown", []
        elif kind != "markdown" or reader in ("all", audience):
            lines.append(COMMENT.sub("", line))
    assert kind == "markdown", "a block does not end"
    cells.append((kind, lines))
    return [(kind, lines) for kind, lines in cells if kind != "output" and "".join(lines).strip()]


def _cell(kind: str, lines: list[str], number: int) -> dict[str, Any]:
    content = "\n".join(lines).strip("\n")
    cell: dict[str, Any] = {"id": f"cell-{number:02}", "metadata": {}}
    cell["cell_type"] = "code" if kind == "python" else kind
    if kind == "python":
        cell |= {"execution_count": None, "outputs": []}
    return cell | {"source": content.splitlines(keepends=True)}


if __name__ == "__main__":
    for each in AUDIENCES:
        path_of(each).write_text(notebook(SOURCE.read_text(encoding="utf-8"), each), encoding="utf-8")
        print(path_of(each).relative_to(Path.cwd()))

"""The directive ``evsim-figure``: a figure that a command of evsim draws while the site is built.

    ```{evsim-figure} evsim plot counts.h5 --kind energy -o energy.svg
    :alt: what is to be seen
    A caption.
    ```

The command belongs to the page's session (tests/docs_run.py), so it finds the files that commands above it wrote.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, ClassVar

import docs_run
from docs_pages import blocks
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Figure(SphinxDirective):
    """Runs the page's session once, keeps its figures, and shows one of them."""

    required_arguments = 1
    final_argument_whitespace = True
    has_content = True
    option_spec: ClassVar[dict[str, Any]] = {"alt": directives.unchanged_required, "width": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Return the figure."""
        command = self.arguments[0].strip()
        pictures = _pictures(Path(self.env.doc2path(self.env.docname)), Path(self.env.app.doctreedir) / "figures")
        if "alt" not in self.options:
            raise self.error("a figure has an :alt: that says what is to be seen")
        source = Path(self.env.srcdir) / Path(self.env.docname).parent
        image = nodes.image(uri=os.path.relpath(pictures[command], source), alt=self.options["alt"])
        if "width" in self.options:
            image["width"] = self.options["width"]
        figure = nodes.figure("", image)
        if self.content:
            texts, _ = self.state.inline_text(" ".join(self.content), self.lineno)
            figure += nodes.caption("", "", *texts)
        return [figure]


_ran: dict[tuple[Path, str], dict[str, Path]] = {}


def _pictures(page: Path, kept: Path) -> dict[str, Path]:
    """Return the pictures of a page by the commands that drew them; the page runs once for each text that it had."""
    text = page.read_text(encoding="utf-8")
    if (page, text) in _ran:
        return _ran[page, text]
    target = kept / page.parent.name / page.stem
    target.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Path] = {}
    with docs_run.scratch() as folder:
        session = docs_run.Session(folder)
        for block in blocks(text):
            session.take(block)
            if block.kind == "figure":
                pictures[block.text] = Path(shutil.copy(session.picture(block), target))
    return _ran.setdefault((page, text), pictures)


def setup(app: Sphinx) -> dict[str, Any]:
    """Tell Sphinx of the directive."""
    app.add_directive("evsim-figure", Figure)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

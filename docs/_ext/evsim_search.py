"""The search of the site: sections, ranked and with an excerpt, without a server.

Sphinx's own search tells pages that hold all words, in no order of worth, and reads excerpts over a network. This gives
its search page the text of every section in one script; docs/_static/search.js ranks them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx


def sections(app: Sphinx) -> Iterator[tuple[str, str, str, str]]:
    """Yield page, title, anchor and text of each section of the site, and of each word of the glossary."""
    for page in sorted(app.env.found_docs):
        doctree = app.env.get_doctree(page)
        whole = app.env.titles[page].astext()
        for section in doctree.findall(nodes.section):
            title = section.next_node(nodes.title).astext()
            anchor = "" if title == whole else f"#{section['ids'][0]}"
            rest = [child for child in section.children if not isinstance(child, nodes.section | nodes.title)]
            yield page, title if title == whole else f"{whole} > {title}", anchor, _text(rest)
        for item in doctree.findall(nodes.definition_list_item):
            term = item.next_node(nodes.term)
            if term["ids"]:
                yield page, f"{whole} > {term.astext()}", f"#{term['ids'][0]}", _text(item.children[1:])


def _text(parts: list[nodes.Node]) -> str:
    """Return the text of nodes, without comments and HTML."""
    return " ".join(" ".join(part.astext().split()) for part in map(_shown, parts))


def _shown(part: nodes.Node) -> nodes.Node:
    copy = part.deepcopy()
    for hidden in list(copy.findall(lambda node: isinstance(node, nodes.comment | nodes.raw))):
        if hidden.parent is None:
            return nodes.Text("")
        hidden.parent.remove(hidden)
    return copy


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the script of all sections."""
    if error is None and app.builder.name == "html":
        target = Path(app.outdir) / "_static" / "sections.js"
        target.write_text(f"const SECTIONS = {json.dumps(list(sections(app)), ensure_ascii=False)};\n", "utf-8")


def load(app: Sphinx, page: str, *_: Any) -> None:
    """Let the search page load it, and what ranks it."""
    if page == "search":
        app.add_js_file("sections.js", priority=100)
        app.add_js_file("search.js", priority=101)


def setup(app: Sphinx) -> dict[str, Any]:
    """Hear when the site is written."""
    app.connect("build-finished", write)
    app.connect("html-page-context", load)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""The search of the site: sections, ranked and with an excerpt, without a server.

Sphinx's own search tells pages that hold all words, in no order of worth, and reads excerpts over a network. This gives
its search page the text of every section in one script; docs/_static/search.js ranks them. Words under which readers
look for a section stand in it, unseen: ``<!-- search: out of memory, MemoryError -->``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

WORDS = re.compile(r"<!-- search: (.*?) -->", re.DOTALL)
APART = (nodes.section, nodes.title, addnodes.glossary, addnodes.desc)
"""What a section holds that is an entry of its own, or its title."""
Entry = tuple[str, str, str, str, str]
"""Page, title, anchor, text, and the words under which it is looked for beside."""


def entries(app: Sphinx) -> Iterator[Entry]:
    """Yield the sections of the site, the words of the glossary, and the names of Python."""
    for page in sorted(app.env.found_docs):
        doctree = app.env.get_doctree(page)
        whole = app.env.titles[page].astext()
        for section in doctree.findall(nodes.section):
            title = section.next_node(nodes.title).astext()
            anchor = "" if title == whole else f"#{section['ids'][0]}"
            rest = [child for child in section.children if not isinstance(child, APART)]
            yield page, title if title == whole else f"{whole} > {title}", anchor, _text(rest), _words(rest)
        for item in doctree.findall(nodes.definition_list_item):
            terms = [child for child in item.children if isinstance(child, nodes.term)]
            if terms[0]["ids"]:
                names = [term.astext() for term in terms]
                also = f" ({', '.join(names[1:])})" if names[1:] else ""
                rest = item.children[len(terms) :]
                anchor = f"#{terms[0]['ids'][0]}"
                yield page, f"{whole} > {names[0]}{also}", anchor, _text(rest), ", ".join([*names, _words(rest)])
        for named in doctree.findall(addnodes.desc):
            signature = named.next_node(addnodes.desc_signature)
            if signature["ids"]:
                name = signature["ids"][0]
                yield page, f"{whole} > {name}", f"#{name}", _text(named.children[1:]), ""


def _text(parts: list[nodes.Node]) -> str:
    """Return the text of nodes, without comments and HTML."""
    return " ".join(" ".join(part.astext().split()) for part in map(_shown, parts))


def _words(parts: list[nodes.Node]) -> str:
    """Return what comments among nodes say that readers look for."""
    comments = [node for part in parts for node in part.findall(nodes.raw)]
    return ", ".join(" ".join(words.split()) for node in comments for words in WORDS.findall(node.astext()))


def _shown(part: nodes.Node) -> nodes.Node:
    copy = part.deepcopy()
    for hidden in list(copy.findall(lambda node: isinstance(node, nodes.comment | nodes.raw))):
        if hidden.parent is None:
            return nodes.Text("")
        hidden.parent.remove(hidden)
    return copy


def write(app: Sphinx, error: Exception | None) -> None:
    """Write the script of all entries."""
    if error is None and app.builder.name == "html":
        target = Path(app.outdir) / "_static" / "sections.js"
        target.write_text(f"const SECTIONS = {json.dumps(list(entries(app)), ensure_ascii=False)};\n", "utf-8")


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

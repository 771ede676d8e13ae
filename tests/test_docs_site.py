"""The parts of the site that are ours: colours of a console block, and what the search is given of a page."""

from __future__ import annotations

import sys

import pytest
from docs_pages import ROOT

pytest.importorskip("sphinx", reason="the extra docs is absent")
sys.path.append(str(ROOT / "docs" / "_ext"))

from docutils import nodes
from evsim_commands import plain
from evsim_console import Console
from evsim_search import _text, _words
from pygments.token import Generic

SESSION = """$ evsim run model.h5 --format latex
% needs siunitx
(columns left out: paper SOPs; --wide shows all)
# a heading of Markdown
$ cp a b
"""


def test_only_a_dollar_begins_a_command():
    """Lines of an output that look like prompts of other shells are output."""
    kinds = [(kind, value) for kind, value in Console().get_tokens(SESSION) if kind in Generic]
    assert [value for kind, value in kinds if kind in Generic.Prompt] == ["$ ", "$ "]
    told = "".join(value for kind, value in kinds if kind in Generic.Output)
    assert told.splitlines() == SESSION.splitlines()[1:4]


def test_hidden_words_are_searched_and_not_shown():
    """The words of a search comment are kept apart from the text of their section."""
    parts = [
        nodes.paragraph("", "A page of memory."),
        nodes.raw("", "<!-- search: out of memory,\nMemoryError -->", format="html"),
        nodes.raw("", "<!-- is: 1 -->", format="html"),
    ]
    assert (_text(parts).strip(), _words(parts)) == ("A page of memory.", "out of memory, MemoryError")


def test_code_in_a_help_text_stays_code():
    """What stands in backticks is code on the page too; marks of Markdown elsewhere are letters."""
    assert plain("`make docs` makes a *site*; --html one_page") == "`make docs` makes a \\*site\\*; `--html` one\\_page"
    assert plain("`--wide` and a lone `") == "`--wide` and a lone \\`"

"""Texts that name a page of the documentation: its title stands on a page, and no installed evsim is sent to a file."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import evsim

from evsim.manual import TITLES, page

ROOT = Path(__file__).resolve().parents[1]
NAMED = re.compile(r"docs: ([A-Za-z][\w. ]*)")


@pytest.mark.parametrize("name", TITLES)
def test_titles_are_those_of_the_pages(name):
    """A title is the page's, or what stands of it before a comma or a colon."""
    heading = next(line for line in (ROOT / "docs" / f"{name}.md").read_text().splitlines() if line.startswith("# "))
    assert TITLES[name] in (heading[2:], *re.split("[,:]", heading[2:])[:1])


def test_every_title_in_a_text_is_known():
    """What the sources name as a page of the documentation begins with a known title."""
    texts = {
        match[1]
        for room in ("evsim", "converters", "cli")
        for path in (ROOT / room).rglob("*.py")
        for match in NAMED.finditer(path.read_text())
        if path.name != "manual.py"
    }
    assert len(texts) > 5
    assert not [text for text in texts if not text.startswith(tuple(TITLES.values()))]


def test_help_says_where_pages_lie():
    """Evsim --help tells what "docs: TITLE" means; the report of a run ends with one."""
    assert '"docs: TITLE" in a text names a page of the documentation' in " ".join(evsim("--help").out.split())
    assert page("counting") == "docs: What is counted"
    assert "see docs: Data sets" in " ".join(evsim("eval", "--help").out.split())

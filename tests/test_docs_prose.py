"""What a reader of a page would miss without a warning of the builder."""

from __future__ import annotations

import re

import pytest
from docs_pages import ROOT, pages
from markdown_it import MarkdownIt

from evsim import __version__

NAMES = [str(path.relative_to(ROOT)) for path in pages()]
BLOCK = re.compile(r"^ *(`{3,}).*?^ *\1 *$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", NAMES)
def test_no_line_of_prose_begins_as_a_comment(page):
    """MyST leaves out a line that begins with a per cent sign, as one does behind a number that ends a line."""
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    assert not [line for line in text.splitlines() if line.lstrip().startswith("%")]


LINK = re.compile(r"\[([^\]]*\.md)\]\(")
WHEEL = re.compile(r"evsim-([\w.]+)-py3-none-any\.whl")


@pytest.mark.parametrize("page", NAMES)
def test_no_formula_falls_apart(page):
    """A line that begins with a plus or a dash is an item of a list, and a formula cut there leaves lone backticks."""
    assert not list(_fallen((ROOT / page).read_text(encoding="utf-8")))


def test_a_formula_that_falls_apart_is_seen():
    """The two ways in which it happened: cut at a plus, and within a piece of code."""
    assert list(_fallen("Spiking side: `SOP e_ac + T N\n+ Sin hops` per input\n"))
    assert list(_fallen("A piece of `code that never ends.\n"))
    assert not list(_fallen("Whole: `SOP\ne_ac + Sin`, and ``a ` b``.\n\n- an item\n"))


def _fallen(text):
    """Yield what is no list of ours, and prose with the marks of code or weight left in it."""
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.type == "bullet_list_open" and token.markup == "+":
            yield f"line {token.map[0] + 1}: a list of pluses"
        for child in token.children or ():
            if child.type == "text" and ("`" in child.content or "**" in child.content):
                yield f"line {token.map[0] + 1}: {child.content}"


@pytest.mark.parametrize("page", NAMES)
def test_links_carry_titles(page):
    """A reader of the site knows no files: a link says what its page is called."""
    assert not LINK.findall(BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", NAMES)
def test_the_wheel_is_this_one(page):
    """The wheel that a page installs has the version of this evsim."""
    assert set(WHEEL.findall((ROOT / page).read_text(encoding="utf-8"))) <= {__version__}


@pytest.mark.parametrize("page", NAMES)
def test_nothing_is_held_against_anything(page):
    """Readers took it for a reproach: two things are compared, one is checked against another."""
    assert "held against" not in BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))

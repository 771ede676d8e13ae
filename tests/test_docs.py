"""README and docs hold what their commands print: all but what is slow always, the rest with EVSIM_DOCS=all."""

from __future__ import annotations

import os

import docs_numbers
import docs_run
import pytest
from docs_pages import ROOT, faults, pages

SLOW = os.environ.get("EVSIM_DOCS") == "all"
PAGES = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in pages()}
RUN = [name for name, text in PAGES.items() if "```console" in text or "```python" in text or "{evsim-figure}" in text]


@pytest.mark.parametrize("page", PAGES)
def test_each_block_is_executed_or_says_why_not(page):
    """No command stands in a page in a form that nobody runs."""
    assert not faults(PAGES[page])


@pytest.mark.parametrize("page", RUN)
def test_a_page_shows_what_is_printed(page):
    """Every command of a page runs as it stands, and prints what the page shows."""
    session = docs_run.run(PAGES[page], slow=SLOW, empty=docs_run.followed(page))
    assert not session.faults, "\n\n".join(session.faults)


def test_numbers_that_nobody_holds_only_get_fewer():
    """No page says more numbers that nothing computes, shows or cites than it did; a new page says none."""
    kept = docs_numbers.baseline()
    counts = {page: docs_numbers.unheld(text) for page, text in PAGES.items()}
    more = {page: numbers for page, numbers in counts.items() if len(numbers) > kept.get(page, 0)}
    assert not more, f"hold them, see tests/docs_numbers.py: {more}"
    fewer = {page: len(counts.get(page, ())) for page in kept if len(counts.get(page, ())) < kept[page]}
    assert not fewer, f"keep that by python tests/docs_numbers.py --write: {fewer}"

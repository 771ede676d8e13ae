"""What a reader of a page would miss without a warning of the builder."""

from __future__ import annotations

import re

import pytest
from docs_pages import ROOT, pages

NAMES = [str(path.relative_to(ROOT)) for path in pages()]
BLOCK = re.compile(r"^ *(`{3,}).*?^ *\1 *$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", NAMES)
def test_no_line_of_prose_begins_as_a_comment(page):
    """MyST leaves out a line that begins with a per cent sign, as one does behind a number that ends a line."""
    text = BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))
    assert not [line for line in text.splitlines() if line.lstrip().startswith("%")]

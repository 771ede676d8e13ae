"""Look at the site in a browser, as a reader has it, without a network: ``make check-site``.

Pages of each kind fit a phone (dark) and a desk (light); no page fetches anything; the search answers newcomers.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import urllib.parse
from pathlib import Path

from browser import CHROMIUM, Browser

SITE = Path(__file__).resolve().parents[1] / "build" / "site"
KINDS = {
    390: ("index.html", "reference/commands/run.html", "reference/python.html", "audit.html", "performance.html"),
    1280: ("index.html", "published-numbers.html", "search.html"),
}
"""Pages of each kind, by the width at which they are looked at."""
QUESTIONS = {
    "convert my checkpoint": ("reference/commands/convert", "checkpoints", "howto/"),
    "why is exact lower than paper": ("counting", "published-numbers", "tutorials/"),
    "what is a SOP": ("glossary", "counting", "profiles", "tutorials/"),
    "resume an interrupted evaluation": ("reference/commands/eval", "evaluation", "howto/"),
}
"""What newcomers type, and the pages of which one must be among the first three."""
FETCHED = re.compile(
    r"""(?:src|data-src)=["']https?:|<link[^>]+href=["']https?:|url\(["']?https?:|@import ["']?https?:"""
)


def main() -> int:
    """Check the site in build/site; tell what is wrong."""
    faults = [f"{path.relative_to(SITE)}: fetches {found[0]}" for path, found in fetched()]
    if CHROMIUM is None:
        print("check-site: no Chromium here; pages and search were not looked at")
    else:
        faults += [fault for width in KINDS for fault in looked_at(width)]
        faults += searched()
    print("\n".join(faults) or f"the site holds: {sum(map(len, KINDS.values()))} pages, {len(QUESTIONS)} questions")
    return int(bool(faults))


def fetched() -> list[tuple[Path, re.Match[str]]]:
    """Return the pages and styles that would ask a network, with what they ask for."""
    files = [path for pattern in ("*.html", "*.css") for path in SITE.rglob(pattern)]
    found = [(path, FETCHED.search(path.read_text(encoding="utf-8"))) for path in files]
    return [(path, match) for path, match in found if match]


def looked_at(width: int) -> list[str]:
    """Return which pages are wider than a window, or fail in it: dark on a phone, light on a desk."""
    faults = []
    for page in KINDS[width]:
        with tempfile.TemporaryDirectory() as folder, Browser(Path(folder), width, 900, dark=width < 600) as browser:
            browser.open(SITE / page, "document.readyState == 'complete'")
            if (wide := browser.evaluate("document.documentElement.scrollWidth")) > width:
                faults.append(f"{page}: {wide} pixels wide in a window of {width}")
            faults += [f"{page}: {error.get('text')}" for error in browser.errors]
    return faults


def searched() -> list[str]:
    """Return which questions do not lead to a page that answers them."""
    faults = []
    with tempfile.TemporaryDirectory() as folder, Browser(Path(folder)) as browser:
        for question, pages in QUESTIONS.items():
            url = f"{(SITE / 'search.html').as_uri()}?q={urllib.parse.quote(question)}"
            browser.send("Page.navigate", url=url)
            browser.wait("document.querySelectorAll('#search-results li a').length > 2", 60)
            links = (
                "[...document.querySelectorAll('#search-results li a')].slice(0, 3).map(a => a.getAttribute('href'))"
            )
            first = json.loads(browser.evaluate(f"JSON.stringify({links})"))
            if not any(link.startswith(pages) for link in first):
                faults.append(f"search for {question!r}: {', '.join(first)}; none of {', '.join(pages)}")
    return faults


if __name__ == "__main__":
    sys.exit(main())

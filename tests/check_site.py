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
    390: ("index.html", "reference/commands/run.html", "reference/python.html", "audit.html", "performance.html",
          "howto/your-nir-graph.html", "scale.html", "energy-models.html"),
    1280: ("index.html", "performance.html", "scale.html", "energy-models.html", "published-numbers.html",
           "search.html", "howto/your-nir-graph.html", "howto/your-family.html",
           "tutorials/1-one-spike-to-one-joule.html", "tutorials/2-when-sparse-is-cheap.html"),
}  # fmt: skip
"""Pages of each kind, by the width at which they are looked at."""
QUESTIONS = {
    "what is a SOP": "glossary.html#term-synaptic-operation",
    "SOP": "glossary.html#term-synaptic-operation",
    "what is a multiply-accumulate": "glossary.html#term-MAC",
    "time step": "glossary.html#term-timestep",
    "firing rate": "glossary.html#term-firing-rate",
    "what is spike-driven": "glossary.html#term-spike-driven",
    "install": "quickstart.html#install",
    "convert my checkpoint": "howto/your-checkpoint.html",
    "image_size": "howto/your-checkpoint.html",
    "snntorch model": "howto/your-pytorch-model.html",
    "NIR": "howto/your-nir-graph.html",
    "add a model family": "howto/your-family.html",
    "dataset": "howto/your-data-set.html",
    "how do I use my own dataset": "howto/your-data-set.html",
    "my own data set": "howto/your-data-set.html",
    "resume an interrupted evaluation": "howto/your-data-set.html",
    "slurm": "howto/on-slurm.html",
    "out of memory": "howto/out-of-memory.html",
    "prophesee raw file": "howto/camera-recording.html",
    "prices of my chip": "howto/your-chip.html",
    "compare two models": "howto/compare-two-models.html",
    "LaTeX table": "howto/figures-for-a-paper.html",
    "quantize int8 accuracy": "quantization.html",
    "why is exact lower than paper": "counting.html",
    "why is my energy different from the paper": "counting.html#where-the-two-differ",
    "is my network spike-driven": "audit.html",
    "what can a malicious pickle do": "security.html",
    "how fast is evsim": "performance.html",
}
"""What newcomers type, and how the address of the first answer begins."""
LEAST = 4.5
"""Contrast of a letter with what lies behind it (WCAG 2.2, AA)."""
COLOURS = """
(() => {
  const parts = (colour) => (colour.match(/[\\d.]+/g) ?? []).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map((c) => c / 255)
    .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if ((parts(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const faint = {};
  document.querySelectorAll(".highlight span, .highlight pre, .content p, .content code, footer").forEach((element) => {
    if (!element.textContent.trim()) return;
    const two = [light(getComputedStyle(element).color), light(behind(element))].sort((a, b) => b - a);
    const contrast = (two[0] + 0.05) / (two[1] + 0.05);
    if (contrast < LEAST) faint[`${element.tagName}.${element.className}`] = contrast.toFixed(2);
  });
  return JSON.stringify(faint);
})()
""".replace("LEAST", str(LEAST))
"""Which elements of a page, by tag and class, are too faint."""
TABLES = """
JSON.stringify([...document.querySelectorAll(".content table.docutils")]
  .filter((t) => t.scrollWidth > t.clientWidth + 1)
  .map((t) => [t.innerText.trim().split(/\\s+/).slice(0, 4).join(" "), t.parentElement.classList.contains("goes-on")]))
"""
"""Tables wider than their place, by their first words, and whether a mark says that they go on."""
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
    """Return which pages or tables are wider than a window, or fail in it: dark on a phone, light on a desk."""
    faults = []
    for page in KINDS[width]:
        with (
            tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
            Browser(Path(folder), width, 900, dark=width < 600) as browser,
        ):
            browser.open(SITE / page, "document.readyState == 'complete'")
            if (wide := browser.evaluate("document.documentElement.scrollWidth")) > width:
                faults.append(f"{page}: {wide} pixels wide in a window of {width}")
            for table, told in json.loads(browser.evaluate(TABLES)):
                if width >= 1280:
                    faults.append(f"{page}: the table of {table!r} is cut on a desk")
                elif not told:
                    faults.append(f"{page}: the table of {table!r} is cut, and nothing says so")
            faults += [f"{page}: {error.get('text')}" for error in browser.errors]
            faint = json.loads(browser.evaluate(COLOURS))
            faults += [f"{page}: {what} has a contrast of {contrast}" for what, contrast in faint.items()]
    return faults


def searched() -> list[str]:
    """Return which questions do not lead to the page that answers them."""
    faults = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Browser(Path(folder)) as browser:
        url = f"{(SITE / 'search.html').as_uri()}?q={urllib.parse.quote('firing rate')}"
        browser.send("Page.navigate", url=url)
        browser.wait("document.querySelectorAll('#search-results li a').length == 25", 60)
        browser.wait("document.querySelector('.search-summary').innerText", 60)
        told = browser.evaluate("document.querySelector('.search-summary').innerText")
        if not re.fullmatch(r"The first 25 of \d+ places, the best first\.", told):
            faults.append(f"search: it says {told!r} of more places than it shows")
        for question, page in QUESTIONS.items():
            answers = (
                f"Search._performSearch({json.dumps(question)}).slice(-3).reverse().map(r => r[0] + '.html' + r[2])"
            )
            first = json.loads(browser.evaluate(f"JSON.stringify({answers})"))
            if not first or not first[0].startswith(page):
                faults.append(f"search for {question!r}: {', '.join(first) or 'nothing'}; not {page} first")
    return faults


if __name__ == "__main__":
    sys.exit(main())

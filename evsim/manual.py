"""How texts name pages of the documentation: by their titles, which the site's search finds too.

An installed evsim has no docs/, and a page of the site has no name like counting.md.
"""

from __future__ import annotations

TITLES = {
    "audit-format": "audit.h5",
    "counting": "What is counted",
    "counts-format": "counts.h5",
    "datasets": "Data sets",
    "energy-models": "Energy methods",
    "evaluation": "Whole data sets",
    "json": "The JSON of a run",
    "profiles": "Hardware profiles",
    "quantization": "Integer networks",
    "recordings": "Recordings",
    "report": "Pages and figures",
    "tables": "What is printed",
}
"""File of docs/ without its ending, to the title of the page, or what stands of it before a comma or a colon."""

WHERE = (
    '"docs: TITLE" in a text names a page of the documentation, which lies in docs/ of the source; `make docs` makes a '
    "site of it."
)
"""What a person is told of that who meets it for the first time."""


def page(name: str) -> str:
    """Return how a text names a page of `TITLES`, e.g. "docs: Data sets"."""
    return f"docs: {TITLES[name]}"

"""How Sphinx builds the site: ``make docs`` writes it into build/site, without warnings and without a network."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "docs" / "_ext"), str(ROOT / "tests")]

from numpy import typing as npt  # noqa: E402

npt.ArrayLike = type("array-like", (), {"__module__": "builtins"})
"""Signatures name it so; NumPy's own is a union of private types, which would be printed."""

from evsim import __version__  # noqa: E402

project = "evsim"
author = "The evsim authors"
LAST = ROOT / ".ci" / "nightly.last"
nightly = LAST.read_text(encoding="utf-8").splitlines()[0] if LAST.exists() else ""
ran = f" Long commands and timings of these pages ran last: {nightly}" if nightly else ""
copyright = f"the evsim authors, MIT.{ran}"  # noqa: A001
version = release = __version__
language = "en"
html_title = f"evsim {release}"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    "evsim_commands",
    "evsim_console",
    "evsim_figure",
    "evsim_search",
]
exclude_patterns = ["_ext", "**.ipynb_checkpoints", "notebooks/class.md", "notebooks/class-student.ipynb"]
default_role = "code"

myst_enable_extensions = ["colon_fence", "deflist", "attrs_inline", "attrs_block", "fieldlist"]
myst_heading_anchors = 4

nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 120
nb_merge_streams = True
suppress_warnings = ["mystnb.unknown_mime_type"]  # a chart is Vega-Lite too, for Jupyter; pages show its drawing

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_typehints_format = "short"
smartquotes = False
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

copybutton_exclude = ".linenos, .gp, .go"
copybutton_copy_empty_lines = False

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["tables.js"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-code-background": "#f4f5f7"},
}
pygments_style = "a11y-high-contrast-light"  # of accessible-pygments, which comes with furo
pygments_dark_style = "a11y-high-contrast-dark"


class _NoPageYet(logging.Filter):
    """Let a section be empty: its pages are listed by a pattern."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep all other records."""
        return getattr(record, "subtype", None) != "empty_glob"


logging.getLogger("sphinx.sphinx.directives.other").addFilter(_NoPageYet())

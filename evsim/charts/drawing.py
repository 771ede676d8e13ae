"""Vega-Lite descriptions become pictures, by vl-convert: without a browser, without a network.

All come by way of SVG, so that stripes, which Vega-Lite does not know, look alike everywhere.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Mapping
from typing import Any

from evsim.charts.theme import STRIPED
from evsim.errors import OptionError

VERSION = "6.1"
"""Of Vega-Lite, as vl-convert 1.8 and later have it."""

MISSING = (
    "charts need vl-convert, which is not installed (evsim's extra report brings it): pip install vl-convert-python"
)

LABEL = re.compile(r' aria-label="([^"]*)"')
REST = re.compile(r' (?:aria-[a-z]+|role)="[^"]*"')
IDENTITY = re.compile(r"""(id="|url\(#|href="#)((?:clip|gradient)[\w-]*)""")
EMPTY = re.compile(
    r'<path class="(?:background|foreground)"[^>]*d="M0,0h0v0h0Z"[^>]*/>|<path class="foreground"[^>]*/>'
)
SPARE = re.compile(r' (?:pointer-events="[^"]*"|opacity="1"|class="[^"]*"|stroke-width="0")')
SIZE = re.compile(r'width="([\d.]+)" height="([\d.]+)"')
DIGITS = re.compile(r"(\d+\.\d{2})\d+")


def installed() -> bool:
    """Whether charts can be drawn."""
    return importlib.util.find_spec("vl_convert") is not None


def check_installed() -> None:
    """Refuse before any work what could not be drawn.

    Raises
    ------
    OptionError
        If the extra `report` is missing.
    """
    if not installed():
        raise OptionError(MISSING)


def svg(spec: Mapping[str, Any], font: str) -> str:
    """Return a description drawn as SVG: labels of marks as ``data-tip``, stripes where a colour stands for them.

    Parameters
    ----------
    spec
        A Vega-Lite description.
    font
        Families of its letters.

    Raises
    ------
    OptionError
        If the extra `report` is missing.
    """
    check_installed()
    import vl_convert

    text: str = vl_convert.vegalite_to_svg(dict(spec), vl_version=VERSION)
    text = LABEL.sub(r' data-tip="\1"', text)
    text = REST.sub("", text)
    text = EMPTY.sub("", text)
    text = SPARE.sub("", text)
    text = DIGITS.sub(r"\1", text)
    text = text.replace(f'font-family="{font}"', "").replace("<svg", f'<svg font-family="{font}"', 1)
    return _striped(text)


def unique(text: str, name: str) -> str:
    """Return an SVG whose ids begin with a name, so that several may stand in one page."""
    text = IDENTITY.sub(rf"\1{name}-\2", text)
    return text.replace('id="stripes-', f'id="{name}-stripes-').replace("url(#stripes-", f"url(#{name}-stripes-")


def file(text: str) -> str:
    """Return an SVG as a file of its own: no labels for a page's script, a white ground."""
    text = re.sub(r' data-tip="[^"]*"', "", text)
    return text.replace(">", '><rect width="100%" height="100%" fill="#fff"/>', 1)


def png(text: str, dpi: int) -> bytes:
    """Return an SVG as PNG of so many pixels per inch."""
    import vl_convert

    return bytes(vl_convert.svg_to_png(file(text), scale=dpi / 96, ppi=72))


def pdf(text: str) -> bytes:
    """Return an SVG as PDF of the same size: a CSS pixel is 3/4 point, and the library takes pixels for points."""
    import vl_convert

    return bytes(vl_convert.svg_to_pdf(SIZE.sub(_points, file(text), count=1)))


def plain_json(spec: Mapping[str, Any]) -> str:
    """Return a description as JSON."""
    return json.dumps(spec, indent=1, allow_nan=False) + "\n"


def _points(size: re.Match[str]) -> str:
    width, height = (float(each) * 0.75 for each in size.groups())
    return f'width="{width:g}" height="{height:g}"'


def _striped(text: str) -> str:
    """Put stripes in the place of the colours that stand for them."""
    patterns = []
    for light, dark in STRIPED.items():
        if light in text:
            name = f"stripes-{dark[1:]}"
            patterns.append(
                f'<pattern id="{name}" width="5" height="5" patternUnits="userSpaceOnUse" '
                f'patternTransform="rotate(45)"><rect width="5" height="5" fill="{dark}" fill-opacity="0.28"/>'
                f'<rect width="2.2" height="5" fill="{dark}"/></pattern>'
            )
            text = text.replace(f'fill="{light}"', f'fill="url(#{name})"')
    return text.replace(">", f"><defs>{''.join(patterns)}</defs>", 1) if patterns else text

"""How charts look: colours that colour-blind people tell apart, journals' widths, fonts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evsim.errors import OptionError

INK, MUTED, GRID = "#1b1f24", "#59616b", "#dfe3e8"
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072b2", "#d55e00", "#009e73", "#aa4499", "#56b4e9", "#e69f00"
BLUE_STRIPES, ORANGE_STRIPES = "#6fafd6", "#e8a374"
"""These two stand for stripes of BLUE and ORANGE, which `evsim.charts.drawing` puts in their place."""

STRIPED = {BLUE_STRIPES: BLUE, ORANGE_STRIPES: ORANGE}
SERIES = (BLUE, ORANGE, GREEN, PURPLE, AMBER, SKY)
"""Okabe and Ito's colours (jfly.uni-koeln.de/color), purple darkened until it stands out on white."""

NAMES = {
    INK: "ink", MUTED: "muted", GRID: "grid", BLUE: "blue", ORANGE: "orange", GREEN: "green", PURPLE: "purple",
    SKY: "sky", AMBER: "amber",
}  # fmt: skip
"""Colours that a page draws otherwise in the dark, by the name of its CSS variable."""

PX_PER_MM = 96 / 25.4
WIDTHS_MM = {"single": 88.0, "double": 180.0}
"""Columns of journals: Nature prints 89 and 183 mm, IEEE 88.9 and 182, Elsevier 90 and 190."""

NARROWEST_MM, WIDEST_MM = 40.0, 600.0

SANS = "Helvetica, Arial, Liberation Sans, sans-serif"
PRINT_PT, SCREEN_PX = 7.0, 12.0
"""Sizes of letters: journals ask for 5 to 7 pt at least."""


@dataclass(frozen=True)
class Look:
    """How a chart is drawn.

    Attributes
    ----------
    width
        Of the whole chart, in CSS pixels (1/96 inch).
    letters
        Height of letters, in CSS pixels.
    font
        Families, the first that is there.
    """

    width: int = 720
    letters: float = SCREEN_PX
    font: str = SANS

    @property
    def narrow(self) -> bool:
        """Whether it is about as wide as a phone or a column."""
        return self.width < 40 * self.letters

    @property
    def label(self) -> int:
        """Widest label beside an axis, in CSS pixels."""
        return round(self.width * (0.42 if self.narrow else 0.36))

    @property
    def letters_of_label(self) -> int:
        """How many letters of a name fit into a label; Helvetica's are some 0.55 of their height wide."""
        return int(self.label / (0.58 * self.letters))

    @property
    def row(self) -> float:
        """Height of a row of text, in CSS pixels."""
        return 1.35 * self.letters


def printed(width: str | float = "single", font: str | None = None, points: float = PRINT_PT) -> Look:
    """Return the look of a figure for print.

    Parameters
    ----------
    width
        "single" or "double" column, or millimetres.
    font
        Family of the paper's font, if not Helvetica or Arial.
    points
        Height of letters.

    Raises
    ------
    OptionError
        If there is no such width.
    """
    told = WIDTHS_MM.get(str(width))
    if told is None:
        try:
            told = float(width)
        except ValueError:
            told = float("nan")
    if not NARROWEST_MM <= told <= WIDEST_MM:
        raise OptionError(
            f"`width` takes single, double or millimetres from {NARROWEST_MM:g} to {WIDEST_MM:g}, got {width}"
        )
    return Look(round(told * PX_PER_MM), points * 96 / 72, f"{font}, {SANS}" if font else SANS)


def config(look: Look) -> Mapping[str, Any]:
    """Return the part of a Vega-Lite description that all charts share."""
    small = round(look.letters, 2)
    line = max(0.5, look.letters / 12)
    text = {"labelFontSize": small, "titleFontSize": small, "labelColor": INK, "titleColor": INK}
    return {
        "background": None,
        "font": look.font,
        "padding": 2,
        "view": {"stroke": None},
        "axis": {
            "aria": False,
            **text, "titleFontWeight": "normal", "domainColor": MUTED, "tickColor": MUTED, "gridColor": GRID,
            "domainWidth": line, "tickWidth": line, "gridWidth": line, "tickSize": round(look.letters / 3, 1),
            "titlePadding": 6, "labelLimit": look.label,
        },
        "legend": {
            "aria": False,
            **text, "orient": "top", "direction": "horizontal", "title": None, "symbolType": "square", "offset": 4,
            "symbolStrokeWidth": 0, "columns": 2 if look.narrow else 0, "labelLimit": round(look.width * 0.6),
        },
        "header": {**text, "titleFontWeight": "normal", "labelFontWeight": "bold", "labelLimit": 300},
        "title": {"color": INK, "fontSize": small + 1, "anchor": "start", "fontWeight": "bold"},
        "text": {"fontSize": round(small * 0.9, 2), "color": MUTED},
        "line": {"strokeWidth": 2 * line},
        "point": {"size": 4 * look.letters, "filled": True, "opacity": 1},
        "rule": {"color": MUTED, "strokeWidth": line},
    }  # fmt: skip

"""A chart: numbers, what they show in words, and their Vega-Lite description."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evsim.charts import drawing
from evsim.charts.theme import SANS, Look, config, printed
from evsim.errors import OptionError
from evsim.files import check_place, write_whole

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
MIME = "application/vnd.vegalite.v6+json"

Rows = tuple[Mapping[str, Any], ...]
SUFFIXES = (".svg", ".pdf", ".png", ".json", ".csv")
PNG_DPI = 300


@dataclass(frozen=True, eq=False, repr=False)
class Chart:
    """A chart of numbers that a run, an evaluation or a comparison holds.

    Attributes
    ----------
    name, title
        In short, as `evsim plot` calls its kind; and as a heading.
    summary
        What it shows, in a sentence, for those who do not see it.
    rows
        The numbers, a mapping from column to value each: those of the JSON, nothing rounded.
    body
        Makes the Vega-Lite description for a look, without data and what all charts share.
    """

    name: str
    title: str
    summary: str
    rows: Rows
    body: Callable[[Look], Mapping[str, Any]]

    def __repr__(self) -> str:
        return f"<Chart {self.name}: {self.title}, {len(self.rows)} rows>"

    def spec(self, look: Look | None = None) -> dict[str, Any]:
        """Return the whole Vega-Lite description; anything that draws Vega-Lite takes it."""
        look = look or Look()
        data = {"values": [dict(row) for row in self.rows]}
        body = dict(self.body(look))
        return {"$schema": SCHEMA, "description": self.summary, "data": data, **body, "config": config(look)}

    def svg(self, look: Look | None = None) -> str:
        """Return it drawn as SVG; OptionError without the extra `report`."""
        return drawing.svg(self.spec(look), (look or Look()).font)

    def csv(self) -> str:
        """Return the numbers as CSV."""
        out = io.StringIO()
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        writer = csv.DictWriter(out, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return out.getvalue()

    def save(self, path: str | Path, width: str | float = "single", font: str | None = None) -> None:
        """Write it for a paper.

        Parameters
        ----------
        path
            ``.svg``, ``.pdf`` (letters stay letters), ``.png`` of 300 dpi; ``.json``, the description; ``.csv``, the
            numbers.
        width
            "single" or "double", columns of journals, or millimetres.
        font
            Family of the paper's font, if not Helvetica or Arial.

        Raises
        ------
        OptionError, OutputError
            If the ending or the width is none of these, the extra `report` is missing, or the place cannot be written.
        """
        kind = ending(path)
        check_place(path)
        write_whole(path, self.drawn(kind, printed(width, font)))

    def drawn(self, kind: str, look: Look) -> bytes:
        """Return the chart as a file of that ending, one of `SUFFIXES`; errors as `save`."""
        match kind:
            case ".csv":
                return self.csv().encode()
            case ".json":
                return drawing.plain_json(self.spec(look)).encode()
            case ".svg":
                return drawing.file(self.svg(look)).encode()
            case ".pdf":
                return drawing.pdf(self.svg(look))
        return drawing.png(self.svg(look), PNG_DPI)

    def altair(self) -> Any:
        """Return it as a chart of Altair, to change it further; OptionError where Altair is not installed."""
        try:
            import altair as alt
        except ImportError:
            raise OptionError("an Altair chart needs altair; install it: pip install altair") from None
        return alt.Chart.from_dict(self.spec())

    def _repr_mimebundle_(self, **_: object) -> dict[str, Any]:
        """Return what a notebook shows: the drawing where the extra is installed, and the description."""
        bundle: dict[str, Any] = {MIME: self.spec(), "text/plain": repr(self)}
        if drawing.installed():
            bundle["image/svg+xml"] = drawing.file(self.svg(Look(font=SANS)))
        return bundle


def ending(path: str | Path) -> str:
    """Return the ending of a chart's file; OptionError if it is none of `SUFFIXES`."""
    kind = Path(path).suffix.lower()
    if kind not in SUFFIXES:
        raise OptionError(f"{path}: a chart is written as {', '.join(SUFFIXES)}; give one of these endings")
    return kind

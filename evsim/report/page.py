"""One page of HTML that needs nothing else: no network, no script to show its charts, light and dark, screen and paper.

Each chart is drawn twice, for wide and for narrow screens; its numbers lie beside it as a table and as CSV.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from typing import Any

from evsim.charts import drawing
from evsim.charts.chart import Chart
from evsim.charts.theme import NAMES, Look

WIDE, NARROW = Look(760), Look(356, 11.5)

MOST_SHOWN = 200
"""Rows of a table of numbers; CSV has all."""


ROLES = {
    "thead>": "rowgroup", "tbody>": "rowgroup", "tr>": "row", 'th scope="col">': "columnheader",
    'th scope="row">': "rowheader", "td>": "cell", "td class": "cell", "td data": "cell",
}  # fmt: skip
"""Beginnings of the tags of a table, and what each is."""

BREAKS = re.compile(r"[._:@](?=\w)")
"""Behind what the name of a neuron goes on in a second line, where a column is narrow."""

BREAK = r"\g<0><wbr>"

WHOLE = 1e5
"""Numbers from here on are shown without decimals."""


@dataclass(frozen=True)
class Tile:
    """A number in large letters, what it is, and what to know of it."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, and HTML or a chart below it."""

    title: str
    text: str = ""
    chart: Chart | None = None
    html: str = ""


@dataclass(frozen=True)
class Page:
    """What a page shows, from the top.

    Attributes
    ----------
    title, lead
        Heading, and the line below it.
    tiles
        The headline.
    sections
        What follows.
    command, versions
        What made it: the line that was typed, and name to version.
    """

    title: str
    lead: str
    tiles: Sequence[Tile]
    sections: Sequence[Section]
    command: str = ""
    versions: Mapping[str, str] | None = None


def html(page: Page) -> str:
    """Return the page; OptionError without the extra `report`."""
    drawing.check_installed()
    folder = files("evsim.report")
    style, script = (folder.joinpath(name).read_text("utf-8") for name in ("page.css", "page.js"))
    anchors = [f"s{i}-{_anchor(section.title)}" for i, section in enumerate(page.sections, 1)]
    sections = [_section(section, anchor) for section, anchor in zip(page.sections, anchors, strict=True)]
    links = "".join(
        f'<li><a href="#{anchor}">{escape(section.title)}</a></li>'
        for section, anchor in zip(page.sections, anchors, strict=True)
    )
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f'<title>{escape(page.title)}</title>\n<link rel="icon" href="data:,">',
        f"<style>{style}</style>\n</head>\n<body>",
        f"<header><h1>{_breaking(page.title)}</h1><p>{escape(page.lead)}</p></header>",
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n<main>',
        f'<dl class="tiles">{"".join(map(_tile, page.tiles))}</dl>',
        *sections,
        _origin(page),
        f'</main>\n<div id="tip" aria-hidden="true" hidden></div>\n<script>{script}</script>\n</body>\n</html>\n',
    ]
    return "\n".join(parts)


def table(
    rows: Sequence[Mapping[str, Any]], caption: str, titles: Mapping[str, str] | None = None, *, sentences: bool = False
) -> str:
    """Return rows as a table of HTML; numbers stand right, whole as they are, others with six digits.

    Parameters
    ----------
    rows
        A mapping from column to value each; at least one.
    caption
        What the table is, for those who do not see it.
    titles
        Column to heading, where that is not the column's name.
    sentences
        Whether the last column holds sentences: a narrow screen then shows each row as a card, without scrolling.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    names = [escape((titles or {}).get(key, key)) for key in columns]
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    shown = names if sentences else [""] * len(names)
    lines = ["".join(_cell(row.get(key), shown[i], first=not i) for i, key in enumerate(columns)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    drawn = f"<caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    if sentences:  # cards are no table to a browser, so that its parts say what they are
        for begin, role in ROLES.items():
            tag = re.split(r"[ >]", begin)[0]
            drawn = drawn.replace(f"<{begin}", f'<{tag} role="{role}"{begin.removeprefix(tag)}')
    kind = ' class="cards" role="table"' if sentences else ""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table{kind}>{drawn}'


def pictures(images: Sequence[tuple[str, str]]) -> str:
    """Return captions and addresses of pictures as a strip."""
    shown = (
        f'<li><figure><img src="{address}" alt="Input at {escape(caption)}"><figcaption>{escape(caption)}'
        "</figcaption></figure></li>"
        for caption, address in images
    )
    return f'<ul class="strip">{"".join(shown)}</ul>'


def items(lines: Sequence[str]) -> str:
    """Return lines as a list."""
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def facts(pairs: Mapping[str, str]) -> str:
    """Return names and what they are."""
    return f'<dl class="facts">{"".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs.items())}</dl>'


def _section(section: Section, anchor: str) -> str:
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    drawn = _figure(section.chart, anchor) if section.chart else ""
    return (
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{escape(section.title)}</h2>{text}{drawn}'
        f"{section.html}</section>"
    )


def _figure(chart: Chart, anchor: str) -> str:
    """Return a chart for both widths, its summary, and its numbers."""
    drawings = "".join(
        f'<div class="{name}" role="img" aria-label="{escape(chart.summary)}">{_themed(chart, look, anchor)}</div>'
        for name, look in (("wide", WIDE), ("narrow", NARROW))
    )
    content = base64.b64encode(chart.csv().encode()).decode()
    shown = chart.rows[:MOST_SHOWN]
    more = f", the first {MOST_SHOWN} of {len(chart.rows):,} rows" if len(chart.rows) > MOST_SHOWN else ""
    link = (
        f'<a class="csv" download="{chart.name}.csv" href="data:text/csv;base64,{content}">CSV of '
        f"{escape(chart.title.lower())}</a>"
    )
    numbers = table(shown, f"Numbers of the chart: {chart.title}{more}")
    return (
        f"<figure>{drawings}<figcaption>{escape(chart.summary)}</figcaption></figure>"
        f'<div class="numbers">{link}<details><summary>Numbers of {escape(chart.title.lower())}</summary>{numbers}'
        "</details></div>"
    )


def _themed(chart: Chart, look: Look, anchor: str) -> str:
    """Return a chart whose colours are the page's, light or dark."""
    text = drawing.unique(chart.svg(look), f"{anchor}-{look.width}")
    for colour, variable in NAMES.items():
        text = text.replace(f'"{colour}"', f'"var(--{variable})"')
    return text.replace("<svg", '<svg aria-hidden="true" focusable="false"', 1)


def _tile(tile: Tile) -> str:
    note = f'<dd class="note">{escape(tile.note)}</dd>' if tile.note else ""
    return f'<div><dt>{escape(tile.name)}</dt><dd class="value">{escape(tile.value)}</dd>{note}</div>'


def _origin(page: Page) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in (page.versions or {}).items())
    command = f'<p>This page was written by</p><pre tabindex="0">{escape(page.command)}</pre>' if page.command else ""
    return f"<footer>{command}<p>{escape(versions)}</p></footer>"


def _cell(value: object, name: str, *, first: bool) -> str:
    """Return a cell; a narrow screen shows its column's name before it, where one is given."""
    if isinstance(value, bool):
        text, number = "yes" if value else "no", False
    elif isinstance(value, int):
        text, number = f"{value:,}", True
    elif isinstance(value, float):
        text, number = f"{value:,.0f}" if abs(value) >= WHOLE else f"{value:.6g}", True
    else:
        text, number = "" if value is None else escape(str(value)), False
    if first and not number:
        return f'<th scope="row">{BREAKS.sub(BREAK, text)}</th>'
    told = f' data-name="{name}"' if name else ""
    return f'<td class="n"{told}>{text}</td>' if number else f"<td{told}>{text}</td>"


def _breaking(name: str) -> str:
    """Return a text whose names of neurons go on in a second line behind a part of theirs, not within a number."""
    return BREAKS.sub(BREAK, escape(name))


def _anchor(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")

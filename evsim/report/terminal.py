"""Reports for a terminal: tables that know its width, bars, colours; Rich draws them."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from evsim.errors import OptionError, printable
from evsim.report.tables import Cells, Report, Table, Tone, cells, significant

if TYPE_CHECKING:
    from rich.table import Table as RichTable

Format = Literal["table", "markdown", "latex", "csv", "json"]

WIDTH = 80
"""Columns of a terminal that nobody has widened."""

GAP = 2
"""Blanks between columns."""

BAR, SHORTEST_BAR = 24, 8
"""Characters of a full bar where there is room, and where there is little."""

NARROWEST = 20
"""Characters that a column of texts keeps before it breaks them."""

FLOOR = 12
"""Characters that a column of names keeps: a narrower terminal breaks the lines itself."""

UNBOUND = 1_000_000
"""Columns of an output that has no width, such as a pipe."""

EIGHTHS = " ▏▎▍▌▋▊▉"
STYLES: dict[Tone, str] = {"": "", "good": "green", "bad": "red", "quiet": "dim"}


@dataclass(frozen=True)
class View:
    """How a report is shown.

    Attributes
    ----------
    format
        A table for people, or Markdown, LaTeX, CSV or JSON of the tables alone.
    width
        Columns of the terminal; None: as wide as it is.
    ascii
        Whether the output takes no other characters.
    colour
        Whether it takes colours.
    brief
        Whether the headline is enough.
    """

    format: Format = "table"
    width: int | None = None
    ascii: bool = False
    colour: bool = False
    brief: bool = False


def checked_format(name: str) -> Format:
    """Return the format of that name.

    Raises
    ------
    OptionError
        If there is none.
    """
    for known in get_args(Format):
        if name == known:
            return known  # type: ignore[no-any-return]
    raise OptionError(f"`format` must be one of {', '.join(get_args(Format))}; got {name}")


def shown(report: Report, view: View) -> str:
    """Return a report as text; what its names hold that a terminal would obey is written as escapes."""
    if view.format != "table":
        from evsim.report.formats import formatted

        return formatted(report.tables, view.format)
    headline = "\n".join(_headline(report, view))
    if view.brief:
        return headline
    parts = [drawn(part, view) if isinstance(part, Table) else _lines(part, view.width) for part in report.parts]
    return "\n\n".join(part for part in (headline, *parts) if part)


def drawn(table: Table, view: View) -> str:
    """Return a table as lines that fit the view's width, and below it what that left out."""
    texts = cells(table)
    kept, bar, left_out = _fitted(table, texts, view.width)
    rich = _rich(table, texts, kept, bar, ascii_only=view.ascii)
    least = sum(min(_width(texts, i, whole=False), FLOOR if not texts.numeric[i] else UNBOUND) + GAP for i in kept)
    lines = _render(rich, view, max(view.width or UNBOUND, least))
    if table.title:
        lines = [_lines(table.title, view.width), *lines]
    if left_out:
        lines.append(_lines(f"(columns left out: {', '.join(left_out)}; `wide=True` shows all)", view.width))
    return "\n".join(lines)


def block_bar(share: float, length: int, *, ascii_only: bool = False) -> str:
    """Return a bar of a share of its full length, to an eighth of a character; "#" where there are no blocks."""
    share = min(max(share, 0.0), 1.0)
    if ascii_only:
        return "#" * round(share * length)
    whole, eighths = divmod(round(share * length * 8), 8)
    return "█" * whole + (EIGHTHS[eighths] if eighths else "")


def _headline(report: Report, view: View) -> list[str]:
    lines = [_lines(line, view.width) for line in report.headline]
    if view.colour and lines:
        lines[0] = f"\x1b[1m{lines[0]}\x1b[0m"
    return lines


def _lines(text: str, width: int | None) -> str:
    """Return a text without what a terminal would obey, lines broken between words, what follows drawn in."""
    lines: list[str] = []
    for line in text.split("\n"):
        whole = printable(line)
        if width is None or len(whole) <= width:
            lines.append(whole)
            continue
        lead = whole[: len(whole) - len(whole.lstrip())]
        lines += textwrap.wrap(
            whole, max(width, NARROWEST), subsequent_indent=f"{lead}  ", break_long_words=False,
            break_on_hyphens=False, drop_whitespace=True, replace_whitespace=False,
        )  # fmt: skip
    return "\n".join(lines)


def _fitted(table: Table, texts: Cells, width: int | None) -> tuple[list[int], int, list[str]]:
    """Return the columns that fit, the length of the bar (0: none), and the names of those that do not."""
    kept, bar = list(range(len(table.columns))), BAR if table.bar else 0
    left_out: list[str] = []
    if width is None:
        return kept, bar, left_out
    shortest = max(SHORTEST_BAR, len(_reference(table, texts))) + GAP if table.bar else 0
    order = {column.drop for column in table.columns if column.drop} | ({table.bar_drop} if table.bar else set())
    for place in sorted(order):
        if _needed(texts, kept) + (shortest if bar else 0) <= width:
            break
        if bar and place == table.bar_drop:
            bar = 0
        left_out += [table.columns[i].name for i in kept if table.columns[i].drop == place]
        kept = [i for i in kept if table.columns[i].drop != place]
    room = width - _needed(texts, kept, whole=True) - GAP
    return kept, bar and min(BAR, max(SHORTEST_BAR, room)), left_out


def _needed(texts: Cells, kept: Sequence[int], *, whole: bool = False) -> int:
    """Return the least width of these columns, numbers whole, texts down to where they break, or whole too."""
    return sum(_width(texts, i, whole=whole) for i in kept) + GAP * (len(kept) - 1)


def _width(texts: Cells, i: int, *, whole: bool) -> int:
    from rich.cells import cell_len

    width = max(cell_len(printable(line)) for line in (texts.heads[i], *(row[i] for row in texts.rows)))
    return width if whole or texts.numeric[i] or _rigid(texts, i) else min(width, NARROWEST)


def _rigid(texts: Cells, i: int) -> bool:
    """Whether a column's texts have no blanks to break at: a path is cut only where nothing else helps."""
    return all(" " not in row[i] for row in texts.rows)


def _rich(table: Table, texts: Cells, kept: Sequence[int], bar: int, *, ascii_only: bool) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    line = "-" if ascii_only else "─"
    frame = box.Box(f"    \n    \n {line}{line} \n    \n {line}{line} \n    \n    \n    \n", ascii=ascii_only)
    rich = RichTable(box=frame, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    aligned = {i: _on_the_point([row[i] for row in texts.rows]) if texts.numeric[i] else None for i in kept}
    for i in kept:
        numeric = texts.numeric[i]
        rich.add_column(
            Text(printable(texts.heads[i])),
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
            min_width=None if numeric else min(_width(texts, i, whole=True), FLOOR),
        )
    if bar:
        rich.add_column(Text(_reference(table, texts)), no_wrap=True)
    drawn_ = table.index(table.bar) if bar else 0
    greatest = max((_magnitude(row[drawn_]) for row in table.rows), default=0.0) if bar else 0.0
    for n, row in enumerate(texts.rows):
        last = table.total is not None and n == len(texts.rows) - 1
        if last:
            rich.add_section()
        parts = [Text(printable(row[i] if (column := aligned[i]) is None else column[n])) for i in kept]
        if bar:
            share = _magnitude(table.lines[n][drawn_]) / greatest if greatest and not last else 0.0
            parts.append(Text(block_bar(share, bar, ascii_only=ascii_only), style="cyan"))
        tone: Tone = table.tones[n] if n < len(table.tones) else ""
        rich.add_row(*parts, style="bold" if last else STYLES[tone])
    return rich


def _reference(table: Table, texts: Cells) -> str:
    """Return what a full bar stands for."""
    i = table.index(table.bar)
    greatest = max((_magnitude(row[i]) for row in table.rows), default=0.0)
    return f"0 to {significant(greatest / texts.scales[i])} {texts.units[i]}".rstrip()


def _magnitude(value: object) -> float:
    if isinstance(value, tuple):
        return float(value[1])
    return float(value) if isinstance(value, int | float) else 0.0


def _on_the_point(texts: Sequence[str]) -> list[str]:
    """Return numbers with blanks behind them, so that their points stand below each other."""
    behind = [len(text) - text.index(".") if "." in text and " " not in text else 0 for text in texts]
    most = max(behind, default=0)
    return [text + " " * (most - own) if " " not in text else text for text, own in zip(texts, behind, strict=True)]


def _render(rich: RichTable, view: View, width: int) -> list[str]:
    from rich.color import ColorSystem
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, legacy_windows=False, _environ={})
    system = ColorSystem.STANDARD if view.colour else None
    lines = console.render_lines(rich, pad=False)
    texts = (
        "".join(part.style.render(part.text, color_system=system) if part.style else part.text for part in line)
        for line in lines
    )
    return [text.rstrip() for text in texts]

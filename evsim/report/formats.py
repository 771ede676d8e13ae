"""Tables for other programs: Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from evsim.errors import printable
from evsim.report.tables import Column, Table, Value, cells

SCHEMA = 1

LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "-": "{-}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
}  # fmt: skip
"""Characters that LaTeX would obey or join."""

UNITS = {
    "J": r"\unit{\joule}", "mJ": r"\unit{\milli\joule}", "uJ": r"\unit{\micro\joule}", "nJ": r"\unit{\nano\joule}",
    "pJ": r"\unit{\pico\joule}", "%": r"\unit{\percent}", "k": "$10^3$", "M": "$10^6$", "G": "$10^9$", "T": "$10^{12}$",
    "ms": r"\unit{\milli\second}",
}  # fmt: skip
"""Units of headings as siunitx sets them."""

NUMBER = re.compile(r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")

NEEDS = r"% needs \usepackage[T1]{fontenc} and \usepackage{booktabs,siunitx}"


def formatted(tables: Sequence[Table], name: str) -> str:
    """Return tables one below the other in the format of that name."""
    if name == "json":
        document = {"schema": SCHEMA, "tables": [table_document(table) for table in tables]}
        return json.dumps(document, indent=1, allow_nan=False)
    write: Callable[[Table], str] = {"markdown": markdown, "latex": latex, "csv": table_csv}[name]
    text = "\n\n".join(write(table) for table in tables)
    return f"{NEEDS}\n{text}" if name == "latex" else text


def markdown(table: Table) -> str:
    """Return a table of GitHub's Markdown, numbers to the right."""
    texts = cells(table)
    rule = ["---:" if numeric else "---" for numeric in texts.numeric]
    rows = [[_marked(cell) for cell in row] for row in (texts.heads, *texts.rows)]
    lines = [f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:])]
    return "\n".join([*([f"**{_marked(table.title)}**", ""] if table.title else []), *lines])


def latex(table: Table) -> str:
    r"""Return a table for booktabs and siunitx: names escaped, numbers as ``\num``."""
    texts = cells(table)
    heads = [
        escaped(column.name) + (f" ({UNITS.get(unit) or escaped(unit)})" if unit else "")
        for column, unit in zip(table.columns, texts.units, strict=True)
    ]
    rows = [
        " & ".join(_tex(cell) if numeric else escaped(cell) for cell, numeric in zip(row, texts.numeric, strict=True))
        + r" \\"
        for row in texts.rows
    ]
    if table.total is not None:
        rows.insert(len(rows) - 1, r"\midrule")
    lines = [
        r"\begin{table}",
        r"\centering",
        *([rf"\caption{{{escaped(table.title)}}}"] if table.title else []),
        rf"\begin{{tabular}}{{{''.join('r' if numeric else 'l' for numeric in texts.numeric)}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines)


def table_csv(table: Table) -> str:
    """Return a table as CSV: every digit, energies in mJ, shares as parts of 1; a range becomes two columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    ranged = [any(isinstance(row[i], tuple) for row in table.lines) for i in range(len(table.columns))]
    heads: list[str] = []
    for column, two in zip(table.columns, ranged, strict=True):
        name = _heading(column)
        heads += [f"{name} from", f"{name} to"] if two else [name]
    writer.writerow(heads)
    for row in table.lines:
        flat: list[Any] = []
        for value, two in zip(row, ranged, strict=True):
            if not two:
                flat.append("" if value is None else printable(value) if isinstance(value, str) else value)
            else:
                flat += value if isinstance(value, tuple) else [value, value]
        writer.writerow(flat)
    return out.getvalue().rstrip("\n")


def table_document(table: Table) -> dict[str, Any]:
    """Return a table as plain lists, dicts, numbers and texts, every digit kept."""
    columns = [{"name": column.name, "unit": _unit(column) or None} for column in table.columns]
    rows = [[_plain(value) for value in row] for row in table.rows]
    total = None if table.total is None else [_plain(value) for value in table.total]
    return {"title": table.title or None, "columns": columns, "rows": rows, "total": total}


def escaped(text: str) -> str:
    """Return a text as LaTeX prints it, whatever it holds."""
    return _mapped(printable(text), LATEX)


def _mapped(text: str, letters: Mapping[str, str]) -> str:
    return "".join(letters.get(letter, letter) for letter in text)


def _tex(cell: str) -> str:
    """Return a number, or two, as siunitx prints them."""
    ends = []
    for end in cell.split(" to "):
        bound = {"<": "$<$", ">": "$>$"}.get(end[:1], "")
        body = end[1:] if bound else end
        ends.append(rf"{bound}\num{{{body.replace(',', '')}}}" if NUMBER.fullmatch(body) else escaped(end))
    return " to ".join(ends)


def _marked(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>|])", r"\\\1", printable(text))


def _unit(column: Column) -> str:
    return {"energy": "mJ", "share": "", "count": ""}.get(column.quantity, column.unit)


def _heading(column: Column) -> str:
    unit = _unit(column)
    return f"{column.name} ({unit})" if unit else column.name


def _plain(value: Value) -> Any:
    if isinstance(value, tuple):
        return [_plain(end) for end in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

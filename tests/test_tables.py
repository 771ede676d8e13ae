"""Tables in one place: what fits a terminal, what a pipe gets, and the other formats."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
import threading

import pytest
from commands import evsim, refused
from hypothesis import given
from hypothesis import strategies as st
from shown import narrow, tables, three

from evsim import demo
from evsim.report.formats import escaped, formatted, latex, markdown
from evsim.report.tables import Column, Report, Table, cells, count, energy, significant, together
from evsim.report.terminal import View, block_bar, drawn, shown

NASTY = "\x1b[31m\\input{x} & 50% $a_b^c$ #1 ~{|}`<b>\u202e"
COLUMNS = (
    Column("section"), Column("kind", drop=1), Column("SOPs", "count"), Column("MACs", "count", drop=2),
    Column("exact", "energy"), Column("paper", "energy"), Column("rate", "share", drop=3), Column("T", "whole", drop=4),
)  # fmt: skip
ROWS = (
    ("patch_embed", "conv", 13_833_180, 1_133_496, 0.0141, 0.0978, 0.0601, 8),
    ("block", "attention", 45_676, 0, 0.000041, (0.0000372, 0.004), None, 8),
    ("head", "linear", 5, 640, 3e-9, 0.0, 1.0, 1),
)
TABLE = Table(
    COLUMNS, ROWS, "where it goes", ("total", None, 14_000_000, 1_134_136, 0.01767, 0.0994, None, None),
    ("", "bad", "quiet"), bar="exact", bar_drop=5,
)  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(width):
    """Columns leave in their stated order, the first of them before the second, and what left is named."""
    text = drawn(TABLE, View(width=width))
    assert max(map(len, text.splitlines())) <= width
    flat = " ".join(text.split())
    left = re.search(r"\(columns left out: (.*?); `wide=True` shows all\)", flat)
    names = left[1].split(", ") if left else []
    order = [column.name for column in sorted(COLUMNS, key=lambda column: column.drop) if column.drop]
    assert names == order[: len(names)]
    head = next(line for line in text.splitlines() if line.startswith("section"))
    assert all((name in head.split()) != (name in names) for name in ("kind", "MACs", "T") if name != "MACs")
    if width >= 120:
        assert not names
        assert "█" in text


def test_a_pipe_has_no_width():
    """Without a width no column leaves, nothing is broken, and no line ends in blanks."""
    text = drawn(TABLE, View())
    assert "too narrow" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    for column in COLUMNS:
        assert column.name in text


def test_one_unit_for_all_energies_of_a_table_and_a_prefix_for_each_column_of_counts():
    """The greatest energy is at least 1 in the unit; shares are percent; what is too small for a digit says so."""
    texts = cells(TABLE)
    assert texts.heads == (
        "section", "kind", "SOPs (M)", "MACs (M)", "exact (uJ)", "paper (uJ)", "rate (%)", "T",
    )  # fmt: skip
    assert texts.rows[0] == ("patch_embed", "conv", "13.8", "1.13", "14.1", "97.8", "6.01", "8")
    assert texts.rows[1] == ("block", "attention", "0.0457", "0", "0.0410", "0.0372 to 4.00", "", "8")
    assert texts.rows[2] == ("head", "linear", "<0.001", "<0.001", "<0.001", "0", "100", "1")
    assert [energy(mj) for mj in (2e3, 7.46, 0.0177, 1e-6, 3e-9, 0.0)] == [
        "2.00 J", "7.46 mJ", "17.7 uJ", "1.00 nJ", "3.00 pJ", "0 pJ",
    ]  # fmt: skip
    assert [count(n) for n in (0, 7, 32, 32.5, 999, 1000, 999_999, 13_833_180, 5.2e9)] == [
        "0", "7", "32", "32.5", "999", "1.00 k", "1.00 M", "13.8 M", "5.20 G",
    ]  # fmt: skip


@given(st.floats(1e-4, 1e11))
def test_three_significant_digits(value):
    """As decimal arithmetic has them; the sign changes nothing."""
    assert significant(value) == three(value)
    assert significant(-value) == f"-{three(value)}"
    assert significant(value, signed=True) == f"+{three(value)}"


def test_numbers_stand_to_the_right():
    """The last digits of a column stand below each other."""
    lines = drawn(Table((Column("a"), Column("n", "number")), (("x", 1.5), ("y", 200.0), ("z", 0.0123))), View())
    assert [line[3:] for line in lines.splitlines()[2:]] == ["    1.50", "     200", "  0.0123"]


@pytest.mark.parametrize("form", ["table", "markdown", "latex", "csv"])
def test_names_of_strangers_stay_text(form):
    """No control character of a name reaches the output, in a cell, a title or a text."""
    table = Table((Column("layer"), Column("n", "whole")), ((NASTY, 1),), NASTY)
    text = shown(Report((NASTY,), (table, NASTY)), View(format=form, width=100))
    assert text.replace("\n", "").isprintable()


def test_markdown_escapes_its_signs():
    """A bar in a name does not begin a cell, an angle no tag; numbers stand to the right."""
    table = Table((Column("a"), Column("b", "count")), (("x|y<i>", 12_000),), "t_t")
    assert markdown(table) == "**t\\_t**\n\n| a | b (k) |\n| --- | ---: |\n| x\\|y\\<i\\> | 12.0 |"


def test_latex_sets_numbers_and_escapes_names():
    """Booktabs' rules, siunitx's numbers and units, a rule before the total; every sign of TeX is escaped."""
    text = latex(TABLE)
    for part in (r"\toprule", r"\midrule", r"\bottomrule", r"\num{13.8}", r"exact (\unit{\micro\joule})"):
        assert part in text
    assert r"\num{0.0372} to \num{4.00}" in text
    assert r"$<$\num{0.001}" in text
    assert text.index("total") > text.rindex(r"\midrule")
    assert escaped(r"50% a_b {x} \y") == r"50\% a\_b \{x\} \textbackslash{}y"


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex absent")
def test_latex_compiles(tmp_path):
    """What --format latex prints, with the signs of TeX in names, is a document that pdflatex takes."""
    nasty = Table((Column("layer & name"), Column("n", "count")), ((NASTY, 12_345), ('"--x"', 0.5)), NASTY, ("all", 3))
    ranged = Table((Column("r", "number", "ms"), Column("d", "energy", signed=True)), (((1e-7, 2e13), -0.5),))
    body = formatted([TABLE, nasty, ranged], "latex")
    document = (
        "\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage{textcomp,booktabs,siunitx}\n"
        f"\\begin{{document}}\n{body}\n\\end{{document}}\n"
    )
    (tmp_path / "t.tex").write_text(document, encoding="utf-8")
    line = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "t.tex"]
    own = {**os.environ, "TEXMFVAR": str(tmp_path / "var"), "TEXMFCONFIG": str(tmp_path / "config")}
    run = subprocess.run(line, cwd=tmp_path, env=own, capture_output=True, text=True, check=False, errors="replace")
    assert run.returncode == 0, run.stdout[-2000:]
    assert (tmp_path / "t.pdf").stat().st_size > 1000


def test_csv_and_json_keep_every_digit():
    """CSV has energies in mJ and shares as parts of 1; a range becomes two columns; JSON holds lists."""
    (rows,) = tables(formatted([TABLE], "csv"))
    assert float(rows[0]["exact (mJ)"]) == 0.0141
    assert (rows[1]["paper (mJ) from"], rows[1]["paper (mJ) to"]) == ("3.72e-05", "0.004")
    assert rows[0]["SOPs"] == "13833180"
    assert rows[-1]["section"] == "total"
    document = json.loads(formatted([TABLE], "json"))
    assert document["schema"] == 1
    (own,) = document["tables"]
    assert own["rows"][1][5] == [0.0000372, 0.004]
    assert own["columns"][4] == {"name": "exact", "unit": "mJ"}


def test_bars():
    """To an eighth of a character, nothing for nothing, whole ones where there are no blocks."""
    assert block_bar(1.0, 8) == "█" * 8
    assert block_bar(0.5, 3) == "█▌"
    assert block_bar(0.0, 8) == ""
    assert block_bar(2.0, 4) == "█" * 4
    assert block_bar(0.5, 8, ascii_only=True) == "####"


def test_colours_mean_something_and_change_no_text():
    """Without them the text is the same; a bad row is red, a quiet one dim, the headline bold."""
    report = Report(("headline", "more"), (TABLE, "text"))
    coloured = shown(report, View(width=100, colour=True))
    bare = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert [line.rstrip() for line in bare.splitlines()] == shown(report, View(width=100)).splitlines()
    assert coloured.startswith("\x1b[1mheadline\x1b[0m")
    assert re.search(r"\x1b\[31mblock", coloured)
    assert re.search(r"\x1b\[2mhead", coloured)


def test_brief_is_the_headline():
    """And of several reports all headlines."""
    both = together([Report(("one", "1"), (TABLE,)), Report(("two",), (TABLE,))])
    assert shown(both, View(brief=True)) == "one\n1\ntwo"
    assert "where it goes" in shown(both, View())


def test_texts_break_between_words():
    """What goes on is drawn in under its line; words stay whole."""
    lines = narrow(Report(("a" * 30 + " bb" * 40,)), 60).splitlines()
    assert max(map(len, lines)) <= 60
    assert all(line.startswith("  ") for line in lines[1:])


def on_terminal(columns, *words, **environment):
    """Return what a command prints on a terminal of so many columns."""
    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    clean = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "NO_COLOR", "TERM")}
    code = "import sys; sys.argv[0] = 'evsim'; from evsim.cli.main import main; main()"
    line = [sys.executable, "-c", code, *map(str, words)]
    parts = []

    def listen():
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:  # Linux: the other end is closed
                return
            if not part:
                return
            parts.append(part)

    ears = threading.Thread(target=listen)
    environment = clean | {"TERM": "xterm", "PYTHONIOENCODING": "utf-8"} | environment
    process = subprocess.Popen(line, stdout=other, stderr=subprocess.PIPE, env=environment)
    os.close(other)
    ears.start()
    errors = process.communicate()[1]
    ears.join()
    os.close(main)
    assert process.returncode == 0, errors
    return b"".join(parts).decode()


@pytest.mark.parametrize("columns", [80, 100, 120, 200])
def test_a_terminal_gets_what_fits_it(columns):
    """Through a real terminal: colours, bars, no line wider than it is."""
    text = on_terminal(columns, "info", demo.model_path(), "--layers")
    assert "\x1b[1m" in text
    assert ("█" in text) == (columns == 200), "bars leave first"
    lines = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()
    words = max(len(word) for line in lines for word in line.split())
    assert max(len(line.rstrip()) for line in lines) <= max(columns, words + 20)
    assert max(len(line.rstrip()) for line in lines if "conv" in line) <= columns


def test_colours_die_where_nobody_wants_them():
    """With NO_COLOR, on a dumb terminal and in a pipe; --wide shows all columns on a narrow terminal."""
    words = ("info", demo.model_path())
    assert "\x1b" not in on_terminal(80, *words, NO_COLOR="1")
    assert "\x1b" not in on_terminal(80, *words, TERM="dumb")
    assert "\x1b" not in evsim(*words).out
    assert "columns left out" in on_terminal(60, *words)
    assert "columns left out" not in on_terminal(60, *words, "--wide")


def test_an_encoding_without_blocks_gets_plain_signs():
    """A terminal of ASCII shows # and -, and no question mark in their place."""
    text = on_terminal(100, "info", demo.model_path(), PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert "###" in text
    assert "---" in text
    assert text.isascii()
    assert "?" not in text


@pytest.mark.parametrize("form", ["markdown", "latex", "csv", "json"])
def test_every_table_has_every_format(form):
    """A command without a document of its own has its tables as JSON too."""
    out = evsim("info", demo.model_path(), "--format", form).out
    if form == "json":
        assert json.loads(out)["tables"][0]["columns"][0]["name"] == "section"
    elif form == "csv":
        assert next(csv.reader(out.splitlines()))[0] == "section"
    else:
        assert "patch" in out
    assert "classes" not in out, "tables alone"


def test_json_as_a_format_is_the_document():
    """--format json prints what --json - does."""
    assert evsim("paper", "--format", "json").out == evsim("paper", "--json", "-").out


def test_looks_that_contradict_are_refused():
    """One line that names the option."""
    assert "--format must be one of table, markdown" in refused("paper", "--format", "html")
    assert "--brief shows no table, so --wide means nothing" in refused("paper", "--brief", "--wide")
    assert "--brief shows no table, so --format means nothing" in refused("paper", "--brief", "--format", "csv")
    assert evsim("paper", "--brief").out.count("\n") == 2

"""What holds the docs: blocks of a page, comparison of outputs, sessions, numbers of the prose."""

from __future__ import annotations

import docs_numbers
import docs_run
import pytest
from docs_compare import EXACT, Within, difference, rewritten, same_line, tolerance
from docs_pages import PageError, blocks, commands, faults
from docs_run import written

PRINTED = ["a 1.00", "b 2.00", "c 3.00", "d 4.00"]


def page(*parts):
    """Return a page of parts, in which ' stands for a backtick."""
    return "\n\n".join(parts).replace("'", "`") + "\n"


@pytest.mark.parametrize(
    ("shown", "equal"),
    [
        (PRINTED, True),
        (["", *PRINTED, ""], True),
        (PRINTED[:3], False),
        (PRINTED[1:], False),
        (["a 1.00", "...", "d 4.00"], True),
        (["...", "c 3.00", "..."], True),
        (["...", "c 3.00"], False),
        (["b 2.00", "..."], False),
        (["...", "c 3.00", "...", "b 2.00", "..."], False),
        (["...", "b 2.00", "d 4.00", "..."], False),
        (["a ...", "...", "d 4.00"], True),
        (["a ...", "...", "d 4.01"], False),
    ],
)
def test_a_page_may_leave_lines_out_and_nothing_else(shown, equal):
    """``...`` is any number of lines, or any text of one; order, beginning and end hold."""
    assert (difference(shown, PRINTED) == "") is equal


def test_a_part_may_stand_anywhere():
    """A block behind the command's own shows lines from the middle, one after the other."""
    assert difference(["b 2.00", "c 3.00"], PRINTED, part=True) == ""
    assert "is printed" in difference(["b 2.00", "d 4.00"], PRINTED, part=True)


@pytest.mark.parametrize(
    ("shown", "printed", "within", "equal"),
    [
        ("took 1.00 s", "took 1.04 s", Within(0.05), True),
        ("took 1.00 s", "took 1.06 s", Within(0.05), False),
        ("took  1.00 s", "took 1.00  s", EXACT, False),
        ("took  1.00 s", "took 1.00  s", Within(0.05), True),
        ("took 1.00 s", "used 1.00 s", Within(0.05), False),
        ("1,000 in -2.0", "1,001 in -2.0", Within(0.05), True),
        ("-2.0", "2.0", Within(9), False),
        ("3 layers 10.0", "3 layers 25.0", Within(2, last=True), True),
        ("3 layers 10.0", "4 layers 10.0", Within(2, last=True), False),
    ],
)
def test_numbers_have_a_tolerance_and_texts_none(shown, printed, within, equal):
    """Only where a block names one, and of times only the last number of a line where it says so."""
    assert same_line(shown, printed, within) is equal


def test_tolerances_are_shares_or_factors():
    """5% and 0.05 are a share, x3 a factor."""
    assert [tolerance(text) for text in ("", "5%", "0.05", "x3")] == [0, 0.05, 0.05, 2]


@pytest.mark.parametrize(
    ("shown", "new"),
    [
        (["a 1.00", "...", "d 4.10"], ["a 1.00", "...", "d 4.00"]),
        (["...", "b 2.10", "c 3.00", "..."], ["...", "b 2.00", "c 3.00", "..."]),
        (["a 1.00", "b 2.00"], PRINTED),
        (["???"], PRINTED),
        (PRINTED, PRINTED),
    ],
)
def test_a_page_is_rewritten_as_it_is_cut(shown, new):
    """What is printed replaces what a page shows, and gaps stay where they are."""
    assert rewritten(shown, PRINTED) == new


def test_blocks_are_read_with_their_marks():
    """Languages, marks, files, set-ups, figures; what stands in an admonition is the page's, in a directive not."""
    text = page(
        "'''console nightly columns=none\n$ evsim paper\n'''",
        "<!-- setup: evsim demo -->",
        "'''toml file=chip.toml\na = 1\n'''",
        "''''{tip}\n'''python\nprint(1)\n'''\n''''",
        "'''{toctree}\nevsim run\n'''",
        "'''{evsim-figure} evsim plot c.h5 -o c.svg\n:alt: c\n'''",
    )
    found = blocks(text)
    assert [b.kind for b in found] == ["console", "setup", "toml", "python", "directive", "figure"]
    assert (found[0].mark, found[0].attributes["columns"], found[0].line) == ("nightly", "none", 2)
    assert found[2].attributes == {"file": "chip.toml"}
    assert found[5].text == "evsim plot c.h5 -o c.svg"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (page("'''console\n$ evsim paper"), "does not end"),
        (page("'''console sometimes\n$ evsim paper\n'''"), "sometimes: marks are"),
        (page("'''console not-run\n$ evsim paper\n'''"), "say why it is not run"),
        (page("some text <!-- setup: evsim demo"), ""),
        (page("<!-- setup: evsim demo --> and more"), "a set-up stands on lines of its own"),
    ],
)
def test_a_page_that_nobody_can_run_is_refused(text, message):
    """The message names the line and what is wrong."""
    if not message:
        assert blocks(text) == []
        return
    with pytest.raises(PageError, match=message) as error:
        blocks(text)
    assert str(error.value).startswith("line ")


def test_commands_have_the_lines_below_them():
    """Several in one block, over several lines, with a here-document."""
    (block,) = blocks(page("'''console\n$ a \\\n  b\nout\n$ python - <<END\nx = 1\nEND\n1\n2\n'''"))
    told = [(c.text, c.shown) for c in commands(block)]
    assert told == [("a \\\n  b", ["out"]), ("python - <<END\nx = 1\nEND", ["1", "2"])]
    with pytest.raises(PageError, match="begins with"):
        commands(blocks(page("'''console\nout\n'''"))[0])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("    evsim run m.h5", "is indented"),
        ("'''\nevsim run m.h5\n'''", "names its language"),
        ("'''bash file=job.sh\nls\n'''", ""),
        ("'''bash\nls\n'''", "make this ```bash block a ```console block"),
        ("'''text\n$ evsim run m.h5\n'''", "looks like a command"),
        ("'''text\n" + "─" * 20 + "\n'''", "looks like a command or its output"),
        ("'''text\nin ──> out\n'''", ""),
        ("    indented text", ""),
        ("'''console\n$ ls\n'''", ""),
    ],
)
def test_what_nobody_would_run_is_found(text, fault):
    """Commands and outputs in any other form than those that are executed."""
    found = faults(page("Text.", text))
    assert (fault in found[0]) if fault else not found


def test_a_page_is_one_session():
    """Files, names and outputs go from block to block; errors, figures and numbers are held too."""
    text = page(
        "<!-- setup: echo 7 > seven.txt -->",
        "'''csv file=table.csv\na,b\n'''",
        "'''console\n$ cat seven.txt table.csv\n7\na,b\n$ evsim info nothing.h5\nevsim: nothing.h5 ...\n'''",
        "'''python\nx = 3\nprint(\"x is\", x)\nprint(\"more\")\n'''",
        "'''output\nmore\n'''",
        "Three <!-- no setup --> is 3.0,<!-- is: x --> or 10 and 2.6.<!-- is: x * 3 + 1, 2.55 ± 3% -->",
        "'''python not-run=\"never\"\nraise SystemExit\n'''",
        "'''console nightly\n$ false\n'''",
    )
    session = docs_run.run(text)
    assert session.faults == []
    assert len(session.ran) == 2
    assert "exit code 1" in docs_run.run(text, slow=True).faults[0]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("'''console\n$ echo 1\n2\n'''", "it prints otherwise"),
        ("'''console\n$ false\n'''", "exit code 1, not 0"),
        ("'''console exit=1\n$ true\n'''", "exit code 0, not 1"),
        ("'''console\n$ evsim info nothing.h5\n'''", "exit code 2, not 0"),
        ("'''python\n1 / 0\n'''", "ZeroDivisionError"),
        ("'''python\nprint(1)\n'''\n\n'''output\n2\n'''", "it prints otherwise"),
        ("<!-- setup: false -->", "exit code 1"),
        ("'''{evsim-figure} true -o none.svg\n:alt: a\n'''", "no file none.svg"),
        ("It is 4.<!-- is: 2 + 3 -->", "4, but 2 + 3 is"),
        ("It is 4.<!-- is: unknown -->", "NameError"),
        ('It is 4.<!-- is: code("evsim.events.summary.HOT_LEAST") -->', "is (50,)"),
        ('It is 4.<!-- is: makefile("FAULTS") -->', "is (50,)"),
    ],
)
def test_what_differs_is_told(text, fault):
    """With the line of the page."""
    (told,) = docs_run.run(page(text)).faults
    assert fault in told
    assert told.startswith("line ")


def test_a_page_is_written_anew():
    """What is printed stands in the page then, everything else stays, and the page holds."""
    text = page(
        "Text.",
        "- '''console\n  $ echo 1\n  2\n  $ echo 3\n  ???\n  '''",
        "'''python\nprint(5)\n'''",
        "'''output\n6\n'''",
    )
    text = text.replace("- ```console", "  ```console")
    new = written(text, docs_run.run(text))
    assert new == text.replace("  2\n", "  1\n").replace("???", "3").replace("\n6\n", "\n5\n")
    assert docs_run.run(new).faults == []


@pytest.mark.parametrize(
    ("prose", "left"),
    [
        ("It takes 42 of them.", ["42"]),
        ("It takes 12 of 20.", []),
        ("A share of 0.5 and 1,000.", ["0.5", "1,000"]),
        ("`99` and [x](y.md#a-77) in Spikingformer-8-512, 3x3, 224 x 224, AEDAT 3.1, arXiv 2304.11954, in 2014.", []),
        ("# Heading 42\n\nText.", []),
        ("It takes 42<!-- is: 6 * 7 --> of 43.", ["43"]),
        ("It takes 41 and 42.<!-- is: 41, 42 -->", []),
        ("It takes 41 and 42.<!-- source 2: a book -->", []),
        ("It takes 41 and 42.<!-- source: a book -->", ["41"]),
        ("| a | 41 |\n|---|---|\n| b | 42.5 |\n\n<!-- is 2: [41, 42.5] -->", []),
        ("## A\n\n<!-- measured by make bench -->\n\n42\n\n### B\n\n43\n\n## C\n\n44", ["44"]),
        ("# A\n\n<!-- tested by tests/test_docs_tools.py -->\n\n4321.5 and 4321.75", ["4321.75"]),
        ("```console\n$ evsim paper\n7.463503 and 318\n```\n\nIt is 7.46, or 318, or 31, or 7.47.", ["31", "7.47"]),
    ],
)
def test_numbers_that_nobody_holds(prose, left):
    """Computed, shown, cited, measured, tested, or no claim; 4321.5 stands in this file, its neighbour does not."""
    if "4321" in prose:
        prose = prose.replace("4321.75", f"{4321}.{25 * 3 + 1}")
        left = [f"{4321}.{25 * 3 + 1}"]
    assert [number for _, number in docs_numbers.unheld(prose)] == left


@pytest.mark.parametrize(
    ("text", "value", "equal"),
    [
        ("1.25", 1.2549, True),
        ("1.25", 1.2551, False),
        ("1,000", 999.6, True),
        ("-0.15", -0.1548, True),
        ("2e8", 2.1e8, True),
    ],
)
def test_a_number_is_held_to_the_digits_that_it_shows(text, value, equal):
    """Half of the last digit is allowed."""
    assert docs_numbers.agrees(text, value) is equal

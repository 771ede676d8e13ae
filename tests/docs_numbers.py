"""Which numbers of the docs nobody holds: ``python tests/docs_numbers.py [--write] [PAGE...]`` lists them.

A number in prose or in a table is held where

- an executed block of the same page shows it (three digits or more, or a decimal point), or a number that rounds to it;
- ``<!-- is: EXPRESSION -->`` behind it computes it; ``<!-- is: a, b -->`` the last two numbers;
- ``<!-- source: WHERE -->`` behind it says who published or defined it; ``<!-- source 3: WHERE -->`` of the last three;
- ``<!-- tested by FILE -->`` above it in the same section, or the page, names a file of tests in which it stands;
- ``<!-- measured by COMMAND -->`` likewise names what prints it in a long run of its own.

Not asked for: whole numbers to 20, years, sizes such as 3x3, versions, names such as spikingformer-8-512, code, links.
tests/data/docs_numbers.json holds how many each page still has; the number may only fall. ``--write`` keeps the least.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs_pages import ROOT, Block, blocks, pages

BASELINE = ROOT / "tests" / "data" / "docs_numbers.json"
MARK = re.compile(r"<!-- (is nightly|is|source|measured by|tested by)(?: (\d+))?(?::| ) ?(.*?) -->", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.,/^-])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w/^]|-\w|\.\d)(?<!,)")
FACTOR = re.compile(r"(?<![\w.,/^-])\d+(?:\.\d+)?(?=x\b)")
NAMES = re.compile(
    r"(?:Python|NumPy|Numba|SciPy|PyTorch|torch|torchvision|AEDAT|SpikingJelly|snnTorch|Norse|sinabs|Norse|Vega-Lite"
    r"|vl-convert|schema|Schema|CC BY|Zen|EVT|EPYC|version|VGG|ResNet|CIFAR|Chromium|Intel|family/model)[ -]"
    r"[\d./+a-z]*\d(?:, \d\.\d)*|\d+ (?:nm|bits?|KiB|MB|GB)\b"
    r"|MATLAB \d and \d\.\d"
    r"|arXiv \d{4}\.\d{5}|\d+ ?[x×] ?\d+(?: ?[x×] ?\d+)*|\b\d{4}\.\d{5}\b|\d+(?:\.\d+){2,}|(?:19|20)\d\d(?=[\s).,;:-])"
)
HIDDEN = re.compile(r"`[^`]*`|\]\([^)]*\)|https?://\S+|<!--.*?-->|\{[\w:-]+\}", re.DOTALL)
SMALL = 20


@dataclass(frozen=True)
class Claim:
    """A number of a page.

    Parameters
    ----------
    text
        As it stands there.
    line
        Its line, from 1.
    expression
        What computes it, or nothing.
    nightly
        Whether that is left to the nightly.
    held
        Whether it needs nobody else: shown by a block, published elsewhere, or no claim at all.
    """

    text: str
    line: int
    expression: str = ""
    nightly: bool = False
    held: bool = False


@dataclass(frozen=True)
class Check:
    """An expression of a page, and the numbers that it must give."""

    line: int
    expression: str
    numbers: list[str]
    nightly: bool


def value(text: str) -> float:
    """Return a number as a page writes it."""
    return float(text.replace(",", ""))


def decimals(text: str) -> int:
    """Return how many digits stand behind its point."""
    mantissa = text.partition("e")[0]
    return len(mantissa.partition(".")[2])


def agrees(text: str, computed: float, share: float = 0.0) -> bool:
    """Tell whether a number is a computed one, rounded to the digits that it shows.

    Parameters
    ----------
    text
        The number of the page.
    computed
        The value.
    share
        By which it may differ beside.
    """
    scale = 10.0 ** (int(text.partition("e")[2] or 0) - decimals(text))
    return abs(value(text) - computed) <= 0.5 * scale * (1 + 1e-6) + share * abs(computed)


def checks(text: str) -> list[Check]:
    """Return what the marks of a page compute.

    Parameters
    ----------
    text
        The page.

    Raises
    ------
    ValueError
        If a mark stands behind fewer numbers than it computes.
    """
    found = []
    for mark, numbers in _marks(_prose(text)):
        if mark[1].startswith("is"):
            expression = " ".join(mark[3].split())
            line = text.count("\n", 0, mark.start()) + 1
            wanted = int(mark[2] or len(_parts(expression)))
            if len(numbers) < wanted:
                raise ValueError(f"line {line}: {wanted} values for {len(numbers)} numbers: {expression}")
            found.append(Check(line, expression, [n[0] for n in numbers[-wanted:]], mark[1] == "is nightly"))
    return found


def unheld(text: str) -> list[tuple[int, str]]:
    """Return the numbers of a page that nobody holds: line and number.

    Parameters
    ----------
    text
        The page.
    """
    prose = _prose(text)
    shown = _shown(blocks(text))
    covered = set()
    for mark, numbers in _marks(prose):
        count = int(mark[2] or (len(_parts(mark[3])) if mark[1].startswith("is") else 1))
        if mark[1] in ("measured by", "tested by"):
            end = _end_of_section(prose, mark.start())
            tests = _told((ROOT / mark[3]).read_text("utf-8")) if mark[1] == "tested by" else None
            covered |= {
                n.start()
                for n in _numbers(prose)
                if mark.end() <= n.start() < end and (tests is None or abs(value(n[0])) in tests)
            }
        else:
            covered |= {n.start() for n in numbers[-count:]}
    return [
        (text.count("\n", 0, number.start()) + 1, number[0])
        for number in _numbers(prose)
        if number.start() not in covered and _claims(number[0]) and not _stands_in(number[0], shown)
    ]


def _end_of_section(prose: str, start: int) -> int:
    """Return where the section ends in which a place stands: at the next heading of its level, or a higher one."""
    before = re.findall(r"^#+", prose[:start], re.MULTILINE)
    level = len(before[-1]) if before else 1
    end = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE).search(prose, start)
    return end.start() if end else len(prose)


def _parts(expression: str) -> list[str]:
    """Return the values of an expression: what commas outside of brackets part."""
    parts, depth, quote = [""], 0, ""
    for letter in expression.partition("±")[0]:
        quote = "" if letter == quote else quote or (letter if letter in "\"'" else "")
        depth += 0 if quote else (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _marks(prose: str) -> Iterator[tuple[re.Match[str], list[re.Match[str]]]]:
    """Yield each mark with the numbers of its paragraph before it."""
    numbers = _numbers(prose)
    for mark in MARK.finditer(prose):
        begin = max(prose.rfind("\n\n", 0, len(prose[: mark.start()].rstrip())), 0)
        yield mark, [n for n in numbers if begin <= n.start() < mark.start()]


def _prose(text: str) -> str:
    """Blank what is no prose, each letter by a space, so that places stay; marks are kept."""
    lines = text.splitlines(keepends=True)
    for block in blocks(text):
        if block.kind in ("setup", "indented"):
            continue
        last = block.line - 1 + len(block.text.splitlines())
        for number in range(block.line - 2, min(last + 1, len(lines))):
            lines[number] = _blank(lines[number])
    for number, line in enumerate(lines):
        if re.match(r"\s*(#{1,6} |:\w+:|[:`~]{3,})", line):
            hashes = re.match("#*", line)[0]
            lines[number] = hashes + _blank(line[len(hashes) :])
        lines[number] = re.sub(r"^(\s*)\d+\.(?= )", lambda found: _blank(found[0]), lines[number])
    prose = "".join(lines)
    return HIDDEN.sub(lambda found: found[0] if MARK.fullmatch(found[0]) else _blank(found[0]), prose)


def _blank(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _numbers(prose: str) -> list[re.Match[str]]:
    """Return the numbers outside of marks and names."""
    away = [(found.start(), found.end()) for pattern in (MARK, NAMES) for found in pattern.finditer(prose)]
    found = [*NUMBER.finditer(prose), *FACTOR.finditer(prose)]
    return sorted(
        (n for n in found if not any(start <= n.start() < end for start, end in away)), key=lambda n: n.start()
    )


def _claims(text: str) -> bool:
    """Tell whether a number is more than a small whole one."""
    return "." in text or "," in text or abs(value(text)) > SMALL


def _shown(found: list[Block]) -> set[float]:
    """Return the numbers that executed blocks show."""
    texts = [b.text for b in found if b.kind in ("console", "output", "python") and b.mark != "not-run"]
    return _told("\n".join(texts))


def _told(text: str) -> set[float]:
    """Return the numbers of any text."""
    return {value(number.replace("_", "")) for number in re.findall(r"\d[\d_]*(?:,\d{3})*(?:\.\d+)?", text)}


def _stands_in(text: str, shown: set[float]) -> bool:
    """Tell whether blocks show a number, or one of more digits that rounds to it."""
    plain = text.lstrip("+-")
    digits = len(plain.replace(",", "").replace(".", "").lstrip("0"))
    if "." not in plain and digits < 3:
        return False
    if value(plain) in shown:
        return True
    return digits >= 3 and any(agrees(plain, number) for number in shown)


def baseline() -> dict[str, int]:
    """Return how many unheld numbers each page may have."""
    return json.loads(BASELINE.read_text(encoding="utf-8"))


def main() -> int:
    """List the numbers that nobody holds, or keep how many there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="keep the numbers of unheld numbers, where they fell")
    parser.add_argument("pages", nargs="*", type=Path)
    options = parser.parse_args()
    counts = {}
    for page in [path.resolve() for path in options.pages] or pages():
        name = str(page.relative_to(ROOT))
        found = unheld(page.read_text(encoding="utf-8"))
        counts[name] = len(found)
        for line, number in found if options.pages else ():
            print(f"{name}:{line}: {number}")
        print(f"{name}: {len(found)} numbers that nobody holds")
    if options.write:
        kept = baseline() if BASELINE.exists() else {}
        least = {name: min(count, kept.get(name, count if not kept else 0)) for name, count in counts.items()}
        BASELINE.write_text(json.dumps({n: c for n, c in (kept | least).items() if c}, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

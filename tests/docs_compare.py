"""Hold what a page shows against what was printed: ``...`` leaves out, numbers may have a tolerance."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
GAP = "..."


def tolerance(text: str) -> float:
    """Return ``5%`` or ``0.05`` as a share, and a factor such as ``x3`` as what it allows.

    Parameters
    ----------
    text
        As a page writes it; nothing is none.
    """
    if not text:
        return 0.0
    if text.startswith("x"):
        return float(text[1:]) - 1
    return float(text[:-1]) / 100 if text.endswith("%") else float(text)


@dataclass(frozen=True)
class Within:
    """How far numbers may be from those of the page.

    Parameters
    ----------
    share
        Of the lesser of two numbers.
    last
        Whether that holds for the last number of a line alone.
    """

    share: float = 0.0
    last: bool = False


EXACT = Within()


def same_line(shown: str, printed: str, within: Within = EXACT) -> bool:
    """Tell whether a line is the printed one; ``...`` in it is any text.

    Parameters
    ----------
    shown, printed
        A line of the page, and one that was printed.
    within
        How far numbers may differ.
    """
    shown, printed = shown.rstrip(), printed.rstrip()
    if shown == printed:
        return True
    if GAP in shown:
        pattern = ".*".join(map(re.escape, shown.split(GAP)))
        if re.fullmatch(pattern, printed):
            return True
    return bool(within.share) and _near(shown, printed, within)


def _near(shown: str, printed: str, within: Within) -> bool:
    """Tell whether texts are equal but for spaces, and numbers but for the tolerance."""
    texts = [" ".join(NUMBER.sub("#", line).split()) for line in (shown, printed)]
    if texts[0] != texts[1]:
        return False
    pairs = list(zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True))
    if within.last and any(left != right for left, right in pairs[:-1]):
        return False
    return all(near(*(float(number.replace(",", "")) for number in pair), within.share) for pair in pairs)


def near(left: float, right: float, share: float) -> bool:
    """Tell whether two numbers are apart by at most a share of the lesser.

    Parameters
    ----------
    left, right
        The numbers.
    share
        Of the lesser in magnitude.
    """
    high, low = max(abs(left), abs(right)), min(abs(left), abs(right))
    return left * right >= 0 and high <= low * (1 + share) + 1e-12


def segments(shown: list[str]) -> list[list[str]]:
    """Return the runs of lines between the gaps; an empty run at an end is a gap there.

    Parameters
    ----------
    shown
        Lines of a page.
    """
    runs: list[list[str]] = [[]]
    for line in shown:
        if line.strip() == GAP:
            runs.append([])
        else:
            runs[-1].append(line)
    return runs


def place(run: list[str], printed: list[str], start: int, within: Within) -> int | None:
    """Return where a run of lines stands among those printed, from `start` on, or None."""
    for at in range(start, len(printed) - len(run) + 1):
        if all(same_line(a, b, within) for a, b in zip(run, printed[at : at + len(run)], strict=True)):
            return at
    return None


def difference(shown: list[str], printed: list[str], within: Within = EXACT, *, part: bool = False) -> str:
    """Return nothing where a page shows what was printed, else what differs, as lines to read.

    Parameters
    ----------
    shown, printed
        Lines of the page, and of the output.
    within
        How far numbers may differ.
    part
        Whether the page may show a part from the middle.
    """
    shown, printed = _stripped(shown), _stripped(printed)
    runs = segments([GAP, *shown, GAP] if part else shown)
    if len(runs) == 1:
        if len(runs[0]) == len(printed) and place(runs[0], printed, 0, within) == 0:
            return ""
        return _diff(shown, printed)
    at = 0
    for number, run in enumerate(runs):
        if not run:
            continue
        last = number == len(runs) - 1
        start = max(at, len(printed) - len(run)) if last else at
        found = place(run, printed[: len(run)] if number == 0 else printed, start, within)
        if found is None:
            return _diff(run, _nearest(run, printed, at, number == 0, last))
        at = found + len(run)
    return ""


def rewritten(shown: list[str], printed: list[str], within: Within = EXACT, *, part: bool = False) -> list[str]:
    """Return the lines that a page should show: those that it shows where they hold, else what was printed there.

    Parameters
    ----------
    shown, printed, within, part
        As `difference` takes them. Gaps are kept; a line ``???`` asks for all that was printed.
    """
    if "???" in shown:
        return _stripped(printed)
    if not difference(shown, printed, within, part=part):
        return shown
    printed = _stripped(printed)
    runs = segments(_stripped(shown))
    if len(runs) == 1 and not part:
        return printed
    lines: list[str] = []
    at = 0
    for number, run in enumerate(runs):
        first, last = number == 0 and not part, number == len(runs) - 1 and not part
        new = _nearest(run, printed, at, first, last)
        found = place(new, printed, at, EXACT)
        at = at if found is None else found + len(new)
        lines += [*([GAP] if number else []), *new]
    return lines


def _nearest(run: list[str], printed: list[str], start: int, first: bool, last: bool) -> list[str]:
    """Return the printed lines from the one most like the first of a run to the one most like its last."""
    rest = printed[start:]
    if not run or not rest:
        return []
    begin = 0 if first else _likest(run[0], rest, 0)
    end = len(rest) if last else _likest(run[-1], rest, begin, len(run) - 1) + 1
    return rest[begin:end]


def _likest(line: str, lines: list[str], start: int, guess: int = 0) -> int:
    """Return which of the lines from `start` on is most like one; of equals the nearest to the guess."""

    def likeness(at: int) -> tuple[float, int]:
        return difflib.SequenceMatcher(None, line, lines[at]).ratio(), -abs(at - start - guess)

    return max(range(start, len(lines)), key=likeness)


def _stripped(lines: list[str]) -> list[str]:
    lines = [line.rstrip() for line in lines]
    while lines and not lines[0]:
        lines = lines[1:]
    while lines and not lines[-1]:
        lines = lines[:-1]
    return lines


def _diff(shown: list[str], printed: list[str]) -> str:
    return "\n".join(difflib.unified_diff(shown, printed, "the page shows", "is printed", lineterm="", n=1))

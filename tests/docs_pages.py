"""What a page of the docs holds that a program can hold it to: blocks, set-ups, figures, in their order."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CONTAINERS = (
    "admonition", "attention", "caution", "danger", "dropdown", "error", "grid", "grid-item", "grid-item-card", "hint",
    "important", "note", "seealso", "tab-item", "tab-set", "tip", "warning", "glossary", "details",
)  # fmt: skip
"""Directives whose content is Markdown again; that of all others is theirs."""
MARKS = ("nightly", "torch", "timing", "not-run")
KNOWN = {*MARKS, "tolerance", "exit", "file", "columns"}
FENCE = re.compile(r"^( *)(`{3,}|~{3,}|:{3,})([^`]*)$")
SETUP = re.compile(r"^\s*<!-- setup: (.*?) -->\s*$", re.MULTILINE | re.DOTALL)
SHELLS = ("sh", "bash", "shell", "zsh", "shell-session", "bash-session")
COMMAND = re.compile(r"(\$ |evsim |make )")
OWN = re.compile(rf"{re.escape(str(ROOT.parent))}/\S+/evsim/")
"""A file of a checkout, which lies elsewhere on other machines."""
TABLE = re.compile(r"[─█]{12}")


class PageError(Exception):
    """A page that cannot be held to what it shows: where, and why."""


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Parameters
    ----------
    kind
        Its language; ``setup`` of a comment, ``figure`` of a figure that evsim draws, ``indented`` of four spaces.
    text
        Its content; of a figure, the command.
    line
        Of its first line of content, from 1.
    attributes
        What stands behind the language: marks, ``tolerance``, ``exit``, ``file``, ``columns``.
    indent
        Spaces before its fence.
    """

    kind: str
    text: str
    line: int
    attributes: dict[str, str] = field(default_factory=dict)
    indent: int = 0

    @property
    def mark(self) -> str:
        """Why it does not run in CI, or nothing."""
        return next((mark for mark in MARKS if mark in self.attributes), "")


@dataclass(frozen=True)
class Command:
    """A command of a console block, and the lines that the block shows below it."""

    line: int
    text: str
    shown: list[str]


def pages() -> list[Path]:
    """Return every page that is held to what it shows: README, CONTRIBUTING and all of docs."""
    own = [path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "commands"]  # the build writes those
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(own)]


def blocks(text: str) -> list[Block]:
    """Return the blocks of a page, in their order.

    Parameters
    ----------
    text
        The page.

    Raises
    ------
    PageError
        If a fence does not end, or its first line says what nobody knows.
    """
    lines = text.splitlines()
    found: list[Block] = []
    containers: list[str] = []
    number = 0
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if fence is None:
            number = _plain(lines, number, found)
            continue
        indent, ticks, told = len(fence[1]), fence[2], fence[3].strip()
        if containers and not told and ticks == containers[-1]:
            containers.pop()
            number += 1
            continue
        directive = re.match(r"\{([\w:-]+)\}", told)
        if directive and (directive[1] in CONTAINERS or ticks[0] == ":"):
            containers.append(ticks)
            number += 1
            continue
        end = number + 1
        while end < len(lines) and not re.fullmatch(rf" *{ticks[0]}{{{len(ticks)},}} *", lines[end]):
            end += 1
        if end == len(lines):
            raise PageError(f"line {number + 1}: the block does not end")
        content = [line[indent:] if line[:indent].isspace() or not indent else line for line in lines[number + 1 : end]]
        found.append(_block(told, content, number + 2, indent))
        number = end + 1
    return found


def _plain(lines: list[str], number: int, found: list[Block]) -> int:
    """Take a line outside of fences: a set-up, or the first of an indented block; return the next line's number."""
    if lines[number].lstrip().startswith("<!-- setup:"):
        end = number
        while "-->" not in lines[end]:
            end += 1
        command = SETUP.match("\n".join(lines[number : end + 1]))
        if command is None:
            raise PageError(f"line {number + 1}: a set-up stands on lines of its own: <!-- setup: COMMAND -->")
        found.append(Block("setup", command[1], number + 1))
        return end + 1
    begins = lines[number].startswith("    ") and (number == 0 or not lines[number - 1].strip())
    if begins and COMMAND.match(lines[number].strip()):
        found.append(Block("indented", lines[number].strip(), number + 1))
    return number + 1


def _block(told: str, content: list[str], line: int, indent: int) -> Block:
    directive = re.match(r"\{([\w:-]+)\}\s*(.*)", told)
    if directive:
        kind = "figure" if directive[1] == "evsim-figure" else "directive"
        return Block(kind, directive[2] if kind == "figure" else "\n".join(content), line, {}, indent)
    language, _, rest = told.partition(" ")
    try:
        words = shlex.split(rest)
    except ValueError as error:
        raise PageError(f"line {line - 1}: {error}") from None
    attributes = {name: value for name, _, value in (word.partition("=") for word in words)}
    if unknown := set(attributes) - KNOWN:
        raise PageError(f"line {line - 1}: {', '.join(sorted(unknown))}: marks are {', '.join(sorted(KNOWN))}")
    if "not-run" in attributes and not attributes["not-run"]:
        raise PageError(f'line {line - 1}: say why it is not run: not-run="reason"')
    return Block(language, "\n".join(content), line, attributes, indent)


def commands(block: Block) -> list[Command]:
    """Return the commands of a console block with what it shows of each.

    Parameters
    ----------
    block
        Of kind ``console``.

    Raises
    ------
    PageError
        If it does not begin with a command.
    """
    found: list[Command] = []
    lines = block.text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        if not line.startswith("$ "):
            if not found:
                raise PageError(f"line {block.line}: a console block begins with `$ COMMAND`")
            found[-1].shown.append(line)
            number += 1
            continue
        parts, first = [line[2:]], block.line + number
        number += 1
        heredoc = re.search(r"<<\s*'?(\w+)'?", line)
        while number < len(lines) and (parts[-1].endswith("\\") or (heredoc and parts[-1] != heredoc[1])):
            parts.append(lines[number].removeprefix("> "))
            number += 1
        found.append(Command(first, "\n".join(parts), []))
    return found


def faults(text: str) -> list[str]:
    """Return what nobody would execute although it looks as if it were, a line each.

    Parameters
    ----------
    text
        The page.
    """
    lines = [
        f"line {text.count(chr(10), 0, place.start()) + 1}: a path of this checkout" for place in OWN.finditer(text)
    ]
    for block in blocks(text):
        where = f"line {block.line}"
        if block.kind == "indented":
            lines.append(f"{where}: `{block.text[:40]}` is indented; make it a ```console block with `$ `")
        elif block.kind in SHELLS and "file" not in block.attributes:
            lines.append(f"{where}: make this ```{block.kind} block a ```console block with `$ `")
        elif not block.kind:
            lines.append(f"{where}: a block names its language: console, python, output, text and so on")
        elif block.kind == "text" and (COMMAND.match(block.text) or TABLE.search(block.text)):
            lines.append(f"{where}: this ```text block looks like a command or its output; make it ```console")
    return lines

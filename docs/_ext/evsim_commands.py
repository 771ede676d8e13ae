"""Pages of the command line: one for each command, from what its ``--help`` is made of, when the site is built.

They are written to docs/reference/commands, which git ignores.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from sphinx.application import Sphinx

from evsim.cli.main import app as commands


class Recorder:
    """What click writes help into: keeps it as Markdown.

    Parameters
    ----------
    panels
        Headings under which commands are listed, each with a page of its own.
    """

    width = 1000
    current_indent = 0

    def __init__(self, panels: set[str]) -> None:
        self.parts: list[str] = []
        self.heading, self.panels = "", panels

    def write_usage(self, program: str, arguments: str = "", prefix: str | None = None) -> None:
        """Keep the usage."""
        self.parts.append(f"```text\n{prefix or ''}{program} {arguments}\n```")

    def write_text(self, text: str) -> None:
        """Keep paragraphs of the description."""
        self.parts.append("\n\n".join(plain(" ".join(part.split())) for part in text.split("\n\n")))

    def write_paragraph(self) -> None:
        """Keep nothing: parts stand apart anyway."""

    def write_dl(self, rows: Sequence[tuple[str, str]], **_: object) -> None:
        """Keep options with their meanings."""
        link = self.heading in self.panels
        self.parts += [
            f"{f'[`{term.strip()}`]({term.strip()}.md)' if link else f'`{term.strip()}`'}\n: {plain(text)}"
            for term, text in rows
        ]

    def write(self, text: str) -> None:
        """Keep the examples, which alone are written as they are."""
        if text.strip():
            lines = "\n".join(f"$ {line.strip()}" for line in text.strip().splitlines())
            self.parts.append(f"```console\n{lines}\n```")

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Head what follows."""
        self.heading = name
        self.parts.append(f"## {name}")
        yield

    @contextmanager
    def indentation(self) -> Iterator[None]:
        """Let text be indented, which Markdown does not want."""
        yield


def plain(text: str) -> str:
    """Return a text so that Markdown shows it as it is."""
    return "".join(part if part.startswith("`") else _escaped(part) for part in re.split(r"(`[^`]+`)", text) if part)


def _escaped(text: str) -> str:
    escaped = re.sub(r"([\\`*_<>\[\]{}|#$~])", r"\\\1", text)
    return re.sub(r"(?<![\w-])(--\w[\w-]*)", r"`\1`", escaped)


def pages() -> dict[str, str]:
    """Return the pages by name: each command, and the list of them."""
    group: Any = typer.main.get_command(commands)
    found = {"evsim": _page(group, "evsim", "The command line")}
    order: list[str] = list(group.list_commands(None))
    for name in list(order):
        leaf = group.commands[name]
        found[name] = _page(leaf, f"evsim {name}")
        for inner, sub in getattr(leaf, "commands", {}).items():
            found[f"{name}-{inner}"] = _page(sub, f"evsim {name} {inner}")
            order.insert(order.index(name) + 1, f"{name}-{inner}")
            found[name] = found[name].replace(f"[`{inner}`]({inner}.md)", f"[`{inner}`]({name}-{inner}.md)")
    listed = "\n".join(order)
    found["evsim"] += f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    return found


def _page(command: Any, typed: str, heading: str = "") -> str:
    context = command.context_class(command, info_name=typed, parent=None)
    leaves = getattr(command, "commands", {}).values()
    recorder = Recorder({getattr(leaf, "rich_help_panel", None) or "Commands" for leaf in leaves})
    command.format_help(context, recorder)
    told = "\n\n".join(recorder.parts)
    return f"<!-- written by docs/_ext/evsim_commands.py -->\n\n# {heading or typed}\n\n{told}\n"


def write(app: Sphinx) -> None:
    """Write the pages that changed, and remove those of commands that are gone."""
    folder = Path(app.srcdir) / "reference" / "commands"
    folder.mkdir(parents=True, exist_ok=True)
    texts = pages()
    for path in folder.glob("*.md"):
        if path.stem not in texts:
            path.unlink()
    for name, text in texts.items():
        path = folder / f"{name}.md"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Write the pages before Sphinx looks for them."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Run pages of the docs: ``python tests/docs_run.py [--write] [--all] PAGE...``.

A page is one session in a scratch folder: console and Python blocks run from top to bottom, and what they print is held
against what the page shows. ``--write`` puts what is printed into the page; ``--all`` runs what is left to the nightly
too. docs/writing.md tells how a page is written.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from docs_compare import Within, difference, rewritten, tolerance
from docs_numbers import Check, agrees, checks
from docs_pages import ROOT, Block, PageError, blocks, commands

import evsim
from evsim import demo
from evsim.cli.main import main as evsim_main

TIMES = "x3"
"""How far measured times may be from those of the page, where it names nothing else."""
TORCH = "block_of_the_page.py"
COPIES = {"model.h5": "model.h5", "dvs_sample.aedat": "dvs_sample.aedat", "recording.aedat": "dvs_sample.aedat"}
"""What lies in the folder of a page, beside what ``evsim demo --save demo-out`` writes."""
FOLLOWED = ("docs/index.md", "docs/quickstart.md", "docs/howto/", "docs/tutorials/")
"""Pages that are followed in an empty folder."""
SHELL = re.compile(r"[|<>;&$*`(){}\n\\]")


@dataclass(frozen=True)
class Printed:
    """What a command left: exit code, standard output, and that with standard error as a person sees them."""

    code: int
    out: str
    both: str


@dataclass
class Session:
    """The run of one page.

    Parameters
    ----------
    folder
        Where it runs.
    slow
        Whether blocks run that are left to the nightly.
    faults
        What differs from the page, filled by the run.
    new
        Per block that should read otherwise, its lines.
    ran
        Blocks that were executed, filled by the run.
    """

    folder: Path
    slow: bool = False
    faults: list[str] = field(default_factory=list)
    new: dict[int, list[str]] = field(default_factory=dict)
    ran: list[Block] = field(default_factory=list)
    names: dict[str, object] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)
    torch: list[str] = field(default_factory=list)
    last: Printed | None = None

    def runs(self, block: Block) -> bool:
        """Tell whether a block is executed here."""
        return block.mark != "not-run" and (self.slow or not block.mark)

    def take(self, block: Block) -> None:
        """Execute a block, or write it, and hold it against what was printed."""
        if block.kind == "output":
            if self.last is not None:
                self._compare(block, block.text.splitlines(), self.last, part=True)
            return
        if "file" in block.attributes:
            target = self.folder / block.attributes["file"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(block.text + "\n", encoding="utf-8")
        elif block.kind in ("console", "python", "setup", "figure") and not self.runs(block):
            self.last = None
        elif block.kind == "console":
            self.ran.append(block)
            self._console(block)
        elif block.kind == "python":
            self.ran.append(block)
            self.last = self._python(block)
        elif block.kind in ("setup", "figure"):
            printed = self._run(block.text)
            if printed.code:
                self.faults.append(f"line {block.line}: {block.text}: exit code {printed.code}\n{printed.both}")
            elif block.kind == "figure" and not self.picture(block).exists():
                self.faults.append(f"line {block.line}: {block.text}: no file {self.picture(block).name}")

    def hold(self, check: Check) -> None:
        """Compute numbers of the prose, and hold them against what it says."""
        expression, _, share = check.expression.partition("±")
        names = {"j": self._json, "at": _at, "out": self._out, "code": _code, "makefile": _makefile}
        names |= {"np": np, "evsim": evsim} | self.names
        try:
            values = eval(expression, names)  # noqa: S307 - the project's own page
            values = values if isinstance(values, tuple | list) else (values,)
            told = [number for number, computed in zip(check.numbers, values, strict=True)
                    if not agrees(number, float(computed), tolerance(share.strip()))]  # fmt: skip
        except Exception as error:  # noqa: BLE001 - whatever a page does wrong is told with the page
            values, told = (repr(error),), check.numbers
        if told:
            self.faults.append(f"line {check.line}: {', '.join(told)}, but {check.expression} is {values}")

    def _out(self, command: str) -> str:
        """Return what a command prints; each runs once."""
        if command not in self.outputs:
            printed = self._run(command, "none")
            if printed.code:
                raise PageError(f"{command}: exit code {printed.code}: {printed.both}")
            self.outputs[command] = printed.out
        return self.outputs[command]

    def _json(self, command: str) -> Any:
        """Return what a command prints as JSON, or what lies in a file of it."""
        return json.loads(Path(command).read_text("utf-8") if command.endswith(".json") else self._out(command))

    def picture(self, block: Block) -> Path:
        """Return the file that the command of a figure writes."""
        words = shlex.split(block.text)
        named = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-o", "--out", "--png", "--gif")]
        if not named:
            raise PageError(f"line {block.line}: the command of a figure names its file by -o")
        return self.folder / named[-1]

    def _console(self, block: Block) -> None:
        lines: list[str] = []
        for command in commands(block):
            printed = self.last = self._run(command.text, block.attributes.get("columns", "80"))
            told = [f"$ {command.text}"]
            wanted = int(block.attributes.get("exit", 2 if any(s.startswith("evsim: ") for s in command.shown) else 0))
            if printed.code != wanted:
                self.faults.append(
                    f"line {command.line}: {command.text}: exit code {printed.code}, not {wanted}\n{printed.both}"
                )
            shown = command.shown
            if any(line.strip() for line in shown):
                shown = self._compare(block, shown, printed, line=command.line)
            lines += [*"\n".join(told).splitlines(), *shown]
        if lines != block.text.splitlines():
            self.new[block.line] = lines

    def _compare(
        self, block: Block, shown: list[str], printed: Printed, *, part: bool = False, line: int = 0
    ) -> list[str]:
        """Hold lines of a page against an output; return those that the page should have."""
        timing = block.mark == "timing"
        share = tolerance(block.attributes.get("tolerance", TIMES if timing else ""))
        within = Within(share, last=timing and block.attributes["timing"] == "last")
        texts = [printed.out.splitlines(), printed.both.splitlines()]
        differences = [difference(shown, text, within, part=part) for text in texts]
        if not all(differences):
            return shown
        best = 1 if any(s.startswith(("note: ", "warning: ", "evsim: ", "wrote ")) for s in shown) else 0
        best = best if texts[best] else 1
        self.faults.append(f"line {line or block.line}: it prints otherwise\n{differences[best]}")
        new = rewritten(shown, texts[best], within, part=part)
        if part:
            self.new[block.line] = new
        return new

    def _run(self, text: str, columns: str = "80") -> Printed:
        """Run a command as on a plain terminal of so many columns; ``none`` is a pipe, which has no width."""
        pipe = columns == "none"
        plain = {"NO_COLOR": "1", "TERM": "dumb"}
        with mock.patch.dict(os.environ, plain if pipe else plain | {"COLUMNS": columns}):
            return self._run_it(text, terminal=not pipe)

    def _run_it(self, text: str, *, terminal: bool) -> Printed:
        first = shlex.split(text, comments=True)[:1] if not SHELL.search(text) else []
        if first in (["evsim"], [".venv/bin/evsim"]):
            return _inside(lambda: _evsim(shlex.split(text, comments=True)[1:]), terminal=terminal)
        return self._shell(text)

    def _shell(self, text: str) -> Printed:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        # pip asks each compiler at hand for its version, and some of those make themselves a home then
        with tempfile.TemporaryFile() as both, tempfile.TemporaryDirectory() as home:
            run = subprocess.Popen(
                ["bash", "-c", text], stdout=subprocess.PIPE, stderr=both, cwd=self.folder,
                env=os.environ | {"PATH": path, "HOME": home},
            )  # fmt: skip
            out = run.communicate()[0].decode()
            both.seek(0)
            return Printed(run.returncode, out, out + both.read().decode())

    def _python(self, block: Block) -> Printed:
        if block.mark == "torch":  # PyTorch stays out of this process, where warnings are errors
            before = "\n".join(self.torch)
            self.torch.append(block.text)
            Path(TORCH).write_text(f"{before}\nprint(chr(30))\n{block.text}\n", encoding="utf-8")
            printed = self._shell(f"{sys.executable} {TORCH}")
            if printed.code:
                self.faults.append(f"line {block.line}: the Python block fails\n{printed.both}")
            return Printed(printed.code, *(text.rpartition(f"{chr(30)}\n")[2] for text in (printed.out, printed.both)))
        code = compile("\n" * (block.line - 1) + block.text, "the page", "exec")
        printed = _inside(lambda: exec(code, self.names))  # noqa: S102 - the project's own page
        if printed.code:
            self.faults.append(f"line {block.line}: the Python block fails\n{printed.both}")
        return printed


def _at(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """Return the entry of a list in JSON that a name or a model names."""
    return next(entry for entry in entries if name in (entry.get("name"), entry.get("model")))


def _code(name: str) -> Any:
    """Return a constant of the code: ``evsim.module.NAME``."""
    module, _, constant = name.rpartition(".")
    return getattr(import_module(module), constant)


def _makefile(name: str) -> int:
    """Return the number that a variable of the Makefile has by default."""
    return int(re.search(rf"^{name} \?= (\d+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)[1])


class _Tee(io.StringIO):
    """Keeps what is written, and gives it to another too."""

    def __init__(self, also: io.StringIO, *, terminal: bool = False) -> None:
        super().__init__()
        self.also, self.terminal = also, terminal

    def isatty(self) -> bool:
        """Tell whether this stands for a terminal."""
        return self.terminal

    def write(self, text: str) -> int:
        """Keep a text in both."""
        self.also.write(text)
        return super().write(text)


def _evsim(arguments: list[str]) -> None:
    with mock.patch.object(sys, "argv", ["evsim", *arguments]):
        evsim_main()


def _inside(action: Callable[[], object], *, terminal: bool = False) -> Printed:
    """Do something in this process and keep what it prints."""
    both = io.StringIO()
    out, code = _Tee(both, terminal=terminal), 0
    with redirect_stdout(out), redirect_stderr(_Tee(both)):
        try:
            action()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:  # noqa: BLE001 - whatever a page does wrong is told with the page
            traceback.print_exc()
            code = 1
    return Printed(code, out.getvalue(), both.getvalue())


@contextmanager
def scratch(*, empty: bool = False) -> Iterator[Path]:
    """Make the folder of a page the current one: the demo's files unless it is empty, and the tests of the checkout."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not empty:
            demo.save(folder / "demo-out")
            for own, file in COPIES.items():
                shutil.copy(folder / "demo-out" / file, folder / own)

        (folder / "tests").symlink_to(ROOT / "tests")
        os.chdir(folder)
        try:
            with mock.patch.object(sys, "path", [name, *sys.path]):  # a page's own modules, as Python finds them there
                yield folder
        finally:
            os.chdir(before)


def followed(page: str) -> bool:
    """Tell whether readers follow a page from its first line: what it needs, it makes."""
    return page.startswith(FOLLOWED)


def run(text: str, *, slow: bool = False, empty: bool = False) -> Session:
    """Run a page.

    Parameters
    ----------
    text
        The page.
    slow
        Whether blocks run that are left to the nightly.
    empty
        Whether its folder is that of a reader who begins there.
    """
    with scratch(empty=empty) as folder:
        session = Session(folder, slow=slow)
        for block in blocks(text):
            session.take(block)
        for check in checks(text):
            if slow or not check.nightly:
                session.hold(check)
        return session


def written(text: str, session: Session) -> str:
    """Return a page with what was printed in place of what it showed.

    Parameters
    ----------
    text
        The page.
    session
        Its run.
    """
    lines = text.splitlines()
    for block in reversed(blocks(text)):
        if block.line in session.new:
            new = [f"{' ' * block.indent}{line}".rstrip() for line in session.new[block.line]]
            lines[block.line - 1 : block.line - 1 + len(block.text.splitlines())] = new
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the pages that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put what is printed into the page")
    parser.add_argument("--all", action="store_true", help="run what is left to the nightly too")
    parser.add_argument("pages", nargs="+", type=Path)
    options = parser.parse_args()
    failed = 0
    for page in options.pages:
        text = page.read_text(encoding="utf-8")
        session = run(text, slow=options.all, empty=followed(os.path.relpath(page, ROOT)))
        for fault in session.faults:
            print(f"{page}: {fault}\n")
        print(f"{page}: {len(session.ran)} blocks ran, {len(session.faults)} differ")
        failed += bool(session.faults)
        if options.write and session.new:
            page.write_text(written(text, session), encoding="utf-8")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

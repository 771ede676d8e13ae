"""The house itself: its rules can fail, its documents are true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from commands import evsim
from house_rules import faults

from evsim.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [*sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]

SECTION = "Parameters\n    ----------\n"
BROKEN = {
    "print('x')": "does not print",
    "try:\n    pass\nexcept Exception:\n    pass": "catch named exceptions",
    "try:\n    pass\nexcept (ValueError, BaseException):\n    pass": "catch named exceptions",
    "try:\n    pass\nexcept:\n    pass": "catch named exceptions",
    "raise E(f'{x} is bad; give it by --heads')": "in backticks",
    "def f():\n" + "    x = 1\n" * 70: "71 lines",
    "@njit\ndef f(): pass": "compile kernels by `kernel`",
    "@numba.jit(cache=True)\ndef f(): pass": "compile kernels by `kernel`",
    f'def f(a, b):\n    """Do.\n\n    {SECTION}    b, a\n        Both.\n    """': "takes a, b",
    f'class F:\n    """It.\n\n    {SECTION}    a\n        One.\n    """\n\n    def __init__(self): pass': "documents a",
}


@pytest.mark.parametrize("source", BROKEN)
def test_house_rules_find_what_they_forbid(source, tmp_path):
    """Each rule catches the code that breaks it, and the house itself keeps them all."""
    (tmp_path / "evsim").mkdir()
    (tmp_path / "evsim" / "bad.py").write_text(source)
    assert [fault for fault in faults(tmp_path) if BROKEN[source] in fault]
    assert list(faults(ROOT)) == []


def test_readme_names_every_command():
    """Each command has its place in README, and README names no other."""
    named = set(re.findall(r"`evsim (\w+)(?: \w+)?`", README))
    assert named == {command.name for command in COMMANDS} | {"counts"}


def test_readme_shows_what_the_demo_prints(tmp_path, monkeypatch):
    """The output in README is what the two commands print, line by line; rounding may differ between machines."""
    monkeypatch.chdir(tmp_path)
    assert evsim("demo", "--save", ".").code == 0
    printed = evsim("run", "model.h5", "--input", "dvs_sample.aedat").out.splitlines()
    shown = [line for line in README.split("```\n")[1].splitlines() if line not in ("", "...")]
    assert len(shown) > 10
    assert [line for line in shown if not any(alike(line, other) for other in printed)] == []


def alike(a, b):
    """Whether two lines have the same words, and numbers that differ by at most 2 %."""
    words = [[word.strip("(),%") for word in line.split()] for line in (a, b)]
    pairs = list(zip(*words, strict=False))
    return len(words[0]) == len(words[1]) and all(x == y or close(x, y) for x, y in pairs)


def close(x, y):
    """Whether two words are numbers that are nearly equal."""
    try:
        return float(x.replace(",", "")) == pytest.approx(float(y.replace(",", "")), rel=0.02, abs=0.0)
    except ValueError:
        return False


@pytest.mark.parametrize("path", [d for d in DOCUMENTS if "```python" in d.read_text()], ids=lambda path: path.name)
def test_python_in_documents_runs(path, tmp_path, monkeypatch, capsys):
    """Each block of Python in a document runs beside the saved demo."""
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    assert evsim("demo", "--save", ".").code == 0
    for block in blocks:
        exec(compile(block, path.name, "exec"), {})  # noqa: S102 - the project's own documents
        assert capsys.readouterr().out


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_paths_in_documents_lead_somewhere(path):
    """Every link and every path of this repository named in a document exists."""
    text = path.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:evsim|converters|cli|tests|docs)/[\w./-]*\w)`", text)
    missing = [link for link in links if not (path.parent / link).exists()]
    assert missing + [name for name in paths if not (ROOT / name).exists()] == []

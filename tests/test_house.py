"""The house itself: its rules can fail, its documents are true."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import evsim
from house_rules import faults

from evsim.cli.main import COMMANDS
from evsim.events import FORMATS

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
    "raise E(f'{x} is bad; docs/json.md tells the form')": "name it by evsim.manual",
    'def f():\n    """Do it; see docs/json.md."""': "name it by evsim.manual",
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
    monkeypatch.setenv("COLUMNS", "80")
    assert evsim("demo", "--save", ".").code == 0
    printed = evsim("run", "model.h5", "--input", "dvs_sample.aedat").out.splitlines()
    block = next(part for part in README.split("```console\n") if part.startswith("$ .venv/bin/evsim run"))
    shown = [line for line in block.split("```")[0].splitlines()[1:] if line not in ("", "...")]
    assert len(shown) > 10
    assert [line for line in shown if not any(alike(line, other) for other in printed)] == []


def test_commands_in_readme_run(tmp_path, monkeypatch):
    """Each line of a block of commands in README runs as it stands, on a checkpoint and a recording of one's own."""
    lines = [line.split("#")[0].split() for line in re.findall(r"^\$ (\S.*)$", README, re.MULTILINE)]
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {words[1] for words in lines if words[0] == "make"} <= set(targets)
    assert ["pip", "install", "."] in lines
    commands = [words[1:] for words in lines if words[0] == "evsim"]
    demos = [words[1:] for words in lines if words[0] == ".venv/bin/evsim"]
    assert demos
    assert len(commands) + len(demos) + 3 == len(lines)
    monkeypatch.chdir(tmp_path)
    assert evsim("demo", "--save", "demo-out").code == 0
    copy_inputs(tmp_path)
    for words in commands:
        assert evsim(*words).code == 0, words
    for words in demos:
        assert evsim(*words).code == 0, words


def copy_inputs(folder):
    """Lay a DVS checkpoint and a recording that fits it into a folder, under README's names."""
    golden = ROOT / "tests" / "data" / "golden" / "spikingformer-dvs"
    shutil.copy(golden / "checkpoint.pth.tar", folder)
    rows = "".join(f"{t},{t % 48},{t // 48 % 48},{t % 2}\n" for t in range(4000))
    (folder / "events.csv").write_text(f"t,x,y,p\n{rows}")
    assert evsim("events", "events.csv", "--sensor", "48x48", "--to", "events.npz").code == 0
    shutil.copy(folder / "events.npz", folder / "recording.aedat")  # a format is told by its content


@pytest.mark.parametrize("name", [".venv/bin/evsim", "a folder/evsim", "evsim"])
def test_the_hint_of_the_demo_runs_as_it_is_printed(name, tmp_path):
    """Evsim is named as it was called, by a path with spaces too; through PATH by its name alone."""
    program = tmp_path / name if "/" in name else tmp_path / "bin" / name
    program.parent.mkdir(parents=True)
    program.write_text(f"#!{sys.executable}\nfrom evsim.cli.main import main\nmain()\n")
    program.chmod(0o755)
    paths = {**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}

    def shell(line):
        return subprocess.run(
            ["/bin/sh", "-c", line], cwd=tmp_path, env=paths, capture_output=True, text=True, check=False
        )

    saved = shell(f"{shlex.quote(name)} demo --save 'demo out'")
    assert saved.returncode == 0, saved
    hint = saved.stdout.strip().split("now try: ")[1]
    assert shlex.split(hint)[0] == name
    ran = shell(hint)
    assert ran.returncode == 0, ran
    assert "prediction: class 3 (3)" in ran.stdout


def test_readme_names_the_formats_and_where_they_are_explained():
    """Every format of recordings has its word in README, which links every document."""
    inputs = README.split("Inputs: ")[1].split("\n\n")[0]
    words = {"aedat2": "2.0", "aedat3": "3.1", "aedat4": "and 4", "aedat1": "AEDAT 1.0", "mat": "MATLAB"}
    words |= {"es": "Event Stream", "evt": "EVT2", "dat": "DAT", "text": "CSV", "bin": "N-MNIST"}
    words |= {"npz": "`.npz`", "npy": "`.npy`", "hdf5": "HDF5"}
    assert [reader.NAME for reader in FORMATS if words[reader.NAME] not in inputs] == []
    frame = ("index.md", "contributing.md")  # of the site: its first page, and CONTRIBUTING.md once more
    documents = [path.name for path in DOCUMENTS if path.parent.name == "docs" and path.name not in frame]
    assert [name for name in documents if f"(docs/{name})" not in README] == []


def alike(a, b):
    """Whether two lines have the same words, and numbers that differ by at most 2 %."""
    words = [[word.strip("(),%") for word in line.split()] for line in (a, b)]
    pairs = list(zip(*words, strict=False))
    return len(words[0]) == len(words[1]) and all(x == y or close(x, y) for x, y in pairs)


def close(x, y):
    """Whether two words are numbers that are nearly equal, or bars of nearly one length."""
    if set(x + y) <= set("█▏▎▍▌▋▊▉"):
        return abs(len(x) - len(y)) <= 1
    try:
        return float(x.replace(",", "")) == pytest.approx(float(y.replace(",", "")), rel=0.02, abs=0.0)
    except ValueError:
        return False


@pytest.mark.parametrize("path", [d for d in DOCUMENTS if "```python" in d.read_text()], ids=lambda path: path.name)
def test_python_in_documents_runs(path, tmp_path, monkeypatch, capsys):
    """Each block of Python in a document runs beside the saved demo."""
    if path.name == "tracing.md":  # tests/reach/test_program.py runs it in an environment that has them
        pytest.importorskip("torch")
        pytest.importorskip("snntorch", exc_type=ImportError)
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    if any("import torch" in block for block in blocks):
        pytest.importorskip("torch", reason="PyTorch is not installed: make test-reach-short runs it")
    monkeypatch.chdir(tmp_path)
    for folder in (".", "demo-out"):
        assert evsim("demo", "--save", folder).code == 0
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


def test_nobody_is_told_to_install_evsim_by_name():
    """The project publishes on no index: who installs evsim by its name may get what a stranger put there."""
    folders = (ROOT / name for name in ("evsim", "converters", "cli", "docs"))
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md")]
    told = [path for path in (*files, ROOT / "README.md") if "install 'evsim" in path.read_text(encoding="utf-8")]
    assert not told

"""docs/explain.md shows what its commands print, line by line; ``...`` leaves lines out."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from charted import DRAWN, NO_EXTRA
from commands import evsim

from evsim import demo

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "explain.md").read_text("utf-8")
SHOWN = re.findall(r"^    (evsim [^\n]*)$|^```\n(.*?)\n```$", TEXT, re.MULTILINE | re.DOTALL)


def blocks():
    """Return each command with the blocks that show what it prints."""
    told = {}
    for line, block in SHOWN:
        if line:
            told[line] = []
        else:
            told[next(reversed(told))].append(block)
    return told


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder in which the demo was saved."""
    home = tmp_path_factory.mktemp("docs")
    demo.save(home / "demo-out")
    return home


@pytest.mark.parametrize("line", blocks())
def test_a_command_prints_what_the_page_shows(line, folder, monkeypatch):
    """Each run of lines of a block stands in the output as it is, one after the other."""
    if not DRAWN and ("--html" in line or "evsim plot" in line):
        pytest.skip(NO_EXTRA)
    monkeypatch.chdir(folder)
    outcome = evsim(*shlex.split(line)[1:])
    assert outcome.code == 0, outcome.err
    assert blocks()[line]
    for block in blocks()[line]:
        rest = outcome.out
        for run in block.split("...\n"):
            assert run.strip("\n")
            before, found, rest = rest.partition(run.rstrip("\n"))
            assert found, f"not printed behind {before[-200:]!r}: {run}"

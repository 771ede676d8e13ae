"""docs/families.md holds what its commands print: the short ones always, all with EVSIM_DOCS=all."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from commands import evsim

PAGE = Path(__file__).parents[1] / "docs" / "families.md"
BLOCKS = re.findall(r"^```console\n\$ evsim (.*)\n([\s\S]*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
LONG = re.compile(r"--ways|--run.*(imagenet|sdt-)|(imagenet|sdt-).*--run")
"""Commands that run large models: minutes each."""


def test_the_page_holds_commands():
    """Tables without and with runs, and the ways, stand in the page."""
    commands = [command for command, _ in BLOCKS]
    assert any("--run" in command for command in commands)
    assert any("--ways" in command for command in commands)
    assert any(not LONG.search(command) for command in commands)


@pytest.mark.parametrize(("command", "output"), BLOCKS, ids=[command[:60] for command, _ in BLOCKS])
def test_the_page_holds_what_is_printed(command, output):
    """What stands behind a command in the page is what it prints."""
    if LONG.search(command) and os.environ.get("EVSIM_DOCS") != "all":
        pytest.skip("runs large models, minutes each; set EVSIM_DOCS=all")
    outcome = evsim(*shlex.split(command))
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip() == output.rstrip()

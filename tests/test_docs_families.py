"""docs/families.md holds what its commands print: the short ones always, all with EVSIM_DOCS=all."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from commands import evsim

from evsim.audit.ways import WAYS

PAGE = Path(__file__).parents[1] / "docs" / "families.md"
BLOCKS = re.findall(r"^```console\n\$ evsim (.*)\n([\s\S]*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
LONG = re.compile(r"--ways|--run")
"""Commands that run models: half a minute each, and more."""


def test_the_page_holds_commands():
    """Tables of models that ran, and the ways, stand in the page, and no command is without output."""
    commands = [command for command, _ in BLOCKS]
    assert any("--run" in command for command in commands)
    assert any("--ways" in command for command in commands)
    assert all(output.strip() for _, output in BLOCKS)


@pytest.mark.parametrize("command", [command for command, _ in BLOCKS if "--run" in command], ids=str)
def test_the_page_holds_the_sizes_that_are_printed(command):
    """Parameters, dense operations and published figures of every model are those of the table without a run."""
    outcome = evsim(*shlex.split(command.replace(" --run", "")))
    assert outcome.code == 0, outcome.err
    sizes = outcome.out.split("\n\n")[:2]
    assert len(sizes[1].splitlines()) > 3
    assert dict(BLOCKS)[command].startswith("\n\n".join(sizes))


def test_the_page_holds_the_models_of_each_way():
    """The ways are those that the command runs, in their order; energies add up as the page says they do."""
    output = dict(BLOCKS)["families --ways"]
    models = [f"{case.what}: {case.preset}" for way in WAYS for case in way.cases]
    named = [line for line in output.splitlines() if any(line.startswith(model) for model in models)]
    assert [line.partition(" connect=")[0].partition(" fold=")[0] for line in named] == models
    numbers = [line.split() for line in output.splitlines() if re.fullmatch(r"[ \d.]+", line) and line.strip()]
    assert len(numbers) == len(models)
    for sops, first, inside, exact, *_ in (map(float, row) for row in numbers):
        assert exact == pytest.approx(0.9 * sops + 4.6 * (first + inside), abs=0.01)


@pytest.mark.parametrize(("command", "output"), BLOCKS, ids=[command[:60] for command, _ in BLOCKS])
def test_the_page_holds_what_is_printed(command, output):
    """What stands behind a command in the page is what it prints."""
    if LONG.search(command) and os.environ.get("EVSIM_DOCS") != "all":
        pytest.skip("runs models, minutes in all; set EVSIM_DOCS=all")
    outcome = evsim(*shlex.split(command))
    assert outcome.code == 0, outcome.err
    assert outcome.out.rstrip() == output.rstrip()

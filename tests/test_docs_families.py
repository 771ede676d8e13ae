"""What of docs/families.md can be told without its long runs; tests/test_docs.py runs them with EVSIM_DOCS=all."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from commands import evsim

from evsim.audit.ways import WAYS

PAGE = Path(__file__).parents[1] / "docs" / "families.md"
BLOCKS = re.findall(
    r"^```console[^\n]*\n\$ evsim (.*)\n([\s\S]*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE
)


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
    sizes = outcome.out.split("\n\n")[0]
    assert len(sizes.splitlines()) > 3
    assert dict(BLOCKS)[command].startswith(sizes)


def test_the_page_holds_the_models_of_each_way():
    """The ways are those that the command runs, in their order; energies add up as the page says they do."""
    output = dict(BLOCKS)["families --ways"]
    models = [(case.what, case.preset) for way in WAYS for case in way.cases]
    prefixes = {"": 1e-9, "k": 1e-6, "M": 1e-3, "G": 1.0}
    numbers, scales = [], []
    for line in output.splitlines():
        cells = re.split(r"\s{2,}", line.strip())
        if cells[0] == "what":
            scales = [prefixes[re.search(r"\((\w*)\)|$", head)[1] or ""] for head in cells[2:5]]
        elif any(cells[0] == what and cells[1].split()[0] == preset for what, preset in models if len(cells) > 1):
            values = [0.0 if "<" in cell else float(cell) for cell in cells[2:6]]
            numbers.append(
                ((cells[0], cells[1].split()[0]), [a * b for a, b in zip(values, [*scales, 1.0], strict=True)])
            )
    assert [model for model, _ in numbers] == models
    for _, (sops, first, inside, exact) in numbers:
        assert exact == pytest.approx(0.9 * sops + 4.6 * (first + inside), rel=0.02, abs=0.01)

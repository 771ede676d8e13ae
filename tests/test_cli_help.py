"""Help in panels, examples that parse, shared options, and no option taken twice."""

from __future__ import annotations

import shlex
from dataclasses import fields
from inspect import signature
from typing import get_type_hints

import pytest
import typer
from commands import evsim, refused

from evsim.cli import options, reading
from evsim.cli.charges import merge
from evsim.cli.command import command
from evsim.cli.main import COMMANDS, app
from evsim.cli.shared import PANELS
from evsim.events import ReadOptions
from evsim.inputspec import INTERPOLATIONS

GROUP = typer.main.get_command(app)
LEAVES = {command.name: GROUP.commands[command.name] for command in COMMANDS}
LEAVES["counts merge"] = GROUP.commands["counts"].commands["merge"]
SINGLE = [
    (name, parameter.opts[0])
    for name, leaf in LEAVES.items()
    for parameter in leaf.params
    if parameter.param_type_name == "option" and not parameter.is_flag and not parameter.multiple
]


def help_of(name, monkeypatch, columns=80):
    """Return the help of a command as a terminal of so many columns shows it."""
    monkeypatch.setenv("COLUMNS", str(columns))
    outcome = evsim(*name.split(), "--help")
    assert (outcome.code, outcome.err) == (0, "")
    return outcome.out


@pytest.mark.parametrize("name", LEAVES)
def test_help_stands_in_panels_of_80_columns(name, monkeypatch):
    """Every argument and visible option is listed once, behind its panel's heading; no line is longer than 80."""
    text = help_of(name, monkeypatch)
    assert max(map(len, text.splitlines())) <= 80
    sections = dict(part.partition(":\n")[::2] for part in text.split("\n\n") if not part.startswith(" "))
    for parameter in LEAVES[name].params:
        rows = [
            (panel, line)
            for panel, body in sections.items()
            if panel != "Examples"
            for line in body.splitlines()
            if line.startswith("  ") and parameter.opts[0] in line[:24].split()
        ]
        argument = parameter.param_type_name == "argument"
        if argument:
            several = "" if parameter.required or parameter.nargs == 1 else "..."
            typed = parameter.metavar if parameter.required else f"[{parameter.metavar}{several}]"
            assert f"\n  {typed}" in f"\n{sections[parameter.rich_help_panel]}"
        elif parameter.hidden:
            assert not rows
        else:
            assert [panel for panel, _ in rows] == [parameter.rich_help_panel]
    order = [panel for panel in sections if panel in PANELS]
    assert order == [panel for panel in PANELS if panel in order]
    assert list(sections)[-2:] == ["Options", "Examples"]


def test_help_fits_a_narrow_terminal(monkeypatch):
    """In 60 columns the text wraps; examples alone, which are copied, do not."""
    text = help_of("run", monkeypatch, 60).partition("Examples:")[0]
    assert max(map(len, text.splitlines())) <= 60


@pytest.mark.parametrize("name", LEAVES)
def test_examples_parse(name):
    """Each command has an example, and each example is a command line that evsim can parse."""
    examples = LEAVES[name].epilog.splitlines()
    assert examples
    for example in examples:
        words = shlex.split(example)
        assert words[: 1 + len(name.split())] == ["evsim", *name.split()]
        LEAVES[name].make_context(name, words[1 + len(name.split()) :])


@pytest.mark.parametrize(("name", "option"), SINGLE)
def test_an_option_given_twice_is_refused(name, option):
    """Every option that takes one value is refused the second time, in either way of typing it, before any work."""
    text = refused(*name.split(), option, "1", option, "1")
    assert text == f"evsim: {option} is given twice but takes one value; give it once\n"
    assert "is given 3 times" in refused(*name.split(), f"{option}=1", option, "1", f"{option}=2")


def test_the_short_form_is_the_same_option():
    """-o and --out are one."""
    assert "--out is given twice" in refused("synthesize", "p", "-o", "a.h5", "--out", "b.h5")


def test_flags_and_lists_may_be_repeated():
    """A flag says no more the second time, and --set takes many; both reach the command."""
    text = refused("energy", "no.h5", "--traffic", "--traffic", "--set", "sram=fit", "--set", "nonspike=binary-only")
    assert "no.h5" in text
    assert "twice" not in text


def test_reading_options_are_those_of_the_library():
    """Each field of ReadOptions is an option of every command that reads for a network, and reaches it."""
    names = {field.name.removesuffix("_us") for field in fields(ReadOptions)}
    own = {parameter.name for parameter in (*reading.RECORDING, *reading.FRAMES)}
    assert own == names
    for name in ("run", "check", "compare"):
        assert own <= {parameter.name for parameter in LEAVES[name].params}
    events = {parameter.name for parameter in LEAVES["events"].params}
    assert {parameter.name for parameter in reading.RECORDING} <= events
    assert not {"split", "duration", "fit"} & events
    options = reading.read_options(sensor="3x4", split="duration", duration="2ms", allow_truncated=True)
    assert options == ReadOptions(sensor=(3, 4), split="duration", duration_us=2000, allow_truncated=True)


def test_events_speaks_of_no_model(monkeypatch):
    """`evsim events` has no model: its default orientation is SpikingJelly's, run's is the model's."""
    assert "the model's" not in help_of("events", monkeypatch)
    assert "[default: spikingjelly]" in help_of("events", monkeypatch)
    assert "[default: the model's]" in help_of("run", monkeypatch)


def test_a_command_gets_what_it_shares():
    """A keyword-only parameter without a default is replaced by shared options, and gets the value they make."""
    got = []

    @command("evsim try")
    def attempt(name: str, seed: int = 3, *, threads: int | None, recording: object) -> None:
        got.append((name, seed, threads, recording))

    parameters = signature(attempt.function).parameters
    assert list(parameters)[:3] == ["name", "seed", "threads"]
    assert set(parameters) == set(get_type_hints(attempt.function))
    assert {parameter.name for parameter in reading.RECORDING} < set(parameters)
    values = {name: parameter.default for name, parameter in parameters.items() if name != "name"}
    attempt.function(name="a", **values | {"start": "5ev"})
    assert got == [("a", 3, None, reading.read_options(start="5ev"))]
    with pytest.raises(KeyError):

        @command()
        def other(*, nothing: int) -> None: ...


def test_help_lists_what_registries_know(monkeypatch):
    """Allowed values of `--family` and `--interpolation` are the library's own lists, also of other packages."""
    known = ("spikingformer", "spikformer", "stripnet")
    monkeypatch.setattr("evsim.converters.registry.known_families", lambda: known)
    text = " ".join(help_of("convert", monkeypatch).split())
    assert "spikingformer, spikformer or stripnet, where the keys cannot tell" in text
    assert f"{', '.join(INTERPOLATIONS[:-1])} or {INTERPOLATIONS[-1]}" in text


def test_every_shared_option_is_used():
    """No shared option waits for a command."""
    used = {parameter.name for leaf in LEAVES.values() for parameter in leaf.params}
    for name, shared in options.SHARED.items():
        assert {parameter.name for parameter in shared.parameters} <= used, name
    assert merge.panel is None

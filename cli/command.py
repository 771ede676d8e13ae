"""What every command has: the options that it shares, help in groups with examples, no option taken twice."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from evsim.cli import output, words
from evsim.cli.options import SHARED
from evsim.cli.shared import OUTPUT, PANELS, filled
from evsim.errors import OptionError

OPTIONS = "Options"
"""Heading of the options that belong to no panel."""

PLACES = ("OUT", "GRAPH", "FILE", "FOLDER")
"""What stands for the value of an option or argument that says where something is written."""

TERM = 22
"""Columns that an option and its value take in help; a longer one has a line of its own."""

TYPES = {"int": "N", "float": "X"}
"""What stands for the value of an option that names nothing better."""


@dataclass(frozen=True)
class Command:
    """A command: what it does, as Typer takes it, and examples of it.

    Attributes
    ----------
    name
        As it is typed.
    function
        With every shared option in its signature.
    examples
        Lines to type.
    panel
        Heading under which ``evsim --help`` lists it.
    """

    name: str
    function: Callable[..., None]
    examples: tuple[str, ...]
    panel: str | None = None

    def add_to(self, app: typer.Typer) -> None:
        """Make it a command of an app."""
        epilog = "\n".join(self.examples)
        app.command(self.name, cls=PlainCommand, epilog=epilog, rich_help_panel=self.panel)(self.function)


def command(*examples: str, panel: str | None = None) -> Callable[[Callable[..., None]], Command]:
    """Return a decorator that makes a function a command.

    A keyword-only parameter that has no default is shared: it is replaced by the options that `SHARED` has under its
    name, and gets the value that these make.
    """

    def decorate(function: Callable[..., None]) -> Command:
        signature = inspect.signature(function)
        names = [
            name
            for name, parameter in signature.parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty
        ]
        parameters = [parameter for name, parameter in signature.parameters.items() if name not in names]
        for name in names:
            parameters += SHARED[name].parameters

        outputs = [parameter.name for parameter in parameters if _is_output(parameter)]

        @functools.wraps(function)
        def typed(**values: Any) -> None:
            places = [values[name] for name in outputs]
            output.begin()
            output.check_stream(places)
            for name in names:
                texts = {parameter.name: values.pop(parameter.name) for parameter in SHARED[name].parameters}
                values[name] = SHARED[name].value(**texts)
            function(**values)
            output.wrote(places)

        typed.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        typed.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return Command(function.__name__, typed, examples, panel)

    return decorate


def _is_output(parameter: inspect.Parameter) -> bool:
    """Whether a parameter says where something is written."""
    declared = getattr(parameter.annotation, "__metadata__", (None,))[0]
    return getattr(declared, "rich_help_panel", None) == OUTPUT and getattr(declared, "metavar", None) in PLACES


class PlainCommand(TyperCommand):
    """A command whose help is plain text in groups: rich need not be loaded, pipes and screen readers take it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as Typer does, but refuse an option that is given twice and takes one value."""
        words.speak_for(self.params)
        order: list[Any] = self.make_parser(ctx).parse_args(args=list(args))[2]
        for parameter, times in Counter(order).items():
            option = parameter.param_type_name == "option"
            if times > 1 and option and not (parameter.is_flag or parameter.multiple):
                often = "twice" if times == 2 else f"{times} times"
                raise OptionError(f"{parameter.opts[0]} is given {often} but takes one value; give it once")
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return arguments, required options and a word for the others, as they are typed."""
        visible = _visible(self, ctx)
        pieces = [_argument(p) for p in visible if p.param_type_name == "argument"]
        required = [_option(p) for p in visible if p.param_type_name == "option" and p.required]
        return [*pieces, *required, "[OPTIONS]"]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, a section for each panel."""
        groups: dict[str, list[tuple[str, str]]] = {panel: [] for panel in PANELS}
        for parameter in _visible(self, ctx):
            panel = getattr(parameter, "rich_help_panel", None) or OPTIONS
            groups.setdefault(panel, []).append(_row(parameter))
        for panel, rows in sorted(groups.items(), key=lambda group: group[0] == OPTIONS):
            if rows:
                with formatter.section(panel):
                    formatter.write_dl([(f"{term:<{TERM}}", text) for term, text in rows], col_max=TERM)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as Typer calls it
        """Write the examples, a line each."""
        if self.epilog:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.epilog.splitlines()))


class PlainGroup(TyperGroup):
    """The commands of evsim, or of one of its groups, in sections."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each command with the first sentence of its help, a section for each panel."""
        groups: dict[str, list[tuple[str, str]]] = {}
        names = self.list_commands(ctx)
        width = max(map(len, names))
        for name in names:
            leaf = self.get_command(ctx, name)
            assert leaf is not None
            panel = getattr(leaf, "rich_help_panel", None) or "Commands"
            summary = leaf.get_short_help_str(formatter.width - 6 - width)
            groups.setdefault(panel, []).append((f"{name:<{width}}", summary))
        for panel, rows in groups.items():
            with formatter.section(panel):
                formatter.write_dl(rows)


def _visible(shown: TyperCommand, ctx: Any) -> list[Any]:
    """Return the parameters that help shows; Typer's vendored types do not tell which have `hidden`."""
    parameters: list[Any] = shown.get_params(ctx)
    return [parameter for parameter in parameters if not parameter.hidden]


def _row(parameter: Any) -> tuple[str, str]:
    """Return how a parameter is typed, and what it means with its default."""
    text = filled(parameter.help or "")
    if parameter.param_type_name == "argument":
        return _argument(parameter), text
    if parameter.default not in (None, False, (), []) and not parameter.required and not callable(parameter.default):
        text += f" [default: {parameter.default}]"
    return _option(parameter), f"{text} [required]" if parameter.required else text


def _argument(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    name = name if parameter.nargs == 1 else f"{name}..."
    return name if parameter.required else f"[{name}]"


def _option(parameter: Any) -> str:
    typed = ", ".join(sorted(parameter.opts, key=len))
    if parameter.is_flag:
        return typed
    kind = getattr(parameter.type_descriptor.annotation, "__name__", "")
    return f"{typed} {parameter.metavar or TYPES.get(kind, 'TEXT')}"

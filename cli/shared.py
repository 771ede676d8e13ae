"""How an option is declared that several commands share, and the panels of help that options stand in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from inspect import Parameter
from typing import Annotated, Any

import typer

INPUT = "Input"
MODEL = "Facts of the model"
READING = "Reading of recordings"
PRICES = "Energy"
ENGINE = "Engine"
OUTPUT = "Output"
GRAPH = "Facts of a NIR graph"
SHARING = "also additions under shared sums, by product sparsity, on nonzero weights"
"""The option of run and eval."""

PANELS = (INPUT, MODEL, GRAPH, READING, OUTPUT, PRICES, ENGINE)
"""Headings of a command's help, in their order; a command's own come behind them."""

THREADS = "threads that share each layer's work [default: all cores]"


def _families() -> tuple[str, ...]:
    from evsim.converters.registry import known_families

    return known_families()


def _interpolations() -> tuple[str, ...]:
    from evsim.inputspec import INTERPOLATIONS

    return INTERPOLATIONS


LISTS: dict[str, Callable[[], tuple[str, ...]]] = {"{families}": _families, "{interpolations}": _interpolations}
"""Allowed values that a registry of the library knows, by what stands for them in a text of help."""


def filled(text: str) -> str:
    """Return a text of help with allowed values in their places; only help that is shown pays for loading them."""
    for place, values in LISTS.items():
        if place in text:
            *first, last = values()
            text = text.replace(place, f"{', '.join(first)} or {last}")
    return text


@dataclass(frozen=True)
class Shared:
    """What stands behind one parameter of a command.

    Attributes
    ----------
    parameters
        The options that are typed for it.
    value
        Makes the parameter's value of theirs; takes them by name.
    """

    parameters: tuple[Parameter, ...]
    value: Callable[..., Any]


def option(text: str, panel: str, *typed: str, metavar: str | None = None) -> Any:
    """Return the declaration of an option, for ``Annotated``.

    Parameters
    ----------
    text, panel
        Help, with the allowed values or a place of `LISTS` for them, and the panel that it stands in.
    typed
        How it is typed, if not as ``--name``; a flag needs it.
    metavar
        What stands for its value in help.
    """
    return typer.Option(*typed, help=text, rich_help_panel=panel, metavar=metavar)


def argument(metavar: str, text: str, panel: str) -> Any:
    """Return the declaration of an argument, for ``Annotated``."""
    return typer.Argument(metavar=metavar, help=text, rich_help_panel=panel)


def shared(name: str, kind: Any, declaration: Any, default: Any = None) -> Parameter:
    """Return an option as a parameter of a signature: its name, type as Typer knows it, and declaration."""
    return Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, declaration])


def single(parameter: Parameter) -> Shared:
    """Return one option that is its own value."""
    return Shared((parameter,), lambda **texts: texts[parameter.name])

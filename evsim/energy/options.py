"""What counts and prices leave open: options that each energy method declares as a dataclass in its own file.

A method's dataclass names its options, gives them defaults and checks them; `checked` does so for what the annotations
say. `Options` is what a person gives: values by name, before it is known which methods they meet.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, get_args

from evsim.errors import OptionError
from evsim.workload import RowKind

Value = str | float
"""An option's value: one of several words, or a number."""

KINDS: tuple[RowKind, ...] = get_args(RowKind)


@dataclass(frozen=True, init=False)
class Options:
    """Options of energy methods by name, as `evsim.energy.METHODS` declare them.

    Parameters
    ----------
    leave_out
        Kinds of rows that are not charged: conv, linear, attention, lif; one of them alone, or several. Every method
        takes it.
    values
        Everything else, such as ``sram="fit"``; None is as good as not given.

    Raises
    ------
    OptionError
        If there is no such kind of rows; other names and values are refused where they are used, by `charge`.
    """

    leave_out: tuple[str, ...]
    values: Mapping[str, Value]

    def __init__(self, leave_out: str | Sequence[str] = (), **values: Value | None) -> None:
        kinds = (leave_out,) if isinstance(leave_out, str) else tuple(leave_out)
        for kind in kinds:
            if kind not in KINDS:
                raise OptionError(f"`leave_out` takes {', '.join(KINDS)}; got {kind}")
        object.__setattr__(self, "leave_out", kinds)
        object.__setattr__(self, "values", {key: value for key, value in values.items() if value is not None})

    def changed(self, **values: Value | None) -> Options:
        """Return the same options with some given anew; None takes one back."""
        return Options(self.leave_out, **{**self.values, **values})

    def only(self, declared: type) -> Options:
        """Return those options alone that a method's dataclass declares."""
        names = option_names(declared)
        return Options(self.leave_out, **{key: value for key, value in self.values.items() if key in names})


@dataclass(frozen=True)
class NoOptions:
    """A method that leaves nothing open."""


def checked(options: object) -> None:
    """Refuse values of a method's options that their annotations exclude: other words, or no numbers from 0 up.

    Raises
    ------
    OptionError
        If there is one; the message names the option.
    """
    for name in option_names(type(options)):
        value, words = getattr(options, name), choices(type(options), name)
        if words and value not in words:
            raise OptionError(f"{name} must be {', '.join(words)}; got {value}")
        if not words and value is not None and (isinstance(value, str) or not 0 <= value < float("inf")):
            raise OptionError(f"{name} must be a number, not negative, got {value}")


def option_names(declared: type) -> tuple[str, ...]:
    """Return the names of a method's options."""
    return tuple(f.name for f in fields(declared))


def choices(declared: type, name: str) -> tuple[str, ...]:
    """Return the words that an option takes; none for one that takes a number."""
    hint = typing.get_type_hints(declared)[name]
    return get_args(hint) if typing.get_origin(hint) is Literal else ()

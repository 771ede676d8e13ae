"""JSON from strangers: parsed within bounds, and made into dataclasses whose every field is of its declared type."""

from __future__ import annotations

import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from evsim.errors import printable as printable  # noqa: PLC0414 - offered here too, to those who check texts of files

T = TypeVar("T")

LARGEST = 2**63 - 1
"""Whole numbers go into int64."""

LONGEST_NAME = 1024
"""Letters of a name."""


class SchemaError(ValueError):
    """A text is no JSON of the wanted form; the message says where, and what it holds."""


def parsed(text: str | bytes) -> Any:
    """Return what JSON says.

    Raises
    ------
    SchemaError
        If it is no JSON: NaN and Infinity, which Python alone takes, numbers without end, lists without bottom.
    """

    def refuse(name: str) -> None:
        raise SchemaError(f"{name} is no number that JSON knows")

    try:
        return json.loads(text, parse_constant=refuse)
    except SchemaError:
        raise
    except RecursionError:
        raise SchemaError("JSON is nested without end") from None
    except ValueError as error:
        raise SchemaError(f"no JSON: {error}") from error


def build(kind: type[T], values: object, least: int | None = None) -> T:
    """Make a dataclass from a JSON object; parameters and errors as `checked`, and a missing field is one too."""
    taken = checked(kind, values, least)
    try:
        return kind(**taken)
    except TypeError as error:
        raise SchemaError(f"{kind.__name__} lacks a field: {error}") from error


def checked(kind: type[Any], values: object, least: int | None = None) -> dict[str, Any]:
    """Return fields of a dataclass from a JSON object, each of the type that it declares; lists become tuples.

    Parameters
    ----------
    kind
        A dataclass. Fields from JSON are whole numbers, floats, texts, truth values, literals, and tuples and mappings
        of these.
    values
        What JSON gave.
    least
        The least number that any field may hold; None for any.

    Raises
    ------
    SchemaError
        If it is no object, a field is unknown, of another type, below `least` or beyond int64.
    """
    if not isinstance(values, dict):
        raise SchemaError(f"{kind.__name__} is no JSON object")
    hints = get_type_hints(kind)
    names = {f.name for f in fields(kind) if f.init}
    if not values.keys() <= names:
        raise SchemaError(f"{kind.__name__} has no field {printable(', '.join(sorted(values.keys() - names)))}")
    taken = {key: _frozen(value) for key, value in values.items()}
    for key, value in taken.items():
        if not is_of(value, hints[key]):
            raise SchemaError(f"{kind.__name__}.{key} is {shown(value)}, which is not of its type")
        if least is not None and not _at_least(value, least):
            raise SchemaError(f"{kind.__name__}.{key} is {shown(value)}, which must be finite and at least {least}")
    return taken


def is_of(value: object, hint: Any) -> bool:
    """Whether a value from JSON, lists made tuples, is what an annotation says."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inner)
    if origin in (typing.Union, types.UnionType):
        return any(is_of(value, one) for one in inner)
    if isinstance(value, tuple):
        wanted = inner[:1] * len(value) if inner[-1:] == (...,) else inner
        return origin is tuple and len(value) == len(wanted) and all(map(is_of, value, wanted))
    if isinstance(value, dict):
        return origin is Mapping and all(is_of(key, inner[0]) and is_of(item, inner[1]) for key, item in value.items())
    if type(value) is int:
        return hint in (int, float) and abs(value) <= LARGEST
    return type(value) is hint


def shown(value: object) -> str:
    """Return a value for a message, in printable letters, cut where it is long."""
    text = printable(repr(value) if not isinstance(value, int) or abs(value) <= LARGEST else "a number beyond int64")
    return text if len(text) <= 80 else f"{text[:77]}..."


def _frozen(value: object) -> object:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def _at_least(value: object, least: int) -> bool:
    """Whether all numbers in a value are so great, and finite."""
    if isinstance(value, tuple):
        return all(_at_least(item, least) for item in value)
    return not isinstance(value, int | float) or (value >= least and math.isfinite(value))

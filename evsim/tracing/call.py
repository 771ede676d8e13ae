"""One call of a function of PyTorch, and the tensors in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(eq=False)
class Call:
    """One operation of PyTorch on values that are followed.

    Attributes
    ----------
    name
        Of the function, e.g. "conv2d"; in-place and reflected forms without their marks.
    function, args, kwargs
        What was called.
    """

    name: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> Any:
        """Return what it gives."""
        return self.function(*self.args, **self.kwargs)

    def bound(self, *names: str, **defaults: Any) -> dict[str, Any]:
        """Return the arguments by name; `names` in the order in which they may be given by position."""
        values = dict.fromkeys(names) | defaults
        values.update(zip(names, self.args, strict=False))
        values.update(self.kwargs)
        return values


def name_of(function: Any) -> str:
    """Return the name of a function of PyTorch; of a property's, "get_" and the property's."""
    name: str = getattr(function, "__name__", type(function).__name__)
    if name == "__get__":
        return f"get_{getattr(function.__self__, '__name__', '')}"
    return name


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors in arguments or results, those within lists, tuples and dicts too."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from tensors(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from tensors(each)

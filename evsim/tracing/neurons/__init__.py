"""Neurons of the libraries, each recognised by its class and read by its own equation; no library is imported here."""

from __future__ import annotations

from typing import Any

from evsim.tracing.neurons import norse, sinabs, snntorch, spikingjelly
from evsim.tracing.neurons.equation import Equation

__all__ = ["Equation", "recognise", "reset", "unwrapped"]

LIBRARIES = (spikingjelly, snntorch, norse, sinabs)


def recognise(module: Any) -> Equation | str | None:
    """Return the equation of a module of neurons, why evsim has none, or None for any other module."""
    for library in LIBRARIES:
        known: Equation | str | None = library.equation(module)
        if known is not None:
            return known
    return None


def reset(module: Any) -> None:
    """Let a module start anew: no state of a run before, and no backend but PyTorch."""
    for library in LIBRARIES:
        library.reset(module)


def unwrapped(module: Any) -> Any:
    """Return the module within wrappers that compute nothing: torch.compile, DataParallel and its kin."""
    while True:
        kind = type(module).__name__
        if kind == "OptimizedModule":
            module = module._orig_mod  # noqa: SLF001 - PyTorch's own name for it
        elif kind in ("DataParallel", "DistributedDataParallel"):
            module = module.module
        else:
            return module

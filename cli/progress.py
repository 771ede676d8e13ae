"""Progress on stderr, for what takes longer than a moment; nothing where that is no terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

from evsim.cli import output

if TYPE_CHECKING:
    from tqdm import tqdm

PATIENCE = 1.0
"""Seconds that something lasts before a bar shows."""

COMPILING = "compiling kernels, once only"


class Progress:
    """A bar over steps of a layer, or whatever is told of; none where stderr is no terminal.

    Parameters
    ----------
    total
        Number of steps; None where the first call tells it.
    unit
        What a step is.
    look
        Of tqdm's bar, where it is to differ from this one's.
    """

    def __init__(self, total: int | None = None, unit: str = "layer", **look: Any) -> None:
        announce_compiling()
        self._look = {"unit": unit, "delay": PATIENCE, **look}
        self._bar: tqdm[Any] | None = None if total is None else self._make(total)

    def _make(self, total: int, there: int = 0) -> tqdm[Any]:
        from tqdm import tqdm

        tqdm.monitor_interval = 0  # no thread of its own: files of HDF5 are then read by a fork, not a new process
        return tqdm(total=total, initial=there, leave=False, disable=None, file=sys.stderr, **self._look)

    def observe(self, *_: object) -> None:
        """Advance by one step of a layer."""
        if self._bar is not None:
            self._bar.update()

    def __call__(self, total: int, there: int) -> None:
        """Show how many of all steps are there; a search that begins anew goes back."""
        if self._bar is None:
            self._bar = self._make(total, there)
        if there < self._bar.n:
            self._bar.reset(total)
        self._bar.update(there - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def announce_compiling() -> None:
    """Say on a terminal, when the first kernel is compiled and not found among those kept, what takes so long."""
    if not sys.stderr.isatty():
        return
    from numba.core import event

    class Once(event.Listener):  # type: ignore[misc]
        told = False

        def on_start(self, _: object) -> None:
            if not Once.told:
                Once.told = True
                output.aside(COMPILING)

        def on_end(self, _: object) -> None:
            pass

    event.register("numba:compile", Once())

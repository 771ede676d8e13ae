"""The graph while a model is recorded: one draft per node, found again at every timestep by what it computes of what.

A loop over time unrolls the model. It is rolled up as it runs: an operation of the same module, constants and sources
as before is the same draft at another timestep. A graph that is not the same at all timesteps shows as a draft that
lacks some.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.tracing.coordinates import STATIC

Size = tuple[int, int, int]
Arrays = Mapping[str, NDArray[np.floating]]


@dataclass(frozen=True)
class Spot:
    """Where an operation stands: the module's path, and the line of the user's source."""

    path: str
    line: str

    def __str__(self) -> str:
        return f"{self.path or 'the model'} ({self.line})"


@dataclass(eq=False)
class Draft:
    """A node in the making.

    Attributes
    ----------
    number, kind, name
        Its place in order of first execution; what it computes; what it will be called.
    sources
        Numbers of the drafts that it reads.
    size
        Channels, height and width of what it emits per timestep.
    facts, arrays
        Constants: those of the node, and its parameters.
    spot
        Where it was recorded first.
    times
        At which timesteps it ran, `STATIC` and `ONCE` among them.
    runs
        How often it ran on what is the same at all timesteps.
    """

    number: int
    kind: str
    name: str
    sources: tuple[int, ...]
    size: Size
    facts: dict[str, Any]
    arrays: dict[str, NDArray[np.floating]]
    spot: Spot
    times: set[int] = field(default_factory=set)
    runs: int = 0

    @property
    def positions(self) -> int:
        """Number of positions of the map."""
        return self.size[1] * self.size[2]

    @property
    def values(self) -> int:
        """Number of values per timestep."""
        return self.size[0] * self.positions


class Drafts:
    """All drafts of a recording, in order."""

    def __init__(self) -> None:
        self.all: list[Draft] = []
        self._known: dict[Hashable, list[Draft]] = {}
        self._names: set[str] = set()

    def __getitem__(self, number: int) -> Draft:
        return self.all[number]

    def enter(
        self,
        kind: str,
        name: str,
        sources: Sequence[int],
        size: Size,
        times: Sequence[int],
        spot: Spot,
        *,
        key: Hashable = (),
        facts: Mapping[str, Any] | None = None,
        arrays: Arrays | None = None,
    ) -> Draft:
        """Return the draft that this operation is, a new one where it did not run before.

        Parameters
        ----------
        kind, name, sources, size
            As of a `Draft`; a name that is taken gets a number behind it.
        times
            At which timesteps it runs now; several times `STATIC` if it computes the same several times.
        spot
            Where it stands.
        key
            What tells it from others of the kind that read the same: a module, a weight.
        facts, arrays
            As of a `Draft`.
        """
        signature = (kind, name, tuple(sources), size, key)
        static = set(times) == {STATIC}
        for draft in self._known.get(signature, []):
            if static or not draft.times.intersection(times):
                break
        else:
            draft = Draft(
                len(self.all), kind, self._free(name), tuple(sources), size, dict(facts or {}), dict(arrays or {}), spot
            )
            self.all.append(draft)
            self._known.setdefault(signature, []).append(draft)
        draft.times.update(times)
        draft.runs += len(times) if static else 0
        return draft

    def _free(self, name: str) -> str:
        """Return a name that no draft has."""
        free, number = name, 1
        while free in self._names:
            number += 1
            free = f"{name}#{number}"
        self._names.add(free)
        return free

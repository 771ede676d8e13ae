"""Across timesteps: what comes later, and what is read out after the last."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from evsim.errors import NetworkError
from evsim.primitives.node import Node, Shape

MOST_STEPS = 65536
"""Timesteps that anything is delayed by: as many as a run may have."""


@dataclass(frozen=True)
class Delay(Node):
    """What its source emitted `steps` timesteps earlier; before that nothing: zeros, no spikes.

    It alone may read a node that comes after it in the network: so a cycle is told. Such a network runs timestep by
    timestep. The shape follows from the source, through the cycle; where nothing outside the cycle tells it,
    `channels`, `height` and `width` do.
    """

    steps: int = 1
    channels: int = 0
    height: int = 0
    width: int = 0
    later: ClassVar[tuple[str, ...]] = ("channels", "height", "width")

    @property
    def lag(self) -> int:
        """Timesteps from what it reads to what it emits."""
        return self.steps

    @property
    def own_shape(self) -> Shape | None:
        """The shape that its fields tell, its kind for a start; None if they tell none."""
        return Shape("spikes", self.channels, self.height, self.width) if self.channels else None

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the source's shape."""
        (source,) = sources
        self._at_least(1, steps=self.steps)
        if self.steps > MOST_STEPS:
            raise NetworkError(f"{self.name}: steps must be at most {MOST_STEPS}, got {self.steps}")
        size = (self.channels, self.height, self.width)
        self._expect(not any(size) or size == source.size, source, f"a map of size {list(size)}")
        return source

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - whatever the size
        """Return the largest integer of the source."""
        return max(sources)


@dataclass(frozen=True)
class TimeReduction(Node):
    """One map of all timesteps, emitted once, after the last: their "sum", their "max"imum, or the "last".

    The sum of spikes is how often each neuron fired, the readout of most spiking networks; maximum and last are those
    of membrane potentials.
    """

    reduction: Literal["sum", "max", "last"] = "sum"
    once: ClassVar[bool] = True

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the source's size, real-valued."""
        return replace(sources[0], kind="real", unit=1.0)

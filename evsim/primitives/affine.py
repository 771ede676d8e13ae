"""Constants times a map, and maps put together and cut by channels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from evsim.errors import NetworkError
from evsim.primitives.constants import Constants
from evsim.primitives.node import Node, Shape


@dataclass(frozen=True)
class Scale(Constants):
    """``x * scale + shift``: constants (see `Constants`), for all values, by channel, or by position and channel.

    Gives real values. Spikes that are scaled are no spikes any more: where weights read them, put the scale into those.
    """

    scale: float = 1.0
    shift: float = 0.0
    constants: ClassVar[tuple[str, ...]] = ("scale", "shift")
    later: ClassVar[tuple[str, ...]] = ("channels", "height", "width", "by_channel", "by_neuron")

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return a map of real values of the source's size."""
        (source,) = sources
        self._check_constants(source)
        return replace(source, kind="real", unit=1.0)

    @property
    def shifts(self) -> bool:
        """Whether anything is added."""
        return "shift" in self.arrays or self.shift != 0.0

    @property
    def scales(self) -> bool:
        """Whether anything is multiplied."""
        return "scale" in self.arrays or self.scale != 1.0


@dataclass(frozen=True)
class Concatenate(Node):
    """The channels of the first source, then those of the second; more than two are put together in turn.

    Spikes with spikes stay spikes; with integers of unit 1 they are integers; anything else gives real values.
    """

    arity: ClassVar[int] = 2

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return a map with the channels of both."""
        left, right = sources
        if (left.height, left.width) != (right.height, right.width):
            raise NetworkError(
                f"{self.name} puts channels of maps of different size together: {self.inputs[0]} gives {left}, "
                f"{self.inputs[1]} gives {right}"
            )
        channels = left.channels + right.channels
        if left.kind == right.kind and left.unit == right.unit:
            return replace(left, channels=channels)
        real = "real" in (left.kind, right.kind) or left.unit != right.unit
        return Shape("real" if real else "integers", channels, left.height, left.width, 1.0 if real else left.unit)

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - whatever the size
        """Return the largest integer of both."""
        return max(sources)


@dataclass(frozen=True)
class Slice(Node):
    """Channels ``start .. stop - 1`` of a map."""

    start: int
    stop: int

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the map of those channels, of the source's kind."""
        (source,) = sources
        self._at_least(0, start=self.start)
        self._at_least(self.start + 1, stop=self.stop)
        self._expect(self.stop <= source.channels, source, f"at least {self.stop} channels")
        return replace(source, channels=self.stop - self.start)

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - whatever the size
        """Return the largest integer of the source."""
        return max(sources)

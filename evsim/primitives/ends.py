"""Where a network begins and ends: its input, and the means of the readout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from evsim.errors import NetworkError
from evsim.primitives.node import Kind, Node, Shape


@dataclass(frozen=True)
class Input(Node):
    """The source: one image (real, the same at every timestep) or one frame per timestep (event counts, or real)."""

    channels: int
    height: int
    width: int
    kind: Kind
    arity: ClassVar[int] = 0

    def infer(self, sources: tuple[Shape, ...]) -> Shape:  # noqa: ARG002 - a source has none
        """Return the declared shape."""
        if self.kind == "spikes":
            raise NetworkError(f"{self.name}: kind must be integers or real, got spikes")
        return Shape(self.kind, self.channels, self.height, self.width)


@dataclass(frozen=True)
class TokenMean(Node):
    """Mean over the positions of each timestep's map (the readout's average pooling)."""

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return one position of real values."""
        return Shape("real", sources[0].channels, 1, 1)


@dataclass(frozen=True)
class TimeMean(Node):
    """Mean over the timesteps; emits once, after the last."""

    once: ClassVar[bool] = True

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the source's size, real-valued."""
        (source,) = sources
        return Shape("real", source.channels, source.height, source.width)

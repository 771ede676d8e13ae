"""What all primitives share: the shape of what travels, and the node that infers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from evsim.errors import NetworkError

Kind = Literal["spikes", "integers", "real"]
"""What a map holds: 0/1 spikes, small integers (event counts, sums of spikes), or real values."""

Order = Literal["q(kv)", "(qk)v"]
"""Which product of attention is formed first; both give the same integers at another cost."""

Layout = Literal["map", "tokens", "rows"]
"""Axis order of a PyTorch module's output: [C, H, W], [C, N] or [N, C]."""

LARGEST_EXTENT = 1 << 20
"""Of kernels, strides and paddings: beyond any map that fits into memory."""


@dataclass(frozen=True)
class Shape:
    """Shape and kind of what a node emits per timestep: `height` x `width` positions of `channels` channels.

    Integers stand for so many times `unit`: integer neurons emit k for the value k / 4. Whoever reads them as numbers
    multiplies by it; on the way, and in counts, they are k.
    """

    kind: Kind
    channels: int
    height: int
    width: int
    unit: float = 1.0

    @property
    def positions(self) -> int:
        """Number of positions (tokens) of the map."""
        return self.height * self.width

    @property
    def size(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        return self.channels, self.height, self.width

    def __str__(self) -> str:
        return f"{self.kind} [{self.channels}, {self.height}, {self.width}]"


def told_window(kernel: tuple[int, int], stride: tuple[int, int]) -> str:
    """Return a kernel and its stride, e.g. ``3 x 3 / 2``."""
    return f"{kernel[0]} x {kernel[1]} / {stride[0]}" + (f" x {stride[1]}" if stride[0] != stride[1] else "")


@dataclass(frozen=True)
class Node:
    """What all primitives share: the PyTorch module's `name` and the names of the nodes that feed it."""

    name: str
    inputs: tuple[str, ...]
    arity: ClassVar[int] = 1
    once: ClassVar[bool] = False
    """Whether it emits once, after the last timestep, and not at each."""
    later: ClassVar[tuple[str, ...]] = ()
    """Fields that schema 1 of model.h5 does not know: they are written where they differ from their defaults."""

    @property
    def window_told(self) -> str:
        """Kernel and stride of what moves over a map, rows before columns; "" of all others."""
        return ""

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the output's shape, given the shapes of the sources.

        Raises
        ------
        NetworkError
            If the sources do not fit; the message shows both ends with their shapes.
        """
        raise NotImplementedError

    @property
    def lag(self) -> int:
        """Timesteps from what it reads to what it emits: where there are any, it may read a node that comes later."""
        return 0

    def guess(self, sources: tuple[Shape | None, ...]) -> Shape | None:  # noqa: ARG002 - most cannot tell
        """Return the likely shape where some source has none yet, for what closes a cycle; None if nothing tells."""
        return None

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return name and shape of each parameter array that the node needs (none by default)."""
        return {}

    def mentions(self) -> tuple[str, ...]:
        """Return the names of nodes that it speaks of without reading them (none by default)."""
        return ()

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - some ask
        """Return the largest integer that the node can emit, given those of its sources: a sum, or one of them."""
        return sum(sources)

    def _at_least(self, least: int, **values: int | tuple[int, ...]) -> None:
        """Refuse sizes below `least`, and those that no kernel can reckon with."""
        for name, value in values.items():
            sizes = value if isinstance(value, tuple) else (value,)
            if min(sizes) < least:
                raise NetworkError(f"{self.name}: {name} must be at least {least}, got {value}")
            if max(sizes) > LARGEST_EXTENT:
                raise NetworkError(f"{self.name}: {name} must be at most {LARGEST_EXTENT}, got {value}")

    def _single(self, **values: float) -> None:
        """Refuse constants that are not positive numbers of float32, in which every model can run."""
        single = np.finfo(np.float32)
        for name, value in values.items():
            if not float(single.tiny) <= value <= float(single.max):
                raise NetworkError(f"{self.name}: {name} must be a positive number within float32, got {value}")

    def _expect(self, fits: bool, source: Shape, wanted: str, port: int = 0) -> None:
        if not fits:
            raise NetworkError(f"{self.name} wants {wanted}, but {self.inputs[port]} gives {source}")

    def _alike(self, sources: tuple[Shape, ...], does: str) -> None:
        """Refuse two sources of different size."""
        left, right = sources
        if left.size != right.size:
            raise NetworkError(
                f"{self.name} {does} maps of different shape: {self.inputs[0]} gives {left}, "
                f"{self.inputs[1]} gives {right}"
            )

    def _divides(self, channels: int, heads: int) -> None:
        """Refuse a number of heads that channels do not divide into."""
        if heads < 1 or channels % heads:
            raise NetworkError(
                f"{self.name}: {channels} channels do not divide into {heads} heads; give another number by `heads`"
            )

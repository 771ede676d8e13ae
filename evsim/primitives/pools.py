"""Pooling over space, and what puts a map's axes together: Flatten, Vote."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import gcd
from typing import ClassVar

from evsim.errors import NetworkError
from evsim.primitives.node import Node, Shape, told_window

Axis = tuple[int, int, int]
"""Kernel, stride and padding along one axis."""


@dataclass(frozen=True)
class _Window(Node):
    """A window that moves over the map; `columns` are its kernel, stride and padding along the columns, if others."""

    kernel: int = 3
    stride: int = 2
    padding: int = 1
    columns: tuple[int, ...] = field(default=(), kw_only=True)

    @property
    def axes(self) -> tuple[Axis, Axis]:
        """Kernel, stride and padding of the rows, and of the columns."""
        rows = (self.kernel, self.stride, self.padding)
        kernel, stride, padding = self.columns or rows
        return rows, (kernel, stride, padding)

    @property
    def window_told(self) -> str:
        """Kernel and stride in words."""
        (rows, down, _), (columns, right, _) = self.axes
        return told_window((rows, columns), (down, right))

    def _pooled(self, source: Shape) -> Shape:
        """Return the smaller map, of the source's kind."""
        if len(self.columns) not in (0, 3):
            raise NetworkError(f"{self.name}: columns are kernel, stride and padding, got {list(self.columns)}")
        sides = []
        for (kernel, stride, padding), size in zip(self.axes, (source.height, source.width), strict=True):
            self._at_least(1, kernel=kernel, stride=stride)
            self._at_least(0, padding=padding)
            if 2 * padding > kernel:
                raise NetworkError(f"{self.name}: padding {padding} exceeds half of the kernel {kernel}")
            sides.append((size + 2 * padding - kernel) // stride + 1)
        kernels = self.kernel if not self.columns else (self.kernel, self.columns[0])
        self._expect(min(sides) > 0, source, f"a map no smaller than its window {kernels}")
        return replace(source, height=sides[0], width=sides[1])


@dataclass(frozen=True)
class MaxPool(_Window):
    """Max-pooling over space; of spikes it is an OR.

    With `heads`, the plane it pools is that of each head's tokens and channels, [N, C / heads] (the "erode" of
    Spike-driven Transformer), at stride 1 and with half the kernel as padding, so that its size stays.
    """

    heads: int = 0
    later: ClassVar[tuple[str, ...]] = ("heads", "columns")

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the smaller map, of the source's kind."""
        (source,) = sources
        self._at_least(0, heads=self.heads)
        if not self.heads:
            return self._pooled(source)
        self._divides(source.channels, self.heads)
        if self.columns or self.stride != 1 or self.kernel != 2 * self.padding + 1:
            raise NetworkError(
                f"{self.name} pools the plane of each head: stride must be 1 and kernel 2 * padding + 1, got stride "
                f"{self.stride}, kernel {self.kernel}, padding {self.padding}"
            )
        self._pooled(replace(source, height=source.positions, width=source.channels // self.heads))
        return source

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - whatever the size
        """Return the largest integer of the source."""
        return max(sources)


@dataclass(frozen=True)
class AveragePool(_Window):
    """Average pooling over space: a window's sum over its size, padding included, as PyTorch's default."""

    kernel: int = 2
    stride: int = 2
    padding: int = 0
    later: ClassVar[tuple[str, ...]] = ("columns",)

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the smaller map of real values."""
        return replace(self._pooled(sources[0]), kind="real", unit=1.0)


@dataclass(frozen=True)
class SumPool(_Window):
    """Sum over the window: spikes and integers give integers, real values give real ones."""

    kernel: int = 2
    stride: int = 2
    padding: int = 0
    later: ClassVar[tuple[str, ...]] = ("columns",)

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the smaller map."""
        pooled = self._pooled(sources[0])
        return pooled if pooled.kind == "real" else replace(pooled, kind="integers")

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - whatever the size
        """Return the largest sum of a window."""
        return self.axes[0][0] * self.axes[1][0] * sources[0]


@dataclass(frozen=True)
class AdaptiveAveragePool(Node):
    """Average pooling to `height` x `width`: output i averages positions ``floor(i n / m) .. ceil((i + 1) n / m) - 1``.

    Where every window holds one position, it copies: the kind stays.
    """

    height: int
    width: int

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the map of that size: of real values, or of the source's kind where it copies."""
        (source,) = sources
        self._at_least(1, height=self.height, width=self.width)
        resized = replace(source, height=self.height, width=self.width)
        return resized if self.copies(source) else replace(resized, kind="real", unit=1.0)

    def copies(self, source: Shape) -> bool:
        """Whether each window holds one position of the source."""
        return self.height % source.height == 0 and self.width % source.width == 0

    def taps(self, source: Shape) -> tuple[int, int]:
        """Return the positions that all windows of an axis cover, of the rows and of the columns.

        A window begins anew at each position but where it ends with the one before: ``n + m - gcd(n, m)``.
        """
        sides = ((source.height, self.height), (source.width, self.width))
        rows, columns = (inner + outer - gcd(inner, outer) for inner, outer in sides)
        return rows, columns

    def spans(self, source: Shape) -> tuple[tuple[range, ...], tuple[range, ...]]:
        """Return the rows, then the columns, that each row and column of the output averages."""
        return _spans(source.height, self.height), _spans(source.width, self.width)

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - whatever the size
        """Return the largest integer of the source."""
        return max(sources)


def _spans(inner: int, outer: int) -> tuple[range, ...]:
    return tuple(range(i * inner // outer, -(-(i + 1) * inner // outer)) for i in range(outer))


@dataclass(frozen=True)
class Pad(Node):
    """A border of `padding` positions around the map, of real values: of each channel its own, the parameter `border`.

    RepConv (Spike-driven Transformer V2) pads behind a BatchNorm with what that makes of 0.
    """

    channels: int
    padding: int = 1

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the larger map of real values."""
        (source,) = sources
        self._at_least(1, channels=self.channels, padding=self.padding)
        self._expect(source.channels == self.channels, source, f"{self.channels} channels")
        return Shape("real", source.channels, source.height + 2 * self.padding, source.width + 2 * self.padding)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the border."""
        return {"border": (self.channels,)}


@dataclass(frozen=True)
class Flatten(Node):
    """The map as one position: channel ``c * H * W + p`` is channel c of position p, the order of PyTorch's flatten.

    So the weights of a linear layer behind it are those of the checkpoint, whose maps are channels-first.
    """

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return one position of all values."""
        (source,) = sources
        return replace(source, channels=source.channels * source.positions, height=1, width=1)


@dataclass(frozen=True)
class Vote(Node):
    """Mean over groups of `voters` neighbouring channels, one group per class (SpikingJelly's VotingLayer)."""

    voters: int = 10

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return a channel of real values for each group."""
        (source,) = sources
        self._at_least(1, voters=self.voters)
        self._expect(source.channels % self.voters == 0, source, f"channels in groups of {self.voters}")
        return Shape("real", source.channels // self.voters, source.height, source.width)

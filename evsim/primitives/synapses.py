"""Layers with weights: convolution and linear layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from evsim.errors import NetworkError
from evsim.primitives.node import Node, Shape, told_window

Pair = tuple[int, int]
Window = tuple[Pair, Pair, Pair]


@dataclass(frozen=True)
class Conv2d(Node):
    """Convolution followed by BatchNorm: ``(conv(x) + bias) * bn_scale + bn_shift``.

    `weight` is [kH, kW, C_in / groups, C_out]; 1x1 convolutions over tokens (PyTorch's Conv1d) are the case kernel
    (1, 1), and a Conv1d over a line is one over a map of height 1, with kernel (1, k). `module` is the PyTorch class,
    for reports. Taps stand `dilation` positions apart. `padding_after` is the padding behind the last row and column,
    where it is not that before the first. Of `groups`, each takes its own C_in / groups channels and makes
    its own C_out / groups; a depthwise convolution has as many as channels. Where `repeated`, it reads one image for
    all timesteps, runs at the first alone, and what it gave is repeated: it is counted once.
    """

    in_channels: int
    out_channels: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    bias: bool = False
    batch_norm: bool = True
    module: str = "Conv2d"
    groups: int = 1
    repeated: bool = False
    dilation: tuple[int, int] = (1, 1)
    padding_after: tuple[int, ...] = ()
    later: ClassVar[tuple[str, ...]] = ("groups", "repeated", "dilation", "padding_after")

    @property
    def window_told(self) -> str:
        """Kernel and stride in words."""
        return told_window(self.kernel, self.stride)

    @property
    def window(self) -> Window:
        """Kernel, stride and padding."""
        return self.kernel, self.stride, self.padding

    @property
    def extent(self) -> tuple[int, int]:
        """Rows and columns from the first tap to the last."""
        (rows, columns), (down, right) = self.kernel, self.dilation
        return (rows - 1) * down + 1, (columns - 1) * right + 1

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the map of real values that the convolution emits."""
        (source,) = sources
        self._at_least(1, in_channels=self.in_channels, out_channels=self.out_channels, groups=self.groups)
        self._at_least(1, kernel=self.kernel, stride=self.stride, dilation=self.dilation)
        self._at_least(0, padding=self.padding)
        if self.padding_after:
            self._at_least(0, padding_after=self.padding_after)
            if len(self.padding_after) != 2:
                raise NetworkError(f"{self.name}: padding_after is of rows and columns, got {list(self.padding_after)}")
        if self.in_channels % self.groups or self.out_channels % self.groups:
            raise NetworkError(
                f"{self.name}: {self.in_channels} input and {self.out_channels} output channels do not divide into "
                f"{self.groups} groups"
            )
        self._expect(source.channels == self.in_channels, source, f"{self.in_channels} input channels")
        if self.repeated:
            self._expect(source.kind == "real", source, "an image, for it runs once for all timesteps")
        pads = zip(self.padding, self.padding_after or self.padding, strict=True)
        spans = zip((source.height, source.width), map(sum, pads), self.extent, self.stride, strict=True)
        height, width = ((size + pad - extent) // step + 1 for size, pad, extent, step in spans)
        wide = "" if self.dilation == (1, 1) else f", {self.extent} with its dilation"
        self._expect(min(height, width) > 0, source, f"a map no smaller than its kernel {self.kernel}{wide}")
        return Shape("real", self.out_channels, height, width)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return shapes of weight, bias and the folded BatchNorm."""
        weight = (*self.kernel, self.in_channels // self.groups, self.out_channels)
        return _affine(weight, self.bias, self.batch_norm)


@dataclass(frozen=True)
class Linear(Node):
    """Linear layer on the channels of each position, with BatchNorm after it where `batch_norm`.

    `weight` is [C_in, C_out].
    """

    in_channels: int
    out_channels: int
    bias: bool = True
    batch_norm: bool = False
    module: str = "Linear"
    window: ClassVar[Window] = ((1, 1), (1, 1), (0, 0))
    dilation: ClassVar[Pair] = (1, 1)
    padding_after: ClassVar[tuple[int, ...]] = ()
    groups: ClassVar[int] = 1

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return the map of real values that the layer emits."""
        (source,) = sources
        self._at_least(1, in_channels=self.in_channels, out_channels=self.out_channels)
        self._expect(source.channels == self.in_channels, source, f"{self.in_channels} input channels")
        return Shape("real", self.out_channels, source.height, source.width)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return shapes of weight, bias and the folded BatchNorm."""
        return _affine((self.in_channels, self.out_channels), self.bias, self.batch_norm)


def _affine(weight: tuple[int, ...], bias: bool, batch_norm: bool) -> dict[str, tuple[int, ...]]:
    """Return the parameters of a layer with such a weight, whose last axis are its outputs."""
    return {"weight": weight} | dict.fromkeys(("bias",) * bias + ("bn_scale", "bn_shift") * batch_norm, weight[-1:])

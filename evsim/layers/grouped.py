"""Running form of grouped convolutions, depthwise ones among them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.kernels.depthwise import depthwise_spikes, depthwise_values
from evsim.kernels.grouped import GroupedSize, grouped_spikes, grouped_values
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.kernels.windows import WIDTHS
from evsim.layers.context import Context
from evsim.layers.synapses import folded, reason
from evsim.primitives import Conv2d, Shape
from evsim.spikes import Packet, RealMap, SpikeMap


class Grouped:
    """A convolution of several groups with its BatchNorm; parameters, attributes and errors as of `Synapses`."""

    def __init__(
        self,
        node: Conv2d,
        source: Shape,
        target: Shape,
        weights: Mapping[str, NDArray[np.floating]],
        context: Context,
    ) -> None:
        self.node, self.source, self.target, self.context = node, source, target, context
        scale, shift = folded(weights, node.out_channels)
        weight = weights["weight"].astype(np.float64) * (scale * source.unit)
        taps, group = node.kernel[0] * node.kernel[1], node.in_channels // node.groups
        by_group = weight.reshape(taps, group, node.groups, -1).transpose(0, 2, 1, 3)
        with np.errstate(over="ignore", invalid="ignore"):
            self.weights = np.ascontiguousarray(by_group.reshape(taps, node.in_channels, -1)).astype(context.dtype)
            self.shift = np.zeros(padded(node.out_channels), context.dtype)
            self.shift[: node.out_channels] = shift
        largest = float(max(self.weights.max(), -self.weights.min()))  # NaN goes through
        self.offset = float(np.abs(self.shift).max())
        self.gain = largest * taps * group
        if not math.isfinite(largest + self.offset):
            raise NetworkError(f"{node.name}: {reason(weights, context)}")
        self.size = GroupedSize(
            node.in_channels, source.height, source.width, target.height, target.width,
            node.kernel[0], node.kernel[1], node.stride[0], node.stride[1], node.padding[0], node.padding[1],
            *node.dilation,
            group, node.out_channels // node.groups,
        )  # fmt: skip
        self.depthwise = (
            node.groups == node.in_channels == node.out_channels
            and node.kernel[1] in WIDTHS
            and node.stride == (1, 1)
            and node.padding[1] < node.kernel[1]
            and node.dilation == (1, 1)
        )
        if self.depthwise:
            rows = np.zeros((taps, len(self.shift)), context.dtype)
            rows[:, : node.out_channels] = self.weights[..., 0]
            self.weights = rows.reshape(-1)
        self._static: tuple[NDArray[np.floating], RealMap] | None = None

    def reset(self) -> None:
        """Forget the output of a static image."""
        self._static = None

    def step(self, *packets: Packet) -> RealMap:
        """Return the sums of the input; those of a static image are kept for its next timestep."""
        (packet,) = packets
        if not isinstance(packet, RealMap):
            return self._sums(packet)
        if self._static is None or self._static[0] is not packet.values:
            self._static = packet.values, self._sums(packet)
        return replace(self._static[1], start=packet.start, steps=packet.steps)

    def _sums(self, packet: Packet) -> RealMap:
        target, spikes = self.target, isinstance(packet, SpikeMap)
        values = packet.words if isinstance(packet, SpikeMap) else packet.values
        channels = len(self.shift)
        out = aligned((len(values), target.positions, channels), self.context.dtype)
        effort = len(values) * target.positions * self.weights.size
        if self.depthwise:
            windows = depthwise_spikes if spikes else depthwise_values
            flat = out.reshape(-1)
            self.context.workers.share(
                windows,
                len(values) * target.height,
                (self.size, values, self.weights, self.shift, channels, flat),
                effort // 16,
            )
        else:
            kernel = grouped_spikes if spikes else grouped_values
            out[:] = 0.0
            self.context.workers.share(
                kernel,
                len(values) * target.height,
                (self.size, values, self.weights, out),
                effort,
            )
            out += self.shift
        return RealMap(packet.start, packet.steps, out, target.channels, target.height, target.width)

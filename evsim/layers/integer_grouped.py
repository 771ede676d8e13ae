"""Running form of grouped convolutions of integer networks, where groups are no whole words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.grouped import GroupedSize, grouped_spikes, grouped_values
from evsim.kernels.vector import padded
from evsim.layers.context import Context
from evsim.primitives import Conv2d, Shape
from evsim.quantized import IntegerLayer
from evsim.spikes import Packet, RealMap, SpikeMap


class IntegerGrouped:
    """A convolution of several groups on integer weights; sums are of 64 bits. Parameters as of `IntegerSynapses`."""

    def __init__(
        self, node: Conv2d, source: Shape, target: Shape, layer: IntegerLayer, fraction: int, context: Context
    ) -> None:
        self.node, self.source, self.target, self.context = node, source, target, context
        self._shift = fraction if source.kind == "real" else 0
        self._multiplier, self._offset = layer.multiplier.astype(np.int64), layer.offset.astype(np.int64)
        taps, group = node.kernel[0] * node.kernel[1], node.in_channels // node.groups
        by_group = layer.weight.reshape(taps, group, node.groups, -1).transpose(0, 2, 1, 3)
        self.weights = np.ascontiguousarray(by_group.reshape(taps, node.in_channels, -1)).astype(np.int64)
        self.size = GroupedSize(
            node.in_channels, source.height, source.width, target.height, target.width,
            node.kernel[0], node.kernel[1], node.stride[0], node.stride[1], node.padding[0], node.padding[1],
            *node.dilation,
            group, node.out_channels // node.groups,
        )  # fmt: skip
        self._static: tuple[NDArray[np.generic], RealMap] | None = None

    def reset(self) -> None:
        """Forget the output of a static image."""
        self._static = None

    def step(self, *packets: Packet) -> RealMap:
        """Return the currents of the input; those of a static image are kept for its next timestep."""
        (packet,) = packets
        if not isinstance(packet, RealMap):
            return self._currents(packet)
        if self._static is None or self._static[0] is not packet.values:
            self._static = packet.values, self._currents(packet)
        return replace(self._static[1], start=packet.start, steps=packet.steps)

    def _currents(self, packet: Packet) -> RealMap:
        target, channels = self.target, self.target.channels
        spikes = isinstance(packet, SpikeMap)
        values = packet.words if isinstance(packet, SpikeMap) else packet.values
        kernel = grouped_spikes if spikes else grouped_values
        sums = np.zeros((len(values), target.positions, channels), np.int64)
        effort = len(values) * target.positions * self.weights.size
        arguments = self.size, values, self.weights, sums
        self.context.workers.share(kernel, len(values) * target.height, arguments, effort)
        out = np.zeros((len(values), target.positions, padded(channels)), np.int32)
        out[..., :channels] = (sums * self._multiplier >> self._shift) + self._offset
        return RealMap(packet.start, packet.steps, out, channels, target.height, target.width)

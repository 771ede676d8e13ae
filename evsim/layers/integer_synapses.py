"""Running form of Conv2d and Linear in integer networks, alone or fused with what follows, as `layers.synapses`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import DTypeLike, NDArray

from evsim.errors import NetworkError
from evsim.kernels.integer_synapses import (
    IntegerNeurons,
    IntegerSink,
    integer_synapses,
    integer_synapses_of_quads,
    integer_synapses_of_reals,
    reach_of,
)
from evsim.kernels.lists import TILE_WORDS
from evsim.kernels.quads import QUAD
from evsim.kernels.synapses import Lists, Size, units
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.layers.context import Context
from evsim.layers.integer_neurons import IntegerMembrane, IntegerNeuronLayer, silent, widened, working
from evsim.layers.reals import as_real, total
from evsim.layers.segments import Layout, counted, segments
from evsim.layers.synapses import JOINED_CHANNELS, SUMS_BYTES, is_flat
from evsim.primitives import LIF, Conv2d, Linear, Shape
from evsim.quantized import IntegerLayer
from evsim.spikes import Packet, RealMap

FULL = 512
"""Bytes of the sums of a full block of output channels: of pairs 256 of 16 bits, or 128 of 32."""

MOST = 2**31 - 1


class IntegerSynapses:
    """A convolution or linear layer on integer weights, and optionally what follows it.

    Parameters
    ----------
    node
        The layer.
    source, target
        Shapes of its input and output maps.
    layer
        Its weights.
    fraction
        Fraction of its inputs, where they are fixed-point numbers.
    context
        Shared by all layers.
    neurons, neuron_weights
        LIF neurons that read this layer alone, and their parameters: they are driven at once.
    """

    def __init__(
        self,
        node: Conv2d | Linear,
        source: Shape,
        target: Shape,
        layer: IntegerLayer,
        fraction: int,
        context: Context,
        neurons: LIF | None = None,
        neuron_weights: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> None:
        self.node, self.source, self.target, self.context, self.fraction = node, source, target, context, fraction
        weight = layer.weight
        self._largest = largest_sum(weight)
        self.layout = _layout(node, source, target)
        real = source.kind == "real"
        self.lane = np.dtype(_lane(source, weight.dtype, self._largest))
        self.block = _block(node.out_channels // node.groups, self.lane, real)
        if self.layout == "joined":
            weight = np.concatenate([weight, weight[:, :2]], axis=1)
        rows = weight.reshape(-1, node.out_channels)
        self.weights = laid_out(rows, self.lane, self.block) if real else pairs(rows, self.lane, self.block)
        self.factor, self.offset = (np.zeros(widened(node.out_channels), np.int32) for _ in range(2))
        self.factor[: node.out_channels], self.offset[: node.out_channels] = layer.multiplier, layer.offset
        self.membrane: IntegerMembrane | None = None
        self._behind: IntegerNeuronLayer | None = None
        if neurons and self.lane.itemsize == 8:  # sums of 64 bits are rare, and neurons of their own then
            self._behind = IntegerNeuronLayer(neurons, target, context, neuron_weights or {})
        elif neurons:
            self.membrane = IntegerMembrane(neurons, target, context, neuron_weights or {})
        self._sizes: dict[tuple[int, int], Size] = {}
        self._static: tuple[NDArray[np.generic], RealMap] | None = None

    def reset(self) -> None:
        """Forget potentials and the output of a static image."""
        self._static = None
        for state in (self.membrane, self._behind):
            if state:
                state.reset()

    def step(self, *packets: Packet) -> Packet:
        """Take the input and, where a residual addition is fused, the stream to add; return spikes or real values."""
        packet, *streams = packets
        if self.membrane:
            spikes, neurons = self.membrane.neurons(packet.start, packet.steps)
            self._run(packet, _empty(), _empty(), neurons)
            return spikes
        if isinstance(packet, RealMap):
            sums = self._of_reals(packet)
            if self._behind:
                return self._behind.step(sums)
            return total(sums, as_real(streams[0], self.context)) if streams else sums
        added = _empty()
        if streams:  # a static stream stands for each of its timesteps
            values = as_real(streams[0], self.context).values
            added = np.broadcast_to(values, (packet.steps, *values.shape[1:])).reshape(-1)
        return self._real(packet, packet.steps, added)

    def _of_reals(self, packet: RealMap) -> RealMap:
        """Return the sums of real values alone: those of a static image are kept for its next timestep."""
        if self._static is None or self._static[0] is not packet.values:
            self._static = packet.values, self._real(packet, packet.values.shape[0], _empty())
        return replace(self._static[1], start=packet.start, steps=packet.steps)

    def _real(self, packet: Packet, steps: int, added: NDArray[np.int32]) -> RealMap:
        """Return the currents of a packet, `steps` timesteps of them, plus a stream if there is one."""
        target, channels = self.target, padded(self.node.out_channels)
        out = aligned((steps, target.positions, channels), np.int32)
        self._run(packet, added, out.reshape(-1), silent())
        return RealMap(packet.start, packet.steps, out, target.channels, target.height, target.width)

    def _run(self, packet: Packet, added: NDArray[np.int32], out: NDArray[np.int32], neurons: IntegerNeurons) -> None:
        sink = IntegerSink(
            self.factor, self.offset, _empty(), self.fraction, added, out, padded(self.node.out_channels), neurons
        )
        if isinstance(packet, RealMap):
            self._run_on_reals(packet, sink)
            return
        node, context, stride = self.node, self.context, self.node.window[1][1]
        quads = self.layout in ("quads", "flat quads")
        lists = segments(packet, context, self.layout, node.groups, stride if quads else 1)
        size = self._size(packet.steps, 1)._replace(tile=lists.tile, planes=lists.planes)
        counts = counted(packet, node.groups)
        self._check(packet)
        reach = counts
        if not is_flat(node):
            reach = np.empty((node.groups, packet.steps, self.target.positions), np.int64)
            reach_of(size, counts, reach)
        sink = sink._replace(reach=reach.reshape(-1))
        arrays = Lists(lists.index, lists.starts, lists.values, self.weights)
        kernel = integer_synapses_of_quads if quads else integer_synapses
        taps = 1 if size.joined else size.kernel_height * size.kernel_width
        self._share(
            size, sink, len(lists.index) * taps // node.groups,
            lambda first, last, scratch, own: kernel(first, last, size, arrays, scratch, own),
        )  # fmt: skip

    def _check(self, packet: Packet) -> None:
        """Refuse integers whose sums could leave 32 bits."""
        if self.source.kind != "integers":
            return
        assert not isinstance(packet, RealMap)
        most = int(packet.values.max(initial=0)) if not hasattr(packet, "words") else 1
        if most * self._largest > MOST:
            raise NetworkError(
                f"{self.node.name}: sums of integers up to {most} may leave 32 bits; run it with `precision=float64`"
            )

    def _run_on_reals(self, packet: RealMap, sink: IntegerSink) -> None:
        steps = packet.values.shape[0]
        size = self._size(steps, packet.steps // steps)
        values = np.ascontiguousarray(packet.values[..., : size.in_channels]).reshape(-1)
        if self.lane.itemsize == 8:
            values = values.astype(np.int64)
        self._share(
            size, sink, values.size * size.kernel_height * size.kernel_width,
            lambda first, last, scratch, own: integer_synapses_of_reals(
                first, last, size, values, self.weights, scratch, own
            ),
        )  # fmt: skip

    def _share(
        self,
        size: Size,
        sink: IntegerSink,
        rows: int,
        work: Callable[[int, int, NDArray[np.generic], IntegerSink], None],
    ) -> None:
        """Share a call's units among the threads, each with memory of its own; about `rows` weight rows are added."""
        context = self.context

        def part(first: int, last: int) -> None:
            scratch = context.workers.scratch(size.steps * size.band * size.block, self.lane)
            work(first, last, scratch, sink._replace(neurons=working(sink.neurons, size.block)))

        context.workers.share(units(size), part, rows * size.out_channels // 4)

    def _size(self, steps: int, repeats: int) -> Size:
        """Return the geometry of a call, worked out once for each number of timesteps."""
        if (steps, repeats) in self._sizes:
            return self._sizes[steps, repeats]
        node, source, target = self.node, self.source, self.target
        kernel, stride, padding = node.window
        flat = is_flat(node)  # positions do not mix: one long row
        wanted = max(1, SUMS_BYTES // (self.block * self.lane.itemsize * steps))
        band = -(-target.positions // -(-target.positions // wanted))
        if flat:  # bands of whole quads
            band = -(-band // QUAD) * QUAD
        size = self._sizes[steps, repeats] = Size(
            steps,
            repeats,
            source.channels // node.groups,
            *((1, source.positions) if flat else (source.height, source.width)),
            widened(node.out_channels),
            *((1, target.positions) if flat else (target.height, target.width)),
            *kernel,
            *stride,
            *padding,
            *node.dilation,
            tile=TILE_WORDS * 64,
            block=self.block,
            band=band,
            joined=self.layout == "joined",
            groups=node.groups,
            planes=1,
        )
        return size


def _empty() -> NDArray[np.int32]:
    return np.empty(0, np.int32)


def largest_sum(weight: NDArray[np.signedinteger]) -> int:
    """Return the greatest magnitude of a sum of any of an output channel's weights."""
    rows = weight.reshape(-1, weight.shape[-1])
    positive = np.maximum(rows, 0).sum(axis=0, dtype=np.int64)
    negative = np.minimum(rows, 0).sum(axis=0, dtype=np.int64)
    return int(max(positive.max(), -negative.min()))


def _lane(source: Shape, weights: np.dtype[np.generic], largest: int) -> DTypeLike:
    """Return the type of the sums: of spikes in int16 where they fit and weights have 8 bits."""
    if source.kind == "real":  # inputs of 16 bits, or of 32
        return np.int32 if largest * 2**15 <= MOST else np.int64
    if largest > MOST:
        raise NetworkError("sums of weights leave 32 bits")
    return np.int16 if source.kind == "spikes" and weights == np.int8 and largest <= 2**15 - 1 else np.int32


def _block(channels: int, lane: np.dtype[np.generic], real: bool) -> int:
    """Return the lanes of a full block: as many as leave blocks of 64, 128 or 256 for a group's output channels."""
    if real:
        return 64 if lane.itemsize == 4 else 32
    wide, block = widened(channels), FULL // lane.itemsize
    while block > 64 and (wide < block or wide % block not in (0, 64, 128)):
        block //= 2
    return block


def _layout(node: Conv2d | Linear, source: Shape, target: Shape) -> Layout:
    """How the layer wants its input listed."""
    kernel, stride, padding = node.window
    few = node.in_channels <= JOINED_CHANNELS
    joins = (kernel[1], stride[1], padding[1], node.dilation, node.padding_after) == (3, 1, 1, (1, 1), ())
    if source.kind != "real" and few and joins and node.groups == 1:
        return "joined"
    shares = source.kind == "spikes" or (source.kind == "integers" and not few)
    if not shares or stride[1] > 2 or target.positions == 1:
        return "tiles"
    return "flat quads" if is_flat(node) else "quads"


def pairs(weight: NDArray[np.signedinteger], lane: DTypeLike, block: int) -> NDArray[np.signedinteger]:
    """Lay out ``weight [rows, C_out]`` in blocks of pairs, see `evsim.kernels.emit.row_of`.

    Returns the flat array ``[block][rows][lanes]``, on cache lines, of int8 (of int16 for sums of 32 bits); channels
    past C_out are 0.
    """
    rows, channels = weight.shape
    lane = np.dtype(lane)
    half = np.dtype(f"i{lane.itemsize // 2}")
    bits = 8 * half.itemsize
    width = widened(channels)
    packed = aligned((rows * width // 2,), lane)
    wide = np.zeros((rows, min(block, width)), np.int32)
    for begin in range(0, width, block):
        lanes = min(block, width - begin)
        end = min(begin + lanes, channels)
        wide[:, : end - begin], wide[:, end - begin :] = weight[:, begin:end], 0
        first, second = wide[:, : lanes // 2], wide[:, lanes // 2 : lanes]
        part = packed[begin * rows // 2 : (begin + lanes) * rows // 2].reshape(rows, lanes // 2)
        part[:] = first + (1 << (bits - 1)) + (second << bits)
    return packed.view(half)


def laid_out(weight: NDArray[np.signedinteger], lane: DTypeLike, block: int) -> NDArray[np.signedinteger]:
    """Lay out ``weight [rows, C_out]`` in blocks of single weights: ``[block][rows][lanes]``, zeros past C_out."""
    rows, channels = weight.shape
    width = widened(channels)
    packed = aligned((rows * width,), lane)
    for begin in range(0, width, block):
        lanes = min(block, width - begin)
        end = max(begin, min(begin + lanes, channels))
        part = packed[begin * rows : (begin + lanes) * rows].reshape(rows, lanes)
        part[:, end - begin :] = 0
        part[:, : end - begin] = weight[:, begin:end]
    return packed

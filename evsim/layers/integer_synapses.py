"""Running form of Conv2d and Linear in integer networks, alone or fused with what follows, as `layers.synapses`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.kernels.integer_synapses import (
    TOGETHER,
    IntegerNeurons,
    IntegerSink,
    integer_synapses,
    integer_synapses_of_image,
    integer_synapses_of_octets,
    integer_synapses_of_reals,
)
from evsim.kernels.lists import TILE_WORDS
from evsim.kernels.neuron import GROUP
from evsim.kernels.octets import JOINED, OCTET
from evsim.kernels.synapses import Lists, Size, units
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.kernels.window_sums import reach_of
from evsim.layers import packing
from evsim.layers.context import Context
from evsim.layers.integer_neurons import IntegerMembrane, IntegerNeuronLayer, silent, widened, working
from evsim.layers.integer_windows import FewInputs, bordered, without_lists
from evsim.layers.octets import WORDS, octets
from evsim.layers.reals import as_real, total
from evsim.layers.segments import Layout, counted, is_sparse, segments
from evsim.layers.synapses import GRAINS, is_flat
from evsim.primitives import LIF, Conv2d, Linear, Shape
from evsim.quantized import IntegerLayer
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap

TILE_BYTES = 66_000
"""Weights of a tile of inputs and a block of outputs: more than the L1 cache holds, but half as many lists end."""

JOINED_INPUTS = 64
"""Input channels up to which the rows of windows are joined: of more, lists are long enough."""

ALL = (0, 0)
"""All rows of a window, or all columns."""

INTEGER_SUMS_BYTES = 230_000
"""Partial sums of one band, which wait in the L2 cache; less of them, and tiles of weights are of too little use."""

HIDDEN = 1024
"""Inputs from which on, as in MLPs, it is looked at whether neighbours have next to nothing in common."""


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
    of_image
        Whether its inputs are the network's own, real numbers of 16 bits.
    """

    defers = True

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
        *,
        of_image: bool = False,
    ) -> None:
        self.node, self.source, self.target, self.context, self.fraction = node, source, target, context, fraction
        weight = layer.weight
        self._largest, self._most = packing.largest_sum(weight), max(int(weight.max()), -int(weight.min()))
        self.layout = packing.layout_of(node, source, target)
        self._few = FewInputs(node, weight, self._largest) if self.layout == "joined" else None
        self._of_image = of_image and source.kind == "real" and node.groups == 1 and isinstance(node, Conv2d)
        rows, inputs = node.window[0][0], node.in_channels // node.groups
        self._joins = self.layout == "octets" and (rows, node.dilation[0]) == (JOINED, 1) and inputs <= JOINED_INPUTS
        self.lane = np.dtype(packing.lane_of(source, weight.dtype, self._largest, of_image))
        same = node.dilation == (1, 1) and not node.padding_after
        self._of_image = self._of_image and same and self.lane.itemsize == 4 and target.width >= TOGETHER
        self._packed: dict[np.dtype[Any], tuple[int, NDArray[np.signedinteger]]] = {}
        self._inputs: int | None = None
        self._cuts: tuple[int, ...] | None = None
        self._pack(self.lane, weight)
        self.factor, self.offset = (np.zeros(widened(node.out_channels), np.int32) for _ in range(2))
        self.factor[: node.out_channels], self.offset[: node.out_channels] = layer.multiplier, layer.offset
        self.membrane: IntegerMembrane | None = None
        self._behind: IntegerNeuronLayer | None = None
        if neurons and self.lane.itemsize == 8:  # sums of 64 bits are rare, and neurons of their own then
            self._behind = IntegerNeuronLayer(neurons, target, context, neuron_weights or {})
        elif neurons:
            self.membrane = IntegerMembrane(neurons, target, context, neuron_weights or {})
        self._sizes: dict[tuple[int, int, int], Size] = {}
        self._static: tuple[NDArray[np.generic], RealMap] | None = None

    def _pack(self, lane: np.dtype[Any], weight: NDArray[np.signedinteger]) -> None:
        """Lay out the weights for sums of a type."""
        node, real = self.node, self.source.kind == "real"
        block = packing.block_of(node, lane, real)
        if self.layout == "joined":
            weight = np.concatenate([weight, weight[:, :2]], axis=1)
        elif self._joins:
            weight = packing.joined_rows(weight)
        if self._of_image:
            self._packed[lane] = block, packing.window_pairs(weight)
            return
        rows = weight.reshape(-1, node.out_channels)
        self._packed[lane] = block, packing.laid_out(rows, lane, block) if real else packing.pairs(rows, lane, block)

    def _lane_for(self, reach: NDArray[np.int64]) -> np.dtype[Any]:
        """Return the type of the sums of spikes of which so many reach an output: of 16 bits where these must fit.

        What does not follow from the weights alone may follow from how few of them are added.
        """
        if self.lane.itemsize > 2 or self._largest <= packing.MOST_SHORT:
            return self.lane
        self.context.workers.finish()
        reached = int(reach.max(initial=0))
        if reached * self._most <= packing.MOST_SHORT:
            return self.lane
        if self._inputs is None:
            self._inputs = packing.inputs_within(self._weight(), packing.MOST_SHORT)
        return self.lane if reached <= self._inputs else np.dtype(np.int32)

    def _weight(self) -> NDArray[np.signedinteger]:
        """Return the layer's weights as they are stored."""
        quantization = self.context.quantization
        assert quantization
        return quantization.layers[self.node.name].weight

    def _parts(self) -> tuple[int, ...]:
        """Return the rows of the window, or its columns where rows are joined, at which it is cut into parts.

        The sums of each part fit into 16 bits whatever fires; () if there are no such parts.
        """
        if self._cuts is None:
            cut = self.layout == "octets" and isinstance(self.node, Conv2d)
            self._cuts = packing.cuts_within(self._weight(), packing.MOST_SHORT, self._joins) if cut else ()
        return self._cuts

    def _reached(
        self, steps: int, counts: NDArray[np.int64], *windows: tuple[tuple[int, int], tuple[int, int]]
    ) -> NDArray[np.int64]:
        """Return what reaches each output through some rows and columns of its window [windows, groups, T, P]."""
        node = self.node
        reach = np.empty((len(windows), node.groups, steps, self.target.positions), np.int64)
        whole = ((0, node.window[0][0]), (0, node.window[0][1]))
        size, maps = self._size(steps, 1, self.lane), node.groups * steps
        for window, own in zip(windows, reach, strict=True):
            rows, columns = (part if part != ALL else all_of for part, all_of in zip(window, whole, strict=True))
            arguments = size, counts.reshape(maps, -1), own.reshape(maps, -1), rows, columns
            self.context.workers.post(reach_of, maps * size.out_height, arguments, 8 * own.size)
        return reach

    def _run_in_parts(self, packet: SpikeMap | IntegerMap, counts: NDArray[np.int64], sink: IntegerSink) -> None:
        """Run on octets, part of the window by part."""
        cuts, columns = self._parts(), self.node.window[0][1]
        windows = [(ALL, (a, b)) if self._joins else ((a, b), ALL) for a, b in pairwise(cuts)]
        reach = self._reached(packet.steps, counts, *windows).reshape(-1)
        # what adds up in 32 bits is no fixed-point number: nothing is shifted
        sink = sink._replace(reach=reach, fraction=0)
        taps = np.array(cuts, np.int64) * (1 if self._joins else columns)
        self._run_on_octets(packet, sink, self.lane, taps)

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
            if self._behind or streams:
                self.context.workers.finish()
            if self._behind:
                return self._behind.step(sums)
            return total(sums, as_real(streams[0], self.context)) if streams else sums
        added = _empty()
        if streams:  # a static stream stands for each of its timesteps
            values = as_real(streams[0], self.context).values
            if len(values) < packet.steps:
                self.context.workers.finish()
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
        channels, none = padded(self.node.out_channels), np.empty(0, np.int64)
        sink = IntegerSink(self.factor, self.offset, none, self.fraction, added, out, channels, neurons)
        if isinstance(packet, RealMap):
            self._run_on_reals(packet, sink)
            return
        self._check(packet)
        size, pairs = self._size(packet.steps, 1, self.lane), self._packed[self.lane][1]
        if self._few and self._few.fire(packet, size, pairs, sink, self.context):
            return
        node = self.node
        counts = counted(packet, self.context, node.groups)
        reach = counts if is_flat(node) else self._reached(packet.steps, counts, (ALL, ALL))
        lane = self._lane_for(reach)
        if lane.itemsize > 2 and self.lane.itemsize == 2 and self._parts():
            self._run_in_parts(packet, counts, sink)
            return
        if lane not in self._packed:
            self._pack(lane, self._weight())
        sink = sink._replace(reach=reach.reshape(-1))
        if self.layout == "joined" and self._run_without_lists(packet, sink, lane):
            return
        if self.layout != "octets" or self._is_sparse(packet):
            self._run_on_lists(packet, sink, lane)
        else:
            self._run_on_octets(packet, sink, lane)

    def _is_sparse(self, packet: SpikeMap | IntegerMap) -> bool:
        """Whether positions have next to nothing in common, in a layer where they do not mix."""
        node = self.node
        hidden = is_flat(node) and node.groups == 1 and node.in_channels >= HIDDEN
        return hidden and isinstance(packet, SpikeMap) and is_sparse(packet, self.context)

    def _run_on_octets(
        self,
        packet: SpikeMap | IntegerMap,
        sink: IntegerSink,
        lane: np.dtype[Any],
        cuts: NDArray[np.int64] | None = None,
    ) -> None:
        node = self.node
        lists = octets(
            packet,
            self.context,
            flat=is_flat(node),
            groups=node.groups,
            stride=node.window[1][1],
            joined=self._joins,
            words=self._tile_words(lane),
        )
        size, weights = self._size(packet.steps, 1, lane), self._packed[lane][1]
        rows = len(lists.entries) // 4 * size.kernel_height * size.kernel_width // (2 * node.groups)
        wide = _empty()
        if cuts is None:
            jump = JOINED if self._joins else 1
            cuts = np.array([0, size.kernel_height // jump * size.kernel_width], np.int64)
        else:
            wide = self.context.workers.room("wide sums", size.steps * size.band * size.block, np.int32)
        self._share(integer_synapses_of_octets, size, (lists, weights, cuts, wide), lane, sink, rows)

    def _tile_words(self, lane: np.dtype[Any]) -> int:
        """Return the words of a tile whose weights, for a block of outputs, half fill the L1 cache."""
        return max(1, min(WORDS, TILE_BYTES // (64 * self._packed[lane][0] * lane.itemsize // 2)))

    def _run_without_lists(self, packet: SpikeMap | IntegerMap, sink: IntegerSink, lane: np.dtype[Any]) -> bool:
        """Run on the bits of spikes, or on integers one by one; return False where lists are to be made."""
        direct = without_lists(packet, self.context)
        if direct is None:
            return False
        kernel, reads, active = direct
        size = self._size(packet.steps, 1, lane)
        rows = active * size.kernel_height * size.kernel_width
        self._share(kernel, size, (reads(self._packed[lane][1]),), lane, sink, rows)
        return True

    def _run_on_lists(self, packet: SpikeMap | IntegerMap, sink: IntegerSink, lane: np.dtype[Any]) -> None:
        node = self.node
        layout: Layout = "whole" if self.layout == "octets" else self.layout
        lists = segments(packet, self.context, layout, node.groups)
        size = self._size(packet.steps, 1, lane)._replace(tile=lists.tile, planes=lists.planes)
        arrays = Lists(lists.index, lists.starts, lists.values, self._packed[lane][1])
        taps = 1 if size.joined else size.kernel_height * size.kernel_width
        self._share(integer_synapses, size, (arrays,), lane, sink, len(lists.index) * taps // node.groups)

    def _check(self, packet: Packet) -> None:
        """Refuse integers whose sums could leave 32 bits."""
        if self.source.kind != "integers":
            return
        assert not isinstance(packet, RealMap)
        self.context.workers.finish()
        most = int(packet.values.max(initial=0)) if not hasattr(packet, "words") else 1
        if most * self._largest > packing.MOST:
            raise NetworkError(
                f"{self.node.name}: sums of integers up to {most} may leave 32 bits; run it with `precision=float64`"
            )

    def _run_on_reals(self, packet: RealMap, sink: IntegerSink) -> None:
        steps = packet.values.shape[0]
        self.context.workers.finish()
        size = self._size(steps, packet.steps // steps, self.lane)
        weights = self._packed[self.lane][1]
        rows = packet.values.size * size.kernel_height * size.kernel_width
        if self._of_image:
            image, line = bordered(packet, self.node, self.source)
            self._share(integer_synapses_of_image, size, (image, line, weights), self.lane, sink, rows)
            return
        values = np.ascontiguousarray(packet.values[..., : size.in_channels]).reshape(-1)
        if self.lane.itemsize == 8:
            values = values.astype(np.int64)
        self._share(integer_synapses_of_reals, size, (values, weights), self.lane, sink, rows)

    def _share(
        self,
        kernel: Callable[..., None],
        size: Size,
        arrays: tuple[Any, ...],
        lane: np.dtype[Any],
        sink: IntegerSink,
        rows: int,
    ) -> None:
        """Share a call's units among the threads, each with memory of its own; about `rows` weight rows are added."""
        workers = self.context.workers
        scratch = workers.room("sums", size.steps * size.band * size.block, lane)
        own = sink._replace(neurons=working(sink.neurons, GROUP * size.block, self.context))
        workers.post(kernel, units(size), (size, *arrays, scratch, own), rows * size.out_channels // 4)

    def _size(self, steps: int, repeats: int, lane: np.dtype[Any]) -> Size:
        """Return the geometry of a call, worked out once for each number of timesteps and type of sums."""
        key = steps, repeats, lane.itemsize
        if key in self._sizes:
            return self._sizes[key]
        block = self._packed[lane][0]
        node, source, target = self.node, self.source, self.target
        kernel, stride, padding = node.window
        flat = is_flat(node) and not self._of_image  # positions do not mix: one long row
        wanted = max(1, INTEGER_SUMS_BYTES // (block * lane.itemsize * steps))
        bands = -(-target.positions // wanted)
        blocks = -(-node.out_channels // block)
        grains = max(1, -(-GRAINS * self.context.workers.threads // (blocks * bands)))
        grain = -(-target.positions // (bands * grains))
        lines = self._of_image or (not flat and 2 * target.width <= wanted)
        whole = target.width if lines else OCTET  # bands of whole lines, or of whole octets
        grain = -(-grain // whole) * whole
        size = self._sizes[key] = Size(
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
            block=block,
            band=grain * grains,
            grain=grain,
            joined=self.layout == "joined",
            groups=node.groups,
            planes=1,
            by_bands=True,
        )
        return size


def _empty() -> NDArray[np.int32]:
    return np.empty(0, np.int32)

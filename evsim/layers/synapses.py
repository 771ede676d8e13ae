"""Running form of Conv2d and Linear, alone or fused with the residual addition or the neurons that follow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.kernels.lists import TILE_WORDS
from evsim.kernels.neuron import Neurons
from evsim.kernels.quads import synapses_of_quads
from evsim.kernels.synapses import Lists, Sink, Size, synapses, synapses_of_reals, units
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.layers.context import EMPTY_WORDS, Context, Layout, remedy, segments
from evsim.layers.neurons import Membrane, working
from evsim.network import LIF, Conv2d, Linear, Shape
from evsim.spikes import Packet, RealMap

SUMS_BYTES = 250_000
"""Partial sums of one band: they wait in the L2 cache (512 KB and more) beside the lists and the weights."""


JOINED_CHANNELS = 48
"""Input channels up to which the taps of a window row are joined: 3 * 48 rows of 256 bytes, all but the L1 cache."""

SHARED_CHANNELS = 1024
"""Input channels up to which neighbours share sums. The hidden layers of MLPs have more, and next to no spikes."""


class Synapses:
    """A convolution or linear layer with its BatchNorm, and optionally what follows it.

    Parameters
    ----------
    node
        The layer.
    source, target
        Shapes of its input and output maps.
    weights
        Parameter name to array, see `Conv2d.parameters`.
    context
        Shared by all layers.
    neurons
        LIF neurons that read this layer alone: they are driven at once, and `step` returns spikes.

    Raises
    ------
    NetworkError
        If weights with the scale of BatchNorm are beyond the precision.
    """

    def __init__(
        self,
        node: Conv2d | Linear,
        source: Shape,
        target: Shape,
        weights: Mapping[str, NDArray[np.floating]],
        context: Context,
        neurons: LIF | None = None,
    ) -> None:
        self.node, self.source, self.target, self.context = node, source, target, context
        scale = weights.get("bn_scale", np.ones(node.out_channels))
        shift = weights.get("bn_shift", np.zeros(node.out_channels)) + weights.get("bias", 0.0) * scale
        self.layout = _layout(node, source, target, context)
        weight = weights["weight"]
        if self.layout == "joined":
            weight = np.concatenate([weight, weight[:, :2]], axis=1)
        self.shift = np.zeros(padded(node.out_channels), context.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            self.weights = pack(weight.reshape(-1, node.out_channels), scale, context)
            self.shift[: node.out_channels] = shift
        if not (np.isfinite(self.weights).all() and np.isfinite(self.shift).all()):
            reason = f"its weights with BatchNorm overflow in {context.dtype.name}"
            raise NetworkError(f"{node.name}: {reason}; {remedy(context.dtype)}")
        self.membrane = Membrane(neurons, target, context) if neurons else None
        self._sizes: dict[tuple[int, int], Size] = {}
        self._empty = context.empty()
        zero = context.dtype.type(0)
        self._silent = Neurons(EMPTY_WORDS, self._empty, False, zero, False, zero)
        self._static: tuple[NDArray[np.floating], RealMap] | None = None

    def reset(self) -> None:
        """Forget potentials and the output of a static image."""
        self._static = None
        if self.membrane:
            self.membrane.reset()

    def step(self, *packets: Packet) -> Packet:
        """Take the input and, where a residual addition is fused, the stream to add; return spikes or real values."""
        packet, *residual = packets
        if isinstance(packet, RealMap) and self._static and self._static[0] is packet.values:
            known = self._static[1]  # the next timestep of a static image
            return RealMap(packet.start, packet.steps, known.values, known.channels, known.height, known.width)
        steps = packet.values.shape[0] if isinstance(packet, RealMap) else packet.steps
        repeats = packet.steps // steps
        size = self._sizes.get((steps, repeats)) or self._size(steps, repeats)
        positions, channels = self.target.positions, size.out_channels
        empty = self._empty
        if self.membrane:
            spikes, neurons = self.membrane.neurons(packet.start, packet.steps)
            self._run(packet, size, Sink(self.shift, empty, empty, neurons))
            return spikes
        out = aligned((steps, positions, channels), self.context.dtype)
        added = residual[0].values.reshape(-1) if residual and isinstance(residual[0], RealMap) else empty
        self._run(packet, size, Sink(self.shift, added, out.reshape(-1), self._silent))
        result = RealMap(packet.start, packet.steps, out, self.target.channels, self.target.height, self.target.width)
        if isinstance(packet, RealMap):
            self._static = (packet.values, result)
        return result

    def _run(self, packet: Packet, size: Size, sink: Sink) -> None:
        context = self.context
        if isinstance(packet, RealMap):
            made, values = None, np.ascontiguousarray(packet.values[..., : size.in_channels]).reshape(-1)
        else:
            made = segments(packet, context, self.layout)
            size = size._replace(tile=made.tile)
            lists = Lists(made.index, made.starts, made.values, self.weights)

        def work(first: int, last: int) -> None:
            scratch = context.workers.scratch(size.steps * size.band * size.block, context.dtype)
            own = sink._replace(neurons=working(sink.neurons, context))
            if made is None:
                synapses_of_reals(first, last, size, values, self.weights, scratch, own)
            elif self.layout in ("quads", "flat quads"):
                synapses_of_quads(first, last, size, lists, scratch, own)
            else:
                synapses(first, last, size, lists, scratch, own)

        active = values.size if made is None else made.index.size
        taps = 1 if made and size.joined else size.kernel_height * size.kernel_width
        context.workers.share(units(size), work, active * taps * size.out_channels)

    def _size(self, steps: int, repeats: int) -> Size:
        node, source, target, block = self.node, self.source, self.target, self.context.block
        kernel, stride, padding = _window(node)
        flat = _is_flat(node)  # positions do not mix: one long row
        wanted = SUMS_BYTES // (block * self.context.dtype.itemsize * steps)
        bands = -(-target.positions // max(1, wanted))
        size = self._sizes[steps, repeats] = Size(
            steps,
            repeats,
            source.channels,
            *_extent(source, flat),
            padded(node.out_channels),
            *_extent(target, flat),
            *kernel,
            *stride,
            *padding,
            tile=TILE_WORDS * 64,
            block=block,
            band=-(-target.positions // bands),
            joined=self.layout == "joined",
        )
        return size


def _window(node: Conv2d | Linear) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Kernel, stride and padding."""
    return (node.kernel, node.stride, node.padding) if isinstance(node, Conv2d) else ((1, 1), (1, 1), (0, 0))


def _is_flat(node: Conv2d | Linear) -> bool:
    """Whether positions do not mix."""
    return _window(node) == ((1, 1), (1, 1), (0, 0))


def _layout(node: Conv2d | Linear, source: Shape, target: Shape, context: Context) -> Layout:
    """How the layer wants its input listed. It follows from the layer alone, never from data: results depend on it."""
    kernel, stride, padding = _window(node)
    if (
        source.kind != "real"
        and node.in_channels <= JOINED_CHANNELS
        and (kernel[1], stride[1], padding[1]) == (3, 1, 1)
    ):
        return "joined"
    shares = source.kind == "spikes" and context.dtype == np.float32 and stride == (1, 1) and target.positions > 1
    if not shares or node.in_channels > SHARED_CHANNELS:
        return "tiles"
    return "flat quads" if _is_flat(node) else "quads"


def pack(weight: NDArray[np.floating], scale: NDArray[np.floating], context: Context) -> NDArray[np.floating]:
    """Fold the scale of BatchNorm into ``weight [rows, C_out]`` in float64, round, and lay it out in blocks.

    Returns the flat array ``[block][rows][lanes]``, on cache lines; channels past C_out are 0.
    """
    rows, channels = weight.shape
    width = padded(channels)
    packed = aligned((rows * width,), context.dtype)
    for begin in range(0, width, context.block):
        lanes = min(context.block, width - begin)
        end = min(begin + lanes, channels)
        part = packed[begin * rows : (begin + lanes) * rows].reshape(rows, lanes)
        part[:, end - begin :] = 0.0
        part[:, : end - begin] = weight[:, begin:end] * scale[begin:end].astype(np.float64)
    return packed


def _extent(shape: Shape, flat: bool) -> tuple[int, int]:
    """Height and width to run over."""
    return (1, shape.positions) if flat else (shape.height, shape.width)

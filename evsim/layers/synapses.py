"""Running form of Conv2d and Linear, alone or fused with the residual addition or the neurons that follow."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.kernels.frames import Events, synapses_of_events
from evsim.kernels.lists import TILE_WORDS
from evsim.kernels.quads import Quads, synapses_of_quads
from evsim.kernels.synapses import Lists, Sink, Size, synapses, synapses_of_reals, units
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.kernels.words import MOST_CHANNELS, WINDOW, Words, synapses_of_windows, synapses_of_words
from evsim.layers.context import Context, remedy
from evsim.layers.neurons import Membrane, silent
from evsim.layers.reals import as_real, total
from evsim.layers.segments import Layout, by_group, few_events, quads, segments
from evsim.primitives import LIF, Conv2d, Linear, Shape
from evsim.spikes import WORD, IntegerMap, Packet, RealMap, SpikeMap

SUMS_BYTES = 250_000
"""Partial sums of one band: they wait in the L2 cache (512 KB and more) beside the lists and the weights."""

FEW_SUMS_BYTES = 120_000
"""The same where taps and blocks read the quads of a band again and again, whose ends of lists are to be foreseen."""

NEAR_BYTES = 2_000_000
"""Weights of a convolution up to which they may come again for each band, from the L2 cache or the one behind it."""

LINE_BYTES = 600_000
"""Partial sums of a line of the map up to which bands are whole lines: only its ends are cut apart then."""

GRAINS = 2
"""Units per thread, at least. More of them end at the same time, but each brings its tiles of weights anew."""

JOINED_CHANNELS = 48
"""Input channels up to which the taps of a window row are joined: 3 * 48 rows of 256 bytes, all but the L1 cache.

Integers of so few channels are not cut into planes of bits: they may be counts of events, of any size."""

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
    neuron_weights
        Their parameters, if they have any.

    Attributes
    ----------
    gain, offset
        A sum is at most `gain` times the largest input, plus `offset`.

    Raises
    ------
    NetworkError
        If weights are not finite, or beyond the precision with the scale of BatchNorm.
    """

    defers = True

    def __init__(
        self,
        node: Conv2d | Linear,
        source: Shape,
        target: Shape,
        weights: Mapping[str, NDArray[np.floating]],
        context: Context,
        neurons: LIF | None = None,
        neuron_weights: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> None:
        self.node, self.source, self.target, self.context = node, source, target, context
        scale, shift = folded(weights, node.out_channels)
        scale = scale * source.unit
        self.layout = _layout(node, source, target, context)
        weight = weights["weight"]
        if self.layout == "joined":
            weight = np.concatenate([weight, weight[:, :2]], axis=1)
        self.shift = np.zeros(padded(node.out_channels), context.dtype)
        with np.errstate(over="ignore", invalid="ignore"):
            self.weights = pack(weight.reshape(-1, node.out_channels), scale, context)
            self.shift[: node.out_channels] = shift
        largest = float(max(self.weights.max(), -self.weights.min()))  # NaN goes through
        self.offset = float(np.abs(self.shift).max())
        self.gain = largest * math.prod(weight.shape[:-1])
        if not math.isfinite(largest + self.offset):
            raise NetworkError(f"{node.name}: {reason(weights, context)}")
        self.membrane = Membrane(neurons, target, context, neuron_weights) if neurons else None
        self._sizes: dict[tuple[int, ...], Size] = {}
        self._empty = context.empty()
        self._silent = silent(context)
        self._static: tuple[NDArray[np.floating], RealMap] | None = None

    def reset(self) -> None:
        """Forget potentials and the output of a static image."""
        self._static = None
        if self.membrane:
            self.membrane.reset()

    def step(self, *packets: Packet) -> Packet:
        """Take the input and, where a residual addition is fused, the stream to add; return spikes or real values."""
        packet, *streams = packets
        if self.membrane:
            spikes, neurons = self.membrane.neurons(packet.start, packet.steps)
            self._run(packet, Sink(self.shift, self._empty, self._empty, neurons))
            return spikes
        if isinstance(packet, RealMap):
            sums = self._of_reals(packet)
            if not streams:
                return sums
            stream = as_real(streams[0], self.context)
            self.context.workers.finish()
            return total(sums, stream)
        added = self._empty
        if streams:  # a static stream stands for each of its timesteps
            values = as_real(streams[0], self.context).values
            if len(values) < packet.steps:
                self.context.workers.finish()
                values = np.broadcast_to(values, (packet.steps, *values.shape[1:]))
            added = values.reshape(-1)
        return self._real(packet, packet.steps, added)

    def _of_reals(self, packet: RealMap) -> RealMap:
        """Return the sums of real values alone: those of a static image are kept for its next timestep."""
        if self._static is None or self._static[0] is not packet.values:
            self._static = packet.values, self._real(packet, packet.values.shape[0], self._empty)
        return replace(self._static[1], start=packet.start, steps=packet.steps)

    def _real(self, packet: Packet, steps: int, added: NDArray[np.floating]) -> RealMap:
        """Return the sums of a packet, `steps` timesteps of them, plus a stream if there is one."""
        target = self.target
        out = aligned((steps, target.positions, len(self.shift)), self.context.dtype)
        self._run(packet, Sink(self.shift, added, out.reshape(-1), self._silent))
        return RealMap(packet.start, packet.steps, out, target.channels, target.height, target.width)

    def _run(self, packet: Packet, sink: Sink) -> None:
        if isinstance(packet, RealMap):
            self._run_on_reals(packet, sink)
            return
        node, context, layout = self.node, self.context, self.layout
        taps = math.prod(node.window[0])
        if layout == "quads" or layout == "flat quads":  # noqa: PLR1714 - the type checker narrows by this alone
            flat, stride = layout == "flat quads", node.window[1][1]
            shared = quads(packet, context, flat=flat, groups=node.groups, stride=stride)
            size = self._size(packet.steps, 1, planes=shared.planes)
            arrays: Quads | Lists = Quads(shared.parts, self.weights)
            rows = len(shared.parts) * taps // node.groups  # as many as words, about
            self._share(synapses_of_quads, size, (arrays,), sink, rows)
            return
        if layout == "windows" or layout == "words":  # noqa: PLR1714 - as above
            assert isinstance(packet, SpikeMap)
            if node.groups > 1:
                context.workers.finish()
            words = by_group(packet.words, node.groups).reshape(-1)
            kernel = synapses_of_windows if layout == "windows" else synapses_of_words
            self._share(kernel, self._size(packet.steps, 1), (Words(words, self.weights),), sink, len(words) * taps)
            return
        if layout == "joined" and isinstance(packet, IntegerMap) and self._run_on_events(packet, sink):
            return
        lists = segments(packet, context, layout, node.groups)
        size = self._size(packet.steps, 1, lists.tile, lists.planes)
        arrays = Lists(lists.index, lists.starts, lists.values, self.weights)
        rows = len(lists.index) * (1 if size.joined else taps) // node.groups
        self._share(synapses, size, (arrays,), sink, rows)

    def _run_on_events(self, packet: IntegerMap, sink: Sink) -> bool:
        """Run on integers one by one if few of them are not 0; return whether that is so."""
        found = few_events(packet, self.context)
        if found is None:
            return False
        words, count = found
        size = self._size(packet.steps, 1)
        reads = Events(packet.values.reshape(-1), words, self.weights)
        self._share(synapses_of_events, size, (reads,), sink, count * size.kernel_height * size.kernel_width)
        return True

    def _run_on_reals(self, packet: RealMap, sink: Sink) -> None:
        steps = packet.values.shape[0]
        self.context.workers.finish()
        size = self._size(steps, packet.steps // steps)
        values = np.ascontiguousarray(packet.values[..., : size.in_channels]).reshape(-1)
        rows = values.size * size.kernel_height * size.kernel_width
        self._share(synapses_of_reals, size, (values, self.weights), sink, rows)

    def _share(self, kernel: Callable[..., None], size: Size, reads: tuple[Any, ...], sink: Sink, rows: int) -> None:
        """Share a call's units among the threads, each with memory of its own; about `rows` weight rows are added."""
        context = self.context
        scratch = context.workers.room("sums", size.steps * size.band * size.block, context.dtype)
        context.workers.post(kernel, units(size), (size, *reads, scratch, sink), rows * size.out_channels)

    def _size(self, steps: int, repeats: int, tile: int = TILE_WORDS * 64, planes: int = 1) -> Size:
        """Return the geometry of a call, worked out once for each number of timesteps, tile and number of planes."""
        key = steps, repeats, tile, planes
        if key in self._sizes:
            return self._sizes[key]
        node, source, target, block = self.node, self.source, self.target, self.context.block
        kernel, stride, padding = node.window
        flat = is_flat(node)  # positions do not mix: one long row
        bytes_of_one = block * self.context.dtype.itemsize * steps
        by_bands = self.layout == "quads" and self.weights.nbytes <= NEAR_BYTES
        in_lines = by_bands or self.layout in ("windows", "joined")
        in_lines = in_lines and target.width * bytes_of_one <= LINE_BYTES
        by_bands = by_bands and in_lines
        run = target.width if in_lines else 1  # what bands are whole multiples of
        wanted = (FEW_SUMS_BYTES if by_bands else SUMS_BYTES) // (bytes_of_one * run)
        runs = target.positions // run
        bands = -(-runs // max(1, wanted))
        blocks, most = -(-node.out_channels // block), -(-runs // bands)
        grains = min(most, max(1, -(-GRAINS * self.context.workers.threads // (blocks * bands))))
        grain = -(-most // grains)
        grains = -(-most // grain)
        size = self._sizes[key] = Size(
            steps,
            repeats,
            source.channels // node.groups,
            *_extent(source, flat),
            padded(node.out_channels),
            *_extent(target, flat),
            *kernel,
            *stride,
            *padding,
            *node.dilation,
            tile=tile,
            block=block,
            band=run * grain * grains,
            grain=run * grain,
            joined=self.layout == "joined",
            groups=node.groups,
            planes=planes,
            by_bands=by_bands,
        )
        return size


def gathers(node: Conv2d | Linear, source: Shape) -> bool:
    """Whether a layer runs here: its groups, if it has several, are of whole words of spikes and blocks of outputs."""
    if node.groups == 1:
        return True
    whole = (node.in_channels // node.groups) % WORD == 0 and (node.out_channels // node.groups) % WORD == 0
    return source.kind == "spikes" and whole


def reason(weights: Mapping[str, NDArray[np.floating]], context: Context) -> str:
    """Say why folded weights are not finite, and what to do."""
    for key, values in weights.items():
        if not np.isfinite(values).all():
            return f"its {key} holds NaN or infinite values; use sound weights"
    return f"its weights with BatchNorm overflow in {context.dtype.name}; {remedy(context.dtype)}"


def is_flat(node: Conv2d | Linear) -> bool:
    """Return whether positions do not mix."""
    return node.window == ((1, 1), (1, 1), (0, 0)) and node.padding_after in ((), (0, 0))


def _layout(
    node: Conv2d | Linear, source: Shape, target: Shape, context: Context
) -> Layout | Literal["quads", "flat quads", "windows", "words"]:
    """How the layer wants its input listed. It follows from the layer alone, never from data: results depend on it."""
    kernel, stride, padding = node.window
    if (
        source.kind != "real"
        and node.in_channels <= JOINED_CHANNELS
        and (kernel[1], stride[1], padding[1]) == (WINDOW, 1, 1)
        and (node.dilation, node.padding_after) == ((1, 1), ())
    ):
        return "windows" if source.kind == "spikes" and node.in_channels <= MOST_CHANNELS else "joined"
    few = source.kind == "integers" and node.in_channels <= JOINED_CHANNELS
    shares = (
        source.kind != "real" and not few and context.dtype == np.float32 and stride[1] <= 2 and target.positions > 1
    )
    if node.in_channels // node.groups > SHARED_CHANNELS:
        return "tiles"
    if not shares:
        return "words" if source.kind == "spikes" else "tiles"
    return "flat quads" if is_flat(node) else "quads"


def folded(weights: Mapping[str, NDArray[np.floating]], channels: int) -> tuple[NDArray[np.floating], ...]:
    """Return the scale of each output channel and its shift, BatchNorm and bias folded into both."""
    scale = weights.get("bn_scale", np.ones(channels))
    return scale, weights.get("bn_shift", np.zeros(channels)) + weights.get("bias", 0.0) * scale


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

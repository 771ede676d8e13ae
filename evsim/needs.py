"""How much memory a run takes, worked out from the graph before anything is allocated, and how much it may.

A model.h5 of 6 kB can describe maps of terabytes. So a run is measured first: packed weights, the maps that live at
the same time with their lists of active channels, what single layers work in, and the counters. Every neuron is taken
to fire at every timestep: no input needs more. A network from a file may need what the file justifies; one made in
Python what the machine has.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from evsim.errors import NetworkError
from evsim.kernels.lists import TILE_WORDS
from evsim.kernels.quads import QUAD, ROOM
from evsim.kernels.threads import MOST_WAITING
from evsim.kernels.together import PAGES
from evsim.kernels.vector import BLOCK, padded
from evsim.layers.plan import Group, groups
from evsim.layers.synapses import JOINED_CHANNELS, LINE_BYTES, SUMS_BYTES
from evsim.network import LARGEST_COUNT, Network, largest_integers
from evsim.observers import TOGETHER
from evsim.primitives import (
    LIF,
    AdaptiveAveragePool,
    Add,
    AveragePool,
    Concatenate,
    Conv2d,
    Delay,
    HeadProduct,
    Linear,
    MultiSpike,
    Neuron,
    Scale,
    Shape,
    Slice,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TimeReduction,
)
from evsim.sizes import shown_size
from evsim.tallies import COLUMNS
from evsim.workload import rows

JUSTIFIED = 300_000_000
"""Bytes that any file may need: every published model stays 200 MB below it, 4 times its weights aside."""

FACTOR, STANDS = 4, {"int8": 4, "int16": 2}
"""Times its size that a file may need; of an integer network, its size with a float of 32 bits for each weight."""

CHANGING = (LIF, MultiSpike, Neuron, Delay, TimeMean, TimeReduction)
"""What does not emit the same at each timestep, though it reads the same."""

COPYING = (
    Neuron, Scale, Concatenate, Slice, Delay, MultiSpike, AveragePool, AdaptiveAveragePool, SumPool,
)  # fmt: skip
"""What works on copies of its inputs as numbers."""
ITEMS = {"float32": 4, "float64": 8, "int8": 4, "int16": 4}
"""Bytes of a real value on its way, by precision."""

PACKED, AT_ONCE = {"int8": 3, "int16": 2}, 256
"""Bytes of a packed weight of an integer network, one of 8 bits may be wanted in 16 too; outputs packed at once."""
INDEX, START = 2, 8
"""Bytes of an entry of a list, and of the number where a list starts."""


@dataclass(frozen=True)
class Needs:
    """Bytes that a run takes.

    Attributes
    ----------
    weights
        Weights as the kernels read them, and the greatest layer's as it is packed.
    maps
        Packets that are alive at the same time, with their lists, at the stage where they are most; what that stage
        works in; and what is kept over the run (potentials, outputs of an image).
    counters
        What counting holds.
    at
        The stage where most is alive.
    """

    weights: int
    maps: int
    counters: int
    at: str

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.maps + self.counters


def needs(
    network: Network,
    timesteps: int | None = None,
    precision: str = "float32",
    schedule: str = "layer",
    threads: int = 1,
    *,
    static: bool | None = None,
    apart: bool = False,
) -> Needs:
    """Return what a run takes at most, in bytes.

    Parameters
    ----------
    network
        What is to run.
    timesteps, precision, schedule, threads
        As `evsim.engine.Simulator` takes them.
    static
        Whether one image stands for all timesteps; by default where the model takes images.
    apart
        Whether nothing is fused, see `evsim.layers.plan.groups`.
    """
    steps = network.spec.timesteps if timesteps is None else timesteps
    image = network.spec.kind == "image" if static is None else static
    streaming = schedule == "time" or bool(network.closing)
    measure = _Measure(network, steps, ITEMS[precision], streaming, threads, image, apart, PACKED.get(precision, 0))
    maps, at = measure.maps()
    return Needs(measure.weights(), maps, measure.counters(), at)


def check_needs(
    network: Network,
    timesteps: int | None = None,
    precision: str = "float32",
    schedule: str = "layer",
    threads: int = 1,
    *,
    static: bool | None = None,
    apart: bool = False,
) -> None:
    """Refuse a run that needs more memory than it may; parameters as `needs`.

    A network from a file may need 300 MB and 4 times the file, or what `allow_memory` of `evsim.load` says. What a
    person asks for besides, a T above the model's own or float64, raises that in proportion, up to the memory of the
    machine; that is the limit of a network made in Python.

    Raises
    ------
    NetworkError
        If it needs more.
    """
    file, machine = network.file, machine_memory()
    if file is None:
        limit, why = machine, "than this machine has"
    elif file.allow_memory is not None:
        limit, why = file.allow_memory, "than is allowed"
    else:
        steps = network.spec.timesteps if timesteps is None else timesteps
        asked = max(1.0, steps / network.spec.timesteps) * ITEMS[precision] / 4
        floats = file.size * (STANDS[network.quantization.weights] if network.quantization else 1)
        limit, why = int((JUSTIFIED + FACTOR * floats) * asked), f"than a model of {file.size} bytes justifies"
        if limit > machine:
            limit, why = machine, "than this machine has"
    need = needs(network, timesteps, precision, schedule, threads, static=static, apart=apart)
    if need.total <= limit:
        return
    where = file.path if file else network.name
    remedy = f"; if you trust it, give `allow_memory={shown_size(need.total)}`" if file else "; use smaller maps or T"
    raise NetworkError(
        f"{where}: a run needs up to {need.total} bytes (weights {need.weights}, maps {need.maps} at {need.at}, "
        f"counters {need.counters}), more {why} ({limit}){remedy}"
    )


def machine_memory() -> int:
    """Return the bytes that this machine, or the container that evsim runs in, has; 2^63 where nothing tells."""
    sizes = [2**63]
    if hasattr(os, "sysconf") and {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= os.sysconf_names.keys():
        sizes.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with suppress(OSError, ValueError):  # no container, or one without a limit: "max"
        sizes.append(int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return min(size for size in sizes if size > 0)


@dataclass(frozen=True)
class _Measure:
    """One run to measure; `item` is the size of a real value in bytes, `image` whether one stands for all timesteps.

    `packed`: bytes of a weight of an integer network, else 0.
    """

    network: Network
    timesteps: int
    item: int
    streaming: bool
    threads: int
    image: bool
    apart: bool
    packed: int = 0

    def weights(self) -> int:
        """Packed weights: in blocks, 5 taps for 3 where they are joined; and a layer's in float64 as it is packed."""
        packed, most = 0, 0
        for node in self.network.nodes:
            weight = node.parameters().get("weight")
            if weight is None:
                continue
            *inner, outputs = weight
            joined = isinstance(node, Conv2d) and node.kernel[1] == 3
            size = prod(inner) * padded(outputs) * (5 if joined else 3) // 3
            if self.packed:  # for sums of fixed-point numbers, of 64 bits
                packed += (8 if self.network.shapes[node.inputs[0]].kind == "real" else self.packed) * size
                most = max(most, 3 * size, 24 * prod(inner) * min(padded(outputs), AT_ONCE))
                continue
            packed += self.item * size
            most = max(most, 12 * size)
        return packed + most

    def maps(self) -> tuple[int, str]:
        """Return the most that is alive at the same time, and where."""
        static, bounds = self._static_nodes(), largest_integers(self.network, LARGEST_COUNT)
        planes = {name: min(bound, LARGEST_COUNT).bit_length() for name, bound in bounds.items()}  # of integers, bits
        planned = groups(self.network, self.streaming, apart=self.apart)
        last_read = {name: rank for rank, group in enumerate(planned) for name in group.sources}
        ends: dict[int, int] = {}
        source = self.network.input.name
        whole = 1 if self.image else self.timesteps
        alive = self._map(self.network.shapes[source], whole, planes.get(source, 1))
        if self.network.input.kind == "real":  # not padded
            alive = alive * self.network.input.channels // padded(self.network.input.channels)
        ends[last_read.get(source, 0)] = alive
        kept = sum(self._kept(group, static) for group in planned)
        most, at = 0, source
        last = [last_read.get(group.nodes[-1].name, rank) for rank, group in enumerate(planned)]
        outputs = [self._output(group, static, planes, end) for group, end in zip(planned, last, strict=True)]
        for rank, group in enumerate(planned):
            _, output, end = outputs[rank]
            alive += output
            here = alive + self._working(group, static) + self._waiting(outputs, rank)
            if here > most:
                most, at = here, group.nodes[-1].name
            ends[end] = ends.get(end, 0) + output
            alive -= ends.pop(rank, 0)
        return most + kept, at

    def _output(self, group: Group, static: set[str], planes: dict[str, int], end: int) -> tuple[int, int, int]:
        """Return the bytes of a stage's output, of its values and of all of it, and the rank of its last reader."""
        name, shape = group.nodes[-1].name, self.network.shapes[group.nodes[-1].name]
        steps = 1 if self.streaming or name in static or group.nodes[-1].once else self.timesteps
        return steps * self._bytes(shape), self._map(shape, steps, planes.get(name, 1)), end

    def _waiting(self, outputs: list[tuple[int, int, int]], rank: int) -> int:
        """Return the bytes of packets that nobody reads any more, but that are kept at a stage as calls wait."""
        before = [(values, whole if end < rank else 0) for values, whole, end in outputs[:rank]]
        if self.streaming:  # those of the timesteps before
            before = [each[:2] for each in outputs] * min(self.timesteps - 1, PAGES) + before
        total = held = 0
        for values, whole in before[: -PAGES - 1 : -1]:
            held += whole
            total += values
            if total > MOST_WAITING:
                break
        return held

    def counters(self) -> int:
        """Numbers per row and timestep, spikes that wait to be counted, and what counting works in."""
        total, spikes = 0, []
        for work, row in rows(self.network):
            size = row.geometry
            total += 8 * self.timesteps * (3 * COLUMNS + 8 * size.heads + len(row.operations))
            if row.kind == "attention":
                total += 8 * (size.head_dim // 64 + 1) * (3 * size.tokens + size.head_dim)
            if row.kind in ("conv", "linear"):
                reached = max(size.out_height * size.kernel[0], size.out_width * size.kernel[1])
                shape = self.network.shapes[self.network.node(work.name).inputs[0]]
                numbers = 0 if size.pointwise else _words(shape) if shape.kind == "spikes" else padded(shape.channels)
                total += 8 * (size.tokens * (1 + numbers) + 2 * reached)
        for node in self.network.nodes:
            shape = self.network.shapes[node.name]
            if shape.kind == "spikes":
                steps = 1 if self.streaming else self.timesteps
                spikes.append(steps * shape.positions * 8 * (_words(shape) + 1))
        return total + sum(sorted(spikes)[-3 * TOGETHER :])

    def _static_nodes(self) -> set[str]:
        """Nodes whose map of an image is the same at each timestep, and stored once: those before the first neurons."""
        if not self.image:
            return set()
        static = {self.network.input.name}
        for node in self.network.nodes[1:]:
            if not isinstance(node, CHANGING) and static.issuperset(node.inputs):
                static.add(node.name)
        return static

    def _kept(self, group: Group, static: set[str]) -> int:
        """Return what a stage keeps over the run: potentials, sums over time, what a layer makes of real values."""
        first, last = group.nodes[0], group.nodes[-1]
        size = self._real(self.network.shapes[first.name], 1)
        if isinstance(last, LIF):
            return size if self.streaming else 0
        if isinstance(last, MultiSpike):
            return size if last.integrates else 0
        if isinstance(last, TimeMean | TimeReduction):
            return 2 * size
        if isinstance(last, Neuron):  # currents, potentials, where they start, and constants by neuron
            return size * (3 + len(last.by_neuron))
        if isinstance(last, Delay):
            return self._map(self.network.shapes[last.name], min(last.steps, self.timesteps))
        reals = isinstance(first, Conv2d | Linear) and self.network.shapes[group.sources[0]].kind == "real"
        return size * (1 if self.streaming or first.name in static else self.timesteps) if reals else 0

    def _working(self, group: Group, static: set[str]) -> int:
        """Return what a stage needs while it steps, its output aside."""
        first, last = group.nodes[0], group.nodes[-1]
        shapes = [self.network.shapes[name] for name in group.sources]
        times = [1 if self.streaming or name in static else self.timesteps for name in group.sources]
        steps = 1 if self.streaming else self.timesteps
        values = sum(time * shape.positions * shape.channels for shape, time in zip(shapes, times, strict=True))
        out = self.network.shapes[first.name]
        if isinstance(first, SpikingSelfAttention) and not self._of_bits(shapes):
            width = out.channels // first.heads
            product = 8 * self.threads * (shapes[0].channels // first.heads) * width
            return 5 * values + 8 * steps * out.positions * out.channels + product
        if isinstance(first, HeadProduct):
            block, spans = BLOCK[np.dtype(f"f{self.item}")], shapes[0].channels // first.heads // 64 + 1
            return self.threads * (self.item * block * (64 * spans + out.positions) + 8 * spans * out.positions)
        if isinstance(first, COPYING):
            return 3 * self.item * (values + steps * out.positions * out.channels) + 2 * values
        if isinstance(first, SpikingSelfAttention):
            size = shapes[0].channels // first.heads
            words = 3 * (size // 64 + 1) * (shapes[0].positions // 64 + 1) * 64
            row = (size // 64 + 1) * 64 * padded(size)
            return self.threads * (8 * words + self.item * (row + padded(size)))
        if isinstance(first, Conv2d | Linear):
            block = self.item * BLOCK[np.dtype(f"f{self.item}")]
            line = steps * block * out.width  # bands may be whole lines, or some more than fit
            line = max(line, SUMS_BYTES * 4 // 3) if line <= LINE_BYTES else 0
            scratch = self.threads * max(SUMS_BYTES, line, steps * block)
            if isinstance(first, Conv2d) and first.groups > 1:  # rows of the map side by side
                scratch += self.threads * first.kernel[0] * (out.width + 16) * (16 * self.item + 8 * _words(shapes[0]))
            reals = shapes[0].kind == "real"
            copies = self.item * times[0] * shapes[0].positions * shapes[0].channels if reals else 0
            if isinstance(last, Add):  # the stream padded, and for each timestep where spikes are added to it
                copies += 2 * self._real(self.network.shapes[last.name], max(times) if reals else steps)
            return scratch + copies
        # as real values, by way of booleans; only the input and pools of it are real and not padded
        return sum(
            self._real(shape, time) + 2 * time * shape.positions * shape.channels
            for shape, time in zip(shapes, times, strict=True)
            if shape.kind != "real" or shape.channels != padded(shape.channels)
        )

    def _of_bits(self, shapes: list[Shape]) -> bool:
        """Whether attention is on spikes of one width, and so on bits."""
        return shapes[0].kind == "spikes" and shapes[2] == shapes[0]

    def _real(self, shape: Shape, steps: int) -> int:
        return self.item * steps * shape.positions * padded(shape.channels)

    def _bytes(self, shape: Shape) -> int:
        """Return the bytes of a timestep's values, lists aside."""
        if shape.kind == "real":
            return self._real(shape, 1)
        return shape.positions * (8 * _words(shape) if shape.kind == "spikes" else 4 * shape.channels)

    def _map(self, shape: Shape, steps: int, planes: int = 1) -> int:
        """Return the bytes of a map of `steps` timesteps, with its lists where layers may ask for some."""
        places = steps * shape.positions
        if shape.kind == "real":
            return self._real(shape, steps)
        tiles = -(-_words(shape) // TILE_WORDS)
        starts = tiles * (places + ROOM * (places // QUAD + steps * shape.height))
        lists = INDEX * places * shape.channels + START * starts
        if shape.kind == "spikes":
            return 8 * places * _words(shape) + lists
        if shape.channels <= JOINED_CHANNELS or self.item == 8:
            return (4 + self.item) * places * shape.channels + lists
        return 4 * places * shape.channels + planes * (lists + 8 * places * _words(shape))


def _words(shape: Shape) -> int:
    """Words of a position of a spike map."""
    return -(-shape.channels // 64)

"""A run that is looked at afterwards: every packet of spikes or integers, and the real values that are asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.api import Run, Sample, run_on
from evsim.engine import Simulator
from evsim.errors import OptionError
from evsim.kernels.vector import padded
from evsim.layers.plan import Stage
from evsim.network import Network, Shape
from evsim.observers import Observer
from evsim.quantized import WEIGHTS, Precision
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap

Ints = NDArray[np.int64]

MOST_BYTES = 4 << 30
"""Memory for real values that are kept to be looked at."""


class Keeper:
    """Keeps the packets of a run that goes timestep by timestep, under the names of the nodes that emitted them."""

    def __init__(self, network: Network, reals: frozenset[str]) -> None:
        self.packets: dict[tuple[str, int], Packet] = {}
        self._network, self._reals = network, reals

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Keep what a stage took, which the network's input and delays emit too, and what it gave."""
        for name, packet in zip(stage.sources, inputs, strict=True):
            self._keep(name, packet)
        if output is not None:
            self._keep(stage.name, output)

    def _keep(self, name: str, packet: Packet) -> None:
        key = name, packet.start
        if key in self.packets or (isinstance(packet, RealMap) and name not in self._reals):
            return
        if isinstance(packet, SpikeMap):  # without its lists
            packet = SpikeMap(packet.start, packet.words, packet.channels, packet.height, packet.width)
        self.packets[key] = packet


class Watched:
    """A run, and what its nodes emitted.

    It runs by timestep and with no layers fused, so that the sums and potentials that are shown are those that the
    engine made; results are those of any other run, to the last bit.

    Parameters
    ----------
    network, sample
        What runs on what.
    timesteps, precision, threads
        As `evsim.engine.Simulator` takes them.
    reals
        Nodes whose real values are kept.
    observers
        Further observers.

    Raises
    ------
    OptionError
        If what is to be kept does not fit into memory.
    """

    def __init__(
        self,
        network: Network,
        sample: Sample,
        *,
        timesteps: int | None = None,
        precision: Precision = "float32",
        threads: int | None = None,
        reals: Iterable[str] = (),
        observers: Iterable[Observer] = (),
    ) -> None:
        if precision in WEIGHTS:
            raise OptionError(
                f"sums in {precision} are not explained; give `precision=float32`, which runs the weights as floats"
            )
        steps = sample.timesteps if timesteps is None else timesteps
        self.network = network
        self.simulator = Simulator(network, steps, precision, "time", threads, apart=True)
        self.real: type[np.floating] = self.simulator.dtype.type
        kept = frozenset((*reals, network.input.name))
        _check_room(network, kept, self.simulator)
        keeper = Keeper(network, kept)
        self.run: Run = run_on(self.simulator, sample, observers=[keeper, *observers])
        self.packets = keeper.packets
        self.stages = {stage.name: stage for stage in self.simulator.stages}
        self._weights: dict[str, NDArray[np.floating]] = {}

    @property
    def timesteps(self) -> int:
        """T of the run."""
        return self.simulator.timesteps

    def shape(self, name: str) -> Shape:
        """Return what a node emits."""
        return self.network.shapes[name]

    def weight(self, name: str, key: str) -> NDArray[np.floating]:
        """Return a parameter of a node, fetched once."""
        full = f"{name}.{key}"
        if full not in self._weights:
            self._weights[full] = np.asarray(self.network.weights[full])
        return self._weights[full]

    def values(self, name: str, t: int, positions: Ints, channels: Ints) -> NDArray[Any]:
        """Return what a node emitted at a timestep: spikes as 0 and 1, integers, or real values in the run's precision.

        A timestep at which it emitted nothing, as before a delay's first packet, gives zeros.
        """
        packet = self.packets.get((name, t))
        if packet is None:
            return np.zeros(len(positions), self.real)
        if isinstance(packet, SpikeMap):
            bits = packet.words[0, positions, channels // 64] >> (channels % 64).astype(np.uint64)
            spikes: Ints = (bits & np.uint64(1)).astype(np.int64)
            return spikes
        if isinstance(packet, IntegerMap):
            integers: Ints = packet.values[0, positions, channels].astype(np.int64)
            return integers
        values: NDArray[np.floating] = packet.values[0, positions, channels]
        return values

    def value(self, name: str, t: int, position: int, channel: int) -> Any:
        """Return one value, see `values`."""
        return self.values(name, t, np.array([position]), np.array([channel]))[0]

    def train(self, name: str, position: int, channel: int) -> list[int]:
        """Return what a neuron emitted at each timestep."""
        return [int(self.value(name, t, position, channel)) for t in range(self.timesteps)]


def sources_of(network: Network, name: str, *, whole: bool) -> frozenset[str]:
    """Return the nodes of real values that a node is made of: up to the next layers with rows, or the `whole` way."""
    from evsim.workload import workload

    works, kept, waiting = workload(network), set(), [*network.node(name).inputs]
    while waiting:
        each = waiting.pop()
        node = network.node(each)
        if each in kept or (network.shapes[each].kind != "real" and not whole):
            continue
        kept.add(each)
        row = works[each].row
        if whole or row is None or row.kind == "lif":
            waiting.extend(node.inputs)
        else:  # its inputs are looked at, but not what these are made of
            kept.update(node.inputs)
    return frozenset(kept)


def _check_room(network: Network, kept: frozenset[str], simulator: Simulator) -> None:
    shapes = [network.shapes[name] for name in kept if network.shapes[name].kind == "real"]
    values = sum(shape.positions * padded(shape.channels) for shape in shapes)
    size = values * simulator.timesteps * simulator.dtype.itemsize
    if size > MOST_BYTES:
        raise OptionError(
            f"{network.name}: {size / 2**30:.1f} GB of real values would have to be kept for this, at most "
            f"{MOST_BYTES >> 30} GB are; give fewer `timesteps`, an earlier neuron, or leave out `why`"
        )

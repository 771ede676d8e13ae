"""The event queue and the simulator that steps through a network.

An event is the arrival of a packet at an input of a stage. The queue is a heap ordered by (timestep, rank) or by
(rank, timestep); a running number breaks ties, so runs repeat exactly and packets are never compared. A stage fires
once a packet of the same timesteps has arrived at each of its inputs; its output goes back on the queue, addressed to
every stage that reads it. A packet without spikes is still an event: it is the clock tick by which potentials leak
and biases act.

Both orders give identical results and counts. By timestep, every layer sees the first timestep before any sees the
second, as a chip would; by layer, a packet carries all timesteps and each tile of weights is loaded once for all.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evsim.errors import OptionError, RecordingError
from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.plan import plan
from evsim.network import Network
from evsim.observers import Observer
from evsim.spikes import IntegerMap, Packet, RealMap

Schedule = Literal["time", "layer"]
Precision = Literal["float32", "float64"]


@dataclass(order=True)
class Event:
    """A packet on its way to input `port` of the stage of rank `rank`; ordered by `key` alone."""

    key: tuple[int, int, int]
    rank: int = field(compare=False)
    port: int = field(compare=False)
    packet: Packet = field(compare=False)


class EventQueue:
    """Events in the order of a schedule: "time" by (timestep, rank), "layer" by (rank, timestep)."""

    def __init__(self, schedule: Schedule) -> None:
        self._by_time = schedule == "time"
        self._heap: list[Event] = []
        self._number = 0

    def push(self, rank: int, port: int, packet: Packet) -> None:
        """Address a packet to an input of a stage."""
        major, minor = (packet.start, rank) if self._by_time else (rank, packet.start)
        heapq.heappush(self._heap, Event((major, minor, self._number), rank, port, packet))
        self._number += 1

    def pop(self) -> Event:
        """Return the next event."""
        return heapq.heappop(self._heap)

    def __bool__(self) -> bool:
        return bool(self._heap)


class Simulator:
    """A network ready to run.

    Parameters
    ----------
    network
        What to run.
    timesteps
        T; the model's own by default.
    precision
        "float32" or "float64", of weights, sums and membrane potentials.
    schedule
        Order of events, see the module.
    threads
        Threads that share each layer's work; no result depends on it.

    Raises
    ------
    OptionError
        If a parameter has no such value.
    NetworkError
        If a layer cannot run exactly in that precision.
    """

    def __init__(
        self,
        network: Network,
        timesteps: int | None = None,
        precision: Precision = "float32",
        schedule: Schedule = "layer",
        threads: int = 1,
    ) -> None:
        if precision not in ("float32", "float64"):
            raise OptionError(f"--precision must be float32 or float64, got {precision}")
        if schedule not in ("time", "layer"):
            raise OptionError(f"--schedule must be time or layer, got {schedule}")
        if threads < 1:
            raise OptionError(f"--threads must be at least 1, got {threads}")
        self.network = network
        self.timesteps = network.spec.timesteps if timesteps is None else timesteps
        if self.timesteps < 1:
            raise OptionError(f"--timesteps must be at least 1, got {self.timesteps}")
        self.schedule = schedule
        self.dtype = np.dtype(precision)
        self.stages = plan(network, self.timesteps, Context(self.dtype, Workers(threads), schedule == "time"))
        self._readers = self._connect()

    @property
    def steps(self) -> int:
        """Number of stage steps in a run, for progress bars (a readout that runs once counts as one)."""
        return len(self.stages) * (self.timesteps if self.schedule == "time" else 1)

    def run(self, source: NDArray[np.generic], observers: Sequence[Observer] = ()) -> NDArray[np.floating]:
        """Run one sample and return its logits [classes].

        Parameters
        ----------
        source
            Real image [C, H, W] (the same at every timestep), real frames [T, C, H, W] for an image model, or event
            counts [T, C, H, W] for an event model.
        observers
            Called after every step of every stage.

        Raises
        ------
        RecordingError
            If the source does not fit the network's input.
        """
        queue = EventQueue(self.schedule)
        waiting: dict[tuple[int, int], dict[int, Packet]] = {}
        logits: NDArray[np.floating] | None = None
        for stage in self.stages:
            stage.layer.reset()
        for packet in self._packets(source):
            self._send(queue, self.network.input.name, packet)
        while queue:
            event = queue.pop()
            stage = self.stages[event.rank]
            ports = waiting.setdefault((event.rank, event.packet.start), {})
            ports[event.port] = event.packet
            if len(ports) < len(stage.sources):
                continue
            inputs = tuple(ports[port] for port in range(len(ports)))
            del waiting[event.rank, event.packet.start], ports
            output = stage.layer.step(*inputs)
            for observer in observers:
                observer.observe(stage, inputs, output)
            if output is None:
                continue
            if event.rank == len(self.stages) - 1:
                assert isinstance(output, RealMap)
                logits = output.values[0, 0, : output.channels]
            self._send(queue, stage.name, output)
        assert logits is not None
        return logits

    def _connect(self) -> dict[str, list[tuple[int, int]]]:
        """Return, for each node whose output travels, the (rank, port) of all inputs that take it."""
        readers: dict[str, list[tuple[int, int]]] = {self.network.input.name: []}
        for rank, stage in enumerate(self.stages):
            readers[stage.name] = []
            for port, name in enumerate(stage.sources):
                readers[name].append((rank, port))
        return readers

    def _send(self, queue: EventQueue, name: str, packet: Packet) -> None:
        for rank, port in self._readers[name]:
            queue.push(rank, port, packet)

    def _packets(self, source: NDArray[np.generic]) -> Iterator[Packet]:
        """Cut the input into packets: one for all timesteps, or one for each."""
        values = self._checked(source)
        static = values.ndim == 3
        frames = values[np.newaxis] if static else values
        count, channels, height, width = frames.shape
        maps = np.ascontiguousarray(frames.transpose(0, 2, 3, 1)).reshape(count, height * width, channels)
        streaming = self.schedule == "time"
        for start in range(self.timesteps if streaming else 1):
            steps = 1 if streaming else self.timesteps
            part = maps if static or not streaming else maps[start : start + 1]
            if self.network.input.kind == "integers":
                yield IntegerMap(start, part.astype(np.int32), height, width)
            else:
                yield RealMap(start, steps, part.astype(self.dtype, copy=False), channels, height, width)

    def _checked(self, source: NDArray[np.generic]) -> NDArray[np.generic]:
        spec = self.network.input
        wanted = f"[{spec.channels}, {spec.height}, {spec.width}]"
        events = spec.kind == "integers"
        if source.ndim not in ((4,) if events else (3, 4)) or source.shape[-3:] != (
            spec.channels,
            spec.height,
            spec.width,
        ):
            kinds = f"frames [T, {wanted[1:]}" if events else f"an image {wanted} or frames [T, {wanted[1:]}"
            raise RecordingError(f"the model takes {kinds}, but the input has shape {list(source.shape)}")
        if source.ndim == 4 and len(source) != self.timesteps:
            raise RecordingError(
                f"the input holds {len(source)} timesteps, the run has {self.timesteps}; "
                f"give --timesteps {len(source)} to run as many"
            )
        if not np.isfinite(source).all():
            raise RecordingError("the input holds NaN or infinite values; mend the file")
        if events and bool((np.less(source, 0) | (source != np.floor(source))).any()):
            raise RecordingError("the model takes event counts, but the input holds negative or fractional values")
        return source

"""The event queue and the simulator that steps through a network.

An event is the arrival of a packet at an input of a stage. The queue is a heap ordered by (timestep, rank) or by
(rank, timestep); a running number breaks ties, so runs repeat exactly and packets are never compared. A stage fires
once a packet of the same timesteps has arrived at each of its inputs; its output goes back on the queue, addressed to
every stage that reads it. A packet without spikes is still an event: it is the clock tick by which potentials leak
and biases act.

Both orders give identical results and counts. By timestep, every layer sees the first timestep before any sees the
second, as a chip would; by layer, a packet carries all timesteps and each tile of weights is loaded once for all.
A delay addresses its packet to a later timestep. Where that closes a cycle, only the order by timestep can run.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError, OptionError
from evsim.intake import Intake, check_timesteps
from evsim.kernels.threads import MOST_WAITING, Workers, check_threads
from evsim.layers.context import Context, remedy
from evsim.layers.plan import plan
from evsim.layers.ranges import could_overflow, find_fault
from evsim.layers.time import Delaying
from evsim.magnitudes import check_magnitudes
from evsim.needs import check_needs
from evsim.network import Network
from evsim.observers import Observer
from evsim.quantized import WEIGHTS, Precision, chosen_precision
from evsim.reach import reaches
from evsim.spikes import Packet, RealMap, SpikeMap
from evsim.timeline import Timeline

Schedule = Literal["time", "layer"]


class Event(NamedTuple):
    """A packet on its way to input `port` of the stage of rank `rank`; the first three order it, no two share them."""

    major: int
    minor: int
    number: int
    rank: int
    port: int
    packet: Packet


class EventQueue:
    """Events in the order of a schedule: "time" by (timestep, rank), "layer" by (rank, timestep)."""

    def __init__(self, schedule: Schedule) -> None:
        self._by_time = schedule == "time"
        self._heap: list[Event] = []
        self._number = 0

    def send(self, readers: Sequence[tuple[int, int]], packet: Packet) -> None:
        """Address a packet to inputs of stages, by rank and port."""
        start = packet.start
        for rank, port in readers:
            major, minor = (start, rank) if self._by_time else (rank, start)
            heapq.heappush(self._heap, Event(major, minor, self._number, rank, port, packet))
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
        "float32" or "float64", of weights, sums and membrane potentials; "int8" or "int16" of an integer network, by
        its weights. By default its integers, if it has any, else float32.
    schedule
        Order of events, see the module. A network with cycles runs by timestep, whatever is asked for: the attribute
        `schedule` says so.
    threads
        Threads that share each layer's work, by default as many as there are cores to run on; no result depends on it.
    apart
        Whether no layers are fused, so that observers see the currents of all neurons; no result depends on it.

    Raises
    ------
    OptionError
        If a parameter has no such value.
    NetworkError
        If a layer cannot run exactly in that precision, spikes add up beyond what is counted exactly, or the run would
        need more memory than it may (`evsim.needs`).
    """

    def __init__(
        self,
        network: Network,
        timesteps: int | None = None,
        precision: Precision | None = None,
        schedule: Schedule = "layer",
        threads: int | None = None,
        *,
        apart: bool = False,
    ) -> None:
        chosen = chosen_precision(network.quantization, precision)
        if schedule not in ("time", "layer"):
            raise OptionError(f"`schedule` must be time or layer, got {schedule}")
        threads = check_threads(threads)
        self.network = network
        self.timesteps = network.spec.timesteps if timesteps is None else timesteps
        check_timesteps(self.timesteps)
        self.schedule: Schedule = "time" if network.closing else schedule
        schedule, self.threads = self.schedule, threads
        self.precision = chosen
        self._integers = network.quantization if chosen in WEIGHTS else None
        self.dtype: np.dtype[Any] = np.dtype("int32" if self._integers else chosen)
        self.apart = apart
        check_needs(network, self.timesteps, chosen, schedule, threads, apart=apart)
        self._context = Context(self.dtype, Workers(threads), schedule == "time", self._integers)
        try:
            if self._integers:
                self._known = reaches(self._integers)
                check_magnitudes(network, self._known, 1, self.timesteps)
            self._intake = Intake(network, self.timesteps, self.dtype, schedule == "time")
            self.stages = plan(network, self.timesteps, self._context, apart=apart)
        except NetworkError as error:
            raise type(error)(f"{network.file.path}: {error}" if network.file else str(error)) from error
        self._readers = self._connect()
        self._safe_up_to = -1.0  # largest magnitude of an input whose run is known to stay finite

    @property
    def context(self) -> Context:
        """What all its layers share."""
        return self._context

    @property
    def steps(self) -> int:
        """Number of stage steps in a run, for progress bars: what follows the mean over time runs once."""
        once = {self.network.input.name} if self.schedule == "layer" else set()
        total = 0
        for stage in self.stages:
            single = once.issuperset(stage.sources)
            total += 1 if single else self.timesteps
            if single or stage.nodes[-1].once:
                once.add(stage.name)
        return total

    def run(
        self, source: NDArray[np.generic], observers: Sequence[Observer] = (), timeline: Timeline | None = None
    ) -> NDArray[np.floating]:
        """Run one sample and return its logits [classes].

        Parameters
        ----------
        source
            Real image [C, H, W] (the same at every timestep), real frames [T, C, H, W] for an image model, or event
            counts [T, C, H, W] for an event model.
        observers
            Called after every step of every stage.
        timeline
            Takes the time of every step, if given.

        Raises
        ------
        RecordingError
            If the source does not fit the network's input, or holds counts above 2^31 - 1.
        NetworkError
            If a value is not finite, with the first layer that gives one; or if frames need more memory than a run may
            where one image would do.
        """
        if source.ndim == 4 and self.network.spec.kind == "image":
            check_needs(self.network, self.timesteps, self.precision, self.schedule, self.threads, static=False)
        # values that could overflow are looked at; of several threads that run samples here, one at a time does
        with np.errstate(over="ignore", invalid="ignore"), self._context.workers.later():
            return self._run(source, observers, timeline)

    def _run(
        self, source: NDArray[np.generic], observers: Sequence[Observer], timeline: Timeline | None
    ) -> NDArray[np.floating]:
        queue = EventQueue(self.schedule)
        waiting: dict[tuple[int, int], dict[int, Packet]] = {}
        logits: NDArray[np.floating] | None = None
        packets = list(self._intake.packets(source))
        watched = self._watches(source)
        finish, held = self._context.workers.finish, 0
        finish()  # layers forget what a run that was cut short, or one around this one, still works on
        looks = watched or timeline is not None or not all(getattr(each, "later", False) for each in observers)
        steps = [(stage, len(stage.sources), stage.defers, self._readers[stage.name]) for stage in self.stages]
        for packet in packets:
            queue.send(self._readers[self.network.input.name], packet)
        packets.clear()
        for stage in self.stages:
            stage.layer.reset()
            if isinstance(stage.layer, Delaying):
                for packet in stage.layer.beginnings():
                    queue.send(self._readers[stage.name], packet)
        while queue:
            _, _, _, rank, port, packet = queue.pop()
            stage, ports, defers, readers = steps[rank]
            inputs: tuple[Packet, ...] = (packet,)
            if ports > 1:
                arrived = waiting.setdefault((rank, packet.start), {})
                arrived[port] = packet
                if len(arrived) < ports:
                    continue
                inputs = tuple(arrived[port] for port in range(ports))
                del waiting[rank, packet.start], arrived
            if timeline is not None:
                timeline.begin()
            if held > MOST_WAITING or not defers:
                finish()
                held = 0
            output = stage.step(inputs, self._context)
            if output is not None:
                held += (output.words if isinstance(output, SpikeMap) else output.values).nbytes
            if looks:
                finish()
            if timeline is not None:
                timeline.end(stage, inputs, output)
            if watched and (fault := find_fault(output)):
                raise NetworkError(
                    f"{self.network.name}: {stage.name} gives values that are not finite ({fault}), sums overflow in "
                    f"{self.dtype.name}; {remedy(self.dtype)}"
                )
            for observer in observers:
                observer.observe(stage, inputs, output)
            if output is None:
                continue
            if rank == len(steps) - 1:
                assert isinstance(output, RealMap)
                finish()
                logits = self._read(output.values[0, 0, : output.channels])
            queue.send(readers, output)
        assert logits is not None
        return logits

    def _read(self, logits: NDArray[np.generic]) -> NDArray[np.floating]:
        """Return logits as floats, whole numbers of 2^-F exactly."""
        if self._integers is None:
            return logits  # type: ignore[return-value]
        return np.ldexp(logits.astype(np.float64), -self._integers.fraction)

    def _watches(self, source: NDArray[np.generic]) -> bool:
        """Return whether a run of the source could overflow; then stages are planned apart, so that all is seen.

        An integer network of which that cannot be ruled out does not run.
        """
        largest = max(float(source.max()), -float(source.min()))
        if largest <= self._safe_up_to:
            return False
        if self._integers:
            if self.network.input.kind == "integers":
                check_magnitudes(self.network, self._known, int(largest), self.timesteps)
            self._safe_up_to = largest
            return False
        if not could_overflow(self.network, self.stages, largest, self.timesteps, self.dtype):
            self._safe_up_to = largest
            return False
        if not self.apart:
            self.apart = True
            check_needs(self.network, self.timesteps, self.precision, self.schedule, self.threads, apart=True)
            self.stages = plan(self.network, self.timesteps, self._context, apart=True)
            self._readers = self._connect()
        return True

    def _connect(self) -> dict[str, list[tuple[int, int]]]:
        """Return, for each node whose output travels, the (rank, port) of all inputs that take it."""
        names = [self.network.input.name, *(stage.name for stage in self.stages)]
        readers: dict[str, list[tuple[int, int]]] = {name: [] for name in names}
        for rank, stage in enumerate(self.stages):
            for port, name in enumerate(stage.sources):
                readers[name].append((rank, port))
        return readers

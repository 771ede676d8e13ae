"""When each stage stepped: the event queue over time, for `evsim run --trace`."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from evsim.layers.plan import Stage
from evsim.spikes import IntegerMap, Packet, SpikeMap


@dataclass(frozen=True)
class Slice:
    """One event of the queue.

    Attributes
    ----------
    stage, nodes
        The stage that stepped, and the primitives that it stands for.
    start, steps
        First timestep of the event, and how many it carries.
    begin, end
        Seconds since the first event.
    spikes
        Spikes that it emitted, of integers their sum; None of real values.
    """

    stage: str
    nodes: tuple[str, ...]
    start: int
    steps: int
    begin: float
    end: float
    spikes: int | None


class Timeline:
    """Takes the time of every step of every stage; what observers do in between is not in it."""

    def __init__(self) -> None:
        self.slices: list[Slice] = []
        self._first: float | None = None
        self._begin = 0.0

    def begin(self) -> None:
        """Take the time before a stage steps."""
        self._begin = time.perf_counter()
        if self._first is None:
            self._first = self._begin

    def end(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Take the time after it, and note what it took and gave."""
        now = time.perf_counter()
        first = self._begin if self._first is None else self._first
        spikes = None
        if isinstance(output, SpikeMap):
            spikes = int(np.bitwise_count(output.words).sum(dtype=np.int64))
        elif isinstance(output, IntegerMap):
            spikes = int(output.values.sum(dtype=np.int64))
        names = tuple(node.name for node in stage.nodes)
        taken = inputs[0]
        self.slices.append(Slice(stage.name, names, taken.start, taken.steps, self._begin - first, now - first, spikes))

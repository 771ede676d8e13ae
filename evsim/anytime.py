"""What a network would have answered after each timestep, and what that would have cost: from one run over all of them.

What comes before the end of time (a mean, a sum, a maximum, or the last) looks at no later timestep, so the answer
after t of T timesteps is what the rest of the network makes of the first t.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.counters import Counts, Ints
from evsim.engine import Simulator
from evsim.kernels.threads import Workers
from evsim.layers.plan import Stage
from evsim.layers.readout import TimeAverage
from evsim.layers.reals import as_real
from evsim.layers.time import Reduction
from evsim.spikes import Packet, RealMap, SpikeMap
from evsim.tallies import COLUMNS, SynapsesTally, tally_of
from evsim.workload import Row, Work, rows


@dataclass(frozen=True, eq=False)
class Answers:
    """Logits, synaptic operations and multiply-accumulates after each timestep: [T, classes], int64 [T], int64 [T]."""

    logits: NDArray[np.floating]
    sops: Ints
    macs: Ints


class Anytime:
    """An observer of one run that keeps what the first t timesteps come to.

    Parameters
    ----------
    simulator
        What runs.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._kept: dict[str, list[NDArray[np.floating]]] = {}
        self._like: dict[str, RealMap] = {}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Keep what a layer that gathers all timesteps has of them so far, in the order in which it does itself."""
        layer = stage.layer
        if not isinstance(layer, TimeAverage | Reduction):
            return
        real = as_real(inputs[0], self._simulator.context)
        kept = self._kept.setdefault(stage.name, [])
        self._like[stage.name] = real
        for i in range(real.steps):
            kept.append(layer.taken(kept[-1] if kept else None, real.values[0 if real.static else i]))

    def answers(self, logits: NDArray[np.floating], counts: Counts) -> Answers:
        """Return what would have been answered after each timestep.

        Parameters
        ----------
        logits, counts
            Of the run, whose answer is the last.
        """
        steps = self._simulator.timesteps
        tail = self._tail()
        behind = {node.name for stage in tail for node in stage.nodes}
        given = np.empty((steps, len(logits)), logits.dtype)
        given[-1] = logits
        sops = np.zeros(steps, np.int64)
        macs = np.zeros(steps, np.int64)
        last = [0, 0]
        for layer in counts.layers:
            if layer.name in behind:
                last = [last[0] + int(layer.sops.sum()), last[1] + int(layer.macs.sum())]
            else:
                sops += layer.sops
                macs += layer.macs
        sops, macs = np.cumsum(sops), np.cumsum(macs)
        entries = {work.name: (work, row) for work, row in rows(self._simulator.network) if work.name in behind}
        with self._simulator.context.workers.turn():  # its layers are the simulator's own
            for t in range(steps - 1):
                given[t], more = self._answer(tail, entries, t)
                sops[t] += more[0]
                macs[t] += more[1]
        sops[-1] += last[0]
        macs[-1] += last[1]
        return Answers(given, sops, macs)

    def _tail(self) -> list[Stage]:
        """Return the stages that run once, behind the end of time."""
        once: set[str] = set()
        tail = []
        for stage in self._simulator.stages:
            if stage.nodes[-1].once:
                once.add(stage.name)
            elif once.intersection(stage.sources):
                once.add(stage.name)
                tail.append(stage)
        return tail

    def _answer(
        self, tail: list[Stage], entries: dict[str, tuple[Work, Row]], t: int
    ) -> tuple[NDArray[np.floating], tuple[int, int]]:
        """Return logits after timestep `t`, from 0, and what the layers behind the end of time do for them."""
        context, steps = self._simulator.context, self._simulator.timesteps
        packets: dict[str, Packet] = {}
        for stage in self._simulator.stages:
            if isinstance(stage.layer, TimeAverage | Reduction):
                like, value = self._like[stage.name], stage.layer.after(self._kept[stage.name][t], t + 1)
                packets[stage.name] = RealMap(steps - 1, 1, value[np.newaxis], like.channels, like.height, like.width)
        operations = [0, 0]
        for stage in tail:
            inputs = tuple(packets[source] for source in stage.sources)
            for node in stage.nodes:
                if node.name in entries:
                    sops, macs = _operations(*entries[node.name], inputs[0], stage.workers)
                    operations = [operations[0] + sops, operations[1] + macs]
            stage.layer.reset()
            output = stage.step(inputs, context)
            assert output is not None
            packets[stage.name] = output
        end = packets[self._simulator.network.nodes[-1].name]
        assert isinstance(end, RealMap)
        values, integers = end.values[0, 0, : end.channels], context.quantization
        logits = np.ldexp(values.astype(np.float64), -integers.fraction) if integers else values
        return logits, (operations[0], operations[1])


def _operations(work: Work, row: Row, packet: Packet, workers: Workers) -> tuple[int, int]:
    """Return SOPs and MACs of a layer that runs once, on what it reads."""
    steps = packet.start + packet.steps
    tally = tally_of(work, row, np.zeros((COLUMNS, steps), np.int64), np.zeros(steps, np.bool_))
    if not isinstance(tally, SynapsesTally):
        return 0, 0
    when = slice(packet.start, steps)
    if isinstance(packet, SpikeMap):
        spikes = np.bitwise_count(packet.words).reshape(packet.steps, -1).astype(np.int64)
        reach, total = tally.reach(packet.words.shape[2]), spikes.sum(axis=1)
        tally.gather(when, total, spikes @ reach if reach.size else total * row.geometry.row)
    else:
        tally.multiply(when, packet, workers)
    zeros = np.zeros(steps, np.int64)
    counted = tally.counts(zeros, zeros, zeros)
    return int(counted.sops.sum()), int(counted.macs.sum())

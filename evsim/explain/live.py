"""The queue at work: what each layer did at each timestep so far, and counters that grow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.counters import AttentionCounts, Counts, NeuronCounts, SynapseCounts, unknown_row
from evsim.energy import Profile
from evsim.energy.paper import energy_mj
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.observers import Counter
from evsim.spikes import Packet
from evsim.workload import rows


@dataclass(frozen=True, eq=False)
class Board:
    """What has happened so far.

    Attributes
    ----------
    layers, kinds
        Rows in order of execution, and what each is: conv, linear, attention or lif.
    heat
        float64 [rows, T]: of neurons the share that fired, of others the share of their input that was not 0; NaN where
        nothing has come yet.
    row, t
        The layer that stepped last, -1 for one without a row, and its timestep.
    name
        Its name.
    events
        Events that the queue has handed out.
    spikes, sops, macs
        Counted so far.
    mj
        Energy so far, in millijoules, by the method "exact".
    """

    layers: tuple[str, ...]
    kinds: tuple[str, ...]
    heat: NDArray[np.float64]
    row: int
    t: int
    name: str
    events: int
    spikes: int
    sops: int
    macs: int
    mj: float


class Watch:
    """An observer that counts as the run goes on, and shows a board after each event.

    Parameters
    ----------
    network, timesteps
        What runs.
    profile
        Prices.
    show
        Called with the board after each event.
    """

    def __init__(self, network: Network, timesteps: int, profile: Profile, show: Callable[[Board], None]) -> None:
        self.counter = Counter(network, timesteps)
        self._profile, self._show = profile, show
        entries = rows(network)
        self._names = tuple(work.name for work, _ in entries)
        self._kinds = tuple(row.kind for _, row in entries)
        self._places = {name: i for i, name in enumerate(self._names)}
        self._heat = np.full((len(entries), timesteps), np.nan)
        self._events = 0

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Count an event and show what it led to."""
        self.counter.observe(stage, inputs, output)
        self._events += 1
        counts, when = self.counter.counts(), slice(inputs[0].start, inputs[0].start + inputs[0].steps)
        row = -1
        for node in stage.nodes:
            row = self._places.get(node.name, row)
            if node.name in self._places:
                self._heat[row, when] = _density(counts, row, when)
        sops, macs = counts.sops, counts.macs
        spikes = sum(int(layer.spikes.sum()) for layer in counts.layers if isinstance(layer, NeuronCounts))
        mj = energy_mj(sops, macs, self._profile)
        heat = self._heat.copy()
        board = Board(
            self._names, self._kinds, heat, row, inputs[0].start, stage.name, self._events, spikes, sops, macs, mj
        )
        self._show(board)


def _density(counts: Counts, row: int, when: slice) -> NDArray[np.float64]:
    """Return which share of a row was active at some timesteps."""
    layer = counts.layers[row]
    match layer:
        case NeuronCounts():
            active = layer.spikes if layer.nonzeros is None else layer.nonzeros
        case SynapseCounts() | AttentionCounts():
            active = layer.input_nonzeros
        case _:
            raise unknown_row(layer, "the live view", "it does not know how active it is")
    share: NDArray[np.float64] = active[when] / np.maximum(1, layer.input_size[when])
    return share

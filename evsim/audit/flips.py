"""Spikes of one run held against those of another in float64: who watches both, and what it keeps.

The run in float64 has no layers fused, so its currents are seen, and potentials are worked out to the last bit. The
first spike that differs, in order of layers, then timesteps, has the same inputs in both runs but for what rounding or
other weights made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evsim.layers.neurons import NeuronLayer
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.observers import Observer
from evsim.spikes import Packet, SpikeMap

SHOWN = 3
"""Neurons that are kept of the first timestep at which any differ."""


@dataclass(frozen=True)
class Flip:
    """One spike that differs.

    Attributes
    ----------
    layer, timestep, y, x, channel
        The neuron, and when.
    fires
        Whether it fires in the run that is held against float64; there it does the opposite.
    margin
        Its membrane potential in float64, less the threshold.
    threshold
        The threshold.
    """

    layer: str
    timestep: int
    y: int
    x: int
    channel: int
    fires: bool
    margin: float
    threshold: float


class KeptSpikes(Observer):
    """Keeps the bits of every layer of neurons, by name and first timestep."""

    def __init__(self, neurons: frozenset[str]) -> None:
        self._neurons = neurons
        self.words: dict[tuple[str, int], NDArray[np.uint64]] = {}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Keep what neurons emit."""
        if stage.name in self._neurons and isinstance(output, SpikeMap):
            self.words[stage.name, output.start] = output.words


@dataclass
class Tally:
    """What differs in a layer of neurons, timestep by timestep.

    Attributes
    ----------
    neurons
        Neurons times timesteps.
    spikes
        In the run that is held against float64, and in float64.
    ties
        Potentials, in float64, within one float32 ulp of the threshold.
    flips
        By timestep, neurons that spike in one of the runs alone.
    """

    neurons: int = 0
    spikes: tuple[int, int] = (0, 0)
    ties: int = 0
    flips: dict[int, int] = field(default_factory=dict)


class FlipWatcher(Observer):
    """Watches the run in float64, whose stages are apart: works out its potentials, and compares its spikes."""

    def __init__(self, network: Network, other: KeptSpikes) -> None:
        self._other = other.words
        self._ranks = {node.name: rank for rank, node in enumerate(network.nodes)}
        self._potentials: dict[str, NDArray[np.float64]] = {}
        self._at: tuple[int, int] | None = None
        self.tallies: dict[str, Tally] = {}
        self.first: tuple[Flip, ...] = ()

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Compare the spikes of a layer of neurons with those of the other run."""
        if not isinstance(stage.layer, NeuronLayer) or not isinstance(output, SpikeMap):
            return
        name, rule = stage.name, stage.layer.membrane.rule
        current, words = _currents(inputs[0]), self._other[name, output.start]
        other = SpikeMap(output.start, words, output.channels, output.height, output.width)
        tally = self.tallies.setdefault(name, Tally())
        zero = np.zeros(current.shape[1:])
        near = np.spacing(rule.thresholds.astype(np.float32)).astype(np.float64)
        for t in range(output.steps):
            v = rule.charged(self._potentials.get(name, zero), current[t if len(current) > 1 else 0])
            fired, spikes = _step(output, t), _step(other, t)
            differ = fired != spikes
            ties = np.abs(v - rule.thresholds) <= near
            tally.neurons += v.size
            tally.spikes = tally.spikes[0] + int(spikes.sum()), tally.spikes[1] + int(fired.sum())
            tally.ties += int(ties.sum())
            tally.flips[output.start + t] = int(differ.sum())
            if differ.any():
                self._note(name, rule.thresholds, output, t, differ, v, spikes)
            self._potentials[name] = rule.rested(v, fired)

    def _note(
        self,
        name: str,
        thresholds: NDArray[np.float64],
        output: SpikeMap,
        t: int,
        differ: NDArray[np.bool_],
        v: NDArray[np.float64],
        spikes: NDArray[np.bool_],
    ) -> None:
        """Keep the first spikes that differ, if they are before those known."""
        at = self._ranks[name], output.start + t
        if self._at is not None and self._at <= at:
            return
        self._at, flips = at, []
        for place in np.argwhere(differ)[:SHOWN]:
            position, channel = (int(i) for i in place)
            y, x = divmod(position, output.width)
            threshold = float(thresholds[channel])
            margin = float(v[position, channel]) - threshold
            flips.append(Flip(name, at[1], y, x, channel, bool(spikes[position, channel]), margin, threshold))
        self.first = tuple(flips)


def _currents(packet: Packet) -> NDArray[np.float64]:
    """Return what drives neurons as float64 [T, P, C]; T is 1 where all timesteps are the same."""
    dense = packet.dense() if isinstance(packet, SpikeMap) else packet.values
    return dense[..., : packet.channels].astype(np.float64, copy=False)


def _step(packet: SpikeMap, t: int) -> NDArray[np.bool_]:
    """Return the spikes of one of a packet's timesteps, [P, C]."""
    part = SpikeMap(0, packet.words[t : t + 1], packet.channels, packet.height, packet.width)
    spikes: NDArray[np.bool_] = part.dense()[0]
    return spikes

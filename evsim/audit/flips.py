"""Spikes of one run held against those of another in float64: who watches both, and what it keeps.

The run in float64 has no layers fused, so its currents are seen, and potentials are worked out to the last bit. The
first spike that differs, in order of layers, then timesteps, has the same inputs in both runs but for what rounding or
other weights made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from evsim.layers.neurons import IntegerNeurons, NeuronLayer, Rule
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.observers import Observer
from evsim.spikes import IntegerMap, Packet, SpikeMap

Floats = NDArray[np.float64]

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
        Whether it fires, or emits more, in the run that is held against float64; there it does the opposite.
    margin
        Its membrane potential in float64, less the threshold.
    threshold
        The threshold; of integer neurons, where rounding turns.
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
    """Keeps what every layer of neurons emits, by name and first timestep: bits, or integers."""

    def __init__(self, neurons: frozenset[str]) -> None:
        self._neurons = neurons
        self.packets: dict[tuple[str, int], SpikeMap | IntegerMap] = {}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Keep what neurons emit."""
        if stage.name in self._neurons and isinstance(output, SpikeMap | IntegerMap):
            # a map of its own: the lists of a packet that travels would be kept with it
            self.packets[stage.name, output.start] = replace(output)


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


@dataclass(frozen=True)
class LayerFlips:
    """What differs in a layer of neurons.

    Attributes
    ----------
    name
        The layer.
    neurons
        Neurons times timesteps.
    spikes
        In the run that is held against float64, and in float64.
    ties
        Potentials, in float64, within one float32 ulp of the threshold: a spike hangs on the last bit.
    by_timestep
        Neurons that spike in one of the runs alone.
    """

    name: str
    neurons: int
    spikes: tuple[int, int]
    ties: int
    by_timestep: tuple[int, ...]

    @property
    def flips(self) -> int:
        """Neurons and timesteps that spike in one of the runs alone."""
        return sum(self.by_timestep)


@dataclass(frozen=True, eq=False)
class Flips:
    """What differs between two runs.

    Attributes
    ----------
    layers
        Every layer of neurons, in order of execution.
    first
        Up to three neurons of the first layer and its first timestep at which any differ.
    """

    layers: tuple[LayerFlips, ...]
    first: tuple[Flip, ...]

    @property
    def flips(self) -> int:
        """Spikes that differ, in all layers."""
        return sum(layer.flips for layer in self.layers)

    @property
    def ties(self) -> int:
        """Potentials on the threshold, in all layers."""
        return sum(layer.ties for layer in self.layers)

    @property
    def neurons(self) -> int:
        """Spikes and silences, in all layers."""
        return sum(layer.neurons for layer in self.layers)


class FlipWatcher(Observer):
    """Watches the run in float64, whose stages are apart: works out its potentials, and compares its spikes."""

    def __init__(self, network: Network, other: KeptSpikes) -> None:
        self._other = other.packets
        self._ranks = {node.name: rank for rank, node in enumerate(network.nodes)}
        self._potentials: dict[str, NDArray[np.float64]] = {}
        self._at: tuple[int, int] | None = None
        self.tallies: dict[str, Tally] = {}
        self.first: tuple[Flip, ...] = ()

    def layers(self) -> tuple[LayerFlips, ...]:
        """Return what differs in each layer of neurons, in order of execution."""
        order = sorted(self.tallies, key=self._ranks.__getitem__)
        return tuple(_layer(name, self.tallies[name]) for name in order)

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Compare what a layer of neurons emits with what it does in the other run."""
        if isinstance(stage.layer, NeuronLayer) and isinstance(output, SpikeMap):
            self._compare_spikes(stage.name, stage.layer.membrane.rule, _currents(inputs[0]), output)
        if isinstance(stage.layer, IntegerNeurons) and isinstance(output, IntegerMap):
            integrates = stage.layer.node.integrates
            self._compare_integers(stage.name, _currents(inputs[0]), output, integrates=integrates)

    def _compare_spikes(self, name: str, rule: Rule, current: Floats, output: SpikeMap) -> None:
        """Compare spikes, whose potentials the rule tells."""
        other = self._other[name, output.start]
        tally = self.tallies.setdefault(name, Tally())
        near = np.spacing(rule.thresholds.astype(np.float32)).astype(np.float64)
        for t in range(output.steps):
            before = self._potentials.get(name, np.zeros(current.shape[1:]))
            v = rule.charged(before, current[t if len(current) > 1 else 0])
            fired, spikes = _step(output, t), _step(other, t)
            tally.ties += int((np.abs(v - rule.thresholds) <= near).sum())
            self._count(tally, output, t, fired, spikes)
            self._note(name, np.broadcast_to(rule.thresholds, v.shape), output, t, v, (spikes, fired))
            self._potentials[name] = rule.rested(v, fired.astype(np.bool_))

    def _compare_integers(self, name: str, current: Floats, output: IntegerMap, *, integrates: bool) -> None:
        """Compare integers; what stands for a threshold is where rounding turns."""
        other = self._other[name, output.start]
        tally = self.tallies.setdefault(name, Tally())
        for t in range(output.steps):
            v = current[t if len(current) > 1 else 0]
            if integrates:
                v = v + self._potentials.get(name, np.zeros(v.shape))
            emitted, values = _step(output, t), _step(other, t)
            self._count(tally, output, t, emitted, values)
            turns = emitted.astype(np.float64) + np.where(values > emitted, 0.5, -0.5)
            self._note(name, turns, output, t, v, (values, emitted))
            self._potentials[name] = v - emitted

    def _count(
        self, tally: Tally, output: SpikeMap | IntegerMap, t: int, emitted: NDArray[np.int64], other: NDArray[np.int64]
    ) -> None:
        """Count what differs at one of a packet's timesteps."""
        tally.neurons += emitted.size
        tally.spikes = tally.spikes[0] + int(other.sum()), tally.spikes[1] + int(emitted.sum())
        tally.flips[output.start + t] = int((emitted != other).sum())

    def _note(
        self,
        name: str,
        thresholds: Floats,
        output: SpikeMap | IntegerMap,
        t: int,
        v: Floats,
        pair: tuple[NDArray[np.int64], NDArray[np.int64]],
    ) -> None:
        """Keep the first neurons that differ, if they are before those known."""
        other, emitted = pair
        at = self._ranks[name], output.start + t
        if not (other != emitted).any() or (self._at is not None and self._at <= at):
            return
        self._at, flips = at, []
        for place in np.argwhere(other != emitted)[:SHOWN]:
            position, channel = (int(i) for i in place)
            y, x = divmod(position, output.width)
            threshold = float(thresholds[position, channel])
            margin, fires = float(v[position, channel]) - threshold, bool((other > emitted)[position, channel])
            flips.append(Flip(name, at[1], y, x, channel, fires, margin, threshold))
        self.first = tuple(flips)


def _layer(name: str, tally: Tally) -> LayerFlips:
    by_timestep = tuple(tally.flips[t] for t in sorted(tally.flips))
    return LayerFlips(name, tally.neurons, tally.spikes, tally.ties, by_timestep)


def _currents(packet: Packet) -> Floats:
    """Return what drives neurons as float64 [T, P, C]; T is 1 where all timesteps are the same."""
    dense = packet.dense() if isinstance(packet, SpikeMap) else packet.values
    values: Floats = dense[..., : packet.channels].astype(np.float64, copy=False)
    return values * packet.unit if isinstance(packet, IntegerMap) and packet.unit != 1.0 else values


def _step(packet: SpikeMap | IntegerMap, t: int) -> NDArray[np.int64]:
    """Return what is emitted at one of a packet's timesteps, [P, C]: spikes as 0 and 1."""
    if isinstance(packet, IntegerMap):
        values: NDArray[np.int64] = packet.values[t].astype(np.int64)
        return values
    part = SpikeMap(0, packet.words[t : t + 1], packet.channels, packet.height, packet.width)
    spikes: NDArray[np.int64] = part.dense()[0].astype(np.int64)
    return spikes

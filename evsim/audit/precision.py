"""The same run in float32 and float64: which spikes differ, where it began, and how near the threshold that was.

Rounding moves a membrane potential by some millionths. Where one lies that near its threshold, float32 and float64
may differ by a spike, and all that follows from it. The first spike that differs, in order of layers, then timesteps,
has the same inputs in both runs: its distance from the threshold, the margin, is rounding alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.api import Run, Sample, run_on
from evsim.engine import Schedule, Simulator
from evsim.layers.plan import Stage
from evsim.network import LIF, Network
from evsim.observers import Observer
from evsim.spikes import Packet, SpikeMap


@dataclass(frozen=True)
class Flip:
    """One spike that differs.

    Attributes
    ----------
    layer, timestep, y, x, channel
        The neuron, and when.
    fires
        Whether it fires in float32; in float64 it does the opposite.
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
        Spikes in float32 and in float64.
    flips
        Neurons and timesteps that spike in one of them alone.
    ties
        Potentials, in float64, within one float32 ulp of the threshold: a spike hangs on the last bit.
    """

    name: str
    neurons: int
    spikes: tuple[int, int]
    flips: int
    ties: int


@dataclass(frozen=True, eq=False)
class PrecisionComparison:
    """Outcome of a comparison.

    Attributes
    ----------
    single, double
        The runs in float32 and float64.
    layers
        Every layer of neurons, in order of execution.
    first
        The first spike that differs, None where none does.
    """

    single: Run
    double: Run
    layers: tuple[LayerFlips, ...]
    first: Flip | None

    @property
    def flips(self) -> int:
        """Spikes that differ, in all layers."""
        return sum(layer.flips for layer in self.layers)

    @property
    def ties(self) -> int:
        """Potentials on the threshold, in all layers."""
        return sum(layer.ties for layer in self.layers)

    @property
    def same_prediction(self) -> bool:
        """Whether both predict the same class."""
        return self.single.prediction == self.double.prediction


def compare_precisions(
    network: Network,
    sample: Sample,
    *,
    timesteps: int | None = None,
    schedule: Schedule = "layer",
    threads: int = 1,
    record_spikes: bool = False,
    detail: bool = False,
) -> PrecisionComparison:
    """Run a sample in float32 and in float64, and compare every spike.

    Parameters
    ----------
    network
        What runs.
    sample
        From `evsim.api.read`.
    timesteps, schedule, threads
        As `evsim.api.simulate` takes them.
    record_spikes, detail
        Of the run in float32, as `evsim.api.simulate` takes them.

    Raises
    ------
    RecordingError, OptionError, NetworkError
        As `evsim.api.simulate`.
    """
    watcher = _Spikes()
    steps = sample.timesteps if timesteps is None else timesteps
    single = run_on(
        Simulator(network, steps, "float32", schedule, threads),
        sample,
        record_spikes=record_spikes,
        detail=detail,
        observers=[watcher],
    )
    comparer = _Comparer(network, watcher)
    double = run_on(Simulator(network, steps, "float64", schedule, threads, apart=True), sample, observers=[comparer])
    layers = tuple(comparer.layer(node.name) for node in network.nodes if isinstance(node, LIF))
    return PrecisionComparison(single, double, layers, comparer.first)


class _Spikes(Observer):
    """Keeps the bits of every layer of neurons, by name and first timestep."""

    def __init__(self) -> None:
        self.words: dict[tuple[str, int], NDArray[np.uint64]] = {}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Keep what neurons emit."""
        if isinstance(stage.nodes[-1], LIF) and isinstance(output, SpikeMap):
            self.words[stage.name, output.start] = output.words


class _Comparer(Observer):
    """Watches the run in float64, whose stages are apart: works out its potentials, and compares its spikes."""

    def __init__(self, network: Network, single: _Spikes) -> None:
        self._single = single.words
        self._ranks = {node.name: rank for rank, node in enumerate(network.nodes)}
        self._potentials: dict[str, NDArray[np.float64]] = {}
        self._tallies: dict[str, NDArray[np.int64]] = {}
        self._at: tuple[int, int] | None = None
        self.first: Flip | None = None

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:
        """Compare the spikes of a layer of neurons with those in float32."""
        node = stage.nodes[-1]
        if not isinstance(node, LIF) or not isinstance(output, SpikeMap):
            return
        current, words = _currents(inputs[0]), self._single[node.name, output.start]
        other = SpikeMap(output.start, words, output.channels, output.height, output.width)
        tally = self._tallies.setdefault(node.name, np.zeros(5, np.int64))
        zero = np.zeros(current.shape[1:])
        for t in range(output.steps):
            v = self._potentials.get(node.name, zero)
            v = _charged(node, v, current[t if len(current) > 1 else 0])
            fired, spikes = _step(output, t), _step(other, t)
            differ = fired != spikes
            near = np.abs(v - node.v_threshold) <= float(np.spacing(np.float32(node.v_threshold)))
            tally += [v.size, spikes.sum(), fired.sum(), differ.sum(), near.sum()]
            if differ.any():
                self._note(node, output, t, differ, v, spikes)
            self._potentials[node.name] = np.where(fired, 0.0, v)

    def layer(self, name: str) -> LayerFlips:
        """Return what differs in a layer."""
        neurons, single, double, flips, ties = (int(n) for n in self._tallies[name])
        return LayerFlips(name, neurons, (single, double), flips, ties)

    def _note(
        self,
        node: LIF,
        output: SpikeMap,
        t: int,
        differ: NDArray[np.bool_],
        v: NDArray[np.float64],
        spikes: NDArray[np.bool_],
    ) -> None:
        """Keep the first spike that differs, if it is before the one known."""
        at = self._ranks[node.name], output.start + t
        if self._at is not None and self._at <= at:
            return
        position, channel = (int(i) for i in np.argwhere(differ)[0])
        y, x = divmod(position, output.width)
        margin = float(v[position, channel]) - node.v_threshold
        fires = bool(spikes[position, channel])
        self._at, self.first = at, Flip(node.name, at[1], y, x, channel, fires, margin, node.v_threshold)


def _currents(packet: Packet) -> NDArray[np.float64]:
    """Return what drives neurons as float64 [T, P, C]; T is 1 where all timesteps are the same."""
    dense = packet.dense() if isinstance(packet, SpikeMap) else packet.values
    return dense[..., : packet.channels].astype(np.float64, copy=False)


def _charged(node: LIF, v: NDArray[np.float64], current: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return potentials before they are reset, with the arithmetic of the kernel: 1 / tau is exact for powers of 2."""
    mantissa, _ = np.frexp(node.tau)
    change = current - v
    potential: NDArray[np.float64] = v + (change * (1.0 / node.tau) if mantissa == 0.5 else change / node.tau)
    return potential


def _step(packet: SpikeMap, t: int) -> NDArray[np.bool_]:
    """Return the spikes of one of a packet's timesteps, [P, C]."""
    part = SpikeMap(0, packet.words[t : t + 1], packet.channels, packet.height, packet.width)
    spikes: NDArray[np.bool_] = part.dense()[0]
    return spikes

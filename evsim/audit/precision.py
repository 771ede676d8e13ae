"""The same run in float32 and float64: which spikes differ, where it began, and how near the threshold that was.

Rounding moves a membrane potential by some millionths. Where one lies that near its threshold, float32 and float64
may differ by a spike, and all that follows from it. The first spike that differs, in order of layers, then timesteps,
has the same inputs in both runs: its distance from the threshold, the margin, is rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.api import Run, Sample, run_on
from evsim.engine import Schedule, Simulator
from evsim.errors import OptionError
from evsim.layers.membrane import Neurons
from evsim.layers.neurons import IntegerNeurons, NeuronLayer
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.observers import Observer
from evsim.spikes import Packet, SpikeMap
from evsim.workload import rows


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
    threads: int | None = None,
    record_spikes: bool = False,
    detail: bool = False,
    sharing: bool = False,
    progress: Callable[[int, int], None] | None = None,
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
    record_spikes, detail, sharing
        Of the run in float32, as `evsim.api.simulate` takes them.
    progress
        Called with the number of runs, and how many are over.

    Raises
    ------
    RecordingError, OptionError, NetworkError
        As `evsim.api.simulate`; OptionError too if neurons emit integers, which are rounded, not compared with a
        threshold, or are of another equation than a LIF's.
    """
    neurons = [work.name for work, row in rows(network) if row.kind == "lif"]
    watcher = _Spikes(frozenset(neurons))
    steps = sample.timesteps if timesteps is None else timesteps
    exact = Simulator(network, steps, "float64", schedule, threads, apart=True)
    for stage in exact.stages:
        if isinstance(stage.layer, IntegerNeurons):
            raise OptionError(
                f"`precision=both` compares spikes, and {stage.name} emits integers; run each precision apart"
            )
        if isinstance(stage.layer, Neurons):
            raise OptionError(
                f"`precision=both` knows the potentials of LIF layers, and {stage.name} is a Neuron of another "
                "equation; run each precision apart"
            )
    single = run_on(
        Simulator(network, steps, "float32", schedule, threads),
        sample,
        record_spikes=record_spikes,
        detail=detail,
        sharing=sharing,
        observers=[watcher],
    )
    if progress:
        progress(2, 1)
    comparer = _Comparer(network, watcher)
    double = run_on(exact, sample, observers=[comparer])
    layers = tuple(comparer.layer(name) for name in neurons)
    return PrecisionComparison(single, double, layers, comparer.first)


class _Spikes(Observer):
    """Keeps the bits of every layer of neurons, by name and first timestep."""

    def __init__(self, neurons: frozenset[str]) -> None:
        self._neurons = neurons
        self.words: dict[tuple[str, int], NDArray[np.uint64]] = {}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Keep what neurons emit."""
        if stage.name in self._neurons and isinstance(output, SpikeMap):
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
        if not isinstance(stage.layer, NeuronLayer) or not isinstance(output, SpikeMap):
            return
        name, rule = stage.name, stage.layer.membrane.rule
        current, words = _currents(inputs[0]), self._single[name, output.start]
        other = SpikeMap(output.start, words, output.channels, output.height, output.width)
        tally = self._tallies.setdefault(name, np.zeros(5, np.int64))
        zero = np.zeros(current.shape[1:])
        near = np.spacing(rule.thresholds.astype(np.float32)).astype(np.float64)
        for t in range(output.steps):
            v = rule.charged(self._potentials.get(name, zero), current[t if len(current) > 1 else 0])
            fired, spikes = _step(output, t), _step(other, t)
            differ = fired != spikes
            ties = np.abs(v - rule.thresholds) <= near
            tally += [v.size, spikes.sum(), fired.sum(), differ.sum(), ties.sum()]
            if differ.any():
                self._note(name, rule.thresholds, output, t, differ, v, spikes)
            self._potentials[name] = rule.rested(v, fired)

    def layer(self, name: str) -> LayerFlips:
        """Return what differs in a layer."""
        neurons, single, double, flips, ties = (int(n) for n in self._tallies[name])
        return LayerFlips(name, neurons, (single, double), flips, ties)

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
        """Keep the first spike that differs, if it is before the one known."""
        at = self._ranks[name], output.start + t
        if self._at is not None and self._at <= at:
            return
        position, channel = (int(i) for i in np.argwhere(differ)[0])
        y, x = divmod(position, output.width)
        threshold = float(thresholds[channel])
        margin = float(v[position, channel]) - threshold
        fires = bool(spikes[position, channel])
        self._at, self.first = at, Flip(name, at[1], y, x, channel, fires, margin, threshold)


def _currents(packet: Packet) -> NDArray[np.float64]:
    """Return what drives neurons as float64 [T, P, C]; T is 1 where all timesteps are the same."""
    dense = packet.dense() if isinstance(packet, SpikeMap) else packet.values
    return dense[..., : packet.channels].astype(np.float64, copy=False)


def _step(packet: SpikeMap, t: int) -> NDArray[np.bool_]:
    """Return the spikes of one of a packet's timesteps, [P, C]."""
    part = SpikeMap(0, packet.words[t : t + 1], packet.channels, packet.height, packet.width)
    spikes: NDArray[np.bool_] = part.dense()[0]
    return spikes

"""Is a network spike-driven? The paper's first experiment: name every synaptic layer whose input is not 0/1.

Twice, and both must agree that it is: by the graph, where the kind of every layer's input is declared and no data is
needed; and by a run, where every value that reaches a layer is looked at. The first convolution, which reads the image
or the frames, and the layers behind the mean over tokens or timesteps are listed apart: in every published model they
see real values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import assert_never, get_args

import numpy as np
from numpy.typing import NDArray

from evsim.api import Run, Sample, check_run, simulate
from evsim.energy import Energy, Profile, exact, load_profile, paper
from evsim.geometry import VIRTUAL
from evsim.layers.plan import Stage
from evsim.network import Kind, Network
from evsim.observers import Observer
from evsim.spikes import IntegerMap, Packet, SpikeMap
from evsim.workload import Role, Work, rows, workload

BINS = 8
"""Bins of the histogram of real values."""


@dataclass(frozen=True)
class Values:
    """What reached a layer in a run.

    Attributes
    ----------
    low, high
        Least and greatest value.
    binary
        Whether every value was 0 or 1.
    histogram
        How often what occurred: of integers by value, of real values in bins "low..high" of equal width.
    """

    low: float
    high: float
    binary: bool
    histogram: Mapping[str, int]


@dataclass(frozen=True)
class LayerCheck:
    """One synaptic layer.

    Attributes
    ----------
    name, kind
        The layer, and the declared kind of its input.
    role
        "first" reads the input itself, "head" a mean; "hidden" are all others, which must read spikes.
    cause
        Where an input that is no spikes comes from; empty for spikes.
    values
        What reached it; None without a run.
    share
        Its share of the run's energy: "exact", and "paper (<setting>)" for both settings; empty without a run.
    """

    name: str
    kind: Kind
    role: Role
    cause: str
    values: Values | None = None
    share: Mapping[str, float] = field(default_factory=dict)

    @property
    def spikes(self) -> bool:
        """Whether its input is 0/1: in the run where there was one, else by declaration."""
        return self.values.binary if self.values else self.kind == "spikes"


@dataclass(frozen=True, eq=False)
class Check:
    """Outcome of a check.

    Attributes
    ----------
    network
        What was checked.
    layers
        Every conv and linear layer, in order of execution.
    run
        The run, if there was an input.
    """

    network: Network
    layers: tuple[LayerCheck, ...]
    run: Run | None

    @property
    def offenders(self) -> tuple[LayerCheck, ...]:
        """Hidden layers whose input is not 0/1, by declaration or in the run."""
        return tuple(
            layer for layer in self.layers if layer.role == "hidden" and not (layer.spikes and layer.kind == "spikes")
        )

    @property
    def ends(self) -> tuple[LayerCheck, ...]:
        """The first layer and the head, unless they read spikes too."""
        return tuple(layer for layer in self.layers if layer.role != "hidden" and layer.kind != "spikes")

    @property
    def spike_driven(self) -> bool:
        """Whether every hidden layer reads spikes."""
        return not self.offenders


def check(
    network: Network,
    sample: Sample | None = None,
    profile: Profile | None = None,
    threads: int | None = None,
    timesteps: int | None = None,
    observers: Sequence[Observer] = (),
) -> Check:
    """Check a network by its graph, and by a run where there is a sample.

    Parameters
    ----------
    network
        What to check.
    sample
        From `evsim.api.read`.
    profile
        Prices for the shares of energy.
    threads, timesteps, observers
        As `evsim.api.simulate` takes them.

    Raises
    ------
    RecordingError, OptionError, NetworkError
        As `evsim.api.simulate`.
    """
    check_run(threads, timesteps)
    works = workload(network)
    summands = _summands(network, works)
    layers = [
        LayerCheck(work.name, work.input_kind, work.role, _cause(works, summands, work))
        for work, row in rows(network)
        if row.synaptic
    ]
    if sample is None:
        return Check(network, tuple(layers), None)
    watcher = InputWatcher(network)
    run = simulate(network, sample, timesteps=timesteps, threads=threads, observers=[watcher, *observers])
    shares = _shares(run, profile or load_profile())
    seen = [
        LayerCheck(layer.name, layer.kind, layer.role, layer.cause, watcher.values(layer.name), shares[layer.name])
        for layer in layers
    ]
    return Check(network, tuple(seen), run)


class InputWatcher:
    """Observer that keeps the distinct integers, or the values, that reach each synaptic layer of a network."""

    def __init__(self, network: Network) -> None:
        self._synaptic = {work.name for work, row in rows(network) if row.synaptic}
        self._counts: dict[str, dict[int, int]] = {}
        self._reals: dict[str, list[tuple[NDArray[np.floating], int]]] = {}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Take note of the input of a conv or linear layer."""
        name, packet = stage.nodes[0].name, inputs[0]
        if name not in self._synaptic:
            return
        if isinstance(packet, SpikeMap):
            ones = int(np.bitwise_count(packet.words).sum(dtype=np.int64))
            size = packet.steps * packet.height * packet.width * packet.channels
            self._add(name, {0: size - ones, 1: ones})
        elif isinstance(packet, IntegerMap):
            values, counts = np.unique(packet.values, return_counts=True)
            self._add(name, dict(zip(values.tolist(), counts.tolist(), strict=True)))
        else:
            # a static map stands for all of its timesteps, at each of which it is read
            times = packet.steps if packet.static else 1
            self._reals.setdefault(name, []).append((packet.values[..., : packet.channels], times))

    def values(self, name: str) -> Values:
        """Return what reached a layer."""
        if name in self._counts:
            counts = {value: n for value, n in sorted(self._counts[name].items()) if n}
            histogram = {str(value): n for value, n in counts.items()}
            return Values(min(counts), max(counts), max(counts) <= 1, histogram)
        parts = [(values.reshape(-1), times) for values, times in self._reals[name]]
        low, high = min(float(values.min()) for values, _ in parts), max(float(values.max()) for values, _ in parts)
        edges = np.histogram_bin_edges(parts[0][0], BINS, (low, high))
        filled = np.sum([np.histogram(values, BINS, (low, high))[0] * times for values, times in parts], axis=0)
        histogram = {
            f"{left:.3g}..{right:.3g}": int(n) for left, right, n in zip(edges[:-1], edges[1:], filled, strict=True)
        }
        binary = all(bool(((values == 0) | (values == 1)).all()) for values, _ in parts)
        return Values(low, high, binary, histogram)

    def _add(self, name: str, counts: Mapping[int, int]) -> None:
        known = self._counts.setdefault(name, {})
        for value, n in counts.items():
            known[value] = known.get(value, 0) + n


def _cause(works: Mapping[str, Work], summands: Mapping[str, int], work: Work) -> str:
    """Say why a layer's input is no spikes; "" if it is."""
    if work.input_kind == "spikes":
        return ""
    source, graded = works[work.source], work.input_kind == "integers"
    match source.nature:
        case "input":
            cause = "reads the event counts themselves" if graded else "reads the image itself"
        case "mean":
            cause = f"reads a mean ({source.name})"
        case "sum":
            cause = _of_sum(source.name, summands[source.name], graded)
        case "neurons":
            cause = _of_neurons(source)
        case "pool":
            cause = f"reads {'sums' if graded else 'means'} over windows ({source.name})"
        case "layer" | "gate" | "passage":
            cause = f"no neurons stand behind {source.name}: multiply-accumulates"
        case _:
            assert_never(source.nature)
    return cause


def _of_neurons(source: Work) -> str:
    """Say what integers neurons emit: what stands for spikes in virtual timesteps, or several spikes at once."""
    size = source.row.geometry if source.row else None
    levels = size.levels if size else 0
    if size and size.neuron in VIRTUAL:
        return f"integer neurons {source.name} emit values up to {levels}, as spikes in {levels} virtual timesteps"
    return f"neurons {source.name} fire several times at once, up to {levels} times"


def _of_sum(name: str, trains: int, graded: bool) -> str:
    """Say what a sum is made of, whose values no neurons turn into spikes."""
    if not graded:
        return f"residual {name} adds real values, and no neurons stand behind it: multiply-accumulates"
    return f"residual {name} adds spikes to spikes: {trains} spike trains so far, values up to {trains}"


def _summands(network: Network, works: Mapping[str, Work]) -> dict[str, int]:
    """Return how many spike trains each chain of additions sums up, repeats included; 1 for all other nodes."""
    counts: dict[str, int] = {}
    for node in network.nodes:
        added = works[node.name].nature == "sum"
        counts[node.name] = sum(counts[name] for name in node.inputs) if added else 1
    return counts


def _shares(run: Run, profile: Profile) -> dict[str, dict[str, float]]:
    """Return each layer's share of the energy, exact and in both settings of the paper's estimate."""
    views: dict[str, tuple[dict[str, float], Energy]]
    views = {"exact": (exact.layers_mj(run.counts, profile), run.exact(profile))}
    for setting in get_args(paper.NonSpike):
        views[f"paper ({setting})"] = (paper.layers_mj(run.counts, profile, setting), run.paper(profile, setting))
    return {
        layer.name: {
            view: each[layer.name] / energy.energy_mj if energy.energy_mj else 0.0
            for view, (each, energy) in views.items()
        }
        for layer in run.counts.layers
    }

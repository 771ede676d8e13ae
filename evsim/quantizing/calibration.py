"""What layers read of some data: rows of their inputs, by which scales are chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evsim.api import Sample, run_on
from evsim.engine import Simulator
from evsim.errors import RecordingError
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.observers import Observer
from evsim.primitives import Conv2d, Linear
from evsim.quantized import fixed
from evsim.spikes import Packet, SpikeMap

ROWS = 512
"""Rows that are kept of each layer."""

LOOKED_AT = 4
"""Positions that are looked at for each row that is kept, for most of a sparse input is empty."""


@dataclass
class Calibration:
    """What was seen of some data.

    Attributes
    ----------
    samples
        How many inputs ran.
    largest
        Largest magnitude of an input.
    rows
        By layer, [R, kH, kW, C_in]: what it read at some output positions.
    """

    samples: int = 0
    largest: float = 0.0
    rows: dict[str, NDArray[np.generic]] = field(default_factory=dict)


def calibrate(
    network: Network,
    samples: Iterable[Sample],
    number: int,
    *,
    timesteps: int | None = None,
    threads: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Run samples in float32 and keep what every layer with weights read at some positions, drawn at random.

    Parameters
    ----------
    network
        What runs.
    samples
        Inputs, read one by one.
    number
        How many there are: each gives its share of the rows.
    timesteps, threads
        As `evsim.api.simulate` takes them.
    seed
        Of the positions.
    progress
        Called with how many samples there are, and how many have run.

    Raises
    ------
    RecordingError
        If there is no sample.
    RecordingError, NetworkError
        As `evsim.api.simulate`.
    """
    seen = Calibration()
    simulator = Simulator(network, timesteps, "float32", threads=threads, apart=True)
    watcher = _Rows(network, max(1, -(-ROWS // max(number, 1))), np.random.default_rng(seed))
    for sample in samples:
        run_on(simulator, sample, observers=[watcher])
        seen.samples += 1
        seen.largest = max(seen.largest, float(sample.values.max()), -float(sample.values.min()))
        if progress:
            progress(number, seen.samples)
    if not seen.samples:
        raise RecordingError("there is no sample to calibrate with; give some")
    seen.rows = {name: np.concatenate(parts) for name, parts in watcher.rows.items()}
    return seen


class _Rows(Observer):
    """Keeps some rows of what layers with weights read."""

    def __init__(self, network: Network, each: int, rng: np.random.Generator) -> None:
        self._network, self._each, self._rng = network, each, rng
        self._layers = {node.name: node for node in network.synapses}
        self.rows: dict[str, list[NDArray[np.generic]]] = {}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Draw rows of a layer's input."""
        if (node := self._layers.get(stage.name)) is not None:
            self.rows.setdefault(node.name, []).append(self._drawn(node, inputs[0]))

    def _drawn(self, node: Conv2d | Linear, packet: Packet) -> NDArray[np.generic]:
        """Return rows [R, kH, kW, C_in] at random output positions, those that see anything first."""
        (rows, columns), (down, right), (top, left) = node.window
        dense = packet.dense().view(np.uint8) if isinstance(packet, SpikeMap) else packet.values[..., : packet.channels]
        maps = dense.reshape(len(dense), packet.height, packet.width, packet.channels)
        after = node.padding_after or (top, left)
        maps = np.pad(maps, ((0, 0), (top, after[0]), (left, after[1]), (0, 0)))
        target = self._network.shapes[node.name]
        number = min(LOOKED_AT * self._each, len(maps) * target.positions)
        chosen = self._rng.choice(len(maps) * target.positions, number, replace=False)
        t, position = np.divmod(chosen, target.positions)
        y, x = np.divmod(position, target.width)
        ys = y[:, np.newaxis] * down + np.arange(rows) * node.dilation[0]
        xs = x[:, np.newaxis] * right + np.arange(columns) * node.dilation[1]
        patches = maps[t[:, np.newaxis, np.newaxis], ys[:, :, np.newaxis], xs[:, np.newaxis]]
        empty = ~patches.reshape(number, -1).any(axis=1)
        kept: NDArray[np.generic] = patches[np.argsort(empty, kind="stable")[: self._each]]
        return kept


def input_fraction(network: Network, most: int, largest: float) -> int:
    """Return the fraction, at most `most`, in which the largest value of an image still fits into 16 bits."""
    spec = network.spec
    if spec.kind == "events":
        return most
    if spec.mean:
        ends = [abs((end - mean) / std) for mean, std in zip(spec.mean, spec.std, strict=True) for end in (0.0, 1.0)]
        largest = max(largest, *ends)
    while most and int(fixed(largest, most)) >= 2**15:
        most -= 1
    return most

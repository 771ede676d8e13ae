"""The proof: the network runs on the example in float64, and every spike is PyTorch's."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from evsim.engine import Simulator
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap
from evsim.tracing.errors import ProofError

Recorded = Mapping[str, Mapping[int, NDArray[np.generic]]]
"""Neurons to timestep to what PyTorch's module emitted, in the order of the map [C, H, W]."""

CLOSE = 1e-9
"""How far real values may be apart, of the greatest: their sums are formed in another order."""
SHOWN = 3


class _Watch:
    """Keeps what neurons emit, as maps [C, H, W]."""

    def __init__(self, names: Recorded) -> None:
        self.names = names
        self.maps: dict[str, dict[int, NDArray[np.generic]]] = {name: {} for name in names}

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Keep a packet of neurons."""
        if stage.name not in self.maps or output is None:
            return
        values = _values(output)
        for step, rows in enumerate(values):
            self.maps[stage.name][output.start + step] = rows.T.reshape(-1)


def _values(packet: Packet) -> NDArray[np.generic]:
    """Return [T, P, C]."""
    if isinstance(packet, SpikeMap):
        return packet.dense()
    if isinstance(packet, IntegerMap):
        return packet.values
    assert isinstance(packet, RealMap)
    values = packet.values[..., : packet.channels]
    return np.broadcast_to(values, (packet.steps, *values.shape[1:]))


def prove(
    network: Network,
    sample: NDArray[np.float64],
    recorded: Recorded,
    logits: NDArray[np.float64],
    ending: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> str:
    """Run the network on the example and return what was proven, one line.

    Parameters
    ----------
    network
        What was traced.
    sample
        Image [C, H, W] or frames [T, C, H, W].
    recorded
        What PyTorch's neurons emitted.
    logits
        What PyTorch's module gave, [classes], the mean over time where it gave one value per timestep.
    ending
        What the module does to its logits and the network does not.

    Raises
    ------
    ProofError
        If a spike differs; it names the first layer that differs, and shows three neurons.
    """
    watch = _Watch(recorded)
    simulator = Simulator(network, precision="float64")
    given = simulator.run(sample, [watch])
    neurons = 0
    for node in network.nodes:
        if node.name in recorded:
            neurons += _compare(network, node.name, recorded[node.name], watch.maps[node.name])
    scaled = ending(np.asarray(given, np.float64))
    if not np.allclose(scaled, logits, rtol=0, atol=CLOSE * max(1.0, float(np.abs(logits).max(initial=0.0)))):
        worst = int(np.abs(scaled - logits).argmax())
        raise ProofError(
            f"{network.name}: all spikes are PyTorch's, but its output is not: class {worst} is {logits[worst]:.9g} "
            f"there and {scaled[worst]:.9g} here; report the model, it is a fault of evsim"
        )
    return f"{neurons:,} values of {len(recorded)} layers of neurons equal PyTorch's on the example in float64, 0 flips"


def _compare(
    network: Network, name: str, wanted: Mapping[int, NDArray[np.generic]], got: Mapping[int, NDArray[np.generic]]
) -> int:
    """Hold one layer against PyTorch's and return how many values were compared."""
    size = network.shapes[name].size
    real = network.shapes[name].kind == "real"
    differing: list[str] = []
    number = total = 0
    for time in sorted(wanted):
        there, here = wanted[time].astype(np.float64), got[time].astype(np.float64)
        close = np.isclose(there, here, rtol=CLOSE, atol=CLOSE) if real else there == here
        total += len(there)
        number += int((~close).sum())
        for place in np.flatnonzero(~close)[: SHOWN - len(differing)]:
            at = ", ".join(str(int(i)) for i in np.unravel_index(place, size))
            differing.append(f"[{at}] at timestep {time} gives {there[place]:g} in PyTorch, {here[place]:g} in evsim")
    if number:
        raise ProofError(
            f"{network.name}: {name} is the first layer that differs, in {number:,} of {total:,} values: "
            f"{'; '.join(differing)}; where potentials come to lie on the very threshold, give another example"
        )
    return total

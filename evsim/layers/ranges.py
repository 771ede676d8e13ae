"""How large values can get in a run: whether any sum could leave the precision, told without looking at one.

Neurons hide what overflows: an infinite current fires, one that is no number never does, and the logits stay finite.
So the largest magnitude that each node can emit is bounded, by the largest weight, before a run. Where a bound comes
near the end of the precision, and only there, a run looks at every real value (`find_fault`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod

import numpy as np

from evsim.layers.affine import Joining, Scaling, Slicing
from evsim.layers.attention import NamedRows
from evsim.layers.context import Layer
from evsim.layers.grouped import Grouped
from evsim.layers.membrane import Neurons
from evsim.layers.plan import Stage
from evsim.layers.readout import Padding
from evsim.layers.synapses import Synapses
from evsim.layers.time import Delaying
from evsim.network import Network
from evsim.primitives import LIF, HeadSum, Kind, MultiSpike, Node, Shape, SpikingSelfAttention, SumPool, TokenSum
from evsim.spikes import Packet, RealMap

NEAR = 8
"""How many times below the greatest number values are safe: neurons subtract potentials, and sums are rounded."""


COMES_BACK: Mapping[Kind, float] = {"spikes": 1.0, "integers": 2.0**31, "real": np.inf}
"""Largest magnitude of what a delay brings back round a cycle."""


def could_overflow(
    network: Network, stages: Iterable[Stage], largest: float, timesteps: int, dtype: np.dtype[np.floating]
) -> bool:
    """Return whether some value of a run could leave the precision.

    Parameters
    ----------
    network, stages
        The graph and its running form.
    largest
        Largest magnitude of the input.
    timesteps
        T of the run.
    dtype
        float32 or float64.
    """
    bounds = {network.input.name: largest}
    for name, source in network.closing.items():  # what comes back round a cycle
        bounds[source] = COMES_BACK[network.shapes[name].kind]
    limit = float(np.finfo(dtype).max) / NEAR
    for stage in stages:
        for node in stage.nodes:
            sources = sum(bounds[name] for name in node.inputs)
            if node is stage.nodes[0]:
                bounds[node.name] = _bound(network, stage, node, bounds, timesteps)
            else:
                bounds[node.name] = 1.0 if isinstance(node, LIF) else sources
            held = sources * timesteps if _gathers(node) else 0.0
            if isinstance(stage.layer, Neurons):
                held = stage.layer.largest(sources, timesteps)
            if not (bounds[node.name] < limit and held < limit):
                return True
    return False


def _gathers(node: Node) -> bool:
    """Whether potentials can grow beyond the currents that charge them."""
    if isinstance(node, LIF):
        return not node.decay_input or node.soft_reset
    return isinstance(node, MultiSpike) and node.integrates


def find_fault(output: Packet | None) -> str:
    """Say where the first value of a packet lies that is not finite; "" if all are."""
    if not isinstance(output, RealMap):
        return ""
    values = output.values[..., : output.channels]
    finite = np.isfinite(values)
    if finite.all():
        return ""
    t, position, channel = (int(i) for i in np.argwhere(~finite)[0])
    what = "no number" if np.isnan(values[t, position, channel]) else "infinite"
    y, x = divmod(position, output.width)
    return f"{what} at timestep {output.start + t}, position ({y}, {x}), channel {channel}"


def _bound(network: Network, stage: Stage, node: Node, bounds: Mapping[str, float], timesteps: int) -> float:
    """Return the largest magnitude that a stage's first node can emit, means taken as the sums that they come from."""
    sources = sum(bounds[name] for name in node.inputs)
    shape, target = network.shapes[node.inputs[0]], network.shapes[node.name]
    if isinstance(stage.layer, Synapses | Grouped):
        return stage.layer.gain * sources + stage.layer.offset
    if (simple := _bound_of(stage.layer, sources, target, timesteps)) is not None:
        return simple
    if isinstance(node, MultiSpike) or target.kind == "spikes":
        return float(node.levels) if isinstance(node, MultiSpike) else 1.0
    if isinstance(node, SpikingSelfAttention):
        values = prod(max(1.0, network.shapes[name].unit) * bounds[name] for name in node.inputs)
        return node.scale * shape.positions * shape.channels * values
    return sources * _terms(stage, node, shape, max(shape.positions, timesteps) if target.kind == "real" else 1)


def _bound_of(layer: Layer, sources: float, target: Shape, timesteps: int) -> float | None:
    """Return the largest magnitude that a layer emits by what it alone knows; None where it does not."""
    match layer:
        case Scaling():
            return float(np.abs(layer.scale).max()) * sources + float(np.abs(layer.shift).max())
        case Delaying() | Joining() | Slicing():
            return sources
        case Neurons():
            return layer.largest(sources, timesteps) if target.kind == "real" else max(1.0, float(layer.node.levels))
        case Padding():
            return max(sources, float(np.abs(layer.border).max()))
    return None


def _terms(stage: Stage, node: Node, shape: Shape, meant: int) -> float:
    """Return how many times its largest input a node that adds up can emit; a mean may be of `meant` values."""
    if isinstance(stage.layer, NamedRows):
        return shape.channels * max(1.0, float(np.abs(stage.layer.scale).max()))
    if isinstance(node, HeadSum | TokenSum):
        return max(shape.channels, shape.positions)
    if isinstance(node, SumPool):
        return node.axes[0][0] * node.axes[1][0]
    return meant

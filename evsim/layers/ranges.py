"""How large values can get in a run: whether any sum could leave the precision, told without looking at one.

Neurons hide what overflows: an infinite current fires, one that is no number never does, and the logits stay finite.
So the largest magnitude that each node can emit is bounded, by the largest weight, before a run. Where a bound comes
near the end of the precision, and only there, a run looks at every real value (`find_fault`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from evsim.layers.plan import Stage
from evsim.layers.synapses import Synapses
from evsim.network import LIF, Network, Node, SpikingSelfAttention
from evsim.spikes import Packet, RealMap

NEAR = 8
"""How many times below the greatest number values are safe: neurons subtract potentials, and sums are rounded."""


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
    limit = float(np.finfo(dtype).max) / NEAR
    for stage in stages:
        first, *followers = stage.nodes
        bounds[first.name] = _bound(network, stage, first, bounds, timesteps)
        if not bounds[first.name] < limit:
            return True
        for node in followers:
            sources = sum(bounds[name] for name in node.inputs)
            bounds[node.name] = 1.0 if isinstance(node, LIF) else sources
            if not bounds[node.name] < limit:
                return True
    return False


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
    shape = network.shapes[node.inputs[0]]
    if isinstance(stage.layer, Synapses):
        return stage.layer.gain * sources + stage.layer.offset
    if network.shapes[node.name].kind == "spikes":
        return 1.0
    if isinstance(node, SpikingSelfAttention):
        return node.scale * shape.positions * shape.channels
    return sources * (max(shape.positions, timesteps) if network.shapes[node.name].kind == "real" else 1)

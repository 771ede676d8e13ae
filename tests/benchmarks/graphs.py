"""What dense forms of a network share, PyTorch's and ONNX's: weights folded, and layers that one product computes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.network import LIF, Conv2d, Linear, Network

RULE = ("tau", "v_threshold", "decay_input", "decay", "strict", "soft_reset")
"""What neurons have in common that one loop can run."""


def is_matrix(node: Any) -> bool:
    """Whether a layer is one product of its inputs' channels at every position."""
    if isinstance(node, Linear):
        return True
    return node.window == ((1, 1), (1, 1), (0, 0)) and node.groups == 1 and not any(node.padding_after)


def folded(network: Network, nodes: list[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return weight [C_out, C_in / groups, kH, kW] and bias [C_out] of layers of one input, one behind the other.

    BatchNorm and the input's unit are folded in, in float64.
    """
    weights, biases = [], []
    for node in nodes:
        own = {key: np.asarray(network.weights[f"{node.name}.{key}"], np.float64) for key in node.parameters()}
        scale = own.get("bn_scale", np.ones(node.out_channels))
        weight = own["weight"] * (scale * network.shapes[node.inputs[0]].unit)
        if weight.ndim == 2:
            weight = weight[None, None]
        weights.append(weight.transpose(3, 2, 0, 1))
        biases.append(own.get("bias", 0.0) * scale + own.get("bn_shift", np.zeros(node.out_channels)))
    return np.concatenate(weights), np.concatenate(biases)


def bundles(network: Network) -> dict[str, tuple[str, ...]]:
    """Return the layers that one product computes, by the first of them: 1x1 convolutions of one input."""
    by_source: dict[str, list[str]] = {}
    for node in network.nodes:
        if isinstance(node, Conv2d) and is_matrix(node):
            by_source.setdefault(node.inputs[0], []).append(node.name)
    return {names[0]: tuple(names) for names in by_source.values() if len(names) > 1}


def neurons_behind(network: Network, names: tuple[str, ...]) -> list[LIF]:
    """Return the neurons that alone read layers, one for each, if all are of one kind and rule; else none."""
    readers = network.consumers()
    if any(len(readers[name]) != 1 for name in names):
        return []
    lifs = [network.node(readers[name][0]) for name in names]
    if not all(isinstance(lif, LIF) and not lif.channels and not lif.parametric for lif in lifs):
        return []
    rules = {tuple(getattr(lif, key) for key in RULE) for lif in lifs}
    return lifs if len(rules) == 1 else []


def cheaper_by_channels(tokens: int, size: int, width: int) -> bool:
    """Whether q (k^T v) takes fewer products than (q k^T) v."""
    return size * width * 2 <= tokens * (size + width)


def leak(network: Network, node: LIF) -> tuple[float, float]:
    """Return what remains of a potential after a timestep, and what of its input is added."""
    if node.parametric:
        rate = 1.0 / (1.0 + math.exp(-float(network.weights[f"{node.name}.w"][0])))
        return 1.0 - rate, rate if node.decay_input else 1.0
    return (1.0 - 1.0 / node.tau, 1.0 / node.tau) if node.decay_input else (node.decay, 1.0)

"""The primitives of networks: frozen dataclasses that infer shapes; nothing here computes.

Every node maps channels-last maps ``[T, H * W, C]`` to such maps; tokens are positions of the map. Each node bears the
name of its PyTorch module, so that results compare by name.
"""

from evsim.primitives.affine import Concatenate, Scale, Slice
from evsim.primitives.constants import Constants
from evsim.primitives.ends import Input, TimeMean, TokenMean
from evsim.primitives.membrane import Neuron
from evsim.primitives.neurons import LIF, MultiSpike, NeuronKind
from evsim.primitives.node import Kind, Layout, Node, Order, Shape
from evsim.primitives.pools import AdaptiveAveragePool, AveragePool, Flatten, MaxPool, Pad, SumPool, Vote
from evsim.primitives.products import (
    Add,
    And,
    AttentionKind,
    HeadProduct,
    HeadSum,
    IAnd,
    Mask,
    SpikingSelfAttention,
    TokenSum,
)
from evsim.primitives.synapses import Conv2d, Linear
from evsim.primitives.time import Delay, TimeReduction

__all__ = [
    "FIRST_TYPES", "LIF", "NODE_TYPES", "AdaptiveAveragePool", "Add", "And", "AttentionKind", "AveragePool",
    "Concatenate", "Constants", "Conv2d", "Delay", "Flatten", "HeadProduct", "HeadSum", "IAnd", "Input", "Kind",
    "Layout", "Linear", "Mask", "MaxPool", "MultiSpike", "Neuron", "NeuronKind", "Node", "Order", "Pad", "Scale",
    "Shape", "Slice", "SpikingSelfAttention", "SumPool", "TimeMean", "TimeReduction", "TokenMean", "TokenSum",
    "Vote",
]  # fmt: skip

FIRST_TYPES: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (Input, Conv2d, Linear, LIF, MaxPool, Add, SpikingSelfAttention, TokenMean, TimeMean)
}
"""The primitives that schema 1 of model.h5 knows."""

NODE_TYPES: dict[str, type[Node]] = FIRST_TYPES | {
    kind.__name__: kind
    for kind in (
        MultiSpike, And, IAnd, Mask, HeadSum, TokenSum, HeadProduct, AveragePool, AdaptiveAveragePool, SumPool,
        Flatten, Pad, Vote, Neuron, Scale, Concatenate, Slice, Delay, TimeReduction,
    )
}  # fmt: skip
"""Every primitive by its class name, as model.h5 spells it."""

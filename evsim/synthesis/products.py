"""Neurons behind a product of real rows (SpikingResformer), whose rate its scale sets, as a firing rate stored it.

No BatchNorm stands before them, but a trained model divides each product by the square root of a firing rate that its
checkpoint holds. A model of random weights has there the one number, for all heads, at which the neurons fire at their
target: the smaller it is, the greater the sums are, and the more neurons fire.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from evsim.converters.parts import Weights
from evsim.layers.attention import NamedRows
from evsim.layers.context import Context
from evsim.network import Network
from evsim.primitives import HeadProduct
from evsim.spikes import Packet, SpikeMap
from evsim.synthesis.graph import Neurons, rate_of, running

WIDEST = 40.0
"""Powers of two up and down between which the number is searched."""

HALVINGS = 40


def fitted_scale(
    network: Network,
    node: Neurons,
    read: tuple[Packet, ...],
    state: dict[str, NDArray[Any]],
    target: float,
    tolerance: float,
    context: Context,
) -> SpikeMap:
    """Find the number at which the neurons behind a product fire at their target, and leave it in the state_dict.

    Parameters
    ----------
    network
        As the converter built it from `state`.
    node
        The neurons; what drives them is a `HeadProduct`.
    read
        What the product reads, of all timesteps.
    state
        Key to array; the one from which the product's scale is made is replaced.
    target, tolerance
        The rate, and by how much of it the rate may miss.
    context
        Precision and workers.

    Returns
    -------
    SpikeMap
        What the neurons emit then.
    """
    product = cast("HeadProduct", network.node(node.inputs[0]))
    assert isinstance(network.weights, Weights)
    (key,) = network.weights.sources[f"{product.name}.scale"]
    shape, reals = network.shapes[product.name], network.shapes[product.inputs[1]]
    sums = NamedRows(product, reals, shape, context, np.ones(product.heads)).step(*read)
    neurons = running(node, network, context)

    def fire(power: float) -> SpikeMap:
        state[key] = np.full(state[key].shape, 2.0**power, np.float32)
        values = sums.values.copy()
        values[..., : shape.channels] *= np.repeat(
            network.weights[f"{product.name}.scale"], shape.channels // product.heads
        )
        neurons.reset()
        fired = neurons.step(replace(sums, values=values))
        assert isinstance(fired, SpikeMap)
        return fired

    def error(spikes: SpikeMap) -> float:
        return abs(rate_of(spikes, node) - target)

    low, high, best, spikes = -WIDEST, WIDEST, 0.0, fire(0.0)
    least = error(spikes)
    for _ in range(HALVINGS):
        if least <= tolerance * target:
            break
        power = (low + high) / 2
        spikes = fire(power)
        if error(spikes) < least:
            least, best = error(spikes), power
        low, high = (power, high) if rate_of(spikes, node) > target else (low, power)
    return fire(best)

"""Random weights for any preset, such that its neurons fire at one rate: where no published rates are known.

One walk through the network on one input. Every layer gets normal weights and a BatchNorm that makes its outputs of
mean 0 and variance 1, with a random offset per channel; every layer of neurons the threshold at which it fires at the
rate, integer neurons the shift of the layer before them at which so many of their values are not 0. Neurons that read
sums of spikes, the masks of attention, keep their threshold. Such a network predicts nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from evsim import synthesis
from evsim.engine import Intake
from evsim.kernels.threads import Workers
from evsim.layers.context import Context
from evsim.layers.forms import FORMS, Place
from evsim.network import LIF, Conv2d, Input, Linear, Network, Node
from evsim.primitives import HeadSum, MultiSpike, TokenSum
from evsim.spikes import IntegerMap, Packet, RealMap
from evsim.synthesis.graph import rate_of
from evsim.synthesis.philox import Philox

HALVINGS = 16
DTYPE = np.dtype(np.float32)


class _Walk:
    def __init__(self, network: Network, rate: float, seed: int) -> None:
        self.network, self.rate = network, rate
        self.random = np.random.default_rng(seed)
        self.context = Context(DTYPE, Workers(), streaming=False)
        self.nodes: list[Node] = []
        self.weights: dict[str, Any] = {}
        self.packets: dict[str, Packet] = {}
        self.levers: dict[str, str] = {}

    def step(self, node: Node) -> Packet:
        network = self.network
        own = {key: self.weights[f"{node.name}.{key}"] for key in node.parameters()}
        sources = tuple(network.shapes[name] for name in node.inputs)
        place = Place(sources, network.shapes[node.name], own, network.spec.timesteps, self.context)
        packet = FORMS[type(node)](node, place).step(*(self.packets[name] for name in node.inputs))
        assert packet is not None
        return packet

    def visit(self, node: Node) -> None:
        if isinstance(node, Conv2d | Linear):
            self.layer(node)
        elif isinstance(node, LIF):
            self.neurons(node)
        elif isinstance(node, MultiSpike):
            self.integers(node)
        else:
            for key, shape in node.parameters().items():
                self.weights[f"{node.name}.{key}"] = np.full(shape, float(key == "scale"))
            self.packets[node.name] = self.step(node)
            self.levers[node.name] = self.levers.get(node.inputs[-1], "")
            self.nodes.append(node)

    def layer(self, node: Any) -> None:
        shapes, name = node.parameters(), node.name
        fan_in = np.prod(shapes["weight"][:-1])
        weight = self.random.standard_normal(shapes["weight"], np.float32) * np.float32(np.sqrt(2.0 / fan_in))
        channels = node.out_channels
        own = {"weight": weight, "bias": np.zeros(channels, np.float32), "bn_scale": np.ones(channels),
               "bn_shift": np.zeros(channels)}  # fmt: skip
        self.weights |= {f"{name}.{key}": own[key] for key in shapes}
        values = self.step(node).values[..., :channels].reshape(-1, channels).astype(np.float64)
        scale = 1.0 / (values.std(axis=0) + 1e-3)
        offset = self.random.standard_normal(channels) - values.mean(axis=0) * scale
        if node.batch_norm:
            self.weights |= {f"{name}.bn_scale": scale, f"{name}.bn_shift": offset}
        else:
            self.weights[f"{name}.weight"] = (weight * scale).astype(np.float32)
            if node.bias:
                self.weights[f"{name}.bias"] = offset.astype(np.float32)
        self.packets[name] = self.step(node)
        self.levers[name] = f"{name}.bn_shift" if node.batch_norm else f"{name}.bias" if node.bias else ""
        self.nodes.append(node)

    def neurons(self, node: LIF) -> None:
        self.weights |= {f"{node.name}.{key}": np.zeros(shape) for key, shape in node.parameters().items()}
        if not isinstance(self.network.node(node.inputs[0]), HeadSum | TokenSum):
            low, high = 2.0**-12, 2.0**8
            for _ in range(HALVINGS):
                middle = float(np.float32(np.sqrt(low * high)))
                node = replace(node, v_threshold=middle)
                self.packets[node.name] = self.step(node)
                low, high = (middle, high) if rate_of(self.packets[node.name]) > self.rate else (low, middle)
        self.packets[node.name] = self.step(node)
        self.nodes.append(node)

    def integers(self, node: MultiSpike) -> None:
        source = node.inputs[0]
        currents, lever = self.packets[source], self.levers.get(source, "")
        if lever and isinstance(currents, RealMap):
            low, high, shift = -64.0, 64.0, 0.0
            for _ in range(HALVINGS):
                shift = (low + high) / 2
                self.packets[source] = replace(currents, values=currents.values + np.float32(shift))
                emitted = self.step(node)
                assert isinstance(emitted, IntegerMap)
                share = np.count_nonzero(emitted.values) / emitted.values.size
                low, high = (low, shift) if share > self.rate else (shift, high)
            self.weights[lever] = (self.weights[lever] + shift).astype(self.weights[lever].dtype)
        self.packets[node.name] = self.step(node)
        self.nodes.append(node)


def randomised(preset: str, rate: float, seed: int = 0) -> tuple[Network, np.ndarray]:
    """Return a preset's network with random weights, and the input on which its neurons fire at a rate."""
    network = synthesis.skeleton(preset)
    sample = synthesis.make_sample(network, Philox(seed))
    walk = _Walk(network, rate, seed)
    readers = {name: set(readers) for name, readers in network.consumers().items()}
    for node in network.nodes:
        if isinstance(node, Input):
            intake = Intake(network, network.spec.timesteps, DTYPE, streaming=False)
            (walk.packets[node.name],) = intake.packets(sample)
            walk.nodes.append(node)
            continue
        walk.visit(node)
        for source in node.inputs:
            readers[source].discard(node.name)
            if not readers[source]:
                walk.packets.pop(source, None)
    return replace(network, nodes=tuple(walk.nodes), weights=walk.weights, file=None), sample

"""Firing rates: those that are published, and those that a network reaches.

Spikingformer-8-512 and -8-768 on ImageNet are published layer by layer (rates of each layer's input, after the max-pool
that feeds it). For every other model no rates are published, and these are assumed: those of 8-768 for a dimension of
768, of 8-512 for all others; block b of a model of depth d takes those of the published block
``floor((b + 1/2) * 8 / d)``, the one at the same relative depth; CIFAR and DVS models and CML fire as those of
ImageNet. Layers of other families fire as Spikingformer's of the same place (`Family.fires_like`); the stages of
convolutional nets as those of its tokenizer. The rate of integer neurons is the mean of what they emit, as a share of
the greatest integer: of their virtual timesteps, the share with a spike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.converters.family import Family
from evsim.converters.presets import Preset
from evsim.data import published
from evsim.engine import Simulator
from evsim.errors import OptionError
from evsim.layers.plan import Stage
from evsim.network import Network
from evsim.quantized import Precision
from evsim.spikes import Packet
from evsim.synthesis.graph import Fired, Graph, rate_of

READERS = {"attn.proj": "attn.q", "attn.attn": "attn.proj", "mlp.mlp1": "mlp.mlp1", "mlp.mlp2": "mlp.mlp2"}
"""Neurons of a Spikingformer's block to the layer that reads them, whose input rate is published."""


@dataclass(frozen=True)
class Rate:
    """Firing rate of a LIF, after the max-pool that alone reads it: what was wanted, what was reached."""

    name: str
    target: float
    reached: float

    @property
    def error(self) -> float:
        """Distance from the target, relative to it."""
        return self.reached / self.target - 1.0


def measure(
    network: Network, targets: Mapping[str, float], sample: NDArray[np.floating], precision: Precision
) -> tuple[Rate, ...]:
    """Run the network as users do and return the rate of every LIF, in order of execution."""
    counter = _RateCounter(network)
    Simulator(network, precision=precision).run(sample, [counter])
    return tuple(Rate(name, target, counter.rates[name]) for name, target in targets.items())


class _RateCounter:
    """Observer that keeps the rate of every LIF, after the max-pool that alone reads it."""

    def __init__(self, network: Network) -> None:
        self.rates: dict[str, float] = {}
        graph = Graph(network)
        self._neurons = {
            graph.pools[name].name if name in graph.pools else name: node for name, node in graph.neurons.items()
        }

    def observe(self, stage: Stage, inputs: tuple[Packet, ...], output: Packet | None) -> None:  # noqa: ARG002
        """Take note of the spikes that a stage emits."""
        if (node := self._neurons.get(stage.name)) and isinstance(output, Fired):
            self.rates[node.name] = rate_of(output, node)


def published_rate(name: str, preset: Preset, family: Family) -> float:
    """Return the rate of a LIF: that of the input of the layer that reads it, in the published model nearest by.

    Raises
    ------
    OptionError
        If the family says of no rates that they are published for it.
    """
    if family.fires_like is None:
        raise OptionError(f"no rates are published for {family.title}; give one for all neurons by `rates=0.2`")
    like = family.fires_like(name)
    if not isinstance(like, str):
        return like
    model = published(_published_model(preset))
    by_place = {layer["name"]: float(layer["rate"]) for layer in model["layers"]}
    if like.startswith("patch_embed."):
        convs = [rate for place, rate in by_place.items() if place.startswith("patch_embed.")]
        return convs[int(re.sub(r"\D", "", like))]
    parts = re.match(r"block\.(\d+)\.(.*)_lif$", like)
    assert parts, like
    block = int((int(parts[1]) + 0.5) * model["ssa"]["depth"] / preset.depth)
    if parts[2] in ("attn.q", "attn.k", "attn.v"):
        return float(model["ssa"]["rates"][block][parts[2][-1]])
    return _read_rate(by_place, f"block.{block}.{READERS[parts[2]]}_conv")


def source_of_rates(preset: Preset, family: Family) -> str:
    """Say where the published rates of a model come from, for its provenance."""
    model = _published_model(preset)
    own = (preset.family, preset.tokenizer, preset.variant, preset.depth) == (
        "spikingformer",
        "imagenet",
        "standard",
        8,
    )
    if own and preset.dim in (512, 768):
        return f"published for {model} on ImageNet, per layer"
    text = f"assumed: none are published for this model; those of {model} on ImageNet at the same place, "
    text += "blocks by relative depth"
    if family.residual_rate is not None:
        text += f", residual neurons {family.residual_rate}"
    return text


def _published_model(preset: Preset) -> str:
    return "spikingformer-8-768" if preset.dim == 768 else "spikingformer-8-512"


def _read_rate(by_place: Mapping[str, Any], place: str) -> float:
    """Return the rate at a layer; one of the two logs says fc1 for mlp1."""
    return float(by_place[place] if place in by_place else by_place[place.replace("mlp.mlp", "mlp.fc")])

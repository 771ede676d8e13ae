"""Random networks: small graphs of every primitive, chains and branches, for hypothesis. A primitive is one entry."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import numpy as np
from hypothesis import strategies as st
from strategies import seeds

from evsim.inputspec import InputSpec
from evsim.network import (
    LIF,
    Add,
    Conv2d,
    Input,
    Linear,
    MaxPool,
    Network,
    Node,
    Shape,
    SpikingSelfAttention,
    TimeMean,
    TokenMean,
)

WIDTHS = st.sampled_from([1, 2, 3, 4, 6, 8, 31, 32, 33, 48, 64, 65])
MOST_VALUES = 4000
"""Of a map: the oracle is slow."""


@dataclass
class Builder:
    """A network while it grows.

    Attributes
    ----------
    draw
        Of hypothesis.
    nodes, shapes
        The nodes so far, and what each emits.
    once
        Names of those that emit once, after the last timestep.
    plain
        Whether weights are multiples of a quarter: then sums are exact in any order, and ties with thresholds occur.
    """

    draw: object
    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    once: set[str] = field(default_factory=set)
    plain: bool = True

    def add(self, kind, /, *sources, **fields):
        """Add a node and return its name."""
        node = kind(f"n{len(self.nodes)}_{kind.__name__.lower()}", sources, **fields)
        self.shapes[node.name] = node.infer(tuple(self.shapes[name] for name in sources))
        self.nodes.append(node)
        if node.once or self.once.intersection(sources):
            self.once.add(node.name)
        return node.name

    def source(self, fits=lambda shape: True):  # noqa: ARG005 - any shape
        """Return the name of a node that emits what fits, the latest most often; None if there is none."""
        names = [name for name in self.shapes if fits(self.shapes[name])]
        if not names:
            return None
        return names[-1] if self.draw(st.integers(0, 2)) else self.draw(st.sampled_from(names))

    def alike(self, name, kind=None):
        """Return the names of all nodes that emit maps of the same size at the same timesteps."""
        one = self.shapes[name]
        return [
            other
            for other, shape in self.shapes.items()
            if (shape.channels, shape.height, shape.width) == (one.channels, one.height, one.width)
            and (other in self.once) == (name in self.once)
            and kind in (None, shape.kind)
        ]

    def loose(self):
        """Return the names of all nodes that nobody reads."""
        read = {name for node in self.nodes for name in node.inputs}
        return [node.name for node in self.nodes if node.name not in read]

    def flags(self):
        """Draw whether a layer has a bias, and BatchNorm."""
        return {"bias": self.draw(st.booleans()), "batch_norm": self.draw(st.booleans())}


def _conv(builder):
    draw = builder.draw
    kernel = draw(st.sampled_from([(1, 1), (1, 1), (3, 3), (3, 3), (2, 3), (5, 1), (7, 7)]))
    stride = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 2), (3, 1)]))
    half = draw(st.booleans())
    padding = tuple(size // 2 if half else draw(st.integers(0, size)) for size in kernel)
    spans = lambda shape: zip((shape.height, shape.width), kernel, padding, strict=True)  # noqa: E731
    name = builder.source(lambda shape: all(size + 2 * pad >= extent for size, extent, pad in spans(shape)))
    if name is None:
        return
    shape, width = builder.shapes[name], draw(WIDTHS)
    values = width * prod((size + 2 * pad - extent) // step + 1
                          for (size, extent, pad), step in zip(spans(shape), stride, strict=True))  # fmt: skip
    width = width if values <= MOST_VALUES else 2
    fields = {"kernel": kernel, "stride": stride, "padding": padding, **builder.flags()}
    builder.add(Conv2d, name, in_channels=shape.channels, out_channels=width, **fields)


def _linear(builder):
    name = builder.source()
    shape, width = builder.shapes[name], builder.draw(WIDTHS)
    width = width if width * shape.positions <= MOST_VALUES else 2
    builder.add(Linear, name, in_channels=shape.channels, out_channels=width, **builder.flags())


def _lif(builder):
    tau = builder.draw(st.sampled_from([2.0, 2.0, 2.0, 1.0, 4.0, 1.5, 3.0, 10.0]))
    threshold = builder.draw(st.sampled_from([1.0, 0.5, 0.25, 0.3, 2.0]))
    layout = builder.draw(st.sampled_from(["map", "tokens", "rows"]))
    builder.add(LIF, builder.source(), tau=tau, v_threshold=threshold, layout=layout)


def _max_pool(builder):
    kernel, stride = builder.draw(st.sampled_from([(3, 2), (2, 2), (2, 1), (3, 1), (1, 1), (1, 2), (4, 3)]))
    padding = builder.draw(st.integers(0, kernel // 2))
    name = builder.source(lambda shape: min(shape.height, shape.width) + 2 * padding >= kernel)
    if name is not None:
        builder.add(MaxPool, name, kernel=kernel, stride=stride, padding=padding)


def _add(builder):
    """Add what is of one size already, or a layer of that size to what it reads."""
    name = builder.source()
    shape, draw = builder.shapes[name], builder.draw
    alike = builder.alike(name)
    if draw(st.booleans()):
        other = draw(st.sampled_from(alike))
    else:
        read = builder.add(LIF, name, v_threshold=0.5) if draw(st.booleans()) else name
        size = {"in_channels": shape.channels, "out_channels": shape.channels, **builder.flags()}
        if draw(st.booleans()):
            other = builder.add(Linear, read, **size)
        else:
            other = builder.add(Conv2d, read, kernel=(3, 3), padding=(1, 1), **size)
    builder.add(Add, *draw(st.permutations([name, other])))


def _attention(builder):
    """Attend to spikes that are there, or to those of three new branches."""
    draw = builder.draw
    name = builder.source()
    spiking = builder.alike(name, "spikes")
    if spiking and draw(st.booleans()):
        operands = [draw(st.sampled_from(spiking)) for _ in range(3)]
    else:
        channels, width = builder.shapes[name].channels, draw(st.sampled_from([1, 2, 6, 32, 64, 66]))
        width = width if width * builder.shapes[name].positions <= MOST_VALUES else 2
        operands = []
        for _ in range(3):
            layer = builder.add(Linear, name, in_channels=channels, out_channels=width, **builder.flags())
            operands.append(builder.add(LIF, layer, v_threshold=draw(st.sampled_from([0.25, 1.0]))))
    channels = builder.shapes[operands[0]].channels
    heads = draw(st.sampled_from([n for n in range(1, channels + 1) if channels % n == 0]))
    order, scale = draw(st.sampled_from(["q(kv)", "(qk)v"])), draw(st.sampled_from([0.125, 1.0, 0.25, 0.3]))
    builder.add(SpikingSelfAttention, *operands, heads=heads, order=order, scale=scale)


def _token_mean(builder):
    builder.add(TokenMean, builder.source())


def _time_mean(builder):
    names = [name for name in builder.shapes if name not in builder.once]
    builder.add(TimeMean, builder.draw(st.sampled_from(names)))


PRIMITIVES = {
    "Conv2d": (_conv, 4),
    "Linear": (_linear, 2),
    "LIF": (_lif, 5),
    "MaxPool": (_max_pool, 2),
    "Add": (_add, 3),
    "SpikingSelfAttention": (_attention, 2),
    "TokenMean": (_token_mean, 1),
    "TimeMean": (_time_mean, 1),
}
"""How a primitive is added to a network, if it can be, and how often that is tried."""

CHOICES = [name for name, (_, weight) in PRIMITIVES.items() for _ in range(weight)]


@st.composite
def networks(draw, kinds=("events", "image")):
    """Return a network that reads events or images; it ends as a classifier does, every branch joined."""
    kind, timesteps = draw(st.sampled_from(kinds)), draw(st.sampled_from([1, 2, 3, 4, 5, 8, 20]))
    channels, height, width = draw(st.sampled_from([1, 2, 3, 33])), draw(st.integers(1, 9)), draw(st.integers(1, 7))
    builder = Builder(draw, plain=draw(st.booleans()))
    builder.add(Input, channels=channels, height=height, width=width, kind="integers" if kind == "events" else "real")
    for name in draw(st.lists(st.sampled_from(CHOICES), min_size=1, max_size=8)):
        PRIMITIVES[name][0](builder)
    classes = draw(st.sampled_from([1, 3, 10]))
    _join(builder, classes)
    spec = InputSpec(kind, channels, height, width, timesteps, *(((0.5,) * channels,) * 2 if kind == "image" else ()))
    labels = tuple(f"class {i}" for i in range(classes)) if draw(st.booleans()) else ()
    weights = _weights(builder, np.random.default_rng(draw(seeds)))
    return Network("random", "test", "standard", spec, tuple(builder.nodes), weights, labels, {"drawn": "at random"})


def _join(builder, classes):
    """Bring every loose end to logits, and add them up."""
    ends = []
    for name in builder.loose():
        for kind in builder.draw(st.permutations([TokenMean, TimeMean])):
            if kind is not TimeMean or name not in builder.once:
                name = builder.add(kind, name)  # noqa: PLW2901 - the end moves on
        channels = builder.shapes[name].channels
        ends.append(builder.add(Linear, name, in_channels=channels, out_channels=classes, **builder.flags()))
    while len(ends) > 1:
        ends = [builder.add(Add, *ends[:2]), *ends[2:]]


def _weights(builder, rng):
    """Return weights under which neurons fire, now and then: some of them 0."""
    weights = {}
    for node in builder.nodes:
        for key, shape in node.parameters().items():
            values = rng.integers(-4, 6, shape) / 4 if builder.plain else rng.standard_normal(shape) + 0.1
            if key == "bn_scale":
                values = rng.choice([0.5, 1.0, 2.0, -1.0], shape) if builder.plain else values
            weights[f"{node.name}.{key}"] = values.astype(np.float64 if key.startswith("bn") else np.float32)
    return weights


@st.composite
def sources(draw, network):
    """Return an input for a network: nothing, ones, few or many, an image or frames."""
    spec, rng = network.spec, np.random.default_rng(draw(seeds))
    static = spec.kind == "image" and draw(st.booleans())
    shape = ((spec.timesteps,) if not static else ()) + (spec.channels, spec.height, spec.width)
    what = draw(st.sampled_from(["zero", "one", "few", "many"]))
    if what in ("zero", "one"):
        return np.full(shape, float(what == "one"))
    if spec.kind == "events":
        return rng.poisson(0.1 if what == "few" else 2.0, shape)
    values = rng.integers(-4, 5, shape) / 4 if what == "few" else rng.standard_normal(shape)
    return values * (rng.random(shape) < 0.5) if what == "few" else values

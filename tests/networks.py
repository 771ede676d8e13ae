"""Random networks: small graphs of every primitive, chains and branches, for hypothesis. A primitive is one entry."""

from __future__ import annotations

from dataclasses import replace

import network_layers as layers
import network_times as times
import numpy as np
from growing import MOST_VALUES, Builder
from hypothesis import strategies as st
from strategies import seeds

from evsim.inputspec import InputSpec
from evsim.network import INPUT_KINDS, Network
from evsim.primitives import (
    LIF,
    Add,
    And,
    Conv2d,
    HeadProduct,
    HeadSum,
    IAnd,
    Input,
    Linear,
    Mask,
    MultiSpike,
    SpikingSelfAttention,
    TimeMean,
    TimeReduction,
    TokenMean,
    TokenSum,
)


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


def _gate(kind):
    """Return what adds a gate of that kind."""

    def gate(builder):
        name = builder.spiking()
        builder.add(kind, *builder.draw(st.permutations([name, builder.spikes_like(name)])))

    return gate


def _mask(builder):
    """Mask spikes by what fires of their sums: over tokens, or over the channels of a head."""
    name = builder.spiking()
    summed = builder.spikes_like(name)
    if builder.draw(st.booleans()):
        sums = builder.add(TokenSum, summed, heads=builder.heads(builder.shapes[summed].channels))
    else:
        sums = builder.add(HeadSum, summed, heads=builder.heads(builder.shapes[summed].channels))
    builder.add(Mask, name, builder.fires(sums))


def _sum(kind):
    """Return what adds a sum of spikes of that kind."""

    def add(builder):
        name = builder.spiking()
        builder.add(kind, name, heads=builder.heads(builder.shapes[name].channels))

    return add


def _operand(builder, name, width, graded):
    layer = builder.layer(name, width)
    if graded:
        return builder.add(MultiSpike, layer, levels=4, norm=graded)
    return builder.add(LIF, layer, v_threshold=builder.draw(st.sampled_from([0.25, 1.0])))


def _attention(builder):
    """Attend to spikes or integers that are there, or to those of new branches, v of its own width now and then."""
    draw = builder.draw
    name = builder.source()
    graded = draw(st.sampled_from([0.0, 0.0, 4.0, 1.0]))
    unit = 1.0 / graded if graded else 1.0
    ready = [
        each for each in builder.alike(name, "integers" if graded else "spikes") if builder.shapes[each].unit == unit
    ]
    if ready and draw(st.booleans()):
        operands = [draw(st.sampled_from(ready)) for _ in range(3)]
    else:
        width = draw(st.sampled_from([1, 2, 6, 32, 64, 66]))
        width = width if width * builder.shapes[name].positions <= MOST_VALUES else 2
        operands = [_operand(builder, name, width, graded) for _ in range(3)]
    channels = builder.shapes[operands[0]].channels
    heads = builder.heads(channels)
    if draw(st.integers(0, 2)) == 0:
        wide = heads * draw(st.integers(1, 3))
        operands[2] = _operand(builder, name, wide, graded)
    order, scale = draw(st.sampled_from(["q(kv)", "(qk)v"])), draw(st.sampled_from([0.125, 1.0, 0.25, 0.3]))
    builder.add(SpikingSelfAttention, *operands, heads=heads, order=order, scale=scale)


def _head_product(builder):
    """Let the spikes of one map name rows of another, of whatever size."""
    draw = builder.draw
    name = builder.source()
    other = builder.together(name)
    tokens, rows = builder.shapes[other].positions, draw(st.sampled_from(["channels", "tokens"]))
    heads, parts, size = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 5]))
    if heads * tokens * builder.shapes[name].positions > MOST_VALUES:
        heads, rows = 1, "tokens"
    spikes = builder.fires(builder.layer(name, heads * (size if rows == "channels" else tokens)))
    reals = builder.layer(other, heads * parts * size)
    builder.add(HeadProduct, spikes, reals, heads=heads, rows=rows, part=draw(st.integers(0, parts - 1)), parts=parts)


def _token_mean(builder):
    builder.add(TokenMean, builder.source())


def _time_mean(builder):
    names = [name for name in builder.shapes if name not in builder.once]
    builder.add(TimeMean, builder.draw(st.sampled_from(names)))


PRIMITIVES = {
    "Conv2d": (layers.conv, 5),
    "Linear": (layers.linear, 2),
    "LIF": (layers.lif, 6),
    "MultiSpike": (layers.multi_spike, 3),
    "Neuron": (times.neuron, 6),
    "Delay": (times.delay, 3),
    "TimeReduction": (times.reduction, 1),
    "Scale": (times.scale, 1),
    "Concatenate": (times.concatenate, 1),
    "Slice": (times.slice_of, 1),
    "MaxPool": (layers.max_pool, 2),
    "AveragePool": (layers.average_pool, 1),
    "SumPool": (layers.sum_pool, 2),
    "AdaptiveAveragePool": (layers.adaptive_pool, 1),
    "Pad": (layers.pad, 1),
    "Flatten": (layers.flatten, 1),
    "Vote": (layers.vote, 1),
    "Add": (_add, 3),
    "And": (_gate(And), 1),
    "IAnd": (_gate(IAnd), 1),
    "Mask": (_mask, 2),
    "HeadSum": (_sum(HeadSum), 1),
    "TokenSum": (_sum(TokenSum), 1),
    "SpikingSelfAttention": (_attention, 3),
    "HeadProduct": (_head_product, 2),
    "TokenMean": (_token_mean, 1),
    "TimeMean": (_time_mean, 1),
}
"""How a primitive is added to a network, if it can be, and how often that is tried."""

CHOICES = [name for name, (_, weight) in PRIMITIVES.items() for _ in range(weight)]


@st.composite
def networks(draw, kinds=("events", "image", "frames")):
    """Return a network that reads events or images; it ends as a classifier does, every branch joined."""
    kind, timesteps = draw(st.sampled_from(kinds)), draw(st.sampled_from([1, 2, 3, 4, 5, 8, 20]))
    channels, height, width = draw(st.sampled_from([1, 2, 3, 33])), draw(st.integers(1, 9)), draw(st.integers(1, 7))
    builder = Builder(draw, plain=draw(st.booleans()))
    name = builder.add(Input, channels=channels, height=height, width=width, kind=INPUT_KINDS[kind])
    builder.images.update([name] if kind == "image" else [])
    for name in draw(st.lists(st.sampled_from(CHOICES), min_size=1, max_size=8)):
        PRIMITIVES[name][0](builder)
    classes = draw(st.sampled_from([1, 3, 10]))
    _join(builder, classes)
    spec = InputSpec(kind, channels, height, width, timesteps, *(((0.5,) * channels,) * 2 if kind == "image" else ()))
    labels = tuple(f"class {i}" for i in range(classes)) if draw(st.booleans()) else ()
    nodes = tuple(_watching(builder, node) for node in builder.nodes)
    weights = _weights(builder, np.random.default_rng(draw(seeds)))
    return Network("random", "test", "standard", spec, nodes, weights, labels, {"drawn": "at random"})


def _join(builder, classes):
    """Bring every loose end to logits, and add them up."""
    ends = []
    for name in builder.loose():
        for kind in builder.draw(
            st.permutations([TokenMean, builder.draw(st.sampled_from([TimeMean, TimeReduction]))])
        ):
            if kind is TokenMean or name not in builder.once:
                name = builder.add(kind, name)  # noqa: PLW2901 - the end moves on
        channels = builder.shapes[name].channels
        ends.append(builder.add(Linear, name, in_channels=channels, out_channels=classes, **builder.flags()))
    while len(ends) > 1:
        ends = [builder.add(Add, *ends[:2]), *ends[2:]]


def _watching(builder, node):
    """Let sums of spikes count what other nodes emit, too: before them or behind."""
    if not isinstance(node, HeadSum | TokenSum):
        return node
    names = [each.name for each in builder.nodes[1:] if builder.shapes[each.name].kind != "real"]
    watched = builder.draw(st.lists(st.sampled_from(names), max_size=2))
    return replace(node, operations=tuple((f"seen_{i}", name) for i, name in enumerate(watched)))


def _weights(builder, rng):
    """Return weights under which neurons fire, now and then: some of them 0."""
    weights = {}
    for node in builder.nodes:
        for key, shape in node.parameters().items():
            values = rng.integers(-4, 6, shape) / 4 if builder.plain else rng.standard_normal(shape) + 0.1
            if key == "bn_scale":
                values = rng.choice([0.5, 1.0, 2.0, -1.0], shape) if builder.plain else values
            if key == "v_threshold":
                values = rng.choice([0.25, 0.5, 1.0, 2.0], shape) if builder.plain else np.abs(values) + 0.1
            values = times.constant(node, key, values, rng, plain=builder.plain)
            if key == "w" and builder.plain:
                values = np.zeros(shape)  # a rate of one half
            weights[f"{node.name}.{key}"] = values.astype(np.float64 if key.startswith("bn") else np.float32)
    return weights


@st.composite
def sources(draw, network):
    """Return an input for a network: nothing, ones, few or many, an image or frames."""
    spec, rng = network.spec, np.random.default_rng(draw(seeds))
    once = any(getattr(node, "repeated", False) for node in network.nodes)
    static = spec.kind == "image" and (once or draw(st.booleans()))
    shape = ((spec.timesteps,) if not static else ()) + (spec.channels, spec.height, spec.width)
    what = draw(st.sampled_from(["zero", "one", "few", "many"]))
    if what in ("zero", "one"):
        return np.full(shape, float(what == "one"))
    if spec.kind == "events":
        return rng.poisson(0.1 if what == "few" else 2.0, shape)
    values = rng.integers(-4, 5, shape) / 4 if what == "few" else rng.standard_normal(shape)
    return values * (rng.random(shape) < 0.5) if what == "few" else values

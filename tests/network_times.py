"""How a random network gets neurons of any equation, delays, cycles and parts of maps: functions of a `Builder`."""

from __future__ import annotations

from growing import MOST_VALUES
from hypothesis import strategies as st

from evsim.primitives import (
    LIF,
    Add,
    Concatenate,
    Conv2d,
    Delay,
    Linear,
    MultiSpike,
    Neuron,
    Scale,
    Slice,
    TimeReduction,
)

NUMBERS = {
    "syn": [0.0, 0.5, 0.75, 0.3], "gain": [1.0, 0.5, 0.7],
    "leak": [1.0, 0.5, 0.75, 0.0, 0.9], "v_leak": [0.0, 0.25, 0.1],
    "v_start": [0.0, 0.25, -0.5], "v_threshold": [1.0, 0.5, 0.25, 0.3], "v_reset": [0.0, 0.25, -0.5],
    "v_floor": [0.0, -0.5, -0.3], "scale": [1.0, 0.5, -2.0, 0.3], "shift": [0.0, 0.25, -0.1],
}  # fmt: skip
"""Constants that are drawn."""


def neuron(builder):
    """Add neurons of any equation, with constants of all kinds."""
    _neuron(builder, builder.source())


def _neuron(builder, name, **fixed):
    draw = builder.draw
    fields = {
        "synapse": draw(st.sampled_from(["none", "none", "decay-add", "add-decay", "jump"])),
        "charge": draw(st.sampled_from(["decay", "decay", "relax", "box", "drain"])),
        "reset": draw(st.sampled_from(["value", "subtract", "none"])),
        "reset_at": draw(st.sampled_from(["now", "now", "before-charge", "after-charge", "both"])),
        "strict": draw(st.booleans()), "floored": draw(st.booleans()),
        "levels": draw(st.sampled_from([0, 0, 0, 1, 3, 1000])),
        "emits": draw(st.sampled_from(["spikes", "spikes", "potential"])),
        "layout": draw(st.sampled_from(["map", "tokens", "rows"])), "view": builder.view(name),
    } | fixed  # fmt: skip
    fields["divides"] = fields["charge"] != "decay" and draw(st.booleans())
    if fields["levels"]:
        fields |= {"strict": False, "reset_at": "now"}
    if fields["reset_at"] == "both":
        fields["reset"] = "subtract"
    fields["single"] = fields["reset"] == "subtract" and fields["reset_at"] == "now" and draw(st.integers(0, 3)) == 0
    told = {"syn": fields["synapse"] != "none", "v_leak": fields["charge"] != "decay",
            "v_reset": fields["reset"] == "value", "v_floor": fields["floored"]}  # fmt: skip
    names = [constant for constant in Neuron.constants if told.get(constant, True)]
    builder.add(Neuron, name, **fields, **_constants(builder, name, names, divides=fields["divides"]))


def _constants(builder, name, names, *, divides=False):
    """Draw constants: numbers, or arrays by channel or by neuron."""
    draw, shape, fields = builder.draw, builder.shapes[name], {"by_channel": (), "by_neuron": ()}
    for constant in names:
        where = draw(st.sampled_from(["number", "number", "number", "by_channel", "by_neuron"]))
        if where == "number":
            numbers = [1.0, 2.0, 4.0, 3.0] if constant == "leak" and divides else NUMBERS[constant]
            fields[constant] = draw(st.sampled_from(numbers))
        else:
            fields[where] += (constant,)
    if fields["by_channel"] or fields["by_neuron"]:
        fields |= {"channels": shape.channels, "height": shape.height, "width": shape.width}
    return fields


def constant(node, key, values, rng, *, plain):
    """Return an array of a constant under which neurons fire now and then; other values as they are."""
    if key not in NUMBERS or key not in getattr(node, "constants", ()):
        return values
    if key == "leak" and node.divides:
        return rng.choice([1.0, 2.0, 4.0], values.shape) if plain else rng.uniform(1.0, 5.0, values.shape)
    if plain:
        return rng.choice([number for number in NUMBERS[key] if number * 4 % 1 == 0], values.shape)
    low, high = (0.1, 1.0) if key in ("leak", "syn", "gain", "v_threshold") else (-0.5, 0.5)
    return rng.uniform(low, high, values.shape)


def delay(builder):
    """Add a delay: of what is there, or one that closes a cycle through neurons."""
    draw = builder.draw
    names = [name for name in builder.shapes if name not in builder.once]
    name, steps = draw(st.sampled_from(names)), draw(st.sampled_from([1, 1, 2, 5]))
    if draw(st.booleans()):
        builder.add(Delay, name, steps=steps)
        return
    _cycle(builder, name, steps)


def _cycle(builder, name, steps):
    """Let neurons read themselves, some timesteps later, through a layer or as they are."""
    draw, shape, place = builder.draw, builder.shapes[name], len(builder.nodes)
    layer = draw(st.sampled_from([Linear, Conv2d, None]))
    kind = draw(st.sampled_from([LIF, MultiSpike, Neuron]))
    levels = draw(st.sampled_from([0, 3])) if kind is Neuron else 0
    behind = f"n{place + (3 if layer else 2)}_{kind.__name__.lower()}"
    fired = kind("fired", (name,), **({"levels": levels} if kind is Neuron else {})).infer((shape,))
    back = builder.add_closing(Delay, behind, fired, steps=steps)
    if layer is Linear:
        back = builder.layer(back, shape.channels)
    elif layer is Conv2d:
        back = builder.add(Conv2d, back, in_channels=shape.channels, out_channels=shape.channels, kernel=(3, 3),
                           padding=(1, 1), **builder.flags())  # fmt: skip
    summed = builder.add(Add, *draw(st.permutations([name, back])))
    if kind is Neuron:
        _neuron(builder, summed, levels=levels, emits="spikes")
    else:
        builder.add(kind, summed)
    assert builder.nodes[-1].name == behind


def reduction(builder):
    """Add what is read out of all timesteps."""
    names = [name for name in builder.shapes if name not in builder.once]
    reductions = st.sampled_from(["sum", "max", "last"])
    builder.add(TimeReduction, builder.draw(st.sampled_from(names)), reduction=builder.draw(reductions))


def scale(builder):
    """Add constants times a map."""
    name = builder.source()
    builder.add(Scale, name, **_constants(builder, name, Scale.constants))


def concatenate(builder):
    """Put the channels of two maps together."""
    name = builder.source()
    one = builder.shapes[name]
    fits = [
        other
        for other, shape in builder.shapes.items()
        if (shape.height, shape.width) == (one.height, one.width)
        and (other in builder.once) == (name in builder.once)
        and (shape.channels + one.channels) * one.positions <= MOST_VALUES
    ]
    if fits:
        builder.add(Concatenate, *builder.draw(st.permutations([name, builder.draw(st.sampled_from(fits))])))


def slice_of(builder):
    """Take some channels of a map."""
    name = builder.source()
    start = builder.draw(st.integers(0, builder.shapes[name].channels - 1))
    builder.add(Slice, name, start=start, stop=builder.draw(st.integers(start + 1, builder.shapes[name].channels)))

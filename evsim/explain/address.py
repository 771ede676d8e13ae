"""Which neuron, which spike: ``LAYER:CHANNEL@Y,X``, ``LAYER:CHANNEL@TOKEN``, and ``…@T`` behind either for a spike."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace

from evsim.errors import OptionError
from evsim.explain.potential import STEPS
from evsim.network import Network

FORMS = "LAYER:CHANNEL@Y,X, LAYER:CHANNEL@TOKEN or, where a layer has one position, LAYER:CHANNEL"


@dataclass(frozen=True)
class Address:
    """A neuron, or one of its spikes.

    Attributes
    ----------
    layer
        Name of the layer of neurons.
    channel, position
        Its channel and the position (token) of its map, ``y * width + x``; None for the busiest of the layer.
    t
        Timestep of the spike; None for the neuron.
    """

    layer: str
    channel: int | None = None
    position: int | None = None
    t: int | None = None


def parse(text: str, network: Network, *, spike: bool = False) -> Address:
    """Return the neuron, or the spike, that a text names; a layer alone stands for its busiest neuron.

    Parameters
    ----------
    text
        As `FORMS` has it, a spike with its timestep behind another ``@``.
    network
        Whose neuron it is.
    spike
        Whether a timestep follows.

    Raises
    ------
    OptionError
        If there is no such layer of neurons, channel or position.
    """
    option = "spike" if spike else "neuron"
    rest, t = text, None
    if spike:
        rest, _, last = text.rpartition("@")
        if not last.isdecimal() or not rest:
            raise OptionError(f"`{option}={text}` names no timestep; write {FORMS}, then @T")
        t = _number(last)
    names = [node.name for node in network.nodes if type(node) in STEPS]
    if rest in names:
        return Address(rest, t=t)
    layer, _, place = rest.rpartition(":")
    if layer not in names:
        raise OptionError(_no_layer(option, text, layer or rest, names, network))
    shape = network.shapes[layer]
    matched = re.fullmatch(r"(\d+)(?:@(\d+)(?:,(\d+))?)?", place)
    if matched is None:
        raise OptionError(f"`{option}={text}`: {place} is no neuron of {layer}; write {FORMS}")
    channel, first, second = (None if part is None else _number(part) for part in matched.groups())
    assert channel is not None
    if channel >= shape.channels:
        raise OptionError(f"`{option}={text}`: {layer} has the channels 0 to {shape.channels - 1}")
    if first is None and shape.positions > 1:
        raise OptionError(f"`{option}={text}`: {layer} is a map of {shape.height} x {shape.width}; add @Y,X or @TOKEN")
    if second is None:
        position = first or 0
        if position >= shape.positions:
            raise OptionError(f"`{option}={text}`: {layer} has the tokens 0 to {shape.positions - 1}")
        return Address(layer, channel, position, t)
    y, x = first or 0, second
    if y >= shape.height or x >= shape.width:
        raise OptionError(
            f"`{option}={text}`: {layer} has the rows 0 to {shape.height - 1} and columns 0 to {shape.width - 1}"
        )
    return Address(layer, channel, y * shape.width + x, t)


def named(network: Network, name: str, channel: int, position: int, t: int | None = None) -> str:
    """Return how a value of a node is written: as `parse` reads it."""
    shape = network.shapes[name]
    layout = getattr(network.node(name), "layout", "map")
    place = f"@{position}" if layout != "map" else f"@{position // shape.width},{position % shape.width}"
    if shape.positions == 1:
        place = ""
    return f"{name}:{channel}{place}" + ("" if t is None else f"@{t}")


def at(address: Address, channel: int, position: int, t: int | None) -> Address:
    """Return the address with what it left open."""
    return replace(address, channel=channel, position=position, t=t)


def _number(text: str) -> int:
    """Return a number of digits; one of many is beyond any map."""
    return int(text) if len(text) < 10 else 10**9


def _no_layer(option: str, text: str, layer: str, names: list[str], network: Network) -> str:
    if not names:
        return f"`{option}={text}`: {network.name} has no neurons"
    if layer in network.shapes:
        what = type(network.node(layer)).__name__
        return f"`{option}={text}`: {layer} is a {what}, no layer of neurons; the first is {names[0]}"
    close = difflib.get_close_matches(layer, names, 3, 0.4) or names[:3]
    return f"`{option}={text}`: no layer of neurons is named {layer}; near: {', '.join(close)}"

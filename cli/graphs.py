"""The options that say what a NIR graph does not tell. To add one: a line in `GRAPH` and a field of `NirOptions`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from evsim.cli.shared import GRAPH as PANEL
from evsim.cli.shared import Shared, option, shared

if TYPE_CHECKING:
    from evsim.converters import ConvertOptions, NirOptions

SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}


def _one(name: str, text: str, metavar: str) -> Any:
    return shared(name, str | None, option(text, PANEL, metavar=metavar))


PARAMETERS = (
    _one("timestep", "length of a timestep, e.g. 1ms or 0.1ms", "TIME"),
    _one("discretisation", "of continuous time: euler or exact [default: euler]", "RULE"),
    _one("spikes", "of a neuron in a timestep: one or several [default: one]", "NUMBER"),
    _one("reset", "of a potential that fired: zero or subtract [default: zero]", "RULE"),
    _one("at_threshold", "a potential at the threshold: wait or fire [default: wait]", "RULE"),
    shared("floor", float | None, option("below which no potential falls [default: none]", PANEL)),
    _one("readout", "of the output over time: sum, max or last [default: sum]", "RULE"),
    _one("input_kind", "events (counts) or frames (real values) [default: events]", "KIND"),
    _one("sensor", "of recordings, where the graph has no space, e.g. 34x34", "WxH"),
    _one("polarity", "where polarity stands, if pixels become channels: first, last, merged [default: first]", "ORDER"),
    _one("crop", "part of the sensor that is read, e.g. 34x34+10+20", "WxH+X+Y"),
)


def chosen(path: str, options: ConvertOptions, graph: NirOptions) -> ConvertOptions | NirOptions:
    """Return the options that a file takes: those of a NIR graph, or of a checkpoint; the others are refused."""
    from dataclasses import fields, replace

    from evsim.converters import is_graph
    from evsim.errors import OptionError

    if not is_graph(path):
        if graph.stated:
            name = next(iter(graph.stated))
            raise OptionError(f"`{name}` is for NIR graphs, and {path} is none; leave it out")
        return options
    for field in fields(options):
        if getattr(options, field.name) is not None and field.name not in ("timesteps", "labels"):
            raise OptionError(f"`{field.name}` means nothing for a NIR graph; leave it out")
    return replace(graph, timesteps=options.timesteps, labels=options.labels)


def _options(**texts: Any) -> NirOptions:
    """Return the `NirOptions` of what was typed."""
    from evsim.converters import NirOptions
    from evsim.events.options import parse_crop, parse_sensor

    parsers: dict[str, Any] = {"timestep": seconds, "sensor": parse_sensor, "crop": parse_crop}
    given: dict[str, Any] = {
        name: parsers[name](value) if name in parsers else value for name, value in texts.items() if value is not None
    }
    return NirOptions(**given)


def seconds(text: str) -> float:
    """Return the seconds of a text such as ``1ms``; OptionError if it names none."""
    match = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,12})?(?:e-?\d{1,2})?)\s*(ns|us|ms|s)\s*", text)
    if not match:
        from evsim.errors import OptionError

        raise OptionError(f"`timestep` takes a time with its unit such as 1ms, 100us or 0.001s, got {text}")
    return float(match[1]) * SECONDS[match[2]]


GRAPH = Shared(PARAMETERS, _options)
"""What stands behind the parameter `graph` of a command."""

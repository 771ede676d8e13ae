"""The way in: a NIR file becomes a network, and what was assumed is told."""

from __future__ import annotations

from pathlib import Path

from evsim.converters.facts import told_by
from evsim.converters.nir.build import Assembly
from evsim.converters.nir.graph import Graph, read_graph
from evsim.converters.nir.options import CHOICES, MEANING, NirOptions
from evsim.converters.nir.values import dims_of, size_of
from evsim.errors import GraphError, NetworkError, OptionError
from evsim.inputspec import InputSpec
from evsim.network import Network, Origin

FAMILY = "nir"
"""What stands in place of a family of published models."""

OPEN_TIMESTEPS = 100
"""T for which sizes are told where nothing fixes it."""


def convert(path: str | Path, options: NirOptions | None = None) -> tuple[Network, tuple[str, ...]]:
    """Read a NIR graph and build its network.

    Parameters
    ----------
    path
        The file.
    options
        What a graph does not tell.

    Returns
    -------
    tuple
        The network, without labels, and what a person should know, one line each.

    Raises
    ------
    GraphError
        If the file cannot be read, or a node cannot be run; it is named.
    OptionError
        If the graph needs an option that is not given, or one contradicts it.
    NetworkError
        If the nodes do not fit together.
    """
    graph, options = read_graph(path), options or NirOptions()
    try:
        assembly = Assembly(graph, options)
        return _network(graph, assembly, options)
    except (GraphError, OptionError, NetworkError) as error:
        text = str(error)
        raise type(error)(text if text.startswith(str(graph.path)) else f"{graph.path}: {text}") from error


def _network(graph: Graph, assembly: Assembly, options: NirOptions) -> tuple[Network, tuple[str, ...]]:
    spec = _spec(graph, options)
    provenance = {"graph": f"{graph.path.name} (sha256 {graph.digest})", "nir": f"{graph.version} (from the graph)"}
    told = options.stated
    for name in CHOICES:
        if name == "polarity":
            continue
        value = options.choice(name)
        source = told_by(name) if name in told else "assumed: the default"
        provenance[name] = f"{value} ({source}; {MEANING[name][value]})"
    floor = "none (assumed: the default)" if options.floor is None else f"{options.floor:g} ({told_by('floor')})"
    provenance["floor"] = floor
    if options.timestep is not None:
        provenance["timestep"] = f"{options.timestep:g} s ({told_by('timestep')})"
    fixed = f"{spec.timesteps} ({told_by('timesteps')})"
    provenance["timesteps"] = "as many as the input has (assumed)" if options.timesteps is None else fixed
    origin = Origin(str(graph.path), graph.path.stat().st_size)
    network = Network(
        graph.path.stem, FAMILY, "graph", spec, tuple(assembly.nodes), assembly.weights, provenance=provenance,
        file=origin,
    )  # fmt: skip
    notes = _notes(assembly)
    if options.timestep is not None and not options.bin_us:
        notes += ("a timestep is no whole number of microseconds, so recordings need `bin`, or are cut into T parts",)
    return network, notes


def _spec(graph: Graph, options: NirOptions) -> InputSpec:
    """Return how the input is made."""
    entry = next(unit for unit in graph.units.values() if unit.kind == "Input")
    frames = options.choice("input_kind") == "frames"
    return InputSpec(
        "frames" if frames else "events",
        *size_of(dims_of(entry, "shape")),
        OPEN_TIMESTEPS if options.timesteps is None else options.timesteps,
        frames="bin" if options.bin_us else "time",
        orientation="raw",
        bin_us=options.bin_us,
        polarity=options.polarity or "first",
        sensor=options.sensor or (),
        crop=options.crop or (),
        open_time=options.timesteps is None,
    )


def _notes(assembly: Assembly) -> tuple[str, ...]:
    notes = []
    if assembly.delayed:
        notes.append(f"spikes of {', '.join(assembly.delayed)} go back in a cycle one timestep later")
    if assembly.dropped:
        notes.append(f"left out biases of zeros: {len(assembly.dropped)} ({', '.join(assembly.dropped[:6])})")
    return tuple(notes)

"""A NIR file as it is: nodes with their parameters, sub-graphs dissolved, edges between nodes that compute.

The file is a stranger's HDF5, so `evsim.hdf5` opens it; the package `nir`, which opens such files without a guard, is
not needed to read one. Layout: ``node/nodes/<name>/type`` and a dataset for each parameter, ``node/edges`` [E, 2] of
names, ``version``; a sub-graph is a node of type NIRGraph with ``nodes`` and ``edges`` of its own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evsim import hdf5
from evsim.errors import GraphError, printable
from evsim.files import check_input
from evsim.modelfile import MOST_NODES
from evsim.schema import LONGEST_NAME

ROOT = "node"
"""Where the graph lies in the file."""

DEEPEST = 16
"""Sub-graphs within sub-graphs; published graphs have one level."""

MOST_EDGES = 100_000
"""Edges of one graph."""

ENDS = ("Input", "Output")
"""Types of nodes that compute nothing."""

Value = NDArray[np.generic] | str
Edge = tuple[str, str]
Below = Mapping[str, list[str]]
"""Names of the members of each group."""


@dataclass(frozen=True, eq=False)
class Unit:
    """A node of a NIR graph.

    Attributes
    ----------
    name
        With the names of the sub-graphs that it lies in before it, dots between: "lif1.w_rec".
    kind
        Its type, such as "CubaLIF".
    values
        Parameter to array or text.
    """

    name: str
    kind: str
    values: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name} ({self.kind})"


@dataclass(frozen=True, eq=False)
class Graph:
    """A flat graph: of its nodes, one is the `Input` and one the `Output`.

    Attributes
    ----------
    path, digest, version
        The file, its SHA-256, and the version of NIR that it names.
    units
        By name, in the order of the file.
    edges
        Source and target, in alphabetical order; no edge twice.
    """

    path: Path
    digest: str
    version: str
    units: Mapping[str, Unit]
    edges: tuple[Edge, ...]


def is_graph(path: str | Path) -> bool:
    """Whether an HDF5 file looks like a NIR graph; False for what cannot be read."""
    try:
        with hdf5.File(path, GraphError) as file:
            return f"{ROOT}/type" in file.members and f"{ROOT}/nodes" in file.members
    except GraphError:
        return False


def read_graph(path: str | Path) -> Graph:
    """Read a NIR file and dissolve its sub-graphs.

    Raises
    ------
    GraphError
        If it cannot be read, is no NIR graph, an edge leads nowhere, or it has not one Input and one Output.
    """
    path = Path(path)
    check_input(path, GraphError, "a NIR graph", "give the path of a .nir file")
    with hdf5.File(path, GraphError) as file:
        below = _below(file)
        if f"{ROOT}/nodes" not in file.members or _kind(file, ROOT) != "NIRGraph":
            raise GraphError(
                f"{path} is an HDF5 file but no NIR graph (it has no graph under {ROOT}); write one by nir"
            )
        file.check_claims(name for name, member in file.members.items() if not member.group)
        version = file.text("version") if "version" in file.members else "unknown"
        units, edges = _level(file, below, ROOT, "", 0)
    with path.open("rb") as raw:
        digest = hashlib.file_digest(raw, "sha256").hexdigest()
    graph = Graph(path, digest, printable(version), units, tuple(sorted(set(edges))))
    _check_ends(graph)
    return graph


def _level(file: hdf5.File, below: Below, place: str, above: str, depth: int) -> tuple[dict[str, Unit], list[Edge]]:
    """Return nodes and edges of a graph, and those of all graphs within it, under their full names."""
    if depth > DEEPEST:
        raise GraphError(f"{file.path}: sub-graphs lie more than {DEEPEST} deep in one another; flatten them")
    units: dict[str, Unit] = {}
    edges: list[Edge] = []
    gates: dict[str, tuple[str, str]] = {}
    for name in _names(file, below, f"{place}/nodes"):
        full, inner = f"{above}{name}", f"{place}/nodes/{name}"
        kind = _kind(file, inner)
        if kind == "NIRGraph":
            within, joined = _level(file, below, inner, f"{full}.", depth + 1)
            gates[full] = _gates(file.path, full, within)
            units |= _without_clash(file.path, units, within)
            edges += joined
        else:
            units |= _without_clash(file.path, units, {full: Unit(full, kind, dict(_values(file, below, inner)))})
    if len(units) > MOST_NODES:
        raise GraphError(f"{file.path} has more than {MOST_NODES} nodes; refused")
    edges += [_edge(file.path, pair, above, units, gates) for pair in _pairs(file, f"{place}/edges")]
    for entry, leave in gates.values():
        units, edges = _dissolved(units, edges, entry)
        units, edges = _dissolved(units, edges, leave)
    return units, edges


def _without_clash(path: Path, units: Mapping[str, Unit], more: dict[str, Unit]) -> dict[str, Unit]:
    if twice := sorted(units.keys() & more.keys()):
        raise GraphError(f"{path}: two nodes are named {twice[0]}, one of them within a sub-graph; rename one")
    return more


def _below(file: hdf5.File) -> Below:
    """Return the names within each group of the file."""
    below: dict[str, list[str]] = {}
    for name in file.members:
        above, _, last = name.rpartition("/")
        below.setdefault(above, []).append(last)
    return below


def _names(file: hdf5.File, below: Below, place: str) -> list[str]:
    """Return the names of the nodes under a place; those that no file or terminal takes are refused."""
    names = [name for name in below.get(place, ()) if file.members[f"{place}/{name}"].group]
    for name in names:
        if not name.isprintable() or len(name) > LONGEST_NAME // DEEPEST or name in ("", ".", ".."):
            raise GraphError(f"{file.path}: {printable(name[:80])} is no name for a node: printable letters without /")
    return names


def _kind(file: hdf5.File, place: str) -> str:
    if f"{place}/type" not in file.members:
        raise GraphError(f"{file.path}: {printable(place)} has no type; write the graph anew by nir")
    return printable(file.text(f"{place}/type"))


def _values(file: hdf5.File, below: Below, place: str) -> Iterator[tuple[str, Value]]:
    """Yield the parameters of a node; metadata, which is for people, stays in the file."""
    for key in below.get(place, ()):
        name = f"{place}/{key}"
        member = file.members[name]
        if member.group or key == "type":
            continue
        if member.text:
            yield key, file.text(name)
        elif member.shape is not None and member.dtype is not None and member.dtype.kind in "iufb":
            yield key, file.read(name)


def _pairs(file: hdf5.File, place: str) -> list[Edge]:
    if place not in file.members:
        raise GraphError(f"{file.path}: {printable(place)} is missing; write the graph anew by nir")
    member = file.members[place]
    if member.shape is not None and 0 in member.shape:
        return []
    if not member.text or member.shape is None or len(member.shape) != 2 or member.shape[1] != 2:
        raise GraphError(f"{file.path}: {printable(place)} is no list of pairs of names; write the graph anew by nir")
    flat = file.texts(place)
    return list(zip(flat[::2], flat[1::2], strict=True))


def _gates(path: Path, name: str, within: Mapping[str, Unit]) -> tuple[str, str]:
    """Return the one Input and the one Output of a sub-graph."""
    ends = []
    for kind in ENDS:
        these = [unit.name for unit in within.values() if unit.kind == kind]
        if len(these) != 1:
            raise GraphError(
                f"{path}: the sub-graph {name} has {len(these)} nodes of type {kind}, evsim takes one; flatten it"
            )
        ends += these
    return ends[0], ends[1]


def _edge(path: Path, pair: Edge, above: str, units: Mapping[str, Unit], gates: Mapping[str, tuple[str, str]]) -> Edge:
    """Return an edge under full names; one that ends at a sub-graph ends at its Input or Output."""
    source, target = (f"{above}{name}" for name in pair)
    source = gates[source][1] if source in gates else source
    target = gates[target][0] if target in gates else target
    for name, own in ((source, pair[0]), (target, pair[1])):
        if name not in units:
            raise GraphError(f"{path}: an edge names {printable(own)}, which is no node of the graph; mend the graph")
    return source, target


def _dissolved(units: dict[str, Unit], edges: list[Edge], name: str) -> tuple[dict[str, Unit], list[Edge]]:
    """Return a graph without a node that passes on what it gets."""
    before = [source for source, target in edges if target == name]
    behind = [target for source, target in edges if source == name]
    kept = [edge for edge in edges if name not in edge]
    if len(before) * len(behind) > MOST_EDGES:
        raise GraphError(f"{name} joins more than {MOST_EDGES} edges; refused")
    joined = [(source, target) for source in before for target in behind]
    return {key: unit for key, unit in units.items() if key != name}, kept + joined


def _check_ends(graph: Graph) -> None:
    for kind in ENDS:
        these = [unit.name for unit in graph.units.values() if unit.kind == kind]
        if len(these) != 1:
            named = f" ({', '.join(these[:4])})" if these else ""
            raise GraphError(f"{graph.path} has {len(these)} nodes of type {kind}{named}; evsim runs graphs of one")

"""The order in which the nodes of a graph compute, and the edges that close a cycle."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from evsim.converters.nir.graph import Edge, Graph
from evsim.errors import GraphError


def ordered(graph: Graph, spiking: Collection[str], lagging: Collection[str]) -> tuple[list[str], set[Edge]]:
    """Return the names of all nodes, each behind those that it reads, and the edges that go back in time.

    A cycle is cut at the edge that leaves the last node of `lagging` or `spiking` before it closes: so spikes go back,
    not sums of weights, and what a delay within the cycle delays needs no other.

    Parameters
    ----------
    graph
        The graph.
    spiking
        Names of the nodes that emit spikes.
    lagging
        Names of the delays of at least one timestep.

    Raises
    ------
    GraphError
        If a cycle has neither neurons nor delays, or nothing leads from the Input to a node.
    """
    readers: dict[str, list[str]] = {name: [] for name in graph.units}
    for source, target in graph.edges:
        readers[source].append(target)
    start = next(unit.name for unit in graph.units.values() if unit.kind == "Input")
    back: set[Edge] = set()
    open_ways = readers
    while more := _cut(start, open_ways, spiking, lagging):  # a cut may leave a second way round
        back |= more
        open_ways = {
            name: [target for target in names if (name, target) not in back] for name, names in readers.items()
        }
    order = _walk(start, readers, back)
    if lost := sorted(set(graph.units) - set(order)):
        raise GraphError(f"nothing leads from {start} to {', '.join(lost[:8])}; mend the edges, or leave them out")
    return order, back


def _cut(start: str, readers: Mapping[str, list[str]], spiking: Collection[str], lagging: Collection[str]) -> set[Edge]:
    """Return edges that go back in time, found by walking on until a way meets itself; none where there is no cycle."""
    back: set[Edge] = set()
    known: set[str] = set()
    for root in (start, *readers):
        if root in known:
            continue
        way, places, left = [root], {root: 0}, [iter(readers[root])]
        while left:
            target = next(left[-1], None)
            if target is None:
                left.pop()
                known.add(way[-1])
                places.pop(way.pop())
            elif target in places:
                back.add(_leaving(way[places[target] :], target, spiking, lagging, back))
            elif target not in known:
                places[target] = len(way)
                way.append(target)
                left.append(iter(readers[target]))
    return back


def _leaving(
    cycle: list[str], closes: str, spiking: Collection[str], lagging: Collection[str], back: Collection[Edge]
) -> Edge:
    """Return the edge of a cycle that goes back in time; one that does already, if there is one."""
    edges = list(zip(cycle, [*cycle[1:], closes], strict=True))
    for edge in edges:
        if edge in back:
            return edge
    for kinds in (lagging, spiking):
        for edge in reversed(edges):
            if edge[0] in kinds:
                return edge
    raise GraphError(f"{', '.join(cycle)} read each other in a cycle without neurons or a Delay; put a Delay in it")


def _walk(start: str, readers: Mapping[str, list[str]], back: Collection[Edge]) -> list[str]:
    """Return the nodes that can be reached, each behind all that it reads by edges that do not go back."""
    reached: set[str] = {start}
    left = [start]
    while left:
        for target in readers[left.pop()]:
            if target not in reached:
                reached.add(target)
                left.append(target)
    waits = dict.fromkeys(reached, 0)
    for source in reached:
        for target in readers[source]:
            waits[target] += (source, target) not in back
    ready = sorted((name for name, number in waits.items() if not number), key=lambda name: name != start)
    order: list[str] = []
    while ready:
        source = ready.pop(0)
        order.append(source)
        for target in readers[source]:
            if (source, target) not in back:
                waits[target] -= 1
                if not waits[target]:
                    ready.append(target)
    return order

"""The order of nodes, and their shapes, where cycles close through a delay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evsim.errors import NetworkError
from evsim.primitives.node import Node, Shape

MOST_PASSES = 64
"""Walks over a graph until its shapes must be found: each goes once further round the cycles."""


def ordered(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return nodes in an order of execution: each behind those that it reads, but for delays that close a cycle.

    Otherwise the order stays, so that what stands in order already is returned as it is.

    Raises
    ------
    NetworkError
        If a node reads none of these, or nodes read each other without a `Delay` between; it names them.
    """
    names = {node.name for node in nodes}
    for node in nodes:
        if unknown := [source for source in node.inputs if source not in names]:
            raise NetworkError(f"{node.name} reads {', '.join(unknown)}, which is no node")
    if _stands(nodes):
        return tuple(nodes)
    before: set[str] = set()
    order: list[Node] = []
    waiting = list(nodes)
    while waiting:
        later = []
        for node in waiting:
            if before.issuperset(node.inputs):
                order.append(node)
                before.add(node.name)
            else:
                later.append(node)
        if len(later) == len(waiting):  # only a delay can go on before what it reads
            closing = next((node for node in later if node.lag and _reads_itself(node, later)), None)
            if closing is None:
                raise NetworkError(f"{_cycle(later, before)} read each other in a cycle without a Delay; put one in it")
            order.append(closing)
            before.add(closing.name)
            later.remove(closing)
        waiting = later
    return tuple(order)


def _stands(nodes: Sequence[Node]) -> bool:
    """Whether nodes stand in order already, in time that grows with their number alone."""
    places = {node.name: place for place, node in enumerate(nodes)}
    edges = [(places[source], place) for place, node in enumerate(nodes) for source in node.inputs]
    back = [(source, target) for source, target in edges if source >= target]
    if any(source == target or not nodes[target].lag for source, target in back):
        return False
    if not back:
        return True
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = zip(*edges, strict=True)
    graph = coo_array(([True] * len(edges), (rows, columns)), (len(nodes), len(nodes)))
    _, rounds = connected_components(graph, connection="strong")
    return all(rounds[source] == rounds[target] for source, target in back)  # what closes no cycle comes behind


def _reads_itself(node: Node, nodes: Sequence[Node]) -> bool:
    """Whether what a node reads comes, through others of these, from itself."""
    sources = {each.name: each.inputs for each in nodes}
    ahead, seen = list(node.inputs), set[str]()
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead.extend(sources.get(name, ()))
    return node.name in seen


def _cycle(nodes: Sequence[Node], before: set[str]) -> str:
    """Return the names of nodes that read each other, in the order of reading."""
    sources = {node.name: [name for name in node.inputs if name not in before] for node in nodes}
    way = [nodes[0].name]
    while way[-1] not in way[:-1]:
        way.append(sources[way[-1]][0])
    return ", ".join(reversed(way[way.index(way[-1]) + 1 :]))


def inferred(nodes: Sequence[Node]) -> dict[str, Shape]:
    """Return the shape of every node, found through the cycles that delays close.

    Raises
    ------
    NetworkError
        If shapes do not fit from node to node, or nothing tells that of a delay.
    """
    places = {node.name: place for place, node in enumerate(nodes)}
    closing = {node.name: node for place, node in enumerate(nodes) if any(places[n] >= place for n in node.inputs)}
    guesses: dict[str, Shape | None] = {name: getattr(node, "own_shape", None) for name, node in closing.items()}
    for _ in range(MOST_PASSES):
        shapes = _walk(nodes, guesses)
        again = {name: _follows(node, shapes) or guesses[name] for name, node in closing.items()}
        if again == guesses:
            break
        guesses = again
    gaps = [name for name, shape in shapes.items() if shape is None]
    if gaps:
        delay = next(iter(closing.values()))
        raise NetworkError(
            f"{delay.name} reads {delay.inputs[0]}, whose shape nothing outside the cycle tells; give the Delay "
            "`channels`, `height` and `width`"
        )
    whole = {name: shape for name, shape in shapes.items() if shape is not None}
    for node in closing.values():
        if node.infer(tuple(whole[source] for source in node.inputs)) != whole[node.name]:
            raise NetworkError(
                f"{node.name} closes a cycle that changes its shape: it emits {whole[node.name]}, but "
                f"{node.inputs[0]} gives {whole[node.inputs[0]]}"
            )
    return whole


def _walk(nodes: Sequence[Node], guesses: Mapping[str, Shape | None]) -> dict[str, Shape | None]:
    """Infer the shape of each node once, those that close a cycle as guessed; None where nothing tells it yet."""
    shapes: dict[str, Shape | None] = {}
    for node in nodes:
        if node.name in guesses:
            shapes[node.name] = guesses[node.name]
            continue
        sources = tuple(shapes[name] for name in node.inputs)
        own = tuple(source for source in sources if source)
        shapes[node.name] = node.infer(own) if len(own) == len(sources) else node.guess(sources)
    return shapes


def _follows(node: Node, shapes: Mapping[str, Shape | None]) -> Shape | None:
    """Return the shape of a node that closes a cycle, if that of its source is known."""
    sources = tuple(shapes[name] for name in node.inputs)
    own = tuple(source for source in sources if source)
    return node.infer(own) if len(own) == len(sources) else None

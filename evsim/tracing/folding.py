"""Constants between layers become part of them: BatchNorm of a convolution, the scale of attention, a factor on spikes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.tracing.drafts import Draft, Drafts

LAYERS = ("conv", "linear")


class Graph:
    """The drafts that the output needs, and who reads whom; folding replaces drafts by what they amount to.

    Attributes
    ----------
    drafts
        By number, in order.
    inputs
        Number to the numbers that it reads.
    scales
        Attention, by number, to the factor of its product.
    factor
        What the output is more than the last draft: sums are means times their number.
    """

    def __init__(self, drafts: Drafts, last: int) -> None:
        self.inputs: dict[int, tuple[int, ...]] = {}
        waiting = [last]
        while waiting:
            number = waiting.pop()
            if number not in self.inputs:
                sources = drafts[number].sources
                own = {"attention": 3, "state": 1}.get(drafts[number].kind, len(sources))
                self.inputs[number] = sources[:own]
                waiting.extend(self.inputs[number])
        self.drafts: dict[int, Draft] = {number: drafts[number] for number in sorted(self.inputs)}
        self.all, self.last, self.factor = drafts, last, 1.0
        self.scales: dict[int, float] = {}
        self.taken: dict[int, dict[str, NDArray[np.floating]]] = {}
        self.names: dict[int, str] = {number: draft.name for number, draft in self.drafts.items()}

    def readers(self, number: int) -> list[int]:
        """Return the numbers of the drafts that read one."""
        return [reader for reader, sources in self.inputs.items() for source in sources if source == number]

    def drop(self, number: int) -> None:
        """Let the readers of a draft read its source instead."""
        (source,) = self.inputs.pop(number)
        self.inputs = {n: tuple(source if s == number else s for s in sources) for n, sources in self.inputs.items()}
        del self.drafts[number]
        if self.last == number:
            self.last = source

    def arrays(self, number: int) -> dict[str, NDArray[np.floating]]:
        """Return the parameters of a draft, as folding left them."""
        return self.taken.setdefault(number, dict(self.drafts[number].arrays))


def fold(graph: Graph) -> None:
    """Fold constants into what reads them or what they read, until nothing is left to fold."""
    for number in [n for n, draft in graph.drafts.items() if draft.kind == "attention"]:
        _scale_attention(graph, number)
    again = True
    while again:
        again = any(
            _fold(graph, number) for number in list(graph.drafts) if number in graph.drafts
            and graph.drafts[number].kind == "affine"
        )  # fmt: skip


def _fold(graph: Graph, number: int) -> bool:
    """Fold one affine draft; whether it could be."""
    draft = graph.drafts[number]
    (source,) = graph.inputs[number]
    constants = graph.arrays(number)
    scale, shift = constants["scale"], constants["shift"]
    before, readers = graph.drafts[source], graph.readers(number)
    alone = len(graph.readers(source)) == 1
    by_channel = scale.ndim < 2 and shift.ndim < 2
    single = not scale.ndim and not shift.any()
    if alone and before.kind in LAYERS and by_channel:
        _behind(graph, source, scale, shift)
        graph.drop(number)
        return True
    if alone and before.kind == "affine" and by_channel and all(a.ndim < 2 for a in graph.arrays(source).values()):
        inner = graph.arrays(source)
        graph.taken[source] = {"scale": inner["scale"] * scale, "shift": inner["shift"] * scale + shift}
        graph.drop(number)
        return True
    if alone and before.kind == "attention" and single:
        graph.scales[source] = graph.scales.get(source, 1.0) * float(scale)
        graph.drop(number)
        return True
    if number == graph.last and single:
        graph.factor *= float(scale)
        graph.drop(number)
        return True
    if readers and single and all(graph.drafts[r].kind in LAYERS for r in readers):
        for reader in readers:
            arrays = graph.arrays(reader)
            arrays["weight"] = arrays["weight"].astype(np.float64) * float(scale)
        graph.drop(number)
        return True
    linear = ("time_mean", "token_mean", "flatten", "reshape", "average_pool", "vote", "adaptive_pool", "part")
    if single and len(readers) == 1 and graph.drafts[readers[0]].kind in linear:
        _swap(graph, number, readers[0])
        return True
    del draft
    return _before_pool(graph, number, source, alone=alone, by_channel=by_channel)


def _before_pool(graph: Graph, number: int, source: int, *, alone: bool, by_channel: bool) -> bool:
    """Move constants by channel in front of a pool, where a layer may take them in: means, and maxima where they grow."""
    pool, constants = graph.drafts[source], graph.arrays(number)
    if not (alone and by_channel) or pool.kind not in ("average_pool", "max_pool", "token_mean", "adaptive_pool"):
        return False
    if pool.kind == "max_pool" and not (constants["scale"] > 0).all():
        return False
    if pool.kind == "average_pool" and pool.facts["padding"] != (0, 0) and constants["shift"].any():
        return False
    (first,) = graph.inputs[source]
    if graph.drafts[first].kind not in LAYERS or len(graph.readers(first)) > 1:
        return False
    _behind(graph, first, constants["scale"], constants["shift"])
    graph.drop(number)
    return True


def _swap(graph: Graph, number: int, reader: int) -> None:
    """Let a factor come behind the draft that reads it."""
    (source,) = graph.inputs[number]
    behind = graph.readers(reader)
    graph.inputs[reader] = tuple(source if s == number else s for s in graph.inputs[reader])
    for each in behind:
        graph.inputs[each] = tuple(number if s == reader else s for s in graph.inputs[each])
    graph.inputs[number] = (reader,)
    if graph.last == reader:
        graph.last = number
    affine = graph.drafts[number]
    moved = Draft(
        number, "affine", affine.name, (reader,), graph.drafts[reader].size, affine.facts, affine.arrays, affine.spot,
        graph.drafts[reader].times, affine.runs,
    )  # fmt: skip
    graph.drafts[number] = moved


def _behind(graph: Graph, layer: int, scale: NDArray[np.floating], shift: NDArray[np.floating]) -> None:
    """Put constants by channel behind a layer, where its BatchNorm stands."""
    arrays = graph.arrays(layer)
    outputs = graph.drafts[layer].size[0]
    inner = arrays.get("bn_scale", np.ones(outputs)), arrays.get("bn_shift", np.zeros(outputs))
    arrays["bn_scale"], arrays["bn_shift"] = inner[0] * scale, inner[1] * scale + shift


def _scale_attention(graph: Graph, number: int) -> None:
    """Gather the factors on attention's operands and on the product within."""
    factor = 1.0
    chain = graph.all[graph.all[number].sources[3]]
    while chain.kind == "affine":
        factor *= _single(chain, graph)
        chain = graph.all[chain.sources[0]]
    operands = []
    for source in graph.inputs[number]:
        draft = graph.all[source]
        while draft.kind == "affine" and not draft.arrays["scale"].ndim and not draft.arrays["shift"].any():
            factor *= float(draft.arrays["scale"])
            draft = graph.all[draft.sources[0]]
        operands.append(draft.number)
    graph.inputs[number] = tuple(operands)
    graph.scales[number] = graph.scales.get(number, 1.0) * factor
    reached: set[int] = set()
    waiting = [graph.last]
    while waiting:
        each = waiting.pop()
        if each not in reached:
            reached.add(each)
            waiting.extend(graph.inputs[each])
    graph.inputs = {n: sources for n, sources in graph.inputs.items() if n in reached}
    graph.drafts = {n: draft for n, draft in graph.drafts.items() if n in reached}


def _single(draft: Draft, graph: Graph) -> float:
    from evsim.tracing.errors import Fault, TracingError

    scale, shift = draft.arrays["scale"], draft.arrays["shift"]
    if scale.ndim or shift.any():
        fault = Fault(draft.spot, "a product within attention is scaled by more than one number, which is no primitive")
        raise TracingError("the model", (fault,))
    del graph
    return float(scale)


__all__ = ["LAYERS", "Any", "Graph", "fold"]

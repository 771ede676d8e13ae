"""Constants between layers become part of them: BatchNorm of a layer, the scale of attention, a factor on spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.tracing.drafts import Draft, Drafts
from evsim.tracing.errors import Fault, TracingError

LAYERS = ("conv", "linear")
LINEAR = ("time_mean", "token_mean", "flatten", "average_pool", "vote", "adaptive_pool")
"""Kinds behind which a factor may come as well as before them."""


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
    return any(attempt(graph, number) for attempt in ATTEMPTS)


def _alone(graph: Graph, number: int) -> tuple[int, bool]:
    """Return what a draft reads, and whether nothing else reads that."""
    (source,) = graph.inputs[number]
    return source, len(graph.readers(source)) == 1


def _by_channel(graph: Graph, number: int) -> bool:
    return all(array.ndim < 2 for array in graph.arrays(number).values())


def _factor(graph: Graph, number: int) -> float | None:
    """Return the one factor that a draft is, None where it is more than that."""
    constants = graph.arrays(number)
    return None if constants["scale"].ndim or constants["shift"].any() else float(constants["scale"])


def _behind_layer(graph: Graph, number: int) -> bool:
    source, alone = _alone(graph, number)
    if not (alone and graph.drafts[source].kind in LAYERS and _by_channel(graph, number)):
        return False
    _behind(graph, source, graph.arrays(number)["scale"], graph.arrays(number)["shift"])
    graph.drop(number)
    return True


def _behind_constants(graph: Graph, number: int) -> bool:
    source, alone = _alone(graph, number)
    if not (alone and graph.drafts[source].kind == "affine"):
        return False
    if not (_by_channel(graph, number) and _by_channel(graph, source)):
        return False
    inner, outer = graph.arrays(source), graph.arrays(number)
    shift = inner["shift"] * outer["scale"] + outer["shift"]
    graph.taken[source] = {"scale": inner["scale"] * outer["scale"], "shift": shift}
    graph.drop(number)
    return True


def _behind_attention(graph: Graph, number: int) -> bool:
    source, alone = _alone(graph, number)
    factor = _factor(graph, number)
    if factor is None or not alone or graph.drafts[source].kind != "attention":
        return False
    graph.scales[source] = graph.scales.get(source, 1.0) * factor
    graph.drop(number)
    return True


def _at_the_end(graph: Graph, number: int) -> bool:
    factor = _factor(graph, number)
    if factor is None or number != graph.last:
        return False
    graph.factor *= factor
    graph.drop(number)
    return True


def _into_readers(graph: Graph, number: int) -> bool:
    factor, readers = _factor(graph, number), graph.readers(number)
    if factor is None or not readers or not all(graph.drafts[reader].kind in LAYERS for reader in readers):
        return False
    for reader in readers:
        arrays = graph.arrays(reader)
        arrays["weight"] = arrays["weight"].astype(np.float64) * factor
    graph.drop(number)
    return True


def _past_mean(graph: Graph, number: int) -> bool:
    readers = graph.readers(number)
    if _factor(graph, number) is None or len(readers) != 1 or graph.drafts[readers[0]].kind not in LINEAR:
        return False
    _swap(graph, number, readers[0])
    return True


def _before_pool(graph: Graph, number: int) -> bool:
    """Move constants by channel in front of a pool, into a layer there: of means, and of maxima where they grow."""
    source, alone = _alone(graph, number)
    pool, constants = graph.drafts[source], graph.arrays(number)
    if not (alone and _by_channel(graph, number)):
        return False
    if pool.kind not in ("average_pool", "max_pool", "token_mean", "adaptive_pool"):
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


ATTEMPTS = (
    _behind_layer, _behind_constants, _behind_attention, _at_the_end, _into_readers, _past_mean, _before_pool,
)  # fmt: skip
"""Where constants may go, the first that takes them."""


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
        factor *= _single(chain)
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


def _single(draft: Draft) -> float:
    scale, shift = draft.arrays["scale"], draft.arrays["shift"]
    if scale.ndim or shift.any():
        fault = Fault(draft.spot, "a product within attention is scaled by more than one number, which is no primitive")
        raise TracingError("the model", (fault,))
    return float(scale)

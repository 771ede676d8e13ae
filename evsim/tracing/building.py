"""From the folded graph of drafts to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.inputspec import InputSpec
from evsim.network import Network
from evsim.primitives import (
    AdaptiveAveragePool,
    Add,
    And,
    AveragePool,
    Concatenate,
    Conv2d,
    Delay,
    Flatten,
    HeadSum,
    IAnd,
    Input,
    Linear,
    Mask,
    MaxPool,
    Neuron,
    Node,
    Scale,
    Slice,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TimeReduction,
    TokenMean,
    TokenSum,
    Vote,
)
from evsim.primitives.order import ordered
from evsim.tracing.coordinates import ONCE, STATIC
from evsim.tracing.drafts import Draft
from evsim.tracing.errors import Fault, TracingError
from evsim.tracing.folding import Graph, fold

Weights = dict[str, NDArray[np.floating]]
POOLS: Mapping[str, Any] = {"max_pool": MaxPool, "average_pool": AveragePool, "sum_pool": SumPool}


class Builder:
    """Makes the nodes of a graph, one after the other.

    Parameters
    ----------
    graph
        The drafts, not folded yet.
    steps
        T.
    title
        Name of the model, for messages.
    last
        Whether the output is that of the last timestep alone, else the mean over time.
    """

    def __init__(self, graph: Graph, steps: int, title: str, *, last: bool = False) -> None:
        self.graph, self.steps, self.title, self.last = graph, steps, title, last
        self.nodes: list[Node] = []
        self.weights: Weights = {}
        self.faults: list[Fault] = []

    def network(self, spec: InputSpec, provenance: Mapping[str, str]) -> Network:
        """Return the network.

        Raises
        ------
        TracingError
            If a draft is no node, or does not run at every timestep.
        """
        _sums(self.graph, self.steps)
        fold(self.graph)
        _gates(self.graph)
        for number, draft in self.graph.drafts.items():
            self._check_times(draft)
            make = MAKERS.get(draft.kind)
            if make is None:
                self.faults.append(Fault(draft.spot, UNMADE.get(draft.kind, f"{draft.kind} is no primitive")))
            else:
                make(self, number, draft)
        if self.faults:
            raise TracingError(self.title, self.faults)
        output = self.graph.names[self.graph.last]
        if ONCE not in self.graph.drafts[self.graph.last].times:
            source, output = (output,), "time_last" if self.last else "time_mean"
            self.add(TimeReduction(output, source, "last") if self.last else TimeMean(output, source))
        name = self.title
        try:
            # what closes a cycle may come after all else, but the output stands last
            nodes = sorted(ordered(self.nodes), key=lambda node: node.name == output)
            return Network(name, "traced", "from_torch", spec, tuple(nodes), self.weights, provenance=provenance)
        except NetworkError as error:
            raise self._placed(error) from error

    def _placed(self, error: NetworkError) -> NetworkError:
        """Return an error with the place in the user's source, where it begins with the name of a node."""
        text = str(error)
        told = [n for n, name in self.graph.names.items() if n in self.graph.drafts and text.startswith(name)]
        if not told:
            return NetworkError(f"{self.title} makes no network: {text}")
        number = max(told, key=lambda n: len(self.graph.names[n]))
        return TracingError(self.title, [Fault(self.graph.drafts[number].spot, text)])

    def add(self, node: Node, arrays: Mapping[str, NDArray[np.floating]] | None = None) -> None:
        """Append a node with its parameters."""
        self.nodes.append(node)
        wanted = node.parameters()
        for parameter, array in (arrays or {}).items():
            if parameter in wanted:
                self.weights[f"{node.name}.{parameter}"] = np.ascontiguousarray(array)

    def sources(self, number: int) -> tuple[str, ...]:
        """Return the names of the nodes that a draft reads."""
        return tuple(self.graph.names[source] for source in self.graph.inputs[number])

    def _check_times(self, draft: Draft) -> None:
        times = {time for time in draft.times if time >= 0}
        if times and times != set(range(self.steps)):
            missing = sorted(set(range(self.steps)) - times)
            self.faults.append(
                Fault(draft.spot, f"{draft.name} does not run at timesteps {missing}: not all timesteps are alike")
            )
        if draft.times == {STATIC} and draft.kind in ("conv", "linear") and draft.runs not in (1, self.steps):
            self.faults.append(
                Fault(draft.spot, f"{draft.name} runs {draft.runs} times on the same image in {self.steps} timesteps")
            )

    def once_on_image(self, draft: Draft) -> bool:
        """Whether a layer runs once on an image, for all timesteps."""
        return draft.times == {STATIC} and draft.runs == 1 and self.steps > 1


def _sums(graph: Graph, steps: int) -> None:
    """Make of running sums over all timesteps a mean and a factor; of sums of spikes for neurons a sum."""
    for number in [n for n, draft in graph.drafts.items() if draft.kind == "part"]:
        draft = graph.drafts[number]
        if len(draft.facts["steps"]) == steps:
            draft.kind = "time_mean"
            _times(graph, number, steps)
    for number in [n for n, draft in graph.drafts.items() if draft.kind == "head_sum"]:
        readers = graph.readers(number)
        if not readers or any(graph.drafts[reader].kind != "neuron" for reader in readers):
            graph.drafts[number].kind = "vote"
            _times(graph, number, graph.drafts[number].facts["voters"])
    for number in [n for n, draft in graph.drafts.items() if draft.kind == "affine"]:
        draft, readers = graph.drafts[number], graph.readers(number)
        (source,) = graph.inputs[number]
        pooled = graph.drafts[source]
        if pooled.kind != "token_mean" or draft.arrays["scale"].ndim or draft.arrays["shift"].any():
            continue
        tokens = graph.drafts[graph.inputs[source][0]].positions
        if (
            float(draft.arrays["scale"]) == tokens
            and readers
            and all(graph.drafts[r].kind == "neuron" for r in readers)
        ):
            pooled.kind = "token_sum"
            graph.drop(number)


def _times(graph: Graph, number: int, factor: float) -> None:
    """Put a factor behind a draft."""
    draft = graph.drafts[number]
    arrays = {"scale": np.float64(factor) * np.ones(()), "shift": np.zeros(())}
    affine = graph.all.enter(
        "affine", f"{draft.name}.times", [number], draft.size, sorted(draft.times), draft.spot, arrays=arrays
    )
    for reader in graph.readers(number):
        graph.inputs[reader] = tuple(affine.number if source == number else source for source in graph.inputs[reader])
    graph.drafts[affine.number], graph.inputs[affine.number] = affine, (number,)
    graph.names[affine.number] = affine.name
    if graph.last == number:
        graph.last = affine.number


def _gates(graph: Graph) -> None:
    """Tell gates that let through where the other did not fire: ``a * (1 - b)``."""
    for number in [n for n, draft in graph.drafts.items() if draft.kind == "gate"]:
        for place, source in enumerate(graph.inputs[number]):
            inverse = graph.drafts[source]
            arrays = graph.arrays(source) if inverse.kind == "affine" else {}
            if arrays and (arrays["scale"] == -1.0).all() and (arrays["shift"] == 1.0).all():
                other = graph.inputs[number][1 - place]
                graph.drafts[number].kind = "inverse_gate"
                graph.inputs[number] = (other, graph.inputs[source][0])
                if not graph.readers(source):
                    del graph.drafts[source], graph.inputs[source]
                break


# -- one node each ---------------------------------------------------------------------------------------------------


def _input(b: Builder, number: int, draft: Draft) -> None:
    b.add(Input(b.graph.names[number], (), *draft.size, draft.facts["kind"]))


def _conv(b: Builder, number: int, draft: Draft) -> None:
    arrays, facts = b.graph.arrays(number), draft.facts
    weight = arrays["weight"]
    b.add(
        Conv2d(
            b.graph.names[number], b.sources(number), weight.shape[2] * facts["groups"], weight.shape[3],
            facts["kernel"], facts["stride"], facts["padding"], "bias" in arrays, "bn_scale" in arrays,
            facts["module"], facts["groups"], b.once_on_image(draft), facts["dilation"],
        ),
        arrays,
    )  # fmt: skip


def _linear(b: Builder, number: int, draft: Draft) -> None:
    arrays = b.graph.arrays(number)
    inner, outer = arrays["weight"].shape
    name, bias, norm = b.graph.names[number], "bias" in arrays, "bn_scale" in arrays
    if b.once_on_image(draft):
        once = {**arrays, "weight": arrays["weight"][np.newaxis, np.newaxis]}
        b.add(
            Conv2d(name, b.sources(number), inner, outer, bias=bias, batch_norm=norm, module="Linear", repeated=True),
            once,
        )
        return
    b.add(Linear(name, b.sources(number), inner, outer, bias, norm), arrays)


def _neuron(b: Builder, number: int, draft: Draft) -> None:
    equation, view, order = draft.facts["neuron"], draft.facts["view"], draft.facts["order"]
    layout: Any = "rows" if order == "rows" else "map"
    own = draft.size if layout == "map" else (draft.positions, draft.size[0])
    node = replace(
        equation.node, name=b.graph.names[number], inputs=b.sources(number), layout=layout,
        view=() if not order or view == own else view,
    )  # fmt: skip
    arrays = dict(equation.arrays)
    if equation.constants:
        node, own_arrays = _with_constants(node, equation.constants, draft)
        arrays |= own_arrays
    b.add(node, arrays)


def _with_constants(
    node: Neuron, constants: Mapping[str, NDArray[np.floating]], draft: Draft
) -> tuple[Neuron, Weights]:
    """Return a node whose constants differ between neurons: by channel where that tells them all."""
    arrays: Weights = {}
    by_channel, by_neuron = [], []
    channels, height, width = draft.size
    for name, values in constants.items():
        flat = np.zeros(draft.values)
        flat[draft.facts["places"]] = np.broadcast_to(values, draft.facts["view"]).reshape(-1)
        mapped = flat.reshape(channels, height * width)
        if (mapped == mapped[:, :1]).all():
            by_channel.append(name)
            arrays[name] = mapped[:, 0]
        else:
            by_neuron.append(name)
            arrays[name] = mapped.T.reshape(height, width, channels)
    told = replace(
        node, channels=channels, height=height, width=width, by_channel=tuple(by_channel), by_neuron=tuple(by_neuron)
    )
    return told, arrays


def _state(b: Builder, number: int, draft: Draft) -> None:
    """Append neurons of the same equation that emit their potential, beside those that fire."""
    fired = b.graph.all[draft.sources[1]]
    if not draft.facts["potential"] or not isinstance(fired.facts["neuron"].node, Neuron):
        b.faults.append(Fault(draft.spot, "a state of neurons other than their potential is read, which no node emits"))
        return
    graph = b.graph
    equation = fired.facts["neuron"]
    node = replace(
        equation.node, name=graph.names[number], inputs=b.sources(number)[:1], emits="potential", layout="map", view=()
    )
    arrays = dict(equation.arrays)
    if equation.constants:
        node, own = _with_constants(node, equation.constants, fired)
        arrays |= own
    b.add(node, arrays)


def _pool(b: Builder, number: int, draft: Draft) -> None:
    axes = list(zip(*(draft.facts[name] for name in ("kernel", "stride", "padding")), strict=True))
    rows, columns = axes
    b.add(POOLS[draft.kind](
        b.graph.names[number], b.sources(number), *rows, columns=() if rows == columns else columns
    ))  # fmt: skip


def _concat(b: Builder, number: int, draft: Draft) -> None:  # noqa: ARG001 - all makers take the same
    name = b.graph.names[number]
    first, *rest = b.sources(number)
    for place, source in enumerate(rest, 1):
        joined = name if place == len(rest) else f"{name}.{place}"
        b.add(Concatenate(joined, (first, source)))
        first = joined


def _affine(b: Builder, number: int, draft: Draft) -> None:
    arrays = b.graph.arrays(number)
    numbers: dict[str, Any] = {name: float(array) for name, array in arrays.items() if not array.ndim}
    by_channel = tuple(name for name, array in arrays.items() if array.ndim == 1)
    by_neuron = tuple(name for name, array in arrays.items() if array.ndim == 2)
    channels, height, width = draft.size if by_channel or by_neuron else (0, 0, 0)
    told = {n: a.T.reshape(height, width, channels) if n in by_neuron else a for n, a in arrays.items()}
    node = Scale(
        b.graph.names[number], b.sources(number), channels=channels, height=height, width=width,
        by_channel=by_channel, by_neuron=by_neuron, **numbers,
    )  # fmt: skip
    b.add(node, told)


def _plain(kind: Callable[..., Node], *facts: str) -> Callable[[Builder, int, Draft], None]:
    """Return what appends a node whose fields are facts of the draft."""

    def make(b: Builder, number: int, draft: Draft) -> None:
        b.add(kind(b.graph.names[number], b.sources(number), *(draft.facts[fact] for fact in facts)))

    return make


def _adaptive(b: Builder, number: int, draft: Draft) -> None:
    b.add(AdaptiveAveragePool(b.graph.names[number], b.sources(number), *draft.size[1:]))


def _attention(b: Builder, number: int, draft: Draft) -> None:
    scale = b.graph.scales.get(number, 1.0)
    b.add(SpikingSelfAttention(
        b.graph.names[number], b.sources(number), draft.facts["heads"], scale, draft.facts["order"]
    ))  # fmt: skip


def _delay(b: Builder, number: int, draft: Draft) -> None:
    b.add(Delay(b.graph.names[number], b.sources(number), 1, *draft.size))


def _time_max(b: Builder, number: int, draft: Draft) -> None:  # noqa: ARG001 - all makers take the same
    b.add(TimeReduction(b.graph.names[number], b.sources(number), "max"))


MAKERS: Mapping[str, Callable[[Builder, int, Draft], None]] = {
    "input": _input, "conv": _conv, "linear": _linear, "neuron": _neuron, "state": _state, "max_pool": _pool,
    "average_pool": _pool, "sum_pool": _pool, "adaptive_pool": _adaptive, "concat": _concat, "affine": _affine,
    "attention": _attention, "slice": _plain(Slice, "start", "stop"), "add": _plain(Add), "gate": _plain(And),
    "inverse_gate": _plain(IAnd), "mask": _plain(Mask), "flatten": _plain(Flatten), "token_mean": _plain(TokenMean),
    "token_sum": _plain(TokenSum), "time_mean": _plain(TimeMean), "head_sum": _plain(HeadSum, "heads"),
    "time_max": _time_max, "delay": _delay, "vote": _plain(Vote, "voters"),
}  # fmt: skip
"""Kind of draft to what makes its node."""

UNMADE = {
    "product": "a product of computed matrices that is no part of attention on spikes (q k^T v without a softmax)",
    "softmax": "a softmax is no primitive, but at the end of the model",
    "part": "a sum over part of the timesteps is no primitive",
    "reshape": "a map read with rows and columns of another size is no primitive",
}

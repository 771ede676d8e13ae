"""How large the integers of an integer network can get: what proves that none overflows, without looking at one.

Each primitive tells its own in a function, entered in the table of handlers by ``@magnitude(Conv2d)``. A primitive
without one has no integer form, and is refused by name. What is stored must stay below 2^30 in magnitude, so that the
difference of two numbers fits into 32 bits too; sums on the way must fit their accumulator as a whole, for what wraps
around in between comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.network import Network
from evsim.primitives import (
    LIF,
    AdaptiveAveragePool,
    Add,
    And,
    AveragePool,
    Concatenate,
    Conv2d,
    Delay,
    Flatten,
    HeadProduct,
    HeadSum,
    IAnd,
    Input,
    Linear,
    Mask,
    MaxPool,
    MultiSpike,
    Node,
    Pad,
    Scale,
    Shape,
    Slice,
    SpikingSelfAttention,
    SumPool,
    TimeMean,
    TimeReduction,
    TokenMean,
    TokenSum,
    Vote,
)
from evsim.quantized import LARGEST_INPUT, RATE_BITS, fixed, rate_of, scaling, threshold_of, unit_of
from evsim.reach import Reach, Span

STORED = 2**30
"""What is stored stays below."""

SUMMED = 2**62
"""What is added up in 64 bits stays below."""

USUAL_COUNT = 255
"""Largest event count of a pixel for which a network is proven, unless told."""

Accumulator = Literal["int16", "int32", "int64"]
N = TypeVar("N", bound=Node)


@dataclass
class Magnitudes:
    """What a network's integers can reach.

    Attributes
    ----------
    spans
        What each node emits, by name, up to the first that reaches too far.
    accumulators
        Types in which layers with weights can add up, by name.
    fault
        The first node that may overflow, with how far it reaches; "" if none does.
    """

    spans: dict[str, Span] = field(default_factory=dict)
    accumulators: dict[str, Accumulator] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Around:
    """What handlers are told beside their node, and where they write down what they see."""

    network: Network
    reaches: Mapping[str, Reach]
    fraction: int
    input_fraction: int
    largest: int
    timesteps: int
    told: Magnitudes

    def shape(self, node: Node, port: int = 0) -> Shape:
        """Return the shape of a source."""
        return self.network.shapes[node.inputs[port]]

    def weights(self, node: Node) -> dict[str, NDArray[np.floating]]:
        """Return a node's parameters by name."""
        return {key: self.network.weights[f"{node.name}.{key}"] for key in node.parameters()}

    def fixed(self, node: Node, span: Span, port: int = 0) -> Span:
        """Return the span of a source in units of 2^-F."""
        try:
            return span.times(unit_of(self.shape(node, port), self.fraction))
        except NetworkError as error:
            raise NetworkError(f"{node.name} reads {error}") from error


Handler = Callable[[Any, tuple[Span, ...], Around], Span]
HANDLERS: dict[type[Node], Handler] = {}
"""Node type to what tells the span of its output from those of its sources."""


def magnitude(*kinds: type[N]) -> Callable[[Handler], Handler]:
    """Enter a function ``(node, spans, around) -> Span`` as the one that tells the magnitude of node types."""

    def enter(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return enter


def refused(network: Network) -> tuple[str, ...]:
    """Return the nodes that have no integer form, each with its type."""
    return tuple(f"{node.name} ({type(node).__name__})" for node in network.nodes if type(node) not in HANDLERS)


def magnitudes(
    network: Network,
    known: Mapping[str, Reach],
    fraction: int,
    input_fraction: int,
    largest: int = USUAL_COUNT,
    timesteps: int | None = None,
) -> Magnitudes:
    """Return what the integers of a network can reach.

    Parameters
    ----------
    network
        The graph, and the parameters of its neurons.
    known
        What the weights of every layer can add up to.
    fraction, input_fraction
        As of a `Quantization`.
    largest
        Largest event count.
    timesteps
        T; the model's own by default.

    Raises
    ------
    NetworkError
        If a primitive has no integer form, values go round a cycle, or integers stand for what is no whole number of
        units.
    """
    if nodes := refused(network):
        more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
        raise NetworkError(f"{', '.join(nodes[:3])}{more} cannot run in integers; run the network in floats")
    told = Magnitudes()
    steps = network.spec.timesteps if timesteps is None else timesteps
    around = Around(network, known, fraction, input_fraction, largest, steps, told)
    for name, source in network.closing.items():
        if network.shapes[name].kind != "spikes":
            raise NetworkError(f"{name} brings values of {source} back round a cycle, which nothing bounds in integers")
        told.spans[source] = Span(0, 1)
    for node in network.nodes:
        span = HANDLERS[type(node)](node, tuple(told.spans[name] for name in node.inputs), around)
        told.spans[node.name] = span
        if span.size >= STORED and not told.fault:
            told.fault = f"{node.name} may reach {span.size / 2**fraction:.3g}"
        if told.fault:
            break
    return told


def check_magnitudes(
    network: Network, known: Mapping[str, Reach], largest: int = USUAL_COUNT, timesteps: int | None = None
) -> Magnitudes:
    """Return what the integers of an integer network can reach, if none can overflow; parameters as `magnitudes`.

    Raises
    ------
    NetworkError
        As `magnitudes`, and if one may overflow.
    """
    quantization = network.quantization
    assert quantization is not None
    told = magnitudes(network, known, quantization.fraction, quantization.input_fraction, largest, timesteps)
    if told.fault:
        steps = network.spec.timesteps if timesteps is None else timesteps
        raise NetworkError(
            f"{told.fault}, too far for 30 bits in units of 2^-{quantization.fraction}, with event counts up to "
            f"{largest} and {steps} timesteps; quantize anew with `largest={largest}` and `timesteps={steps}`, or run "
            "with `precision=float32`"
        )
    return told


@magnitude(Input)
def _input(node: Input, spans: tuple[Span, ...], around: Around) -> Span:  # noqa: ARG001 - as all handlers
    if node.kind == "integers":
        return Span(0, around.largest)
    reach = LARGEST_INPUT << max(0, around.fraction - around.input_fraction)
    return Span(-reach, reach)


@magnitude(Conv2d, Linear)
def _synapses(node: Conv2d | Linear, spans: tuple[Span, ...], around: Around) -> Span:
    """Return the span of the currents; and write down the accumulator that holds their sums."""
    (span,), reach = spans, around.reaches[node.name]
    shift, real = 0, around.shape(node).kind == "real"
    if real:
        image = node.inputs[0] == around.network.input.name
        shift = around.input_fraction if image else around.fraction
        span = Span(-LARGEST_INPUT, LARGEST_INPUT) if image else span
    high = reach.positive * span.high - reach.negative * span.low
    low = reach.positive * span.low - reach.negative * span.high
    greatest = max(float(high.max()), -float(low.min()))
    around.told.accumulators[node.name] = (
        "int64" if real or greatest > 2**31 - 1 else "int32" if greatest > 2**15 - 1 else "int16"
    )
    product = max(float((high * reach.multiplier).max()), float((-low * reach.multiplier).max()))
    if product >= SUMMED:
        around.told.fault = f"{node.name} may add up to {product / 2.0 ** (around.fraction + shift):.3g}"
        return Span(0, 0)
    offset = np.abs(reach.offset)
    top = np.floor(high * reach.multiplier / 2.0**shift) + offset
    bottom = np.floor(low * reach.multiplier / 2.0**shift) - offset
    return Span(min(0, int(bottom.min())), max(0, int(top.max())))


@magnitude(LIF)
def _lif(node: LIF, spans: tuple[Span, ...], around: Around) -> Span:
    """Return the span of spikes; potentials that reach too far are a fault of theirs."""
    weights = around.weights(node)
    current = around.fixed(node, spans[0])
    thresholds = threshold_of(node, weights, around.fraction)
    held = current
    if not node.decay_input:
        held = _gathered(node, current, rate_of(node, weights), int(thresholds.max()), around.timesteps)
    held |= Span(0, int(thresholds.max()))
    if held.size >= STORED:
        around.told.fault = f"the potential of {node.name} may reach {held.size / 2**around.fraction:.3g}"
    return Span(0, 1)


def _gathered(node: LIF, current: Span, rate: int, threshold: int, timesteps: int) -> Span:
    """Return the span of potentials ``v' = (v * rate >> 15) + x`` within so many timesteps, before spikes are taken."""
    low = high = 0
    kept = 0
    for _ in range(timesteps):
        before = low, high
        low = (low * rate >> RATE_BITS) + current.low
        high = (kept * rate >> RATE_BITS) + current.high
        kept = max(min(high, threshold), high - threshold if node.soft_reset else 0)
        if (low, high) == before or max(-low, high) >= STORED:
            break
    return Span(low, high)


@magnitude(MultiSpike)
def _multi_spike(node: MultiSpike, spans: tuple[Span, ...], around: Around) -> Span:
    """Return the span of integers; potentials that gather currents are a fault where they reach too far."""
    current = around.fixed(node, spans[0])
    held = current.times(around.timesteps) if node.integrates else current
    if held.size >= STORED or node.levels << around.fraction >= STORED:
        reach = max(held.size / 2**around.fraction, node.levels)
        around.told.fault = f"the potential of {node.name} may reach {reach:.3g}"
    return Span(0, node.levels)


@magnitude(SpikingSelfAttention)
def _attention(node: SpikingSelfAttention, spans: tuple[Span, ...], around: Around) -> Span:
    shape = around.shape(node)
    most = shape.positions * (shape.channels // node.heads) * spans[0].high * spans[1].high * spans[2].high
    scale = node.scale * shape.unit**3
    return _scaled(node, Span(0, most), scale, around.fraction, around)


def _scaled(node: Node, span: Span, scale: float | NDArray[np.floating], fraction: int, around: Around) -> Span:
    """Return the span of values times constants."""
    factors, shift = scaling(scale, fraction)
    out = Span(0, 0)
    for factor in (int(factors.min()), int(factors.max())):
        product = span.times(factor)
        if product.size >= SUMMED:
            around.told.fault = f"{node.name} may reach {product.size / 2.0 ** (around.fraction + shift):.3g}"
            return Span(0, 0)
        out |= Span(product.low >> shift, product.high >> shift)
    return out


@magnitude(HeadProduct)
def _head_product(node: HeadProduct, spans: tuple[Span, ...], around: Around) -> Span:
    rows, _ = node.matrix(around.shape(node, 1))
    return _scaled(node, spans[1].times(rows), around.weights(node)["scale"], 0, around)


@magnitude(Scale)
def _scale(node: Scale, spans: tuple[Span, ...], around: Around) -> Span:
    own, shape = around.weights(node), around.shape(node)
    scale, shift = (own.get(name, np.array(getattr(node, name))) for name in node.constants)
    exponent = 0 if shape.kind == "real" else around.fraction
    out = _scaled(node, spans[0], scale * (1.0 if shape.kind == "real" else shape.unit), exponent, around)
    added = fixed(shift, around.fraction)
    return Span(min(0, out.low + int(added.min())), max(0, out.high + int(added.max())))


@magnitude(Add)
def _add(node: Add, spans: tuple[Span, ...], around: Around) -> Span:
    left, right = spans
    if around.network.shapes[node.name].kind == "real":
        left, right = around.fixed(node, left), around.fixed(node, right, 1)
    return Span(left.low + right.low, left.high + right.high)


@magnitude(Concatenate)
def _concatenate(node: Concatenate, spans: tuple[Span, ...], around: Around) -> Span:
    left, right = spans
    if around.network.shapes[node.name].kind == "real":
        left, right = around.fixed(node, left), around.fixed(node, right, 1)
    return left | right


@magnitude(Flatten, Slice, Delay, MaxPool)
def _same(node: Node, spans: tuple[Span, ...], around: Around) -> Span:  # noqa: ARG001 - as all handlers
    return spans[0]


@magnitude(And, IAnd, Mask)
def _spikes(node: Node, spans: tuple[Span, ...], around: Around) -> Span:  # noqa: ARG001 - as all handlers
    return Span(0, 1)


@magnitude(HeadSum, TokenSum)
def _sums(node: HeadSum | TokenSum, spans: tuple[Span, ...], around: Around) -> Span:
    return Span(0, node.largest(tuple(span.high for span in spans), (around.shape(node),)))


@magnitude(SumPool)
def _sum_pool(node: SumPool, spans: tuple[Span, ...], around: Around) -> Span:  # noqa: ARG001 - as all handlers
    return spans[0].times(node.axes[0][0] * node.axes[1][0])


@magnitude(AveragePool, TokenMean, TimeMean, Vote)
def _mean(node: Node, spans: tuple[Span, ...], around: Around) -> Span:
    return around.fixed(node, spans[0])


@magnitude(AdaptiveAveragePool)
def _adaptive(node: AdaptiveAveragePool, spans: tuple[Span, ...], around: Around) -> Span:
    return spans[0] if node.copies(around.shape(node)) else around.fixed(node, spans[0])


@magnitude(Pad)
def _pad(node: Pad, spans: tuple[Span, ...], around: Around) -> Span:
    border = fixed(around.weights(node)["border"], around.fraction)
    return around.fixed(node, spans[0]) | Span(min(0, int(border.min())), max(0, int(border.max())))


@magnitude(TimeReduction)
def _reduction(node: TimeReduction, spans: tuple[Span, ...], around: Around) -> Span:
    span = around.fixed(node, spans[0])
    return span.times(around.timesteps) if node.reduction == "sum" else span

"""What a neuron does with its current at a timestep, for one neuron and operation by operation as the kernels do it.

Potentials that are shown are the engine's own; what is computed here is the potential before a reset, which no engine
keeps, and how much a current of an earlier timestep still counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evsim.kernels.membrane import (
    ADD_DECAY,
    BEFORE,
    BOTH,
    BOX,
    DECAY,
    DECAY_ADD,
    DRAIN,
    NO_RESET,
    NO_SYNAPSE,
    NOW,
    RELAX,
    SUBTRACT,
    VALUE,
    Equation,
)
from evsim.layers.membrane import Neurons
from evsim.layers.neurons import IntegerNeurons, NeuronLayer
from evsim.primitives import LIF, MultiSpike, Neuron, Node

Number = np.floating
"""A number in the precision of the run."""


@dataclass(frozen=True)
class State:
    """What a neuron keeps from one timestep to the next: its potential and its synaptic current."""

    v: Number
    current: Number


@dataclass(frozen=True)
class Outcome:
    """One timestep of a neuron.

    Attributes
    ----------
    charged
        The potential that is compared with the threshold.
    emitted
        Spikes: 0 or 1, or the integer; None for neurons that emit their potential.
    state
        What is kept.
    """

    charged: Number
    emitted: int | None
    state: State


@dataclass(frozen=True)
class Cell:
    """One neuron.

    Attributes
    ----------
    start
        What it keeps before the first timestep.
    threshold
        The potential from which on it fires.
    strict, hard
        Whether it fires only above that, and whether a spike erases its potential.
    rule
        In words, for people.
    step
        Takes what it keeps, its current, and whether it may fire.
    """

    start: State
    threshold: float
    strict: bool
    hard: bool
    rule: str
    step: Callable[[State, Number, bool], Outcome]

    def response(self, lags: int) -> list[float]:
        """Return how much a current of 1 adds to the potential 0 .. lags timesteps later, no spike between."""
        real = type(self.start.v)
        with np.errstate(over="ignore", invalid="ignore"):
            runs = []
            for first in (1.0, 0.0):
                state, potentials = self.start, []
                for lag in range(lags + 1):
                    outcome = self.step(state, real(first if lag == 0 else 0.0), False)
                    potentials.append(float(outcome.charged))
                    state = replace(outcome.state, v=outcome.charged)
                runs.append(potentials)
        return [one - none for one, none in zip(*runs, strict=True)]


def lif(node: LIF, layer: NeuronLayer, _position: int, channel: int) -> Cell:
    """Return a LIF neuron, see `evsim.primitives.LIF`."""
    real, rule = layer.context.dtype.type, layer.membrane.rule
    threshold, leak, zero = real(rule.thresholds[channel]), real(rule.leak), real(0)

    def step(state: State, x: Number, may_fire: bool) -> Outcome:
        v = state.v
        if rule.decays:
            v = v * leak + x
        else:
            change = x - v
            v = v + (change / leak if rule.divides else change * leak)
        fired = may_fire and bool(v > threshold if node.strict else v >= threshold)
        kept = (v - threshold if rule.soft else zero) if fired else v
        return Outcome(v, int(fired), State(kept, zero))

    charge = f"v = {rule.leak:.6g} v + x" if rule.decays else "v += (x - v) " + (
        f"/ {rule.leak:.6g}" if rule.divides else f"* {rule.leak:.6g}"
    )  # fmt: skip
    sign, after = ">" if node.strict else ">=", "v -= threshold" if rule.soft else "v = 0"
    words = f"{charge}; a spike where v {sign} {float(threshold):.6g}; then {after}"
    return Cell(State(zero, zero), float(threshold), node.strict, not rule.soft, words, step)


def multi_spike(node: MultiSpike, layer: IntegerNeurons, _position: int, _channel: int) -> Cell:
    """Return an integer neuron, see `evsim.primitives.MultiSpike`."""
    real = layer.context.dtype.type
    zero = real(0)

    def step(state: State, x: Number, may_fire: bool) -> Outcome:
        v = state.v + x if node.integrates else x
        clamped = min(max(v, zero), real(node.levels))
        whole = np.rint(clamped) if node.rounding == "half-even" else np.floor(clamped + real(0.5))
        emitted = whole if may_fire else zero
        return Outcome(v, int(emitted), State(v - emitted if node.integrates else zero, zero))

    charge = "v += x; " if node.integrates else "v = x; "
    words = f"{charge}k = round(clamp(v, 0, {node.levels})), which stands for k / {node.norm:g}"
    half = 0.5  # where the first integer begins
    return Cell(State(zero, zero), half, node.rounding == "half-even", not node.integrates, words, step)


def neuron(node: Neuron, layer: Neurons, position: int, channel: int) -> Cell:
    """Return a neuron of any equation, see `evsim.primitives.Neuron`, whose steps are numbered there."""
    real: type[np.floating] = layer.context.dtype.type
    equation, start = layer.equation, layer.start(position, channel)
    k = {name: _constant(getattr(layer.numbers, name), position, channel) for name in node.constants if
         name in layer.numbers._fields}  # fmt: skip
    zero, most = real(0), layer.numbers.counts[2]

    def fires(v: Number) -> Number:
        if equation.several:
            return min(np.floor(v / k["v_threshold"]), most) if v > zero else zero
        spikes: Number = real(v > k["v_threshold"] or (v == k["v_threshold"] and not equation.strict))
        return spikes

    def step(state: State, x: Number, may_fire: bool) -> Outcome:
        s, current = _synapse(equation, k, state.current, x)
        v = _charge(equation, k, state.v, k["gain"] * s, fires(state.v) if may_fire else zero)
        spikes = fires(v) if may_fire else zero
        kept = _rest(equation, k, v, spikes - (fires(state.v) if equation.reset_at == BOTH and may_fire else zero))
        emitted = None if node.silent else int(spikes)
        return Outcome(kept if node.silent else v, emitted, State(kept, current))

    sign = ">" if node.strict else ">="
    words = f"charge {node.charge}" + (f", synapse {node.synapse}" if node.synapse != "none" else "")
    if not node.silent:
        threshold = float(k["v_threshold"])
        words += f"; a spike where v {sign} {threshold:.6g}; reset by {node.reset}, {node.reset_at}"
    hard = node.reset == "value"
    return Cell(State(start, zero), float(k["v_threshold"]), node.strict, hard, words, step)


def _constant(values: Any, position: int, channel: int) -> Number:
    value: Number = values[position if len(values) > 1 else 0, channel]
    return value


def _synapse(equation: Equation, k: Mapping[str, Number], i: Number, x: Number) -> tuple[Number, Number]:
    """Return what charges the potential, and the synaptic current that is kept (step 1)."""
    if equation.synapse == NO_SYNAPSE:
        return x, i
    syn = k["syn"]
    if equation.synapse == DECAY_ADD:
        s = syn * i + x
        return s, s
    if equation.synapse == ADD_DECAY:
        s = syn * (i + x)
        return s, s
    s = i + x
    return s, s - syn * s


def _charge(equation: Equation, k: Mapping[str, Number], v: Number, d: Number, before: Number) -> Number:
    """Return the charged potential; `before` is what it fired by the potential kept (step 3)."""
    reset = equation.reset_at != NOW and equation.reset != NO_RESET and before > 0
    leak = k["leak"]

    def rested(v: Number) -> Number:
        return k["v_reset"] if equation.reset == VALUE else v - k["v_threshold"]

    if reset and equation.reset_at == BEFORE:
        v = rested(v)
    if equation.charge == DECAY:
        v = leak * v + d
    elif equation.charge == DRAIN:
        change = v - k["v_leak"]
        v = (v - (change / leak if equation.divides else leak * change)) + d
    else:
        assert equation.charge in (RELAX, BOX)
        change = (k["v_leak"] - v) + d if equation.charge == RELAX else (d + k["v_leak"]) - v
        v = v + (change / leak if equation.divides else leak * change)
    if reset and equation.reset_at > BEFORE:
        v = rested(v)
    return v


def _rest(equation: Equation, k: Mapping[str, Number], v: Number, spikes: Number) -> Number:
    """Return the potential that is kept (steps 5 and 6)."""
    threshold = k["v_threshold"]
    if equation.reset_at in (NOW, BOTH) and spikes != 0:
        if equation.reset == VALUE:
            v = k["v_reset"]
        elif equation.reset == SUBTRACT:
            v = v - (np.float32(spikes) * np.float32(threshold) if equation.single else spikes * threshold)
    if equation.floored:
        floor = k["v_floor"]
        v = max(v - floor, type(v)(0)) + floor
    return v


STEPS: Mapping[type[Node], Callable[[Any, Any, int, int], Cell]] = {LIF: lif, MultiSpike: multi_spike, Neuron: neuron}
"""Each kind of neurons, and what makes one of a node, its running form, its position and channel."""

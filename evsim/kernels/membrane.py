"""Neurons of any discrete equation: each step as `evsim.primitives.Neuron` numbers it, rounded where it says so."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel

SYNAPSES = ("none", "decay-add", "add-decay", "jump")
CHARGES = ("decay", "relax", "box", "drain")
RESETS = ("value", "subtract", "none")
RESET_TIMES = ("now", "before-charge", "after-charge", "both")
NO_SYNAPSE, DECAY_ADD, ADD_DECAY, JUMP = range(4)
DECAY, RELAX, BOX, DRAIN = range(4)
VALUE, SUBTRACT, NO_RESET = range(3)
NOW, BEFORE, AFTER, BOTH = range(4)

ONE = np.uint64(1)


class Equation(NamedTuple):
    """Which operations are done: places in the lists above, and whether there may be several spikes at once."""

    synapse: int
    charge: int
    divides: bool
    strict: bool
    several: bool
    reset: int
    reset_at: int
    floored: bool
    single: bool


class Numbers(NamedTuple):
    """The constants, each [1, C], or [P, C] where each neuron has its own.

    counts: 0, 1 and the most spikes at once, in the precision of the run, so that none is computed in another.
    """

    syn: NDArray[np.floating]
    gain: NDArray[np.floating]
    leak: NDArray[np.floating]
    v_leak: NDArray[np.floating]
    v_threshold: NDArray[np.floating]
    v_reset: NDArray[np.floating]
    v_floor: NDArray[np.floating]
    counts: NDArray[np.floating]


class Outputs(NamedTuple):
    """Where it goes: spikes as words [T, P, W], several at once as integers [T, P, C], or potentials [T, P, C'].

    Those that are not asked for have size 0.
    """

    words: NDArray[np.uint64]
    integers: NDArray[np.int32]
    potentials: NDArray[np.floating]


class Constant(NamedTuple):
    """The constants of one neuron, taken out of their arrays once: reference counts stay out of the loop."""

    syn: np.floating
    gain: np.floating
    leak: np.floating
    v_leak: np.floating
    v_threshold: np.floating
    v_reset: np.floating
    v_floor: np.floating
    nothing: np.floating
    one: np.floating
    most: np.floating


@kernel
def run_neurons(
    first: int,
    last: int,
    equation: Equation,
    numbers: Numbers,
    inputs: NDArray[np.floating],
    steps: int,
    current: NDArray[np.floating],
    potential: NDArray[np.floating],
    outputs: Outputs,
) -> None:
    """Drive the neurons of positions ``first .. last - 1``: inputs [T or 1, P, C'], states [P, C], kept over calls."""
    channels = potential.shape[1]
    words, integers, potentials = outputs
    syn, gain, leak, v_leak, v_threshold, v_reset, v_floor, counts = numbers
    static = inputs.shape[0] < steps
    for p in range(first, last):
        for c in range(channels):
            constant = Constant(
                number(syn, p, c), number(gain, p, c), number(leak, p, c), number(v_leak, p, c),
                number(v_threshold, p, c), number(v_reset, p, c), number(v_floor, p, c),
                counts[0], counts[1], counts[2],
            )  # fmt: skip
            i, v = current[p, c], potential[p, c]
            bit = ONE << np.uint64(c % 64)
            for t in range(steps):
                s, i = taken_in(equation, constant, inputs[0 if static else t, p, c], i)
                before = v
                v = charged(equation, constant, before, constant.gain * s)
                spikes = fires(equation, constant, v)
                v = rested(equation, constant, v, before, spikes)
                if words.size > 0 and spikes > 0:
                    words[t, p, c // 64] |= bit
                if integers.size > 0:
                    integers[t, p, c] = np.int32(spikes)
                if potentials.size > 0:
                    potentials[t, p, c] = v
            current[p, c], potential[p, c] = i, v


@inner
def number(values: NDArray[np.floating], p: int, c: int) -> np.floating:
    """Return a constant of a neuron."""
    value: np.floating = values[p if values.shape[0] > 1 else 0, c]
    return value


@inner
def taken_in(
    equation: Equation, constant: Constant, x: np.floating, current: np.floating
) -> tuple[np.floating, np.floating]:
    """Return what charges the potential, before its gain, and the synaptic current that is kept (step 1)."""
    if equation.synapse == DECAY_ADD:
        s = constant.syn * current + x
        return s, s
    if equation.synapse == ADD_DECAY:
        s = constant.syn * (current + x)
        return s, s
    if equation.synapse == JUMP:
        s = current + x
        return s, s - constant.syn * s
    return x, current


@inner
def charged(equation: Equation, constant: Constant, v: np.floating, d: np.floating) -> np.floating:
    """Charge the potential, and reset it around that by what was kept (step 3)."""
    fired = equation.reset_at != NOW and equation.reset != NO_RESET and fires(equation, constant, v) > 0
    if fired and equation.reset_at == BEFORE:
        v = constant.v_reset if equation.reset == VALUE else v - constant.v_threshold
    if equation.charge == DECAY:
        v = constant.leak * v + d
    elif equation.charge == DRAIN:
        change = v - constant.v_leak
        v = (v - (change / constant.leak if equation.divides else constant.leak * change)) + d
    else:
        change = (constant.v_leak - v) + d if equation.charge == RELAX else (d + constant.v_leak) - v
        v = v + (change / constant.leak if equation.divides else constant.leak * change)
    if fired and equation.reset_at >= AFTER:
        v = constant.v_reset if equation.reset == VALUE else v - constant.v_threshold
    return v


@inner
def fires(equation: Equation, constant: Constant, v: np.floating) -> np.floating:
    """Return how many spikes a potential gives (step 4)."""
    spikes: np.floating = constant.nothing
    if equation.several:
        if v > constant.nothing:
            spikes = min(np.floor(v / constant.v_threshold), constant.most)
    elif v > constant.v_threshold or (v == constant.v_threshold and not equation.strict):
        spikes = constant.one
    return spikes


@inner
def rested(
    equation: Equation, constant: Constant, v: np.floating, before: np.floating, spikes: np.floating
) -> np.floating:
    """Return the potential that is kept; `before` is the one that was (steps 5 and 6)."""
    threshold = constant.v_threshold
    if equation.reset_at == BOTH:
        spikes -= fires(equation, constant, before)
    at_once = equation.reset_at in (NOW, BOTH)
    if at_once and spikes != 0:
        if equation.reset == VALUE:
            v = constant.v_reset
        elif equation.reset == SUBTRACT:
            v = v - (np.float32(spikes) * np.float32(threshold) if equation.single else spikes * threshold)
    if equation.floored:
        above = v - constant.v_floor
        v = max(above, constant.nothing) + constant.v_floor
    return v

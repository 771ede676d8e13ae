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
    static = inputs.shape[0] < steps
    for p in range(first, last):
        for t in range(steps):
            source = 0 if static else t
            for c in range(channels):
                d = current_of(equation, numbers, inputs[source, p, c], current, p, c)
                before = potential[p, c]
                v = charged(equation, numbers, before, d, p, c)
                spikes = fires(equation, numbers, v, p, c)
                v = rested(equation, numbers, v, before, spikes, p, c)
                potential[p, c] = v
                if words.size > 0 and spikes > 0:
                    words[t, p, c // 64] |= ONE << np.uint64(c % 64)
                if integers.size > 0:
                    integers[t, p, c] = np.int32(spikes)
                if potentials.size > 0:
                    potentials[t, p, c] = v


@inner
def number(values: NDArray[np.floating], p: int, c: int) -> np.floating:
    """Return a constant of a neuron."""
    value: np.floating = values[p if values.shape[0] > 1 else 0, c]
    return value


@inner
def current_of(
    equation: Equation, numbers: Numbers, x: np.floating, current: NDArray[np.floating], p: int, c: int
) -> np.floating:
    """Take the input in, and return what charges the potential (steps 1 and 2)."""
    s = x
    if equation.synapse != NO_SYNAPSE:
        syn = number(numbers.syn, p, c)
        i = current[p, c]
        if equation.synapse == DECAY_ADD:
            s = syn * i + x
            current[p, c] = s
        elif equation.synapse == ADD_DECAY:
            s = syn * (i + x)
            current[p, c] = s
        else:
            s = i + x
            current[p, c] = s - syn * s
    return number(numbers.gain, p, c) * s


@inner
def charged(equation: Equation, numbers: Numbers, v: np.floating, d: np.floating, p: int, c: int) -> np.floating:
    """Charge the potential, and reset it around that by what was kept (step 3)."""
    fired = equation.reset_at != NOW and equation.reset != NO_RESET and fires(equation, numbers, v, p, c) > 0
    leak, threshold = number(numbers.leak, p, c), number(numbers.v_threshold, p, c)
    if fired and equation.reset_at == BEFORE:
        v = number(numbers.v_reset, p, c) if equation.reset == VALUE else v - threshold
    if equation.charge == DECAY:
        v = leak * v + d
    else:
        v_leak = number(numbers.v_leak, p, c)
        if equation.charge == DRAIN:
            change = v - v_leak
            v = (v - (change / leak if equation.divides else leak * change)) + d
        else:
            change = (v_leak - v) + d if equation.charge == RELAX else (d + v_leak) - v
            v = v + (change / leak if equation.divides else leak * change)
    if fired and equation.reset_at >= AFTER:
        v = number(numbers.v_reset, p, c) if equation.reset == VALUE else v - threshold
    return v


@inner
def fires(equation: Equation, numbers: Numbers, v: np.floating, p: int, c: int) -> np.floating:
    """Return how many spikes a potential gives (step 4)."""
    threshold = number(numbers.v_threshold, p, c)
    nothing, one, most = numbers.counts[0], numbers.counts[1], numbers.counts[2]
    spikes: np.floating = nothing
    if equation.several:
        if v > nothing:
            spikes = min(np.floor(v / threshold), most)
    elif v > threshold or (v == threshold and not equation.strict):
        spikes = one
    return spikes


@inner
def rested(
    equation: Equation, numbers: Numbers, v: np.floating, before: np.floating, spikes: np.floating, p: int, c: int
) -> np.floating:
    """Return the potential that is kept; `before` is the one that was (steps 5 and 6)."""
    threshold = number(numbers.v_threshold, p, c)
    if equation.reset_at == BOTH:
        spikes -= fires(equation, numbers, before, p, c)
    at_once = equation.reset_at in (NOW, BOTH)
    if at_once and spikes != 0:
        if equation.reset == VALUE:
            v = number(numbers.v_reset, p, c)
        elif equation.reset == SUBTRACT:
            v = v - (np.float32(spikes) * np.float32(threshold) if equation.single else spikes * threshold)
    if equation.floored:
        floor = number(numbers.v_floor, p, c)
        above = v - floor
        v = max(above, numbers.counts[0]) + floor
    return v

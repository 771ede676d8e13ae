"""LIF neurons: membrane currents in, spikes as bits out.

The membrane potential of a block of channels lives in 256 bytes: loaded, leaked towards the input, compared, reset and
stored by `lif_steps` with a handful of vector instructions; the comparison's mask is the spike word itself, so spikes
are never written as numbers. All timesteps of a group of positions follow each other directly, so that potentials stay
in the L1 cache. One position at a time would too, but maps of 2^n positions put all its timesteps in the same few
lines of every cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.vector import lif_steps, neuron_step

LOW_HALF = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)

GROUP = 16
"""Positions whose timesteps are done before the next group's."""

ROOM = GROUP * 64
"""Potentials that each thread has room for: those of a group."""


class Neurons(NamedTuple):
    """LIF neurons of a map, and where their spikes go. Without neurons `words` has size 0.

    words [T * P * W * 2] uint32: the two halves of each word of a spike map. potential: [P * C] where `kept` over
    calls, else [threads * ROOM], working memory, and each call begins at rest. `leak` is tau where `divide`,
    else 1 / tau (exact for powers of two).

    Other kinds than the one of `lif_steps` have `thresholds` and `resets` [C] (else of size 0), and `leak` is what
    their potentials are multiplied by where it `decays`; `soft`: they are reset by subtraction.
    """

    words: NDArray[np.uint32]
    potential: NDArray[np.floating]
    kept: bool
    leak: float | np.floating
    divide: bool
    threshold: float | np.floating
    decays: bool
    thresholds: NDArray[np.floating]
    resets: NDArray[np.floating]
    soft: bool


class Unit(NamedTuple):
    """A part of a map that is worked on at once: channels ``channel .. channel + lanes - 1`` of some positions.

    The positions are ``begin .. end - 1``; `lanes` is 64 or 32. `seat` tells whose working memory is used.
    """

    channel: int
    lanes: int
    begin: int
    end: int
    seat: int


@inner
def fire(
    neurons: Neurons,
    current: NDArray[np.floating],
    strides: tuple[int, int],
    shift: NDArray[np.floating],
    unit: Unit,
    channels: int,
    steps: int,
    positions: int,
) -> None:
    """Drive the neurons of a unit, on a map of `positions` positions and `channels` channels, padded to 32.

    Their current at timestep t is ``current[t * strides[0] + (p - begin) * strides[1] :]`` plus shift [C].
    """
    channel, lanes, begin, end, seat = unit
    halves = (channels + 63) // 64 * 2
    words, potential = neurons.words, neurons.potential  # taken out once: reference counts stay out of the loop
    thresholds, resets = neurons.thresholds, neurons.resets
    others = thresholds.size > 0
    working = seat * ROOM  # the same for every unit, whatever its lanes: another seat may be at a half block
    own_step = channels if neurons.kept else lanes
    for first in range(begin, end, GROUP):
        count = min(GROUP, end - first)
        own = first * channels + channel if neurons.kept else working
        for t in range(steps):
            rest = t == 0 and not neurons.kept
            at = t * strides[0] + (first - begin) * strides[1]
            word = (t * positions + first) * halves + channel // 32
            if not others:
                lif_steps(
                    current, at, strides[1], shift, channel, potential, own, own_step, rest, neurons.leak,
                    neurons.divide, neurons.threshold, words, word, halves, count, lanes,
                )  # fmt: skip
                continue
            for p in range(count):
                bits = neuron_step(
                    current, at + p * strides[1], shift, channel, potential, own + p * own_step, rest, neurons.leak,
                    neurons.decays, neurons.divide, thresholds, resets, neurons.soft, lanes,
                )  # fmt: skip
                put_spikes(words, word + p * halves, bits, lanes)


@inner
def put_spikes(words: NDArray[np.uint32], word: int, bits: np.uint64, lanes: int) -> None:
    """Store the spikes of a block of 64 or 32 neurons as half words."""
    words[word] = np.uint32(bits & LOW_HALF)
    if lanes == 64:
        words[word + 1] = np.uint32(bits >> HALF)


@kernel
def fire_map(
    first: int,
    last: int,
    seat: int,
    neurons: Neurons,
    current: NDArray[np.floating],
    static: bool,
    shift: NDArray[np.floating],
    channels: int,
    block: int,
    steps: int,
    positions: int,
) -> None:
    """Drive the neurons of positions ``first .. last - 1`` by a map [T * P * C] ([P * C] where `static`)."""
    step = 0 if static else positions * channels
    for p in range(first, last, GROUP):
        for channel in range(0, channels, block):
            unit = Unit(channel, min(block, channels - channel), p, min(p + GROUP, last), seat)
            fire(neurons, current[p * channels + channel :], (step, channels), shift, unit, channels, steps, positions)

"""LIF neurons: membrane currents in, spikes as bits out.

The membrane potential of a block of channels lives in 256 bytes: loaded, leaked towards the input, compared, reset and
stored by `lif_step` with a handful of vector instructions; the comparison's mask is the spike word itself, so spikes
are never written as numbers. A neuron's timesteps follow each other directly, so that its potential stays in the L1
cache, whether the currents come from a map in memory or from sums still in the cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from evsim.kernels.vector import lif_step

LOW_HALF = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


class Neurons(NamedTuple):
    """LIF neurons of a map, and where their spikes go. Without neurons `words` has size 0.

    words [T * P * W * 2] uint32: the two halves of each word of a spike list. potential: [P * C] where `kept` over
    calls, else [block], working memory of one thread, and each call begins at rest. `leak` is tau where `divide`,
    else 1 / tau (exact for powers of two).
    """

    words: NDArray[np.uint32]
    potential: NDArray[np.floating]
    kept: bool
    leak: float | np.floating
    divide: bool
    threshold: float | np.floating


@njit(cache=True, nogil=True, error_model="numpy")
def fire(
    neurons: Neurons,
    current: NDArray[np.floating],
    strides: tuple[int, int],
    shift: NDArray[np.floating],
    channels: int,
    channel: int,
    lanes: int,
    steps: int,
    positions: int,
    begin: int,
    end: int,
) -> None:
    """Drive the neurons of positions ``begin .. end - 1``, channels ``channel .. channel + lanes - 1``.

    Their current at timestep t is ``current[t * strides[0] + (p - begin) * strides[1] :]`` plus shift [C]; `channels`
    is C, padded to 32.
    """
    halves = (channels + 63) // 64 * 2
    for p in range(begin, end):
        v = p * channels + channel if neurons.kept else 0
        if not neurons.kept:
            neurons.potential[:lanes] = 0.0
        at = (p - begin) * strides[1]
        word = p * halves + channel // 32
        for _ in range(steps):
            bits = lif_step(
                current,
                at,
                shift,
                channel,
                neurons.potential,
                v,
                neurons.leak,
                neurons.divide,
                neurons.threshold,
                lanes,
            )
            neurons.words[word] = np.uint32(bits & LOW_HALF)
            if lanes == 64:
                neurons.words[word + 1] = np.uint32(bits >> HALF)
            at += strides[0]
            word += positions * halves


@njit(cache=True, nogil=True, error_model="numpy")
def fire_map(
    first: int,
    last: int,
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
    for p in range(first, last):
        for channel in range(0, channels, block):
            lanes = min(block, channels - channel)
            here = current[p * channels + channel :]
            fire(neurons, here, (step, 0), shift, channels, channel, lanes, steps, positions, p, p + 1)

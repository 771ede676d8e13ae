"""What all running layers of one simulator share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.lists import count_segments, fill_segments, graded_segments
from evsim.kernels.threads import Workers, aligned
from evsim.kernels.vector import BLOCK
from evsim.spikes import IntegerMap, Packet, Segments, SpikeList

EMPTY_WORDS = np.empty(0, np.uint32)


@dataclass(frozen=True)
class Context:
    """Precision, threads, and whether the timesteps come one by one (state is kept between packets).

    Attributes
    ----------
    dtype
        float32 or float64: weights, sums and membrane potentials.
    workers
        Threads that share a layer's work.
    streaming
        Whether a packet carries one timestep of several, so that potentials must outlive it.
    """

    dtype: np.dtype[np.floating]
    workers: Workers
    streaming: bool

    @property
    def block(self) -> int:
        """Lanes of a full block of output channels."""
        return BLOCK[self.dtype]

    def empty(self) -> NDArray[np.floating]:
        """Return an array of size 0, for kernel arguments that are not used."""
        return np.empty(0, self.dtype)


class Layer(Protocol):
    """The running form of a primitive, or of two that are fused: state, and one step."""

    def reset(self) -> None:
        """Forget all state: the next packet begins a new sample."""

    def step(self, *packets: Packet) -> Packet | None:
        """Take one packet per input, of the same timesteps; return the output, or None while still gathering."""


def segments(packet: SpikeList | IntegerMap, context: Context, joined: bool = False) -> Segments:
    """Return the packet's lists of active channels, made at first use and shared by all layers that read it alike."""
    key = f"{context.dtype.name}{' joined' if joined else ''}"
    made = packet.lists.get(key)
    if made is None:
        if isinstance(packet, SpikeList):
            made = _spike_segments(packet, context, joined)
        else:
            made = _graded(packet, context, joined)
        packet.lists[key] = made
    return made


def _spike_segments(packet: SpikeList, context: Context, joined: bool) -> Segments:
    steps, positions, width = packet.words.shape
    words = packet.words.reshape(steps * positions, width)
    tile_words = width if joined else _tile_words(words, packet.channels)
    extent = packet.channels if joined else 0
    count = -(-width // tile_words) * steps * positions
    starts = np.empty(count + 1, np.int64)
    count_segments(words, tile_words, starts)
    index = np.empty(int(starts[-1]), np.uint16)
    context.workers.share(
        count, lambda a, b: fill_segments(a, b, words, tile_words, starts, index, packet.width, extent)
    )
    return Segments(index, starts, tile_words * 64)


def _tile_words(words: NDArray[np.uint64], channels: int) -> int:
    """Choose the tile: 128 channels (32 KB of weights, the L1 cache), more where segments would be all but empty.

    The share of active inputs is taken from a sample of positions.
    """
    sample = words[:: max(1, len(words) // 256)]
    rate = int(np.bitwise_count(sample).sum()) / (len(sample) * channels)
    return 4 if rate < 0.06 else 2


def _graded(packet: IntegerMap, context: Context, joined: bool) -> Segments:
    tile = 128
    steps, positions, channels = packet.values.shape
    values = packet.values.reshape(steps * positions, channels)
    starts = np.empty(-(-channels // tile) * steps * positions + 1, np.int64)
    nonzero = int(np.count_nonzero(values))
    index = np.empty(nonzero, np.uint16)
    amounts = aligned((nonzero,), context.dtype)
    graded_segments(values, tile, starts, index, amounts, packet.width, channels if joined else 0)
    return Segments(index, starts, tile, amounts)

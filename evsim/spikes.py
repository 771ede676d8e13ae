"""What travels between layers: packets of spikes, of integers (graded spikes) or of real values.

A packet carries one or more consecutive timesteps of one node's output, channels-last: positions x channels. The type
says which of the three it is, so "is this network spike-driven?" is a question to the types. A `SpikeMap` is the
sparse coding of a 0/1 map: one bit per neuron on the way, from which `Segments`, the lists of active channels that the
kernels walk, are made once for all layers that read it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

WORD = 64
"""Channels per machine word of a spike map."""


@dataclass(frozen=True, eq=False)
class Segments:
    """Active channels of each position, in ascending order, cut into tiles of `tile` channels.

    Segment s = (k * T + t) * P + p holds, for tile k, timestep t and position p, the channels
    ``index[starts[s] : starts[s + 1]] + k * tile``. Where there is one tile, lists may be *joined*: entries are
    ``x % 3 * channels + c`` at column x of the map, so that those of three neighbours make one list. Lists of *quads*
    have another order of segments, see `evsim.kernels.quads`.

    Attributes
    ----------
    index
        uint16, channel within its tile.
    starts
        uint32 or int64 [tiles * T * P + 1].
    tile
        Channels per tile, a multiple of 64.
    values
        None for spikes and for integers in `planes` of bits; else each entry's value, in the precision of the run.
    """

    index: NDArray[np.uint16]
    starts: NDArray[np.int64]
    tile: int
    values: NDArray[np.floating] | None = None
    planes: int = 1


@dataclass(frozen=True, eq=False)
class SpikeMap:
    """Spikes of timesteps ``start .. start + T - 1``.

    Attributes
    ----------
    start
        First timestep.
    words
        uint64 [T, P, ceil(channels / 64)]; channel c of a position is bit ``c % 64`` of word ``c // 64``; the bits
        past the last channel are 0.
    channels, height, width
        Size of the map; P = height * width.
    """

    start: int
    words: NDArray[np.uint64]
    channels: int
    height: int
    width: int
    lists: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def steps(self) -> int:
        """Number of timesteps T."""
        return int(self.words.shape[0])

    def dense(self) -> NDArray[np.bool_]:
        """Return the map as booleans [T, P, channels], for recording and tests."""
        steps, positions, words = self.words.shape
        octets = self.words.astype("<u8", copy=False).view(np.uint8).reshape(steps, positions, words * 8)
        return np.unpackbits(octets, axis=-1, count=self.channels, bitorder="little").astype(np.bool_)

    @classmethod
    def from_dense(cls, spikes: NDArray[np.bool_], height: int, width: int, start: int = 0) -> SpikeMap:
        """Make a spike map from booleans [T, P, channels]."""
        steps, positions, channels = spikes.shape
        words = -(-channels // WORD)
        octets = np.zeros((steps, positions, words * 8), np.uint8)
        packed = np.packbits(spikes, axis=-1, bitorder="little")
        octets[..., : packed.shape[-1]] = packed
        return cls(start, octets.view("<u8").astype(np.uint64, copy=False), channels, height, width)


@dataclass(frozen=True, eq=False)
class IntegerMap:
    """Integers of timesteps ``start .. start + T - 1``: event counts of frames, or sums of spikes (graded spikes).

    Attributes
    ----------
    values
        int32 [T, P, channels], none negative.
    unit
        What 1 stands for, for those who read them as real numbers.
    counted
        Empty, or the sum of each timestep's values, once somebody has counted.
    """

    start: int
    values: NDArray[np.int32]
    height: int
    width: int
    unit: float = 1.0
    lists: dict[tuple[str, str], Any] = field(default_factory=dict, init=False, repr=False)
    counted: list[NDArray[np.int64]] = field(default_factory=list, init=False, repr=False)

    @property
    def steps(self) -> int:
        """Number of timesteps T."""
        return int(self.values.shape[0])

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self.values.shape[2])


@dataclass(frozen=True, eq=False)
class RealMap:
    """Real values of `steps` timesteps from `start` on.

    Attributes
    ----------
    values
        float32 or float64, in integer networks int32 in units of 2^-F [T, P, C] with C the channels padded to whole
        blocks, zeros in the padding; T is 1 for a `static` map, which has the same values at each of its timesteps (an
        image, and what is computed from it before the first neuron).
    """

    start: int
    steps: int
    values: NDArray[Any]
    channels: int
    height: int
    width: int

    @property
    def static(self) -> bool:
        """Whether one array stands for several timesteps."""
        return bool(self.values.shape[0] < self.steps)


Packet: TypeAlias = SpikeMap | IntegerMap | RealMap

"""Recorded spike trains: bit-packed as they are kept, booleans as they are read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Packed = tuple[NDArray[np.uint8], tuple[int, ...]]
"""``np.packbits`` of the C-ordered boolean array, and its shape."""


@dataclass(frozen=True, eq=False, repr=False)
class SpikeTrains(Mapping[str, NDArray[np.bool_]]):
    """Name of a layer of neurons to its spikes, booleans of the module's own output shape, [T, ...] without batch.

    Integer neurons are unrolled: [T x D, ...], step d of a timestep set where the value exceeds d.

    Attributes
    ----------
    packed
        Name to the bits and the shape, as `evsim.observers.SpikeRecorder` keeps them.
    """

    packed: Mapping[str, Packed] = field(default_factory=dict)

    def __getitem__(self, name: str) -> NDArray[np.bool_]:
        bits, shape = self.packed[name]
        size = int(np.prod(shape, dtype=np.int64))
        return np.unpackbits(bits, count=size).reshape(shape).astype(np.bool_)

    def __iter__(self) -> Iterator[str]:
        return iter(self.packed)

    def __len__(self) -> int:
        return len(self.packed)

    def __repr__(self) -> str:
        return f"<SpikeTrains of {len(self)} layers>"

"""Spans of integers, and what the integer weights of a layer can add up to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.quantized import IntegerLayer, Quantization


class Span(NamedTuple):
    """Least and greatest value, 0 between them: of spikes and integers as they travel, of real values in 2^-F."""

    low: int
    high: int

    @property
    def size(self) -> int:
        """The largest magnitude."""
        return max(-self.low, self.high)

    def __or__(self, other: object) -> Span:
        assert isinstance(other, Span)
        return Span(min(self.low, other.low), max(self.high, other.high))

    def times(self, factor: int) -> Span:
        """Return the span of so many times a value, or of so many values' sum."""
        return Span(*sorted((self.low * factor, self.high * factor)))


class Reach(NamedTuple):
    """What the weights of each output channel can add up to, [C_out] each.

    Attributes
    ----------
    positive, negative
        Sums of the positive weights, and of the others' magnitudes.
    multiplier, offset
        As of an `IntegerLayer`.
    """

    positive: NDArray[np.float64]
    negative: NDArray[np.float64]
    multiplier: NDArray[np.float64]
    offset: NDArray[np.float64]


def reach_of(layer: IntegerLayer) -> Reach:
    """Return what a layer's weights can add up to."""
    wide = layer.weight.reshape(-1, layer.weight.shape[-1])
    positive = np.maximum(wide, 0).sum(axis=0, dtype=np.int64)
    negative = positive - wide.sum(axis=0, dtype=np.int64)
    return Reach(*(part.astype(np.float64) for part in (positive, negative, layer.multiplier, layer.offset)))


def reaches(quantization: Quantization) -> dict[str, Reach]:
    """Return what the weights of every layer can add up to: each is read once."""
    return {name: reach_of(layer) for name, layer in quantization.layers.items()}

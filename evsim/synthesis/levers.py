"""Levers: what calibration moves so that the neurons behind a layer fire as often as they should.

A layer's BatchNorm, or its bias where it has no BatchNorm: an offset on each channel. A layer with neither has its
weights alone, times a factor on each channel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

GRID_BITS = 14
"""Weights are whole multiples of a power of two of which their standard deviation is at most 2^`GRID_BITS`."""

Kind = Literal["norm", "bias", "weight"]


@dataclass(frozen=True, eq=False)
class Lever:
    """What sets the rate of the neurons behind a layer.

    Attributes
    ----------
    name
        Of the layer.
    kind
        What is moved.
    keys
        Of the state_dict: those of the BatchNorm, of the bias, or of the weight.
    state
        Key to array; the lever replaces arrays.
    """

    name: str
    kind: Kind
    keys: tuple[str, ...]
    state: dict[str, NDArray[Any]]

    @property
    def bias(self) -> NDArray[np.float64]:
        """The offset of each channel, as it is stored."""
        return self._array("bias").astype(np.float64)

    def move(self, offset: NDArray[np.floating]) -> None:
        """Add an offset to each channel's."""
        self._replace("bias", (self._array("bias") + offset).astype(np.float32))

    def stored(self, offset: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the offset as the float32 of the state_dict will have it, so that a run in float64 repeats it."""
        moved: NDArray[np.floating] = (self.bias + offset).astype(np.float32).astype(np.float64) - self.bias
        return moved

    @property
    def weight(self) -> NDArray[np.float32]:
        """The weights, one row per channel."""
        return self._array("weight")

    def put(self, weight: NDArray[np.float32]) -> None:
        """Take other weights."""
        self._replace("weight", weight)

    def _array(self, part: str) -> NDArray[Any]:
        return self.state[self._key(part)]

    def _replace(self, part: str, values: NDArray[Any]) -> None:
        self.state[self._key(part)] = values

    def _key(self, part: str) -> str:
        return next(key for key in self.keys if key.rpartition(".")[2] == part)


def lever_of(name: str, keys: Mapping[str, tuple[str, ...]], state: dict[str, NDArray[Any]]) -> Lever | None:
    """Return the lever of a layer; None where its parameters are computed of several tensors.

    Parameters
    ----------
    name
        Of the node.
    keys
        Parameter to the keys of the state_dict that it is made from.
    state
        The state_dict.
    """
    if f"{name}.bn_shift" in keys:
        return Lever(name, "norm", keys[f"{name}.bn_shift"], state)
    kinds: tuple[Kind, ...] = ("bias", "weight")
    for kind in kinds:
        if len(keys.get(f"{name}.{kind}", ())) == 1:
            return Lever(name, kind, keys[f"{name}.{kind}"], state)
    return None


def grown(weight: NDArray[np.float32], factors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return weights times a factor on each channel, on a grid as fine as they need: their sums stay exact.

    Parameters
    ----------
    weight
        [C, ...].
    factors
        [C], positive.
    """
    by_channel = factors.reshape(-1, *[1] * (weight.ndim - 1))
    spread = float(np.sqrt(np.mean(np.square(weight.astype(np.float64)))) * factors.max())
    steps = GRID_BITS - int(np.frexp(spread)[1]) if spread > 0.0 else 0
    product: NDArray[np.float32] = np.ldexp(np.rint(np.ldexp(weight.astype(np.float64) * by_channel, steps)), -steps)
    return product.astype(np.float32)

"""Running form of neurons that emit integers, in an integer network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.layers.context import Context
from evsim.layers.reals import as_real
from evsim.primitives import MultiSpike, Shape
from evsim.spikes import IntegerMap, Packet


class IntegerLevels:
    """``k = round(clamp(x, 0, levels))`` of fixed-point currents, or of what was gathered of them."""

    def __init__(self, node: MultiSpike, shape: Shape, context: Context) -> None:
        self.node, self.shape, self.context = node, shape, context
        self._one = 1 << context.fraction
        self._potential: NDArray[np.int32] | None = None

    def reset(self) -> None:
        """Return all potentials to rest."""
        self._potential = None

    def step(self, *packets: Packet) -> IntegerMap:
        """Take the currents of some timesteps and return the integers."""
        (packet,) = packets
        currents, shape = as_real(packet, self.context), self.shape
        values = currents.values[..., : shape.channels].astype(np.int32, copy=False)
        if self.node.integrates:
            emitted = np.stack([self._gathered(values[0 if currents.static else t]) for t in range(currents.steps)])
        else:
            emitted = self._rounded(values)
            if currents.static:
                emitted = np.broadcast_to(emitted, (currents.steps, *emitted.shape[1:]))
        integers = np.ascontiguousarray(emitted)
        return IntegerMap(currents.start, integers, shape.height, shape.width, shape.unit)

    def _gathered(self, current: NDArray[np.int32]) -> NDArray[np.int32]:
        """Add a timestep's currents to the potentials, and take from them what is emitted."""
        v = current if self._potential is None else self._potential + current
        emitted = self._rounded(v)
        self._potential = v - emitted * np.int32(self._one)
        return emitted

    def _rounded(self, values: NDArray[np.int32]) -> NDArray[np.int32]:
        """Return the integers nearest to fixed-point numbers, within the levels."""
        clamped = np.clip(values, 0, self.node.levels * self._one)
        bits = self.context.fraction
        if not bits:
            return clamped
        half = clamped + (self._one >> 1)  # halves go up
        if self.node.rounding == "half-even":
            half -= 1 - ((clamped >> bits) & 1)
        return half >> bits

"""Running form of neurons of any discrete equation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.kernels.membrane import (
    CHARGES,
    RESET_TIMES,
    RESETS,
    SYNAPSES,
    Equation,
    Numbers,
    Outputs,
    run_neurons,
)
from evsim.kernels.threads import aligned
from evsim.kernels.vector import padded
from evsim.layers.context import Context, remedy
from evsim.layers.reals import as_real
from evsim.primitives import Constants, Neuron, Shape
from evsim.spikes import IntegerMap, Packet, RealMap, SpikeMap

Weights = Mapping[str, NDArray[np.floating]]


def constant(node: Constants, name: str, shape: Shape, weights: Weights) -> NDArray[np.float64]:
    """Return a constant of a node as rows: [1, C], or [P, C] where each neuron has its own.

    Raises
    ------
    NetworkError
        If an array holds what is no number.
    """
    values = np.asarray(weights[name] if name in node.arrays else getattr(node, name), np.float64)
    if not np.isfinite(values).all():
        raise NetworkError(f"{node.name}: its {name} holds NaN or infinite values; use sound weights")
    rows = values.reshape(-1, shape.channels) if values.ndim == 3 else values
    return np.array(np.broadcast_to(rows, (shape.positions if values.ndim == 3 else 1, shape.channels)))


class Neurons:
    """Neurons with the synaptic currents and the potentials that they keep.

    Parameters
    ----------
    node, shape
        The neurons, and the map that they emit.
    weights
        Those of their constants that are arrays.
    context
        Shared by all layers.

    Raises
    ------
    NetworkError
        If a constant is no number, or a threshold or time constant that divides is not above 0.
    """

    def __init__(self, node: Neuron, shape: Shape, weights: Weights, context: Context) -> None:
        self.node, self.shape, self.context = node, shape, context
        wide = {name: constant(node, name, shape, weights) for name in node.constants}
        for name, divides in (("v_threshold", node.levels > 0), ("leak", node.divides)):
            if divides and not wide[name].min() > 0:
                raise NetworkError(f"{node.name}: its {name} divides, so it must be above 0, got {wide[name].min()}")
        arrays = {name: values.astype(context.dtype) for name, values in wide.items() if name in Numbers._fields}
        self.numbers = Numbers(counts=np.array([0, 1, max(1, node.levels)], context.dtype), **arrays)
        self.equation = Equation(
            SYNAPSES.index(node.synapse),
            CHARGES.index(node.charge),
            node.divides,
            node.strict,
            node.levels > 0,
            RESETS.index(node.reset),
            RESET_TIMES.index(node.reset_at),
            node.floored,
            node.single,
        )
        size = (shape.positions, shape.channels)
        self._start = np.broadcast_to(wide["v_start"], size).astype(context.dtype)
        self._current, self._potential = np.zeros((2, *size), context.dtype)
        rates = (1.0 / wide["leak"] if node.divides else wide["leak"], wide["syn"])
        self._leaks = all(values.min() >= 0.0 and values.max() <= 1.0 for values in rates)
        self._gain = float(np.abs(wide["gain"]).max())
        self._offset = sum(float(np.abs(wide[name]).max()) for name in node.constants if name.startswith("v_"))

    def reset(self) -> None:
        """Return currents to 0 and potentials to where they start."""
        self._current[:] = 0.0
        self._potential[:] = self._start

    def potentials(self) -> NDArray[np.floating]:
        """Return what neurons keep [P, C]: a copy, for those who look on."""
        kept: NDArray[np.floating] = self._potential.copy()
        return kept

    def start(self, position: int, channel: int) -> np.floating:
        """Return the potential of a neuron before the first timestep."""
        value: np.floating = self._start[position, channel]
        return value

    def largest(self, inputs: float, timesteps: int) -> float:
        """Return a bound of the potentials where inputs are at most so large: infinite where they may grow alone."""
        if not self._leaks:
            return math.inf
        currents = inputs * (timesteps if self.equation.synapse else 1)
        return timesteps * (self._gain * currents + self._offset) + self._offset

    def step(self, *packets: Packet) -> Packet:
        """Take the input of some timesteps, and return spikes, integers or potentials."""
        real, shape, context = as_real(packets[0], self.context), self.shape, self.context
        size = (real.steps, shape.positions)
        words = np.zeros((*size, -(-shape.channels // 64)) if shape.kind == "spikes" else (0, 0, 0), np.uint64)
        integers = np.zeros((*size, shape.channels) if shape.kind == "integers" else (0, 0, 0), np.int32)
        potentials = aligned((*size, padded(shape.channels)) if shape.kind == "real" else (0, 0, 0), context.dtype)
        potentials[..., shape.channels :] = 0.0
        outputs = Outputs(words, integers, potentials)
        context.workers.share(
            run_neurons,
            shape.positions,
            (self.equation, self.numbers, real.values, real.steps, self._current, self._potential, outputs),
            20 * real.steps * shape.positions * shape.channels,
        )
        if not (np.isfinite(self._potential).all() and np.isfinite(self._current).all()):
            raise NetworkError(f"{self.node.name}: its potentials overflow; {remedy(context.dtype)}")
        if shape.kind == "spikes":
            return SpikeMap(real.start, words, shape.channels, shape.height, shape.width)
        if shape.kind == "integers":
            return IntegerMap(real.start, integers, shape.height, shape.width)
        return RealMap(real.start, real.steps, potentials, shape.channels, shape.height, shape.width)

"""Integer networks as data: integer weights, and how real numbers become integers.

Maps that hold real values, and membrane potentials, are int32 in units of 2^-F, F the `fraction`. An output channel's
weights are ``w_q * M * 2^-F``: w_q of 8 or 16 bits, M a whole number, so that a layer that reads spikes rounds nothing:
its current is ``sum(w_q) * M + offset``, to the last bit the same on every machine and in every order of additions.
docs/quantization.md has the whole arithmetic. Nothing here computes a network.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evsim.errors import NetworkError, OptionError
from evsim.primitives import LIF, Shape
from evsim.primitives.neurons import logistic

__all__ = [
    "INPUT_FRACTION", "LARGEST_INPUT", "MOST_FRACTION", "RATE_BITS", "WEIGHTS", "Dequantized", "IntegerLayer",
    "IntegerWeights", "Precision", "Quantization", "chosen_precision", "fixed", "rate_of", "scaling",
    "threshold_of", "unit_of",
]  # fmt: skip

IntegerWeights = Literal["int8", "int16"]
"""Types of weights; also what the precision of such a run is called."""

Precision = Literal["float32", "float64", "int8", "int16"]
"""Of a run."""

WEIGHTS: Mapping[str, int] = {"int8": 127, "int16": 32767}
"""Largest magnitude of a weight: the range is symmetric, so that a sign can change."""

MOST_FRACTION = 16
"""Greatest F: a potential of 1 is then 2^16, which leaves 14 bits above it."""

INPUT_FRACTION = 12
"""Fraction of images and real frames: they are int16, up to 8 in magnitude."""

LARGEST_INPUT = 2**15 - 1
"""Largest magnitude of an image's value, in units of 2^-input_fraction."""

RATE_BITS = 15
"""Leaks are whole numbers of 2^-15."""


class IntegerLayer(NamedTuple):
    """Integer weights of a convolution or linear layer, BatchNorm and bias folded.

    Attributes
    ----------
    weight
        int8 or int16, of the shape of the node's own parameter `weight`. Where a layer reads integers that stand for
        `unit` each, that is in the weights: the layer adds up integers as they travel.
    multiplier
        int32 [C_out], M of each output channel, at least 1.
    offset
        int32 [C_out], what is added, in units of 2^-F.
    """

    weight: NDArray[np.signedinteger]
    multiplier: NDArray[np.int32]
    offset: NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Quantization:
    """How a network computes in integers.

    Attributes
    ----------
    weights
        Type of the weights.
    fraction
        F: real values and potentials are whole numbers of 2^-F.
    input_fraction
        Fraction of images and real frames.
    layers
        The integers of every `Conv2d` and `Linear`, by the node's name. May read from disk on access: fetch each once.

    Raises
    ------
    NetworkError
        If there are no such weights, or fractions are out of range.
    """

    weights: IntegerWeights
    layers: Mapping[str, IntegerLayer]
    fraction: int = MOST_FRACTION
    input_fraction: int = INPUT_FRACTION

    def __post_init__(self) -> None:
        if self.weights not in WEIGHTS:
            raise NetworkError(f"integer weights are {' or '.join(WEIGHTS)}, got {self.weights}")
        for name, value, most in (
            ("fraction", self.fraction, MOST_FRACTION),
            ("input_fraction", self.input_fraction, INPUT_FRACTION),
        ):
            if not 0 <= value <= most:
                raise NetworkError(f"{name} of an integer network must be from 0 to {most}, got {value}")


class Dequantized(Mapping[str, NDArray[np.floating]]):
    """Weights of an integer network as floats, made when they are asked for: ``w_q * M * 2^-F / unit``.

    They are float32 where that holds them all, else float64; exact, but for units that are no power of two.

    Parameters
    ----------
    quantization
        The integers.
    others
        Parameters of all other nodes, by `Network.weights`' names.
    units
        By layer, what 1 stands for of the integers that it reads, from `evsim.network.units_of`: integer weights have
        it in them, floats do not.
    """

    def __init__(
        self,
        quantization: Quantization,
        others: Mapping[str, NDArray[np.floating]],
        units: Mapping[str, float],
    ) -> None:
        self._quantization, self._others, self._units = quantization, others, units

    def __getitem__(self, key: str) -> NDArray[np.floating]:
        if key in self._others:
            return self._others[key]
        name, _, parameter = key.rpartition(".")
        if name not in self._quantization.layers or parameter not in ("weight", "bias"):
            raise KeyError(key)
        layer, fraction = self._quantization.layers[name], self._quantization.fraction
        if parameter == "bias":
            return _floats(layer.offset, np.ones(1, np.int64), fraction)
        return _floats(layer.weight, layer.multiplier, fraction, self._units.get(name, 1.0))

    def __iter__(self) -> Iterator[str]:
        for name in self._quantization.layers:
            yield f"{name}.weight"
            yield f"{name}.bias"
        yield from self._others

    def __len__(self) -> int:
        return 2 * len(self._quantization.layers) + len(self._others)


def _floats(
    integers: NDArray[np.signedinteger], multiplier: NDArray[np.signedinteger], fraction: int, unit: float = 1.0
) -> NDArray[np.floating]:
    """Return ``integers * multiplier * 2^-fraction / unit``, in float32 if that loses nothing."""
    floats: NDArray[np.float64] = np.ldexp(integers * multiplier.astype(np.float64), -fraction) / unit
    single = floats.astype(np.float32)
    return single if np.array_equal(single, floats) else floats


def fixed(values: ArrayLike, fraction: int) -> NDArray[np.int64]:
    """Return real numbers as whole numbers of 2^-fraction, halves rounded to the even neighbour.

    Raises
    ------
    NetworkError
        If one is not finite, or beyond int32.
    """
    scaled = np.rint(np.ldexp(np.asarray(values, np.float64), fraction))
    if not (np.abs(scaled) < 2.0**31).all():
        worst = np.asarray(values, np.float64).ravel()[np.argmax(~(np.abs(scaled) < 2.0**31))]
        raise NetworkError(f"{worst:g} does not fit into 32 bits in units of 2^-{fraction}")
    return scaled.astype(np.int64)


def rate_of(node: LIF, weights: Mapping[str, NDArray[np.floating]]) -> int:
    """Return how neurons leak, in units of 2^-15: 1 / tau where input decays, else what is kept of the potential.

    So ``v' = v + ((x - v) * rate >> 15)``, or ``v' = (v * rate >> 15) + x``. A tau's rate is rounded up: shifts round
    down, and a potential that reaches its threshold exactly, as those of attention often do, must not fall short of it.

    Parameters
    ----------
    node
        The neurons.
    weights
        Their parameters by name: w, where they are `parametric`.
    """
    if node.parametric:
        rate = logistic(float(weights["w"][0]))
        return round(math.ldexp(rate if node.decay_input else 1.0 - rate, RATE_BITS))
    return math.ceil(2**RATE_BITS / node.tau) if node.decay_input else round(math.ldexp(node.decay, RATE_BITS))


def threshold_of(node: LIF, weights: Mapping[str, NDArray[np.floating]], fraction: int) -> NDArray[np.int64]:
    """Return the thresholds in units of 2^-fraction, at least 1: of each channel, or one for all, [C] or [1].

    A spike where ``v' >= threshold``, or where ``v' > threshold`` if the node is `strict`.

    Parameters
    ----------
    node
        The neurons.
    weights
        Their parameters by name: v_threshold, where channels have their own.
    fraction
        F.
    """
    thresholds = weights["v_threshold"] if node.channels else np.array([node.v_threshold])
    return np.maximum(fixed(thresholds, fraction), 1)


def scaling(scale: ArrayLike, fraction: int) -> tuple[NDArray[np.int64], int]:
    """Return factor and shift of a product with constants: ``a * scale`` is ``a * factor >> shift``.

    The shift is 0 where ``scale * 2^fraction`` is whole, for all of them, else 15, and the factors are rounded.

    Parameters
    ----------
    scale
        A constant, or several.
    fraction
        F where what is scaled counts in whole numbers, 0 where it is in units of 2^-F already.

    Raises
    ------
    NetworkError
        If one is too large.
    """
    scaled = np.ldexp(np.asarray(scale, np.float64), fraction)
    shift = 0 if (scaled == np.rint(scaled)).all() else RATE_BITS
    factors = np.rint(np.ldexp(scaled, shift))
    if not (np.abs(factors) < 2.0**46).all():
        raise NetworkError(f"a scale of {np.abs(scale).max():g} is too large for integers")
    return factors.astype(np.int64), shift


def unit_of(shape: Shape, fraction: int) -> int:
    """Return what 1 of a map amounts to in units of 2^-fraction: of real values 1, of spikes 2^fraction.

    Raises
    ------
    NetworkError
        If a map of integers counts in a unit that is no whole number of them.
    """
    if shape.kind == "real":
        return 1
    unit = math.ldexp(shape.unit, fraction)
    if not unit.is_integer():
        raise NetworkError(f"integers that stand for {shape.unit:g} each are no whole numbers of 2^-{fraction}")
    return int(unit)


def chosen_precision(quantization: Quantization | None, asked: str | None) -> Precision:
    """Return the precision that a network runs in.

    Parameters
    ----------
    quantization
        The network's.
    asked
        float32, float64, int8 or int16; None for the network's own: its integers if it has any, else float32.

    Raises
    ------
    OptionError
        If there is no such precision, or the network has no such integers.
    """
    own = quantization.weights if quantization else None
    if asked is None:
        return own or "float32"
    if asked not in ("float32", "float64", *WEIGHTS):
        more = f" or {own}" if own else ""
        raise OptionError(f"`precision` must be float32 or float64{more}, got {asked}")
    if asked in WEIGHTS and own is None:
        raise OptionError(
            f"`precision={asked}` needs a quantized model; make one with `weights={asked}` by: "
            "evsim quantize MODEL OUT.h5"
        )
    if asked in WEIGHTS and asked != own:
        raise OptionError(
            f"`precision={asked}`, but the model's weights are {own}; run it as {own}, or quantize its original anew"
        )
    return asked  # type: ignore[return-value]

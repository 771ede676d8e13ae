"""Arithmetic of folding: several layers of a checkpoint as the one that they amount to, in float64.

Layers without neurons between are linear together. Folded, a layer that is written as several reads spikes alone;
apart, all but the first of them read real values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evsim.converters.table import Layer

BATCH_NORM_EPS = 1e-5

NORM_PARTS = ("weight", "running_var", "bias", "running_mean")

Tensors = Mapping[str, NDArray[np.floating]]
"""A checkpoint's tensors by their keys, float64."""


def stacked(layers: Sequence[Layer], parameter: str, tensors: Tensors) -> NDArray[np.floating]:
    """Return weight or bias of the convolution that several are, one behind the other, their first BatchNorms included.

    A border that a part adds around its input must hold what the parts before it make of 0: then the one convolution
    pads with 0. All but one of the kernels are 1 x 1.

    Parameters
    ----------
    layers
        In order; each may be depthwise but the first.
    parameter
        "weight", [kH, kW, C_in, C_out], or "bias", [C_out].
    tensors
        Weights, biases and BatchNorms of all.
    """
    first, *rest = layers
    weight = turned(tensors[first.weight])
    weight, bias = _affine(first, weight, np.zeros(weight.shape[-1]), tensors)
    for layer in rest:
        kernel = turned(tensors[layer.weight])
        depthwise = kernel.shape[2] < weight.shape[3]
        bias = bias * kernel.sum((0, 1, 2)) if depthwise else bias @ kernel.sum((0, 1))
        # [1, 1, C, D] @ [kH, kW, D, E], or the kernels the other way round
        weight = weight * kernel if depthwise else weight @ kernel
        weight, bias = _affine(layer, weight, bias, tensors)
    return weight if parameter == "weight" else bias


def normalised(norms: Sequence[str], factor: Sequence[str], parameter: str, tensors: Tensors) -> NDArray[np.floating]:
    """Return ``bn_scale`` or ``bn_shift`` [C] of several BatchNorms one behind the other, times a factor if any."""
    scale, shift = np.ones(()), np.zeros(())
    for norm in norms:
        own_scale, own_shift = _norm(norm, tensors)
        scale, shift = scale * own_scale, shift * own_scale + own_shift
    for key in factor:
        scale, shift = scale * tensors[key], shift * tensors[key]
    return scale if parameter == "bn_scale" else shift


def mean(keys: Sequence[str], tensors: Tensors) -> NDArray[np.floating]:
    """Return the mean of weights, [C_in, C_out], or of biases."""
    total: NDArray[np.floating] = np.sum([turned(tensors[key]) for key in keys], axis=0)
    return total / len(keys)


def constant(size: int, value: float, tensors: Tensors) -> NDArray[np.floating]:  # noqa: ARG001 - as all recipes
    """Return `size` times the same value."""
    return np.full(size, value)


def parts_of(norm: str) -> tuple[str, ...]:
    """Return the keys of a BatchNorm."""
    return tuple(f"{norm}.{part}" for part in NORM_PARTS)


def turned(weight: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return PyTorch's weight [C_out, C_in, kH, kW] as [kH, kW, C_in, C_out]; of Conv1d kH is 1, biases stay."""
    axes = {4: (2, 3, 1, 0), 3: (2, 1, 0), 2: (1, 0), 1: (0,)}[weight.ndim]
    moved = weight.transpose(axes)
    return moved[np.newaxis] if weight.ndim == 3 else moved


def _affine(
    layer: Layer, weight: NDArray[np.floating], bias: NDArray[np.floating], tensors: Tensors
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Return weight and bias with the layer's own bias and first BatchNorm behind them."""
    own = tensors.get(f"{layer.key}.bias")
    if own is not None:
        bias = bias + own
    if not layer.norm:
        return weight, bias
    scale, shift = _norm(layer.norm, tensors)
    return weight * scale, bias * scale + shift


def _norm(norm: str, tensors: Tensors) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    gain, variance, offset, average = (tensors[key] for key in parts_of(norm))
    scale = gain / np.sqrt(variance + BATCH_NORM_EPS)
    return scale, offset - average * scale

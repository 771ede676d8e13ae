"""Layers of NIR without state: weights, convolutions, factors, pools, and what Flatten makes of a shape."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.converters.affine import turned
from evsim.converters.nir.graph import Unit
from evsim.converters.nir.options import NirOptions
from evsim.converters.nir.values import Dims, array, dims_of, mapped, size_of, weights, whole
from evsim.errors import GraphError
from evsim.network import Conv2d, Linear, Node
from evsim.primitives import AveragePool, Scale, SumPool

Made = tuple[Node, Dims, dict[str, NDArray[np.floating]]]
"""A node, the shape of what it gives, and its parameters."""


def affine(unit: Unit, source: str, dims: Dims, _options: NirOptions) -> Made:
    """Make an Affine or a Linear: ``W x + b``, W [outputs, inputs]."""
    weight = weights(unit, "weight", 2)
    outputs, inputs = weight.shape
    swapped = " (is it transposed?)" if dims == (outputs,) and outputs != inputs else ""
    if dims != (inputs,):
        raise GraphError(
            f"{unit}: weight has shape {list(weight.shape)}, outputs by inputs{swapped}, but what it gets is of shape "
            f"{list(dims)}, wanted [{inputs}]"
        )
    bias = _bias(unit, outputs)
    node = Linear(unit.name, (source,), inputs, outputs, bool(bias))
    return node, (outputs,), {"weight": np.ascontiguousarray(turned(weight)), **bias}


def conv(unit: Unit, source: str, dims: Dims, _options: NirOptions) -> Made:
    """Make a Conv2d, or a Conv1d as one over a map of one row."""
    axes = 1 if unit.kind == "Conv1d" else 2
    weight = weights(unit, "weight", 2 + axes)
    groups = whole(unit, "groups", 1, 1)[0]
    outputs, inputs, *kernel = weight.shape
    if len(dims) != 1 + axes or dims[0] != inputs * groups:
        raise GraphError(
            f"{unit}: weight has shape {list(weight.shape)} in {groups} groups, so it takes {inputs * groups} channels "
            f"and {axes} {'axis' if axes == 1 else 'axes'} of space, but what it gets is of shape {list(dims)}"
        )
    if "input_shape" in unit.values and array(unit, "input_shape").size:
        told = whole(unit, "input_shape", axes)
        if told != dims[1:]:
            raise GraphError(f"{unit}: input_shape is {list(told)}, but what it gets is of shape {list(dims)}")
    stride, dilation = whole(unit, "stride", axes, 1), whole(unit, "dilation", axes, 1)
    padding, behind = _padding(unit, tuple(kernel), stride, dilation)
    bias = _bias(unit, outputs)
    node = Conv2d(
        unit.name, (source,), inputs * groups, outputs, _pair(kernel, 1), _pair(stride, 1), _pair(padding, 0),
        bool(bias), batch_norm=False, module=unit.kind, groups=groups, dilation=_pair(dilation, 1),
        padding_after=() if behind == padding else _pair(behind, 0),
    )  # fmt: skip
    given = [
        (size + pad + after - (extent - 1) * apart - 1) // step + 1 if step > 0 else 0
        for size, pad, after, extent, apart, step in zip(
            dims[1:], padding, behind, kernel, dilation, stride, strict=True
        )
    ]
    return node, (outputs, *given), {"weight": np.ascontiguousarray(turned(weight)), **bias}


def scale(unit: Unit, source: str, dims: Dims, _options: NirOptions) -> Made:
    """Make a Scale: ``s x``, a factor for all, by channel or for each value."""
    told = array(unit, "scale")
    if told.size == 1:
        return Scale(unit.name, (source,), scale=float(told.reshape(()))), dims, {}
    factors = mapped(unit, "scale", told, dims)
    channels, height, width = size_of(dims)
    size: dict[str, Any] = {"channels": channels, "height": height, "width": width}
    first = factors[0, 0]
    if (factors == first).all():
        node = Scale(unit.name, (source,), **size, by_channel=("scale",))
        return node, dims, {"scale": np.ascontiguousarray(first)}
    return Scale(unit.name, (source,), **size, by_neuron=("scale",)), dims, {"scale": factors}


def pool(unit: Unit, source: str, dims: Dims, _options: NirOptions) -> Made:
    """Make a SumPool2d or an AvgPool2d, whose border counts as zeros."""
    if len(dims) != 3:
        raise GraphError(f"{unit} pools maps [C, H, W], but what it gets is of shape {list(dims)}")
    kernel, stride, padding = whole(unit, "kernel_size", 2), whole(unit, "stride", 2), whole(unit, "padding", 2, 0)
    rows, columns = zip(kernel, stride, padding, strict=True)
    kind = SumPool if unit.kind == "SumPool2d" else AveragePool
    node = kind(unit.name, (source,), *rows, columns=() if rows == columns else columns)
    given = [
        (size + 2 * pad - extent) // step + 1 if step > 0 else 0
        for size, extent, step, pad in zip(dims[1:], kernel, stride, padding, strict=True)
    ]
    return node, (dims[0], *given), {}


def flattened(unit: Unit, dims: Dims) -> Dims:
    """Return what Flatten makes of a shape: one axis of all, or the shape itself.

    Raises
    ------
    GraphError
        If it puts some of the axes together, so that others stay.
    """
    if "input_type" in unit.values and array(unit, "input_type").size:
        told = dims_of(unit, "input_type")
        if told != dims:
            raise GraphError(f"{unit}: input_type is {list(told)}, but what it gets is of shape {list(dims)}")
    first, last = (
        place + len(dims) if place < 0 else place
        for place in (whole(unit, "start_dim", 1, 1)[0], whole(unit, "end_dim", 1, -1)[0])
    )
    if len(dims) == 1 or first >= last:
        return dims
    if first == 0 and last == len(dims) - 1:
        return (prod(dims),)
    raise GraphError(
        f"{unit} puts axes {first} to {last} of shape {list(dims)} together; evsim flattens all of them: start_dim 0, "
        "end_dim -1 (axis 0 is no batch in NIR)"
    )


def _bias(unit: Unit, outputs: int) -> dict[str, NDArray[np.floating]]:
    """Return the bias, none where there is none or all are zeros, as exporters write where there is none."""
    if "bias" not in unit.values:
        return {}
    bias = array(unit, "bias")
    if bias.size not in (1, outputs) or bias.ndim > 1:
        raise GraphError(
            f"{unit}: bias has shape {list(bias.shape)}, but weight has {outputs} outputs (is it transposed?)"
        )
    if not bias.any():
        return {}
    own = np.asarray(unit.values["bias"])
    kind = np.float32 if own.dtype == np.float32 else np.float64
    return {"bias": np.array(np.broadcast_to(bias.reshape(-1), (outputs,)), kind)}


def _padding(unit: Unit, kernel: Dims, stride: Dims, dilation: Dims) -> tuple[Dims, Dims]:
    """Return the padding before the first position and behind the last; "same" puts an odd one behind, as PyTorch."""
    told = unit.values.get("padding", "valid")
    if not isinstance(told, str):
        padding = whole(unit, "padding", len(kernel))
        return padding, padding
    if told == "valid":
        return (0,) * len(kernel), (0,) * len(kernel)
    if told != "same" or any(step != 1 for step in stride):
        raise GraphError(f"{unit}: padding {told!r} with stride {list(stride)} is none; give it as numbers")
    reach = [(extent - 1) * apart for extent, apart in zip(kernel, dilation, strict=True)]
    return tuple(length // 2 for length in reach), tuple(length - length // 2 for length in reach)


def _pair(values: Dims | list[int], rows: int) -> tuple[int, int]:
    """Return rows and columns; of a line the columns alone are told."""
    return (values[0], values[1]) if len(values) == 2 else (rows, values[0])

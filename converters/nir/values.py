"""Parameters of a node, checked: what a stranger's file holds becomes numbers of known shape, or is refused by name."""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from evsim.converters.nir.graph import Unit
from evsim.errors import GraphError

Dims = tuple[int, ...]
"""Shape of what travels, as NIR has it: [N], [C, L] or [C, H, W]."""

Array = NDArray[np.float64]


def array(unit: Unit, key: str, default: float | None = None) -> Array:
    """Return a parameter as float64.

    Raises
    ------
    GraphError
        If it is missing, no number, NaN or infinite.
    """
    value = unit.values.get(key)
    if value is None and default is not None:
        return np.array(default)
    if value is None:
        raise GraphError(f"{unit} lacks its parameter {key}; write the graph anew by nir")
    if isinstance(value, str):
        raise GraphError(f"{unit}: {key} is a text, not numbers")
    with np.errstate(over="ignore"):  # of long doubles
        values = np.asarray(value, np.float64)
    if not np.isfinite(values).all():
        raise GraphError(f"{unit}: {key} holds NaN or infinite values; export the graph from sound weights")
    return values


def weights(unit: Unit, key: str, axes: int) -> NDArray[np.floating]:
    """Return weights of so many axes in the type that the file has, float32 at least; errors as `array`."""
    array(unit, key)
    values = np.asarray(unit.values[key])
    if values.ndim != axes or 0 in values.shape:
        raise GraphError(f"{unit}: {key} has shape {list(values.shape)}, wanted {axes} axes")
    return values.astype(np.float64 if values.dtype != np.float32 else np.float32)


def positive(unit: Unit, key: str) -> Array:
    """Return a parameter that must be above 0, such as a time constant; errors as `array`, and if it is not."""
    values = array(unit, key)
    if not (values > 0.0).all():
        raise GraphError(f"{unit}: {key} must be above 0, got {values.min():g}; no equation allows it")
    return values


def spread(unit: Unit, key: str, values: Array, dims: Dims) -> Array:
    """Return values for each neuron, of the shape of what travels; one value stands for all, one of a channel for it.

    Raises
    ------
    GraphError
        If they are of another shape. Rows or columns alone are one too: they would take far more memory than the file.
    """
    if values.size == 1:
        return np.broadcast_to(values.reshape(()), dims)
    if values.shape not in (dims, (*dims[:1], *(1 for _ in dims[1:]))):
        raise GraphError(f"{unit}: {key} has shape {list(values.shape)}, but what it gets is of shape {list(dims)}")
    return np.broadcast_to(values, dims)


def whole(unit: Unit, key: str, number: int, default: int | None = None) -> tuple[int, ...]:
    """Return so many whole numbers; one stands for all.

    Raises
    ------
    GraphError
        If they are none, or more or fewer.
    """
    values = array(unit, key, None if default is None else float(default)).reshape(-1)
    if len(values) not in (1, number) or (values != np.rint(values)).any() or (abs(values) > 1 << 31).any():
        raise GraphError(f"{unit}: {key} must be {number} whole numbers, got {values[:8].tolist()}")
    taken = tuple(int(value) for value in values)
    return taken * number if len(taken) == 1 else taken


def dims_of(unit: Unit, key: str) -> Dims:
    """Return a shape that a node declares; errors as `array`, and if it is none of 1 to 3 axes."""
    values = array(unit, key).reshape(-1)
    dims = tuple(int(value) for value in values if value == int(value) and 1 <= value < 1 << 31)
    if len(dims) != len(values) or not 1 <= len(dims) <= 3:
        raise GraphError(
            f"{unit}: {key} is {values[:8].tolist()}; evsim takes shapes [N], [C, L] and [C, H, W], without a batch"
        )
    return dims


def size_of(dims: Dims) -> tuple[int, int, int]:
    """Return channels, height and width."""
    match dims:
        case (channels,):
            return channels, 1, 1
        case (channels, width):
            return channels, 1, width
        case (channels, height, width):
            return channels, height, width
    raise ValueError(dims)


def fitting(unit: Unit, key: str, values: Array, dims: Dims) -> Array:
    """Return values that can be reckoned with others of what travels: as they are, a single one without axes.

    Errors as `spread`.
    """
    spread(unit, key, values, dims)
    return values.reshape(()) if values.size == 1 else values


def mapped(unit: Unit, key: str, values: Array, dims: Dims) -> Array:
    """Return values as evsim has them, [height, width, channels], or [1, 1, channels] where channels alone differ.

    Errors as `spread`.
    """
    whole = spread(unit, key, values, dims)
    return values.reshape(1, 1, -1) if values.size == dims[0] else as_map(whole)


def as_map(values: Array) -> Array:
    """Return values of the shape of what travels as evsim has them: [height, width, channels]."""
    channels, height, width = size_of(values.shape)
    return np.ascontiguousarray(values.reshape(channels, height, width).transpose(1, 2, 0))


def declared(unit: Unit) -> Dims:
    """Return the shape that a node's parameters have, the largest of them; () where all are single numbers."""
    shapes = [np.shape(value) for value in unit.values.values() if not isinstance(value, str)]
    return max(shapes, key=lambda shape: (prod(shape), len(shape)), default=())

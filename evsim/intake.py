"""From an array to packets: what a network is fed, checked, and cut as the order of events wants it."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import EvsimError, NetworkError, OptionError, RecordingError
from evsim.geometry import Geometry
from evsim.inputspec import LARGEST_TIMESTEPS
from evsim.network import LARGEST_COUNT, Network, largest_integers
from evsim.spikes import IntegerMap, Packet, RealMap
from evsim.workload import rows

LARGEST_FIXED = 2**15
"""Magnitude that the numbers of an integer network's image stay below."""

LARGEST_PRODUCT = 2**53
"""Largest number of operations of a head of attention on integers at a timestep: they are counted as float64."""

LARGEST_SUM = 2**63 - 1
"""Largest number of operations of a layer that is counted exactly."""


class Intake:
    """The way into a network.

    Parameters
    ----------
    network
        Whose input it is.
    timesteps
        T of the run.
    dtype
        Of real values.
    streaming
        Whether each packet carries one timestep; else one packet carries all.

    Raises
    ------
    NetworkError
        If a network of images adds up spikes beyond what evsim counts exactly, whatever the image.
    """

    def __init__(self, network: Network, timesteps: int, dtype: np.dtype[Any], streaming: bool) -> None:
        self.network, self.timesteps, self.dtype, self.streaming = network, timesteps, dtype, streaming
        self._events = network.input.kind == "integers"
        in_units = dtype.kind == "i" and not self._events and network.quantization is not None
        self._fraction = network.quantization.input_fraction if in_units and network.quantization else None
        self._framed = network.spec.kind != "image"  # one frame per timestep
        self._repeated = next((node.name for node in network.nodes if getattr(node, "repeated", False)), "")
        self._exact_up_to = -1  # largest count for which everything is known to stay exact
        if not self._events:
            self._check_integers(0)

    def packets(self, source: NDArray[np.generic]) -> Iterator[Packet]:
        """Yield the packets of one sample.

        Parameters
        ----------
        source
            As `evsim.engine.Simulator.run` takes it.

        Raises
        ------
        RecordingError
            If the source does not fit the network's input, or holds counts that would not stay exact.
        """
        self._check(source)
        static = source.ndim == 3
        if self._fraction is not None:
            source = self._fixed(source)
        frames = source[np.newaxis] if static else source
        count, channels, height, width = frames.shape
        maps = np.empty((count, height * width, channels), np.int32 if self._events else self.dtype)
        for channel in range(channels):  # of few channels, NumPy moves one after the other in a third of the time
            maps[..., channel] = frames[:, channel].reshape(count, -1)
        for start in range(self.timesteps if self.streaming else 1):
            steps = 1 if self.streaming else self.timesteps
            part = maps if static or not self.streaming else maps[start : start + 1]
            if self._events:
                yield IntegerMap(start, part, height, width)
            else:
                yield RealMap(start, steps, part, channels, height, width)

    def _check(self, source: NDArray[np.generic]) -> None:
        self._check_shape(source)
        if self._events and _few_counts(source):
            self._check_integers(int(source.max()))
            return
        if not np.isfinite(source).all():
            raise RecordingError("the input holds NaN or infinite values; mend the file")
        if self._events:
            if bool((np.less(source, 0) | (source != np.floor(source))).any()):
                raise RecordingError("the model takes event counts, but the input holds negative or fractional values")
            self._check_integers(int(source.max()))
            return
        largest = max(float(source.max()), -float(source.min()))
        if self._fraction is None and largest > float(np.finfo(self.dtype).max):
            raise RecordingError(f"the input holds {largest:g}, which {self.dtype.name} cannot; mend the file")

    def _fixed(self, source: NDArray[np.generic]) -> NDArray[np.int32]:
        """Return real values in units of 2^-f, which must fit into 16 bits."""
        assert self._fraction is not None
        units = source.astype(np.float64)
        units *= 2.0**self._fraction
        np.rint(units, out=units)
        if not max(units.max(), -units.min()) < LARGEST_FIXED:
            value = source.flat[int(np.abs(units).argmax())]
            raise RecordingError(
                f"the input holds {float(value):g}, but images of this integer network stay below "
                f"{LARGEST_FIXED >> self._fraction}; quantize it for such images, or run it with `precision=float32`"
            )
        return units.astype(np.int32)

    def _check_shape(self, source: NDArray[np.generic]) -> None:
        node = self.network.input
        size = (node.channels, node.height, node.width)
        if source.ndim not in ((4,) if self._framed else (3, 4)) or source.shape[-3:] != size:
            wanted = f"[{node.channels}, {node.height}, {node.width}]"
            kinds = f"frames [T, {wanted[1:]}" if self._framed else f"an image {wanted} or frames [T, {wanted[1:]}"
            raise RecordingError(f"the model takes {kinds}, but the input has shape {list(source.shape)}")
        if source.ndim == 4 and self._repeated:
            raise RecordingError(
                f"{self._repeated} runs once for all timesteps, so the model takes an image, but the input has shape "
                f"{list(source.shape)}"
            )
        if source.ndim == 4 and len(source) != self.timesteps:
            raise RecordingError(
                f"the input holds {len(source)} timesteps, the run has {self.timesteps}; "
                f"give `timesteps={len(source)}` to run as many"
            )

    def _check_integers(self, count: int) -> None:
        """Refuse event counts up to `count` if they would not stay exact: on an edge in int32, summed up in int64."""
        if count <= self._exact_up_to:  # no bound falls as counts rise
            return
        fault: type[EvsimError] = RecordingError if self._events else NetworkError
        bounds = largest_integers(self.network, count)
        for name, bound in bounds.items():
            if bound > LARGEST_COUNT:
                raise fault(f"counts reach {bound} at {name}; evsim counts exactly up to {LARGEST_COUNT}")
        for node in self.network.nodes:
            weight = node.parameters().get("weight")
            if weight and node.inputs[0] in bounds:
                *taps, _, outputs = weight
                shape = self.network.shapes[node.inputs[0]]
                inputs = self.timesteps * shape.positions * shape.channels
                if bounds[node.inputs[0]] * inputs * prod(taps) * outputs > LARGEST_SUM:
                    raise fault(
                        f"counts up to {bounds[node.inputs[0]]} give {node.name} more operations than {LARGEST_SUM}, "
                        "up to which evsim counts exactly"
                    )
        for work, row in rows(self.network):
            sources = self.network.node(work.name).inputs
            if row.kind != "attention" or len(sources) != 3 or sources[0] not in bounds:
                continue
            limit = min(LARGEST_PRODUCT, LARGEST_SUM // (self.timesteps * row.geometry.heads))
            greatest = [bounds[name] for name in sources]
            if _attended(row.geometry, *greatest) > limit:
                raise fault(
                    f"counts up to {max(greatest)} give a head of {work.name} more operations than {limit}, up to "
                    "which evsim counts exactly"
                )
        self._exact_up_to = count


def _attended(size: Geometry, q: int, k: int, v: int) -> int:
    """Return a bound of the accumulates of a head at a timestep, both products together, of integers so great."""
    width = size.value_dim or size.head_dim
    first = size.tokens * size.head_dim * max(k * v * width, q * k * size.tokens)
    return first + q * k * v * size.tokens**2 * size.head_dim * width


def check_timesteps(timesteps: int) -> None:
    """Refuse a T that cannot be run.

    Raises
    ------
    OptionError
        If it is below 1 or above `evsim.inputspec.LARGEST_TIMESTEPS`.
    """
    if timesteps < 1:
        raise OptionError(f"`timesteps` must be at least 1, got {timesteps}")
    if timesteps > LARGEST_TIMESTEPS:
        raise OptionError(f"`timesteps` must be at most {LARGEST_TIMESTEPS}, got {timesteps}")


def _few_counts(source: NDArray[np.generic]) -> bool:
    """Whether all values are counts of at most 255: what recordings hold; checked in a fraction of the time."""
    with np.errstate(invalid="ignore"):
        return bool((source.astype(np.uint8) == source).all())

"""The way into a stage: its packets are what was planned for, or it does not run.

Kernels trust shapes, types and memory order: some of what they load is not checked at all. So each step of a stage
looks at its packets first, once per packet and not per element. A packet that does not fit is a fault of a layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import NetworkError
from evsim.kernels.vector import padded
from evsim.network import Kind, Shape
from evsim.spikes import WORD, IntegerMap, Packet, RealMap, SpikeMap

KINDS: dict[type[Packet], Kind] = {SpikeMap: "spikes", IntegerMap: "integers", RealMap: "real"}
"""What a packet of a type holds."""

WORDS = np.dtype(np.uint64)


def check_entry(
    name: str, shapes: tuple[Shape, ...], packets: tuple[Packet, ...], dtype: np.dtype[np.floating]
) -> None:
    """Refuse packets that a stage was not planned for.

    Parameters
    ----------
    name
        The stage.
    shapes
        What its sources emit, one for each packet.
    packets
        What came.
    dtype
        Of real values.

    Raises
    ------
    NetworkError
        If a packet is of another kind, size or type, its memory has gaps, or packets are of different timesteps.
    """
    if len(packets) != len(shapes):
        raise NetworkError(f"{name} was planned for {len(shapes)} packets, but got {len(packets)}: a fault of evsim")
    first = packets[0]
    for shape, packet in zip(shapes, packets, strict=True):
        if fits(shape, packet, dtype) and (
            packet is first or (packet.start, packet.steps) == (first.start, first.steps)
        ):
            continue
        fault = _fault(shape, packet, dtype)
        if not fault and (packet.start, packet.steps) != (first.start, first.steps):
            fault = f"timesteps {packet.start} to {packet.start + packet.steps} beside {first.start} to {first.steps}"
        if fault:
            raise NetworkError(f"{name} was planned for {shape}, but got {fault}: a fault of the layer before it")


def fits(shape: Shape, packet: Packet, dtype: np.dtype[np.floating]) -> bool:
    """Whether nothing is wrong with a packet, at the first look: what does not fit so, `_fault` looks at again."""
    values: NDArray[np.generic]
    wanted: np.dtype[Any]
    if type(packet) is SpikeMap:
        values, wanted, kind, width = packet.words, WORDS, "spikes", -(-shape.channels // WORD)
    elif type(packet) is RealMap:
        values, wanted, kind, width = packet.values, dtype, "real", padded(shape.channels)
    else:
        return False
    return (
        shape.kind == kind
        and packet.channels == shape.channels
        and packet.height == shape.height
        and packet.width == shape.width
        and values.shape == (packet.steps, shape.height * shape.width, width)
        and values.dtype == wanted
        and values.size > 0
        and values.flags.c_contiguous
        and values.flags.aligned
    )


def _fault(shape: Shape, packet: Packet, dtype: np.dtype[np.floating]) -> str:
    """Say what is wrong with a packet; "" if nothing is."""
    kind = KINDS.get(type(packet))
    size = (packet.channels, packet.height, packet.width)
    if kind != shape.kind or size != (shape.channels, shape.height, shape.width):
        return f"{kind} {list(size)}"
    values: NDArray[np.generic]
    wanted: np.dtype[Any]
    widths: tuple[int, ...]
    if isinstance(packet, SpikeMap):
        values, wanted, widths = packet.words, np.dtype(np.uint64), (-(-shape.channels // WORD),)
    elif isinstance(packet, IntegerMap):
        values, wanted, widths = packet.values, np.dtype(np.int32), (shape.channels,)
    else:
        values, wanted, widths = packet.values, dtype, (shape.channels, padded(shape.channels))
    steps = values.shape[0] if values.ndim else 0
    if values.dtype != wanted:
        return f"values of {values.dtype}, not {wanted}"
    whole = steps == packet.steps or (isinstance(packet, RealMap) and steps == 1)
    if not whole or steps < 1 or values.shape[1:] not in [(shape.positions, width) for width in widths]:
        return f"an array {list(values.shape)} for {packet.steps} timesteps"
    return "" if values.flags.c_contiguous and values.flags.aligned else "an array with gaps"

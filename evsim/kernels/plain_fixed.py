"""Plain twins of the intrinsics of `evsim.kernels.fixed`, as `evsim.kernels.plain` has those of `vector`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.signedinteger]


def put_currents(
    out: Ints, out_at: int, sums: Ints, at: int, bias: int, factor: Ints, offset: Ints, channel: int, stream: Ints,
    stream_at: int, added: bool, lanes: int,
) -> None:  # fmt: skip
    """Store the currents of sums of pairs, plus a stream where `added`."""
    half = lanes // 2
    first, second = sums[at : at + half].astype(np.int64), sums[at + half : at + lanes].astype(np.int64)
    shift = 4 * sums.itemsize
    alone = (first - (second << shift) - int(bias)).astype(sums.dtype)
    total = np.concatenate([alone, second.astype(sums.dtype)]).astype(np.int64)
    own = slice(channel, channel + lanes)
    x = total * factor[own] + offset[own]
    if added:
        x = x + stream[stream_at : stream_at + lanes]
    out[out_at : out_at + lanes] = x.astype(np.int32)


def put_products(
    out: Ints, out_at: int, sums: Ints, at: int, fraction: int, factor: Ints, offset: Ints, channel: int, lanes: int
) -> None:
    """Store the currents of plain sums of products with fixed-point inputs."""
    own = slice(channel, channel + lanes)
    product = sums[at : at + lanes].astype(np.int64) * factor[own].astype(np.int64)
    out[out_at : out_at + lanes] = ((product >> int(fraction)) + offset[own]).astype(np.int32)


def integer_step(
    current: Ints, at: int, potential: Ints, own: int, rest: bool, kind: int, rate: int, thresholds: Ints,
    resets: Ints, channel: int, soft: bool,
) -> np.uint64:  # fmt: skip
    """Advance 64 neurons by one timestep and return their spikes as bits."""
    v = np.zeros(64, np.int64) if rest else potential[own : own + 64].astype(np.int64)
    x = current[at : at + 64].astype(np.int64)
    if kind == 0:
        v = v + ((x - v) >> 1)
    elif kind == 1:
        v = v + ((x - v) * int(rate) >> 15)
    else:
        v = (v * int(rate) >> 15) + x
    fired = v >= thresholds[channel : channel + 64]
    v[fired] = (v - resets[channel : channel + 64])[fired] if soft else 0
    potential[own : own + 64] = v.astype(np.int32)
    return np.uint64(int.from_bytes(np.packbits(fired, bitorder="little").tobytes(), "little"))

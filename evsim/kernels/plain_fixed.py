"""Plain twins of the intrinsics of `evsim.kernels.fixed`, as `evsim.kernels.plain` has those of `vector`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.plain import add_rows

Ints = NDArray[Any]


def add_octet(
    sums: Ints, at: int, low: int, high: int, fresh: bool, rows: Ints, base: int, index: NDArray[np.uint8],
    starts: NDArray[np.uint32], s: int, more: int, lanes: int,
) -> None:  # fmt: skip
    """Add the rows of pairs that an octet's fifteen lists name to the sums of positions ``low .. high - 1``."""
    for position in range(low, high):
        kinds = [0, 1 + position // 4, 3 + position // 2, 7 + position]
        place = at + position * lanes
        for kind in kinds:
            edges = s + kind
            add_rows(
                sums, place, fresh and kind == 0, rows, base, index, None, int(starts[edges]),
                int(starts[edges + more]), lanes,
            )  # fmt: skip


def put_octet_bits(index: NDArray[np.uint8], at: int, roomy: bool, word: np.uint64, offset: int) -> None:  # noqa: ARG001
    """Write the numbers of a word's set bits; none behind them."""
    bits = [bit for bit in range(64) if int(word) >> bit & 1]
    index[at : at + len(bits)] = np.array(bits, np.uint8) + np.uint8(offset)


def put_half_bits(index: NDArray[np.uint16], at: int, word: np.uint64, offset: int) -> None:
    """Write the numbers of the low 32 bits that are set; none behind them."""
    bits = [bit + offset for bit in range(32) if int(word) >> bit & 1]
    index[at : at + len(bits)] = np.array(bits, np.uint16)


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


def fire_pairs(
    sums: Ints, at: int, bias: int, factor: Ints, offset: Ints, channel: int, potential: Ints, own: int, rest: bool,
    kind: int, rate: int, threshold: int, words: NDArray[np.uint16], word: int, lanes: int,
) -> None:  # fmt: skip
    """Advance a block's neurons of one threshold on sums of pairs, and store their spikes, 16 at a time."""
    current = np.empty(lanes, np.int32)
    put_currents(current, 0, sums, at, bias, factor, offset, channel, current, 0, False, lanes)
    thresholds = np.full(64, threshold, np.int32)
    for i in range(0, lanes, 64):
        bits = integer_step(current, i, potential, own + i, rest, kind, rate, thresholds, thresholds, 0, False)
        for k in range(4):
            words[word + i // 16 + k] = np.uint16(int(bits) >> 16 * k & 0xFFFF)


def fire_sums(
    sums: Ints, at: int, count: int, apart: int, factor: Ints, offset: Ints, channel: int, potential: Ints, own: int,
    along: int, rest: bool, kind: int, rate: int, threshold: int, words: NDArray[np.uint16], word: int, further: int,
) -> None:  # fmt: skip
    """Advance 32 neurons of one threshold at each of some positions by their sums, which are 0 then."""
    thresholds, outputs = np.full(64, threshold, np.int32), slice(channel, channel + 32)
    for i in range(count):
        total, v = sums[at + i * apart :][:32], potential[own + i * along :][:32]
        current, potentials = np.zeros(64, np.int32), np.zeros(64, np.int32)
        current[:32] = (total.astype(np.int64) * factor[outputs] + offset[outputs]).astype(np.int32)
        potentials[:32] = v
        bits = integer_step(current, 0, potentials, 0, rest, kind, rate, thresholds, thresholds, 0, False)
        v[:], total[:] = potentials[:32], 0
        for k in range(2):
            words[word + i * further + k] = np.uint16(int(bits) >> 16 * k & 0xFFFF)


def multiply_window(
    sums: Ints, at: int, weights: Ints, base: int, inputs: Ints, start: int, row: int, rows: int, pairs: int, step: int
) -> None:
    """Sum up the windows of four outputs side by side, of pairs of inputs, for 64 channels."""
    for i in range(4):
        total = np.zeros(64, np.int64)
        for r in range(rows):
            for k in range(2 * pairs):
                here = base + (r * pairs + k // 2) * 128 + k % 2
                total += int(inputs[start + i * step + r * row + k]) * weights[here : here + 128 : 2].astype(np.int64)
        sums[at + 64 * i : at + 64 * i + 64] = total


def fire_static(
    current: Ints,
    at: int,
    kind: int,
    rate: int,
    threshold: int,
    words: NDArray[np.uint16],
    word: int,
    step: int,
    steps: int,
) -> None:
    """Advance 64 neurons of one threshold by all timesteps of a current that stays the same."""
    potential, thresholds = np.zeros(64, np.int32), np.full(64, threshold, np.int32)
    for t in range(steps):
        bits = integer_step(current, at, potential, 0, t == 0, kind, rate, thresholds, thresholds, 0, False)
        for k in range(4):
            words[word + t * step + k] = np.uint16(int(bits) >> 16 * k & 0xFFFF)


def widen_pairs(wide: Ints, to: int, sums: Ints, at: int, bias: int, fresh: bool, lanes: int) -> None:
    """Add sums of pairs to int32, or store them where `fresh`."""
    current, ones = np.empty(lanes, np.int32), np.ones(lanes, np.int32)
    put_currents(current, 0, sums, at, bias, ones, np.zeros(lanes, np.int32), 0, current, 0, False, lanes)
    wide[to : to + lanes] = current if fresh else wide[to : to + lanes] + current


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
    elif kind < 3:
        v = v + ((x - v) * int(rate) >> 15)
    else:
        v = (v * int(rate) >> 15) + x
    fired = v >= thresholds[channel : channel + 64]
    v[fired] = (v - resets[channel : channel + 64])[fired] if soft else 0
    potential[own : own + 64] = v.astype(np.int32)
    return np.uint64(int.from_bytes(np.packbits(fired, bitorder="little").tobytes(), "little"))

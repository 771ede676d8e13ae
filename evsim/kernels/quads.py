"""Synapses of spikes in float32 where neighbours share sums: what four positions have in common is added up once.

Neighbouring positions of a spike map fire in much the same channels. So positions are taken in *quads*, four side by
side in a row of the map, and the active channels of a quad are cut into seven lists: those of all four, those of both
of the first pair, of the second pair, and the rest of each of the four. No list is written: each is two words of bits,
whose set ones are taken one after the other while the sums are in registers. With `+` over weight rows in ascending
channels, an output gets, for each tap and tile of 128 input channels,

    sums + ((all four) + (its pair)) + (its rest)

which takes 40 to 60 % of the additions that its synaptic operations would, where a third of the channels fires.
Operations are counted from the spikes, as they are defined, not from what is added here. A quad is a matter of one
timestep and one row: no result depends on schedule, threads or vector width. Sums in float64 are not shared: there
each output adds its rows one by one (`evsim.kernels.synapses`, which also tells how loops and memory are laid out).

Integers share as spikes do, bit by bit: plane b of a map of integers is the spike map of their bits of weight 2^b. The
planes are summed up from the highest down, and between two of them all sums are doubled, which rounds nothing. A plane
without bits leaves the sums as they are, so a result does not depend on how many there are.

At stride 2 the outputs side by side read every second input. So a line of the map is cut into its even columns and its
odd ones, each a line of its own: a tap reads one of them, at stride 1.

What costs more than the additions is where a processor guesses wrong, at the ends of lists. It learns them where the
same quads come again soon, by the branches that it went through before; each other branch on the way makes that harder.
So in a run of quads nothing else is decided, and bands are small where taps and blocks of outputs follow each other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.lists import TILE_WORDS
from evsim.kernels.neuron import Unit
from evsim.kernels.synapses import (
    Sink,
    Size,
    after,
    clear,
    drain,
    group_of,
    line_of,
    pace_of,
    rows_of,
    run_of,
    scratch_of,
    unit_of,
)
from evsim.kernels.word_rows import add_quad, add_quads

QUAD = 4
"""Positions that share."""

ROOM = 16
"""Words of a quad and tile: two of each of the seven lists (of all four, of the first pair, of the second pair, of
each position alone), one that says whether there are any, and one unused: so a quad lies on cache lines of its own."""

ANY = 14
"""The word that is 0 where no position of a quad has a spike."""

ZERO = np.uint64(0)


class Quads(NamedTuple):
    """What a layer reads: the words of its input's quads [quads * ROOM], and its packed weights."""

    parts: NDArray[np.uint64]
    weights: NDArray[Any]


def quads_of(rows: int, width: int, words: int) -> int:
    """Return the number of quads of a map with `rows` lines of `width` positions, for all its tiles."""
    return -(-words // TILE_WORDS) * rows * -(-width // QUAD)


@kernel
def cut_quads(first: int, last: int, words: NDArray[np.uint64], width: int, parts: NDArray[np.uint64]) -> None:
    """Cut quads ``first .. last - 1`` into their lists: words [rows * width, W], parts [quads * ROOM].

    Quad (k * rows + row) * ceil(width / 4) + j holds, of tile k, the positions from 4 j on of a row.
    """
    quads = -(-width // QUAD)
    rows, step = words.shape[0] // width, words.shape[1]
    flat = words.reshape(-1)
    quad = first
    while quad < last:  # row by row of the map, so that nothing is divided per quad
        row, begin = quad // quads, quad % quads
        tile = row // rows * TILE_WORDS
        count = min(TILE_WORDS, step - tile)
        at = (row % rows * width + begin * QUAD) * step + tile
        for place in range(begin, min(quads, begin + last - quad)):
            s = np.uint64(quad * ROOM)
            if count < TILE_WORDS:  # the last tile has one word
                parts[s : s + np.uint64(ROOM)] = ZERO
            whole = place * QUAD + QUAD <= width
            some = ZERO
            for w in range(count):
                p, o = np.uint64(at + w), np.uint64(step)
                a, b, c, d = flat[p], ZERO, ZERO, ZERO
                if whole:
                    b, c, d = flat[p + o], flat[p + o + o], flat[p + o + o + o]
                else:
                    if place * QUAD + 1 < width:
                        b = flat[p + o]
                    if place * QUAD + 2 < width:
                        c = flat[p + o + o]
                some |= a | b | c | d
                _cut(a, b, c, d, parts, s + np.uint64(w))
            parts[s + np.uint64(ANY)] = some
            at += QUAD * step
            quad += 1


@inner
def _cut(a: np.uint64, b: np.uint64, c: np.uint64, d: np.uint64, parts: NDArray[np.uint64], s: np.uint64) -> None:
    """Cut a word of four positions into those of their lists: every second word of `parts` from s on."""
    left, right = a & b, c & d
    every = left & right
    lists = every, left & ~every, right & ~every, a & ~left, b & ~left, c & ~right, d & ~right
    for i in range(len(lists)):
        parts[s + np.uint64(TILE_WORDS * i)] = lists[i]


@kernel
def synapses_of_quads(
    first: int, last: int, seat: int, size: Size, lists: Quads, scratch: NDArray[np.floating], sink: Sink
) -> None:
    """Run units ``first .. last - 1`` of a layer on lists of quads; scratch [threads * steps * band * block].

    Segments are ordered by (tile, plane from the highest down, group, timestep, row, column modulo stride, quad).
    """
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather_quads(size, lists, scratch, unit)
        drain(size, sink, scratch, unit)


@inner
def gather_quads(size: Size, lists: Quads, scratch: NDArray[np.generic], unit: Unit) -> None:
    """Sum up a unit [steps, end - begin, lanes] from lists of quads."""
    parts, weights = lists  # taken out once: reference counts stay out of the loop
    taps = size.kernel_height * size.kernel_width
    tiles = -(-size.in_channels // size.tile)
    stride = size.stride_width
    may_skip = size.planes > 1  # high bits are rare
    quads = -(-size.in_width // (QUAD * stride))
    _, lanes, begin, end, _ = unit
    span = (end - begin) * lanes
    line_size = line_of(weights)
    pace = pace_of(size, unit, QUAD, line_size)
    group = group_of(size, unit)
    for plane in range(size.planes):
        if plane > 0:
            for k in range(size.steps * span):
                scratch[k] += scratch[k]
        for tap in range(taps):
            offset = tap % size.kernel_width * size.dilation_width - size.pad_width
            shift = offset // stride
            turn = offset - shift * stride
            for tile in range(tiles):
                row, ahead = rows_of(size, unit, tap, tile)
                fresh, both = plane + tap + tile == 0, size.in_channels - tile * size.tile > 64
                maps = ((tile * size.planes + plane) * size.groups + group) * size.steps
                for y in range(begin // size.out_width, (end - 1) // size.out_width + 1):
                    left, right, source = run_of(size, unit, y, tap)
                    if fresh:
                        clear(size, scratch, unit, y, left, right)
                    if left == right:
                        continue
                    line = (maps * size.in_height + source // size.in_width) * stride + turn
                    first, last = (left + shift) // QUAD, (right - 1 + shift) // QUAD
                    at = (y * size.out_width + first * QUAD - shift - begin) * lanes
                    low, high = left + shift - first * QUAD, right + shift - last * QUAD
                    for t in range(size.steps):
                        s = ((line + t * size.in_height * stride) * quads + first) * ROOM
                        run = Run(at + t * span, s, last - first, low, high)
                        if may_skip and not fresh and _few(parts, run):
                            _add_some(parts, weights, scratch, run, row, lanes)
                        else:
                            _add_run(parts, weights, scratch, run, fresh, row, both, lanes, ahead, pace)
                            ahead += (last - first + 1) * pace * line_size


class Run(NamedTuple):
    """Quads side by side in a row: where the first one's sums and words lie, and how many follow it.

    Of the first one, positions from `low` on count; of the last one, those before `high`.
    """

    at: int
    s: int
    more: int
    low: int
    high: int


@inner
def _add_run(
    parts: NDArray[np.uint64],
    weights: NDArray[Any],
    sums: NDArray[Any],
    run: Run,
    fresh: bool,
    row: int,
    both: bool,
    lanes: int,
    ahead: int,
    pace: int,
) -> None:
    """Add up a run of quads, those of which all positions count without a further decision."""
    at, s, more, low, high = run
    if more == 0 and high - low < QUAD:
        add_quad(sums, at, low, high, fresh, weights, row, parts, s, lanes)
        return
    first, last = int(low > 0), more + int(high == QUAD)
    if first > 0:
        add_quad(sums, at, low, QUAD, fresh, weights, row, parts, s, lanes)
    step = QUAD * lanes
    if last > first:
        begin = s + first * ROOM
        add_quads(
            sums, at + first * step, last - first, fresh, weights, row, parts, begin, ROOM, both, lanes, ahead, pace
        )
    if last <= more:
        add_quad(sums, at + more * step, 0, high, fresh, weights, row, parts, s + more * ROOM, lanes)


@inner
def _few(parts: NDArray[np.uint64], run: Run) -> bool:
    """Return whether three of four quads of a run have no spike: then each of the others is worth a branch."""
    count, s = 0, np.uint64(run.s + ANY)
    for _ in range(run.more + 1):
        count += int(parts[s] != ZERO)
        s += np.uint64(ROOM)
    return 4 * count <= run.more + 1


@inner
def _add_some(
    parts: NDArray[np.uint64], weights: NDArray[Any], sums: NDArray[Any], run: Run, row: int, lanes: int
) -> None:
    """Add up those quads of a run that have any spike."""
    at, s, more, low, high = run
    for i in range(more + 1):
        if parts[np.uint64(s + ANY)] != ZERO:
            end = high if i == more else QUAD
            add_quad(sums, at, low if i == 0 else 0, end, False, weights, row, parts, s, lanes)
        at += QUAD * lanes
        s += ROOM

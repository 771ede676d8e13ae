"""Convolution and linear layers: for every active input, add its row of weights to the outputs it reaches.

The idea is to *gather*: an output position collects the weight rows of the active inputs that reach it while its sums
(a block of 64 float32 or 32 float64 output channels, 256 bytes) stay in registers. Scattering each input's row to all
its outputs would load and store the sums once per spike and end at a third of the speed.

Weights are packed ``[block][tap * C_in][lanes]``, so one row is one run of 256 bytes. The loops run
block -> band of output positions -> tap -> tile of input channels -> timestep -> position. A tile of weights (128
channels, 32 KB) stays in the L1 cache while all positions and timesteps of the band use it; the band's partial sums
(about 250 KB) wait in the L2 cache. The lists of active channels are those of the input positions: a tap reads its
neighbour's list, no patch is ever copied, and taps outside the map are loop bounds. Where a whole row of a 3 x 3
window fits into the L1 cache (few input channels), its three taps are *joined*: the lists of neighbouring positions
lie side by side, so one run of entries ``x % 3 * C_in + c`` serves all three, against weight rows turned to match.

What a layer does with its finished sums is its *sink*: store them as real values (plus the residual stream), or drive
LIF neurons at once, so that the membrane currents never leave the cache. The sums of the first tile begin in
registers, at zero. Each output adds in the order (tap, channel), whatever the tile, band, schedule or number of
threads: results do not depend on them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import inner, kernel
from evsim.kernels.neuron import Neurons, Unit, fire
from evsim.kernels.vector import LINE, add_maps, add_rows, add_scaled_run, prefetch
from evsim.kernels.windows import add_scaled_runs


class Size(NamedTuple):
    """Geometry of one call: `out_channels` padded to 32; `block` lanes; `band` positions, whole `grains` of them.

    `steps` timesteps come in; where neurons are driven, each stands for `repeats` (a static image for all of them).
    `in_channels` are those of one of `groups`, each of which makes as many output channels, whole blocks of them.
    Integers come as `planes` of bits, see `evsim.kernels.quads`. Units go block by block or, where `by_bands`, through
    all blocks of a band before the next: what a band reads is then read again while a processor still foresees it.
    """

    steps: int
    repeats: int
    in_channels: int
    in_height: int
    in_width: int
    out_channels: int
    out_height: int
    out_width: int
    kernel_height: int
    kernel_width: int
    stride_height: int
    stride_width: int
    pad_height: int
    pad_width: int
    dilation_height: int
    dilation_width: int
    tile: int
    block: int
    band: int
    grain: int
    joined: bool
    groups: int
    planes: int
    by_bands: bool = False


class Sink(NamedTuple):
    """Where sums go: into `neurons` if there are any, else into `real`. Unused arrays have size 0.

    shift [C]: bias and BatchNorm shift. residual [T * P * C]: stream to add. real [T * P * C]: output.
    """

    shift: NDArray[np.floating]
    residual: NDArray[np.floating]
    real: NDArray[np.floating]
    neurons: Neurons


def units(size: Size) -> int:
    """Return the number of work units (block, grain) of a call: the range of `first` and `last`."""
    positions = size.out_height * size.out_width
    return -(-size.out_channels // size.block) * -(-positions // size.grain)


class Lists(NamedTuple):
    """What a layer reads: lists of active channels (see `Segments`), and its packed weights."""

    entries: NDArray[np.uint16]
    starts: NDArray[np.int64]
    values: NDArray[Any] | None
    weights: NDArray[Any]


@kernel
def synapses(
    first: int, last: int, seat: int, size: Size, lists: Lists, scratch: NDArray[np.floating], sink: Sink
) -> None:
    """Run units ``first .. last - 1`` on lists of active channels; scratch [threads * steps * band * block].

    One addition per spike and output reached; where entries have values, one multiplication and one addition.
    """
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather(size, lists, scratch, unit)
        drain(size, sink, scratch, unit)


@inner
def gather(size: Size, lists: Lists, scratch: NDArray[np.generic], unit: Unit) -> None:
    """Sum up a unit [steps, end - begin, lanes] from lists of active channels."""
    if size.joined:
        _gather_joined(size, lists, scratch, unit)
        return
    in_positions = size.in_height * size.in_width
    taps = size.kernel_height * size.kernel_width
    tiles = -(-size.in_channels // size.tile)
    _, lanes, begin, end, _ = unit
    span = (end - begin) * lanes
    group = group_of(size, unit)
    line = line_of(lists.weights)
    pace = pace_of(size, unit, 1, line)
    pace += pace == 3
    for tap in range(taps):
        for tile in range(tiles):
            row, ahead = rows_of(size, unit, tap, tile)
            fresh = tap + tile == 0
            for y in range(begin // size.out_width, (end - 1) // size.out_width + 1):
                left, right, source = run_of(size, unit, y, tap)
                if fresh:
                    clear(size, scratch, unit, y, left, right)
                for t in range(size.steps):
                    s = ((tile * size.groups + group) * size.steps + t) * in_positions + source
                    at = t * span + (y * size.out_width + left - begin) * lanes
                    count = right - left
                    _gather(lists, scratch, at, fresh, row, s, size.stride_width, count, lanes, ahead, pace)
                    ahead += count * pace * line


@inner
def _gather(
    lists: Lists,
    sums: NDArray[np.floating],
    at: int,
    fresh: bool,
    row: int,
    first: int,
    stride: int,
    count: int,
    lanes: int,
    ahead: int,
    pace: int,
) -> None:
    """Add to `count` neighbouring sums the weight rows that segments ``first, first + stride, ..`` name.

    With each, ask for `pace` cache lines of weights from `ahead` on, other than 3.
    """
    index, starts, values, weights = lists
    line = line_of(weights)
    s = np.uint64(first)
    if pace == 0:
        for _ in range(count):
            add_rows(sums, at, fresh, weights, row, index, values, starts[s], starts[s + np.uint64(1)], lanes)
            s += np.uint64(stride)
            at += lanes
        return
    for _ in range(count):
        prefetch(weights, ahead)
        if pace > 1:
            prefetch(weights, ahead + line)
            if pace > 2:
                prefetch(weights, ahead + 2 * line)
                prefetch(weights, ahead + 3 * line)
                for more in range(4, pace):
                    prefetch(weights, ahead + more * line)
        ahead += pace * line
        add_rows(sums, at, fresh, weights, row, index, values, starts[s], starts[s + np.uint64(1)], lanes)
        s += np.uint64(stride)
        at += lanes


@inner
def _gather_joined(size: Size, lists: Lists, scratch: NDArray[np.floating], unit: Unit) -> None:
    """Gather a unit of a convolution of width 3, stride 1 and padding 1, a row of the window at a time.

    Weights are packed ``[block][ky][5 * C_in][lanes]`` with the taps 0 1 2 0 1 of each row: wherever an output lies,
    some three of them follow each other in the order in which the entries of its neighbours are numbered.
    """
    index, starts, values, weights = lists
    channel, lanes, begin, end, _ = unit
    width = size.in_width
    in_positions = size.in_height * width
    extent = size.in_channels * lanes
    for ky in range(size.kernel_height):
        row = (channel * size.kernel_height + lanes * ky) * 5 * size.in_channels
        fresh = ky == 0
        for t in range(size.steps):
            for y in range(begin // width, (end - 1) // width + 1):
                source_y = y * size.stride_height - size.pad_height + ky
                left, right = max(0, begin - y * width), min(width, end - y * width)
                if source_y < 0 or source_y >= size.in_height:
                    if fresh:
                        clear(size, scratch, unit, y, left, left)
                    continue
                s = t * in_positions + source_y * width
                at = (t * (end - begin) + y * width + left - begin) * lanes
                turn = left % 3
                for x in range(left, right):
                    start = starts[np.uint64(s + max(0, x - 1))]
                    stop = starts[np.uint64(s + min(width, x + 2))]
                    turned = row + (1 - turn if turn < 2 else 2) * extent
                    add_rows(scratch, at, fresh, weights, turned, index, values, start, stop, lanes)
                    turn = turn + 1 if turn < 2 else 0
                    at += lanes


@inner
def clear(size: Size, scratch: NDArray[np.floating], unit: Unit, y: int, left: int, right: int) -> None:
    """Set to zero the sums of the unit's outputs in row y outside columns ``left .. right - 1``."""
    _, lanes, begin, end, _ = unit
    first, last = max(y * size.out_width, begin) - begin, min((y + 1) * size.out_width, end) - begin
    inner, outer = y * size.out_width + left - begin, y * size.out_width + right - begin
    for t in range(size.steps):
        at = t * (end - begin)
        scratch[(at + first) * lanes : (at + inner) * lanes] = 0.0
        scratch[(at + outer) * lanes : (at + last) * lanes] = 0.0


@kernel
def synapses_of_reals(
    first: int,
    last: int,
    seat: int,
    size: Size,
    inputs: NDArray[np.floating],
    weights: NDArray[np.floating],
    scratch: NDArray[np.floating],
    sink: Sink,
) -> None:
    """Run units on real values [T * P * C_in] (an image, the readout's mean): dense, one MAC per input and output.

    The inputs that one row of the window covers lie side by side, and so do their weight rows: no list is needed. Four
    outputs side by side load each row once, where the window lies within the map.
    """
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        multiply(size, inputs, weights, scratch, unit)
        drain(size, sink, scratch, unit)


@inner
def multiply(
    size: Size, inputs: NDArray[np.generic], weights: NDArray[np.generic], scratch: NDArray[np.generic], unit: Unit
) -> None:
    """Sum up a unit [steps, end - begin, lanes] from real values."""
    taps = size.kernel_height * size.kernel_width
    step = size.stride_width * size.in_channels
    channel, lanes, begin, end, _ = unit
    scratch[: size.steps * (end - begin) * lanes] = 0.0
    at = 0
    for t in range(size.steps):
        p = begin
        while p < end:
            y = p // size.out_width * size.stride_height - size.pad_height
            column = p % size.out_width
            x = column * size.stride_width - size.pad_width
            left = max(0, -x)
            right = min(size.kernel_width, size.in_width - x)
            together = 4 if size.dilation_width == 1 and p + 4 <= end and column + 4 <= size.out_width else 1
            if left > 0 or x + 3 * size.stride_width + size.kernel_width > size.in_width:
                together = 1
            for ky in range(size.kernel_height):
                source_y = y + ky * size.dilation_height
                if source_y < 0 or source_y >= size.in_height:
                    continue
                line = (t * size.in_height + source_y) * size.in_width + x
                if size.dilation_width == 1:
                    row = (channel * taps + lanes * (ky * size.kernel_width + left)) * size.in_channels
                    start = (line + left) * size.in_channels
                    stop = start + (right - left) * size.in_channels
                    if together > 1:
                        add_scaled_runs(scratch, at, weights, row, inputs, start, stop, step, lanes)
                    else:
                        add_scaled_run(scratch, at, weights, row, inputs, start, stop, lanes)
                    continue
                for kx in range(size.kernel_width):  # taps apart: each is a run of its own
                    source_x = kx * size.dilation_width
                    if x + source_x < 0 or x + source_x >= size.in_width:
                        continue
                    row = (channel * taps + lanes * (ky * size.kernel_width + kx)) * size.in_channels
                    start = (line + source_x) * size.in_channels
                    add_scaled_run(scratch, at, weights, row, inputs, start, start + size.in_channels, lanes)
            at += together * lanes
            p += together


@inner
def scratch_of(size: Size, scratch: NDArray[Any], seat: int) -> NDArray[Any]:
    """Return the working memory of a seat."""
    return scratch[seat * size.steps * size.band * size.block :][: size.steps * size.band * size.block]


@inner
def unit_of(size: Size, i: int, last: int, seat: int) -> Unit:
    """Return what is worked on at once from unit i of a call on: of its block a band, if there are as many units."""
    positions = size.out_height * size.out_width
    grains = -(-positions // size.grain)
    block, first, stop = i // grains, i % grains * size.grain, positions
    if size.by_bands:
        most = size.band // size.grain
        row = most * -(-size.out_channels // size.block)
        band = i // row
        most = min(most, grains - band * most)  # the last band may be shorter
        block, first = i % row // most, band * size.band + i % row % most * size.grain
        stop = min(positions, (band + 1) * size.band)
    channel, end = block * size.block, min(first + size.band, first + (last - i) * size.grain, stop)
    return Unit(channel, min(size.block, size.out_channels - channel), first, end, seat)


@inner
def after(size: Size, i: int, unit: Unit) -> int:
    """Return the unit of a call that follows those worked on from unit i on."""
    return i + -(-(unit.end - unit.begin) // size.grain)


@inner
def group_of(size: Size, unit: Unit) -> int:
    """Return the group whose inputs reach a unit's outputs."""
    return unit.channel // (size.out_channels // size.groups)


@inner
def line_of(array: NDArray[np.generic]) -> int:
    """Return the elements of a cache line."""
    return LINE // array.itemsize


@inner
def pace_of(size: Size, unit: Unit, together: int, line: int) -> int:
    """How many cache lines of weights to ask for with each visit of `together` positions, 0 past a block's first band.

    What comes from afar is asked for while the tile before it is at work; the other bands find it in the L2 cache.
    """
    if unit.begin > 0:
        return 0
    return together * (size.tile * unit.lanes // line) // (size.steps * (unit.end - unit.begin)) + 1


@inner
def rows_of(size: Size, unit: Unit, tap: int, tile: int) -> tuple[int, int]:
    """Where the weight rows of a tile begin and end, in elements."""
    lanes = unit.lanes
    taps = size.kernel_height * size.kernel_width
    row = (unit.channel * taps + lanes * tap) * size.in_channels + lanes * tile * size.tile
    return row, row + lanes * min(size.tile, size.in_channels - tile * size.tile)


@inner
def run_of(size: Size, unit: Unit, y: int, tap: int) -> tuple[int, int, int]:
    """Columns ``left .. right - 1`` of output row y that lie in the unit and see an input at `tap`, and which first.

    Where none does, left = right = the first column in the unit.
    """
    source_y = y * size.stride_height - size.pad_height + tap // size.kernel_width * size.dilation_height
    shift = tap % size.kernel_width * size.dilation_width - size.pad_width
    edge = max(0, unit.begin - y * size.out_width)
    left = max(edge, -(shift // size.stride_width))
    right = min(size.out_width, unit.end - y * size.out_width, (size.in_width - 1 - shift) // size.stride_width + 1)
    if source_y < 0 or source_y >= size.in_height or right <= left:
        return edge, edge, 0
    return left, right, source_y * size.in_width + left * size.stride_width + shift


@inner
def drain(size: Size, sink: Sink, scratch: NDArray[np.floating], unit: Unit) -> None:
    """Empty a unit's sums [steps, end - begin, lanes] into the sink."""
    channel, lanes, begin, end, _ = unit
    channels, positions = size.out_channels, size.out_height * size.out_width
    if sink.neurons.words.size > 0:
        strides = ((end - begin) * lanes if size.steps > 1 else 0, lanes)
        fire(sink.neurons, scratch, strides, sink.shift, unit, channels, size.steps * size.repeats, positions)
        return
    added = sink.residual.size > 0
    soon = 16 * channels  # positions lie far apart in memory, where no hardware prefetcher follows
    at = 0
    for t in range(size.steps):
        to = (t * positions + begin) * channels + channel
        for _ in range(begin, end):
            for line in range(0, lanes, line_of(sink.real)):
                prefetch(sink.real, to + soon + line)
                if added:
                    prefetch(sink.residual, to + soon + line)
            add_maps(sink.real, to, scratch, at, sink.shift, channel, sink.residual, to, added, lanes)
            to += channels
            at += lanes

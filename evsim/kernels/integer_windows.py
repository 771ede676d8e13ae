"""Convolutions of few input channels in integer networks: spikes from their words, frames of events event by event.

Only what is not 0 is looked at and added, as `evsim.kernels.words` and `evsim.kernels.frames` do it with floats; here
sums are those of pairs (`evsim.kernels.emit.row_of`), and neurons are driven while these are in the cache.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evsim.kernels.compiling import kernel
from evsim.kernels.frames import Events, scatter
from evsim.kernels.integer_synapses import IntegerSink, drain_pairs
from evsim.kernels.synapses import Size, after, scratch_of, unit_of
from evsim.kernels.words import Words, gather_windows


@kernel
def integer_synapses_of_windows(
    first: int,
    last: int,
    seat: int,
    size: Size,
    reads: Words,
    scratch: NDArray[np.signedinteger],
    sink: IntegerSink,
) -> None:
    """Run units on spikes of up to 64 channels, whose windows are three wide, at stride 1 and with padding 1.

    Weights are pairs, of taps that are joined.
    """
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        gather_windows(size, reads, scratch, unit)
        drain_pairs(size, sink, scratch, unit)


@kernel
def integer_synapses_of_events(
    first: int,
    last: int,
    seat: int,
    size: Size,
    reads: Events,
    scratch: NDArray[np.signedinteger],
    sink: IntegerSink,
) -> None:
    """Run units on integers few of which are not 0, with windows and weights as `integer_synapses_of_windows`."""
    scratch = scratch_of(size, scratch, seat)
    while first < last:
        unit = unit_of(size, first, last, seat)
        first = after(size, first, unit)
        scatter(size, reads, scratch, unit)
        drain_pairs(size, sink, scratch, unit)

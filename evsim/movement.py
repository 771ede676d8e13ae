"""What moved in a layer: the figures behind energy models of memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Traffic:
    """What moved in one layer, for energy models of memory. int64 [T] or [T, heads]; None where meaningless.

    Gathered by `evsim.traffic` on request only. Attributes named ``greatest_*`` and `peak_events` are maxima over
    samples, all others are sums.

    Attributes
    ----------
    run_length_bits
        Bits of the input's zero runs, one run per nonzero value, in Elias gamma code; LIF: of its output. For
        attention: of q, k and v together. Values of integers are not in it.
    least_bits
        Bits of the input in the cheapest of bitmap, address list and run lengths, chosen anew at each timestep.
    greatest_value
        Greatest input value (1 for spikes, if any; 0 for real values).
    greatest_sum
        Conv, linear: the greatest number of accumulates (value-many, for integers) into one output. Attention: the
        greatest integer that leaves it.
    peak_events
        The most nonzero inputs in one timestep.
    rows_touched
        Conv, linear: distinct weight rows (the weights of one tap and input channel, to all output channels) that a
        nonzero input needs.
    rows_touched_once
        The same over all timesteps of a sample: rows needed at least once.
    neurons_touched
        Conv, linear: outputs that a nonzero input reaches. LIF: neurons that a nonzero current or a synaptic
        operation of the layer before reaches.
    kv_coincidences, qk_coincidences
        Attention: writes into the buffer of k^T v, of q k^T.
    kv_greatest, qk_greatest
        Attention: the greatest entry of k^T v, of q k^T.
    qk_entries
        Attention: nonzero entries of q k^T.
    """

    run_length_bits: Ints
    least_bits: Ints
    greatest_value: Ints
    peak_events: int
    greatest_sum: Ints | None = None
    rows_touched: Ints | None = None
    rows_touched_once: int | None = None
    neurons_touched: Ints | None = None
    kv_coincidences: Ints | None = None
    qk_coincidences: Ints | None = None
    kv_greatest: Ints | None = None
    qk_greatest: Ints | None = None
    qk_entries: Ints | None = None


def is_maximum(name: str) -> bool:
    """Whether an attribute of `Traffic` is a maximum over samples, not a sum."""
    return name.startswith(("greatest", "peak")) or name.endswith("greatest")

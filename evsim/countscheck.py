"""Whether counts from a file can be those of any run: what no run gives is damaged or made up, and is not charged."""

from __future__ import annotations

import numpy as np

from evsim.counters import AttentionCounts, Counts, LayerCounts, SynapseCounts

MOST_VALUES = 2**48
"""Values of a map, and weights of a layer: beyond what any machine holds."""

MOST_OPERATIONS = 2**62
"""Dense operations of all layers, timesteps and samples: sums of them stay within int64."""


def fault(counts: Counts) -> str:
    """Say what no run could have counted; "" if there is nothing.

    A row stands for one layer, whose sizes are at least 1 and fit a machine, and each other: a map is not greater than
    what its kernel slides over, and a layer that ran met every value of its input; no more of them are nonzero.
    """
    seen: set[str] = set()
    operations = 0
    for layer in counts.layers:
        if layer.name in seen:
            return f"two layers bear the name {layer.name}"
        seen.add(layer.name)
        if reason := _fault(layer):
            return f"{layer.name} {reason}"
        operations += layer.dense_macs * layer.samples
    if operations > MOST_OPERATIONS:
        return f"its layers stand for {operations} dense operations, more than any run does"
    return ""


def _fault(layer: LayerCounts) -> str:
    return _misshapen(layer) or _miscounted(layer)


def _misshapen(layer: LayerCounts) -> str:
    """Say what is wrong with the sizes of a row."""
    size = layer.geometry
    sides = (size.in_channels, size.out_channels, size.in_height, size.in_width, size.out_height, size.out_width)
    if min(*sides, *size.kernel, *size.stride, size.groups) < 1:
        return "has a size of 0"
    weights = size.weights if isinstance(layer, SynapseCounts) else 0
    for what, number in (("inputs", size.in_channels * size.tokens), ("outputs", size.outputs), ("weights", weights)):
        if number > MOST_VALUES:
            return f"has {number} {what}, more than any machine holds"
    for inner, outer, padding in zip(sides[2:4], sides[4:6], size.padding, strict=True):
        if outer > inner + 2 * padding and not isinstance(layer, AttentionCounts):
            return f"makes a map of {outer} from one of {inner} with {padding} around it"
    return ""


def _miscounted(layer: LayerCounts) -> str:
    """Say which counters do not fit the sizes of a row."""
    inputs = layer.geometry.in_channels * layer.geometry.tokens
    if not isinstance(layer, AttentionCounts) and not np.isin(layer.input_size, (0, inputs * layer.samples)).all():
        return f"met other numbers of inputs than its {inputs} of each sample"
    if isinstance(layer, SynapseCounts) and (layer.input_nonzeros > layer.input_size).any():
        return "has more nonzero inputs than inputs"
    return ""

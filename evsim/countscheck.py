"""Whether counts from a file can be those of any run: what no run gives is damaged or made up, and is not charged."""

from __future__ import annotations

from evsim.counters import Counts, LayerCounts, SynapseCounts


def fault(counts: Counts) -> str:
    """Say what no run could have counted; "" if there is nothing.

    A row stands for one layer, whose sizes are at least 1; no more of its inputs are nonzero than it has.
    """
    seen: set[str] = set()
    for layer in counts.layers:
        if layer.name in seen:
            return f"two layers bear the name {layer.name}"
        seen.add(layer.name)
        if reason := _fault(layer):
            return f"{layer.name} {reason}"
    return ""


def _fault(layer: LayerCounts) -> str:
    size = layer.geometry
    sides = (size.in_channels, size.out_channels, size.in_height, size.in_width, size.out_height, size.out_width)
    if min(*sides, *size.kernel, *size.stride, *size.dilation) < 1:
        return "has a size of 0"
    if isinstance(layer, SynapseCounts) and (layer.input_nonzeros > layer.input_size).any():
        return "has more nonzero inputs than inputs"
    return ""

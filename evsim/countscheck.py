"""Whether counts from a file can be those of any run: what no run gives is damaged or made up, and is not charged."""

from __future__ import annotations

from evsim.counters import Counts, LayerCounts, SynapseCounts


def fault(counts: Counts) -> str:
    """Say what no run could have counted; "" if there is nothing.

    A row stands for one layer, whose sizes are at least 1; no more of its inputs are nonzero than it has, and none does
    more operations than it reaches outputs.
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
    if min(*sides, *size.kernel, *size.stride) < 1:
        return "has a size of 0"
    nonzeros = layer.input_nonzeros
    if (nonzeros > layer.input_size).any():
        return "has more nonzero inputs than inputs"
    if isinstance(layer, SynapseCounts):
        # in floats: a damaged file's products leave int64
        reached = float(size.out_channels) * size.kernel[0] * size.kernel[1]
        for done in (layer.sops, layer.macs):
            if (done > nonzeros * reached).any():
                return "has more operations than its inputs reach outputs"
    return ""

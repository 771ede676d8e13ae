"""Whether counts from a file can be those of any run: what no run gives is damaged or made up, and is not charged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from evsim.counters import AttentionCounts, Counts, Ints, LayerCounts, SynapseCounts
from evsim.sharedsums import ON_REQUEST, SHARED_SUMS

MOST_VALUES = 2**48
"""Values of a map, and weights of a layer: beyond what any machine holds."""

MOST_OPERATIONS = 2**62
"""Dense operations of all layers, timesteps and samples, and all that was counted: sums of them stay within int64."""

_MOVED = {
    "conv": ("greatest_sum", "rows_touched", "rows_touched_once", "neurons_touched"),
    "linear": ("greatest_sum", "rows_touched", "rows_touched_once", "neurons_touched"),
    "attention": ("greatest_sum",),
    "ssa": (
        "greatest_sum", "kv_coincidences", "qk_coincidences", "kv_greatest", "qk_greatest", "qk_entries",
    ),
    "lif": ("neurons_touched",),
}  # fmt: skip
"""What is measured of a row's traffic."""


def fault(counts: Counts) -> str:
    """Say what no run could have counted; "" if there is nothing.

    A row stands for one layer, whose sizes are at least 1 and fit a machine, and each other: a map is not greater than
    what its kernel slides over, and a layer that ran met every value of its input; no more of them are nonzero, and
    none does more than a dense layer would. What moved is measured whole or not at all.
    """
    seen: set[str] = set()
    operations, counted = 0, sum(sum(array.ravel().tolist()) for array in counts.other.values())
    for layer in counts.layers:
        if layer.name in seen:
            return f"two layers bear the name {layer.name}"
        seen.add(layer.name)
        if reason := next(_faults(layer), ""):
            return f"{layer.name} {reason}"
        operations += layer.dense_macs * layer.samples
        counted += sum(sum(array.ravel().tolist()) for array in _arrays(layer))
    if counted > MOST_OPERATIONS:
        return f"its counters add up to {counted}, more than any run counts"
    if operations > MOST_OPERATIONS:
        return f"its layers stand for {operations} dense operations, more than any run does"
    return ""


def _faults(layer: LayerCounts) -> Iterator[str]:
    """Say one by one what a row cannot have: first of its sizes, then of what was counted."""
    size = layer.geometry
    sides = (size.in_channels, size.out_channels, size.in_height, size.in_width, size.out_height, size.out_width)
    if min(*sides, *size.kernel, *size.stride, *size.dilation, size.groups) < 1:
        yield "has a size of 0"
    inputs = size.in_channels * size.tokens
    weights = size.weights if isinstance(layer, SynapseCounts) else 0
    for what, number in (("inputs", inputs), ("outputs", size.outputs), ("weights", weights)):
        if number > MOST_VALUES:
            yield f"has {number} {what}, more than any machine holds"
    moved = "ssa" if layer.kind == "attention" and not size.attention else layer.kind
    for name in _MOVED[moved]:
        if layer.traffic and getattr(layer.traffic, name) is None:
            yield f"lacks {name} of its traffic"
    if isinstance(layer, AttentionCounts):
        yield from _attention_faults(layer)
        return
    for inner, outer, padding in zip(sides[2:4], sides[4:6], size.padding, strict=True):
        if outer > inner + 2 * padding:
            yield f"makes a map of {outer} from one of {inner} with {padding} around it"
    if not np.isin(layer.input_size, (0, inputs * layer.samples)).all():
        yield f"met other numbers of inputs than its {inputs} of each sample"
    if isinstance(layer, SynapseCounts):
        if (layer.input_nonzeros > layer.input_size).any():
            yield "has more nonzero inputs than inputs"
        for what in ("sops", "macs"):
            if (getattr(layer, what) > size.dense_macs * layer.samples).any():
                yield f"has more {what} than dense operations"
        yield from _sharing_faults(layer)


def _sharing_faults(layer: SynapseCounts) -> Iterator[str]:
    """Say what shared sums cannot be: more than there is without, of other values than spikes, counted in part."""
    own = [name for name in ON_REQUEST if getattr(layer, name) is not None]
    wanted = ON_REQUEST if layer.input_kind == "spikes" else ON_REQUEST[len(SHARED_SUMS) :]
    if own and own != list(wanted):
        yield f"has of its shared sums {', '.join(own)}, where runs count {', '.join(wanted)}"
    operations = layer.sops if layer.input_kind == "spikes" else layer.macs
    for what in ("shared_additions", "product_additions", "nonzero_weight_operations"):
        number = getattr(layer, what)
        if number is not None and (number > operations).any():
            yield f"has more {what} than operations"
    for kind in ("shared", "product"):
        kept, weights = getattr(layer, f"{kind}_kept"), getattr(layer, f"{kind}_weights")
        if kept is not None and weights is not None and (kept > weights).any():
            yield f"has more {kind}_kept than {kind}_weights"


def _attention_faults(layer: AttentionCounts) -> Iterator[str]:
    size = layer.geometry
    if size.heads < 1 or size.heads * size.head_dim != size.in_channels:
        yield f"has {size.heads} heads of {size.head_dim} channels, and {size.in_channels} in all"
    if (size.order is None) != bool(size.attention):
        yield "tells no order of its products" if size.order is None else "tells an order, but makes no two products"
    most = {
        "q(kv)": 2 * size.tokens * size.head_dim * size.width,
        "(qk)v": size.tokens**2 * (size.head_dim + size.width),
        None: size.tokens * size.head_dim * (size.width if size.attention == "dssa" else 1),
    }
    other = None if size.order is None else "(qk)v" if size.order == "q(kv)" else "q(kv)"
    for counted, order in ((layer.sops_per_head, size.order), (layer.sops_other_order_per_head, other)):
        if counted is not None and (counted > most[order] * layer.samples).any():
            yield "has more sops than dense operations"


def _arrays(layer: LayerCounts) -> list[Ints]:
    """Return all that was counted of a row."""
    values = [getattr(layer, each.name) for each in fields(layer)]
    moved = [] if layer.traffic is None else [getattr(layer.traffic, each.name) for each in fields(layer.traffic)]
    named = list(layer.operations.values()) if isinstance(layer, AttentionCounts) else []
    return [value for value in (*values, *moved, *named) if isinstance(value, np.ndarray)]

"""What happened in a run, as 64-bit integers: one `LayerCounts` per row, arrays over timesteps (and heads).

Data only: `evsim.observers` fills it, `evsim.energy` charges it, `evsim.report` shows it. Everything that an energy
model needs is here, so energies can be recomputed without the model or the recording.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Never

import numpy as np

from evsim.errors import OptionError
from evsim.geometry import VIRTUAL, Geometry, RowKind, dense_macs
from evsim.movement import Ints, Traffic, is_maximum
from evsim.primitives import Kind
from evsim.sharedsums import ON_REQUEST, SharedSums

__all__ = [
    "ROW_TYPES", "AttentionCounts", "Counts", "Ints", "LayerCounts", "NeuronCounts", "RowCounts", "SynapseCounts",
    "SynapseKind", "Traffic", "is_maximum", "merged", "unknown_row",
]  # fmt: skip

SynapseKind = Literal["conv", "linear"]
"""Kinds of rows that multiply their input by weights."""


@dataclass(frozen=True, eq=False, kw_only=True)
class RowCounts:
    """What the counts of all kinds of rows share. Arrays are int64 of shape [T], those of heads [T, heads].

    Attributes
    ----------
    name, kind, input_kind, geometry
        `kind` is the row's kind; `input_kind` the declared kind of its input (never guessed from data).
    steps
        How many timesteps the layer runs: T, or 1 for a head behind the mean over time.
    input_size
        Input values. For attention: of q, k and v together.
    samples
        Number of samples summed here.
    reads_input
        Whether the layer reads the network's input: image or frames, at most a max-pooling in between.
    traffic
        What moved, if it was asked for.
    """

    name: str
    kind: RowKind
    input_kind: Kind
    geometry: Geometry
    steps: int
    input_size: Ints
    samples: int = 1
    reads_input: bool = False
    traffic: Traffic | None = None

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of a dense implementation over all timesteps of one sample."""
        return self.steps * dense_macs(self.kind, self.geometry)

    def _nothing(self) -> Ints:
        return np.zeros_like(self.input_size)


@dataclass(frozen=True, eq=False, kw_only=True)
class SynapseCounts(SharedSums, RowCounts):
    """Counts of a convolution or linear layer, with shared sums if they were asked for.

    Attributes
    ----------
    input_nonzeros
        Nonzero input values.
    input_sum
        Sum of the input values (spikes and integers; zeros for real input).
    sops
        Spike input: synaptic operations, one per spike and output that it reaches, padding not counted.
    macs
        Real or integer input: one per nonzero input and output reached.
    bias_adds
        Additions of bias or BatchNorm shift (output values of a layer that has either).
    acs_unrolled
        Integer input: value-many accumulates per output reached; else None.
    binary_samples, binary_nonzeros
        Samples whose whole input was 0/1, and the nonzeros in those: the paper's test looks at the data.
    """

    kind: SynapseKind
    input_nonzeros: Ints
    input_sum: Ints
    sops: Ints
    macs: Ints
    bias_adds: Ints
    acs_unrolled: Ints | None = None
    binary_samples: int = 0
    binary_nonzeros: int = 0

    @property
    def neuron_updates(self) -> Ints:
        """None happen: zeros [T]."""
        return self._nothing()


@dataclass(frozen=True, eq=False, kw_only=True)
class AttentionCounts(RowCounts):
    """Counts of attention.

    Attributes
    ----------
    sops_per_head, sops_other_order_per_head
        Synaptic operations in the declared order, and had it been multiplied in the other; [T, heads]. Kinds of
        attention that have no orders: None of the other; sums of spikes count each spike that they add, products of
        real rows each output that a spike reaches.
    operand_nonzeros
        int64 [3, T], nonzeros of q, k and v; kinds that have but one operand: of that, then zeros.
    sops_unrolled_per_head
        Integers: accumulates of both products, in the declared order, had each value k been k spikes; [T, heads].
    operations
        Operations under the names of the field's literature: int64 [T] or [T, heads] each.
    """

    kind: Literal["attention"] = "attention"
    sops_per_head: Ints
    sops_other_order_per_head: Ints | None
    operand_nonzeros: Ints
    sops_unrolled_per_head: Ints | None = None
    operations: Mapping[str, Ints] = field(default_factory=dict)

    @property
    def attention(self) -> str:
        """Kind of attention: ssa, token-qk, sdsa or dssa."""
        return self.geometry.attention or "ssa"

    @property
    def named_operations(self) -> Mapping[str, Ints]:
        """The operations, and before them those of SSA by order of multiplication."""
        if self.attention != "ssa" or self.sops_other_order_per_head is None:
            return self.operations
        orders = ("q(kv)", "(qk)v") if self.geometry.order == "q(kv)" else ("(qk)v", "q(kv)")
        both = dict(zip(orders, (self.sops_per_head, self.sops_other_order_per_head), strict=True))
        return {**both, **self.operations}

    @property
    def acs_unrolled(self) -> Ints | None:
        """Accumulates had each integer k been k spikes, [T]; None of spikes."""
        return None if self.sops_unrolled_per_head is None else _sums(self.sops_unrolled_per_head, 1)

    @property
    def input_nonzeros(self) -> Ints:
        """Spikes of q, k and v together, [T]."""
        return _sums(self.operand_nonzeros, 0)

    @property
    def input_sum(self) -> Ints:
        """Spikes of the input, [T]: of integers, how many are no 0."""
        return self.input_nonzeros

    @property
    def sops(self) -> Ints:
        """Synaptic operations in the declared order, [T]."""
        return _sums(self.sops_per_head, 1)

    @property
    def sops_other_order(self) -> Ints | None:
        """Synaptic operations in the other order, [T]; None if there is none."""
        return None if self.sops_other_order_per_head is None else _sums(self.sops_other_order_per_head, 1)

    @property
    def macs(self) -> Ints:
        """None happen: zeros [T]."""
        return self._nothing()

    bias_adds = neuron_updates = macs


@dataclass(frozen=True, eq=False, kw_only=True)
class NeuronCounts(RowCounts):
    """Counts of a layer of neurons.

    Attributes
    ----------
    spikes
        Spikes emitted; of integer neurons, the sum of what they emitted: a value k is k spikes.
    neuron_updates
        Membrane potentials updated.
    nonzeros
        Integer neurons: how many emitted something; else None.
    """

    kind: Literal["lif"] = "lif"
    spikes: Ints
    neuron_updates: Ints
    nonzeros: Ints | None = None

    @property
    def neuron(self) -> str:
        """Kind of neuron, see `evsim.primitives.NeuronKind`; i-lif and i-if emit integers."""
        return self.geometry.neuron or "lif"

    @property
    def graded(self) -> bool:
        """Whether they emit integers."""
        return self.geometry.levels > 0

    @property
    def virtual(self) -> bool:
        """Whether their integers stand for spikes in virtual timesteps, and not for several at once."""
        return self.neuron in VIRTUAL

    @property
    def silent(self) -> bool:
        """Whether they emit potentials, and no spikes."""
        return self.neuron in ("li", "cuba-li", "integrator")

    @property
    def sops(self) -> Ints:
        """None happen: zeros [T]."""
        return self._nothing()

    macs = bias_adds = sops

    @property
    def input_nonzeros(self) -> Ints:
        """Not counted, for nothing is done by input value: zeros [T]."""
        return self._nothing()

    input_sum = input_nonzeros


def _sums(values: Ints, axis: int) -> Ints:
    sums: Ints = values.sum(axis=axis)
    return sums


LayerCounts = SynapseCounts | AttentionCounts | NeuronCounts
"""The counts of one row, by its kind."""

ROW_TYPES: Mapping[RowKind, type[LayerCounts]] = {
    "conv": SynapseCounts,
    "linear": SynapseCounts,
    "attention": AttentionCounts,
    "lif": NeuronCounts,
}
"""Kind of row to what holds its counts."""


def unknown_row(layer: Never, who: str, advice: str) -> OptionError:
    """Return the error of a row of a kind that somebody has no rule for: it is never taken for another.

    Parameters
    ----------
    layer
        The row, of which no known kind is left: so mypy names every place that a new kind reaches.
    who
        Who refuses it, such as "method lemaire".
    advice
        What to do.
    """
    row: Any = layer
    return OptionError(f"{who} has no rule for {row.name}, a row of kind {row.kind}; {advice}")


@dataclass(frozen=True, eq=False)
class Counts:
    """Counts of a whole run.

    Attributes
    ----------
    timesteps
        T of the run.
    layers
        One entry per conv, linear, attention and LIF, in order of execution.
    other
        What has no row: int64 [T] each. ``residual_adds`` (additions of the residual stream), ``pool_comparisons``
        (max-pooling, window taps inside the map less one), ``mean_adds`` (additions of token and time means, of
        votes); where there is any, ``pool_adds`` (average and sum pooling), ``spike_gates`` (And, IAnd, Mask),
        ``scale_multiplies`` and ``scale_adds`` (constants of a Scale).
    samples
        Number of samples summed here.
    """

    timesteps: int
    layers: tuple[LayerCounts, ...]
    other: Mapping[str, Ints] = field(default_factory=dict)
    samples: int = 1

    def layer(self, name: str) -> LayerCounts:
        """Return the counts of the layer of that name; KeyError if there is none."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise KeyError(name)

    @property
    def sops(self) -> int:
        """All synaptic operations, attention included."""
        return int(sum(layer.sops.sum() for layer in self.layers))

    @property
    def macs(self) -> int:
        """All multiply-accumulates."""
        return int(sum(layer.macs.sum() for layer in self.layers))

    @property
    def shares(self) -> bool:
        """Whether shared sums were counted."""
        asked = (layer.nonzero_weight_operations for layer in self.layers if isinstance(layer, SynapseCounts))
        return any(each is not None for each in asked)

    @property
    def dense_macs(self) -> int:
        """Dense multiply-accumulates of conv and linear layers, attention left out."""
        return sum(layer.dense_macs for layer in self.layers if isinstance(layer, SynapseCounts))

    @property
    def dense_macs_with_attention(self) -> int:
        """Dense multiply-accumulates of all layers: what SOPs and MACs together are compared with."""
        return sum(layer.dense_macs for layer in self.layers)


def merged(parts: Sequence[Counts]) -> Counts:
    """Return the counts of several samples of one network as one: sums, and maxima where a count is a maximum.

    Raises
    ------
    OptionError
        If there are none, or they differ in timesteps, layers or geometry.
    """
    if not parts:
        raise OptionError("no counts to merge; give at least one")
    first = parts[0]
    for number, other in enumerate(parts[1:], 2):
        if reason := _difference(first, other):
            raise OptionError(f"counts 1 and {number} do not add up: {reason}; merge counts of one model and T")
    layers = tuple(_merged_layers(rows) for rows in zip(*(part.layers for part in parts), strict=True))
    keys = dict.fromkeys(key for part in parts for key in part.other)
    zeros = np.zeros(first.timesteps, np.int64)
    outside = {key: sum((part.other.get(key, zeros) for part in parts), zeros) for key in keys}
    return Counts(first.timesteps, layers, outside, sum(part.samples for part in parts))


def _difference(one: Counts, other: Counts) -> str:
    """Say in what two counts differ so that they cannot be added, or nothing."""
    if one.timesteps != other.timesteps:
        return f"{one.timesteps} and {other.timesteps} timesteps"
    if len(one.layers) != len(other.layers):
        return f"{len(one.layers)} and {len(other.layers)} layers"
    for left, right in zip(one.layers, other.layers, strict=True):
        same = all(getattr(left, key) == getattr(right, key) for key in ("name", "kind", "input_kind", "geometry"))
        if not same or left.steps != right.steps:
            return f"layer {left.name} is not the same as {right.name}"
    return ""


def _merged_layers(rows: tuple[LayerCounts, ...]) -> LayerCounts:
    traffic = [row.traffic for row in rows if row.traffic is not None]
    lacking = {key: None for key in ON_REQUEST for row in rows if getattr(row, key, 0) is None}
    changes = lacking | {key: _sum(rows, key) for key in _summed(rows[0]) if key not in lacking}
    if isinstance(rows[0], AttentionCounts) and rows[0].operations:
        parts = [row.operations for row in rows if isinstance(row, AttentionCounts)]
        changes["operations"] = {key: np.add.reduce([part[key] for part in parts]) for key in parts[0]}
    return replace(rows[0], **changes, traffic=_merged_traffic(traffic) if len(traffic) == len(rows) else None)


def _merged_traffic(rows: Sequence[Traffic]) -> Traffic:
    changes: dict[str, Any] = {key: _sum(rows, key) for key in _summed(rows[0])}
    for key in (f.name for f in fields(Traffic) if is_maximum(f.name)):
        if getattr(rows[0], key) is not None:
            changes[key] = np.maximum.reduce([getattr(row, key) for row in rows])
    return replace(rows[0], **(changes | {"peak_events": int(changes["peak_events"])}))


def _summed(row: LayerCounts | Traffic) -> list[str]:
    """Names of the attributes that add up over samples: all integers and arrays that are no size or maximum."""
    return [
        f.name
        for f in fields(row)
        if isinstance(getattr(row, f.name), np.ndarray | int)
        and f.name not in ("steps", "reads_input")
        and not is_maximum(f.name)
    ]


def _sum(rows: Sequence[LayerCounts | Traffic], key: str) -> Any:
    return sum(getattr(row, key) for row in rows[1:]) + getattr(rows[0], key)

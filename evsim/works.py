"""What is told of a node: its row, its operations, and where it stands; `evsim.workload` tells it of each primitive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from evsim.geometry import Geometry, RowKind, dense_macs, dense_operations
from evsim.primitives import Kind, Layout

Role = Literal["first", "hidden", "head"]
"""What a node reads: the network's input, another layer's output, or a mean over tokens or timesteps."""

Nature = Literal["input", "layer", "neurons", "sum", "gate", "pool", "mean", "passage"]
"""What a node is to those that read it: "neurons" emit integers, a "gate" lets spikes through, a "pool" averages or
adds up neighbours; a "passage", such as max-pooling, is looked through: its source counts."""

UNROWED = ("residual_adds", "pool_comparisons", "mean_adds")
"""Operations without a row that every run counts, be they none."""


@dataclass(frozen=True)
class Row:
    """What is counted of a node under its own name.

    Attributes
    ----------
    kind, geometry
        Which row, and its sizes.
    input_size, bias_adds, neuron_updates
        Of each timestep: values of the input, additions of a shift, membrane potentials updated.
    layout, view
        Neurons: axis order and shape of the PyTorch module's output, see `evsim.primitives.LIF`.
    unit
        Attention: its output is so many times integers.
    operations
        Attention of sums and masks: names of its operations and of the nodes whose spikes they count.
    """

    kind: RowKind
    geometry: Geometry
    input_size: int
    bias_adds: int = 0
    neuron_updates: int = 0
    layout: Layout = "map"
    unit: float = 1.0
    view: tuple[int, ...] = ()
    operations: tuple[tuple[str, str], ...] = ()

    @property
    def synaptic(self) -> bool:
        """Whether it multiplies its input by weights."""
        return self.kind in ("conv", "linear")

    @property
    def dense_macs(self) -> int:
        """Multiply-accumulates of a dense implementation per timestep, see the function `dense_macs`."""
        return dense_macs(self.kind, self.geometry)

    @property
    def dense_operations(self) -> int:
        """Dense operations per timestep as the paper's tool counts them, see the function `dense_operations`."""
        return dense_operations(self.kind, self.geometry)


@dataclass(frozen=True)
class Work:
    """What a node does at every timestep, and where it stands.

    Attributes
    ----------
    nature
        What it is to those that read it.
    row
        What is counted under its name; None where it has no row.
    other
        Operations that have no row: name to number per timestep.
    name, parameters
        Of the node; how many trainable parameters it has.
    source
        The node whose values it reads: its first input, passages looked through.
    input_kind
        What its first input emits, by declaration.
    role
        What it reads, by the nature of its source.
    once, gathers
        Whether it runs once for all timesteps, behind a node that emits once after the last; whether it is that node.
    repeated
        Whether it runs at the first timestep alone, and its output is repeated.
    """

    nature: Nature
    row: Row | None = None
    other: Mapping[str, int] = field(default_factory=dict)
    name: str = ""
    parameters: int = 0
    source: str = ""
    input_kind: Kind = "real"
    role: Role = "hidden"
    once: bool = False
    gathers: bool = False
    repeated: bool = False

    @property
    def runs_once(self) -> bool:
        """Whether it runs at one timestep alone, at the first or after the last."""
        return self.once or self.repeated

    @property
    def reads_input(self) -> bool:
        """Whether it reads image or frames, with at most max-poolings in between."""
        return self.role == "first"

"""What happened in a run, as 64-bit integers: one `LayerCounts` per layer, arrays over timesteps (and heads).

Data only: `evsim.observers` fills it, `evsim.energy` charges it, `evsim.report` shows it. Everything that an energy
model needs is here, so energies can be recomputed without the model or the recording.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evsim.network import Kind, Order

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Geometry:
    """Sizes of one layer, as counted per timestep; those that have no meaning for a kind keep their defaults.

    `module` is the PyTorch class. Convolutions over tokens have kernel (1, 1) and height x width = tokens.
    For attention: `heads`, `head_dim`, `order`; `in_channels` = `out_channels` = heads * head_dim.
    """

    module: str
    in_channels: int
    out_channels: int
    in_height: int
    in_width: int
    out_height: int
    out_width: int
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    bias: bool = False
    batch_norm: bool = False
    heads: int = 0
    head_dim: int = 0
    order: Order | None = None
    tau: float = 0.0
    v_threshold: float = 0.0

    @property
    def tokens(self) -> int:
        """Positions of the input map."""
        return self.in_height * self.in_width

    @property
    def out_positions(self) -> int:
        """Positions of the output map."""
        return self.out_height * self.out_width

    @property
    def dense_macs(self) -> int:
        """Dense multiply-accumulates per timestep, padding taps included, bias left out (conv and linear)."""
        return self.out_positions * self.out_channels * self.in_channels * self.kernel[0] * self.kernel[1]

    @property
    def weights(self) -> int:
        """Number of weights, bias left out (conv and linear)."""
        return self.out_channels * self.in_channels * self.kernel[0] * self.kernel[1]


@dataclass(frozen=True, eq=False)
class LayerCounts:
    """Counts of one layer. Arrays are int64 of shape [T], those of heads [T, heads]; None where meaningless.

    Attributes
    ----------
    name, kind, input_kind, geometry
        `kind` is the row's kind; `input_kind` the declared kind of its input (never guessed from data).
    steps
        How many timesteps the layer runs: T, or 1 for a head behind the mean over time.
    input_nonzeros, input_size
        Nonzero and all input values. For attention: of q, k and v together.
    input_sum
        Sum of the input values (spikes and integers; zeros for real input).
    sops
        Synaptic operations: one per active input spike and output that it reaches, padding not counted.
        For attention: in the declared order.
    sops_other_order
        Attention: synaptic operations had it multiplied in the other order.
    macs
        Real or integer input: one per nonzero input and output reached.
    acs_unrolled
        Integer input: value-many accumulates per output reached.
    spikes
        LIF: spikes emitted.
    bias_adds
        Additions of bias or BatchNorm shift (output values of a layer that has either).
    neuron_updates
        LIF: membrane potentials updated.
    sops_per_head, sops_other_order_per_head
        Attention: the same by head.
    operand_nonzeros
        Attention: int64 [3, T], spikes of q, k and v.
    samples
        Number of samples summed here.
    binary_samples, binary_nonzeros
        Samples whose whole input was 0/1, and the nonzeros in those: the paper's test looks at the data.
    """

    name: str
    kind: Literal["conv", "linear", "attention", "lif"]
    input_kind: Kind
    geometry: Geometry
    steps: int
    input_nonzeros: Ints
    input_size: Ints
    input_sum: Ints
    sops: Ints
    macs: Ints
    bias_adds: Ints
    neuron_updates: Ints
    sops_other_order: Ints | None = None
    acs_unrolled: Ints | None = None
    spikes: Ints | None = None
    sops_per_head: Ints | None = None
    sops_other_order_per_head: Ints | None = None
    operand_nonzeros: Ints | None = None
    samples: int = 1
    binary_samples: int = 0
    binary_nonzeros: int = 0

    @property
    def dense_macs(self) -> int:
        """Dense multiply-accumulates over all timesteps of one sample.

        Conv and linear: padding taps included, bias left out. Attention: both products in the declared order,
        ``T * heads * N * dh * dh * 2`` or ``T * heads * N * N * dh * 2``. LIF: 0.
        """
        size = self.geometry
        if self.kind == "attention":
            inner = size.head_dim if size.order == "q(kv)" else size.tokens
            return self.steps * size.heads * size.tokens * inner * size.head_dim * 2
        if self.kind == "lif":
            return 0
        return self.steps * size.dense_macs


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
        (max-pooling, window taps inside the map less one), ``mean_adds`` (additions of token and time means).
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
    def dense_macs(self) -> int:
        """Dense multiply-accumulates of conv and linear layers, attention left out."""
        return sum(layer.dense_macs for layer in self.layers if layer.kind in ("conv", "linear"))

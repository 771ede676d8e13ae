"""Sizes of the rows that are counted, and all that follows from them alone: they outlive the network, in counts.h5."""

from __future__ import annotations

from dataclasses import Field, dataclass, fields
from functools import lru_cache
from typing import Any, Literal, assert_never

import numpy as np
from numpy.typing import NDArray

from evsim.primitives import Order

RowKind = Literal["conv", "linear", "attention", "lif"]
"""Kinds of rows that counts have: convolution, linear layer, attention, neurons."""

VIRTUAL = ("i-lif", "i-if")
"""Neurons whose integers stand for spikes in virtual timesteps, and not for several at once."""

LATER = ("groups", "dilation", "value_dim", "attention", "neuron", "levels")
"""Fields of `Geometry` that schema 1 of counts.h5 does not know."""


@dataclass(frozen=True)
class Geometry:
    """Sizes of one row, as counted per timestep; those that have no meaning for a kind keep their defaults.

    `module` is the PyTorch class. Convolutions over tokens have kernel (1, 1) and height x width = tokens.
    For attention: `attention` ("" is "ssa"), `heads`, `head_dim` channels of q and k in each (of a DSSA's spikes),
    `value_dim` of v (length of the rows that its spikes name; 0: as many), `order`; `in_channels` = heads * head_dim.
    For neurons: `neuron` ("" is "lif"), `tau` (0: no leak), `v_threshold`, `levels` (greatest integer that an integer
    neuron emits, else 0).
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
    groups: int = 1
    value_dim: int = 0
    attention: str = ""
    neuron: str = ""
    levels: int = 0
    dilation: tuple[int, int] = (1, 1)

    @property
    def tokens(self) -> int:
        """Positions of the input map."""
        return self.in_height * self.in_width

    @property
    def pointwise(self) -> bool:
        """Whether every position reaches one position of the output: all as many outputs."""
        return self.kernel == self.stride == (1, 1) and self.padding == (0, 0)

    @property
    def out_positions(self) -> int:
        """Positions of the output map."""
        return self.out_height * self.out_width

    @property
    def outputs(self) -> int:
        """Output values (neurons) per timestep."""
        return self.out_positions * self.out_channels

    @property
    def shifted(self) -> bool:
        """Whether a bias is added at run time: the layer's own, or the shift of a BatchNorm folded into it."""
        return self.bias or self.batch_norm

    @property
    def dense_macs(self) -> int:
        """Dense multiply-accumulates per timestep, padding taps included, bias left out (conv and linear)."""
        return self.out_positions * self.weights

    @property
    def weights(self) -> int:
        """Number of weights, bias left out (conv and linear)."""
        return self.row * self.in_channels * self.kernel[0] * self.kernel[1]

    @property
    def row(self) -> int:
        """Weights of one tap and input channel: the outputs of its group (conv and linear)."""
        return self.out_channels // self.groups

    @property
    def width(self) -> int:
        """Channels of v in each head (attention)."""
        return self.value_dim or self.head_dim

    def told(self) -> dict[str, Any]:
        """Return the fields for a file: those that schema 1 does not know only where they say something."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in LATER or self._says(f)}

    @property
    def is_later(self) -> bool:
        """Whether schema 1 cannot say it."""
        return any(self._says(f) for f in fields(self) if f.name in LATER)

    def _says(self, f: Field[Any]) -> bool:
        return bool(getattr(self, f.name) != f.default)


def dense_macs(kind: RowKind, size: Geometry) -> int:
    """Return the multiply-accumulates of a dense implementation per timestep.

    Conv and linear: padding taps included, bias left out. Attention: both products in the declared order,
    ``heads * N * dh * dh * 2`` or ``heads * N * N * dh * 2`` (with v of its own width, ``dh * dv * 2`` and
    ``N * (dh + dv)``); of a DSSA the one product; of sums and masks, which multiply nothing, 0. Neurons: 0.
    """
    match kind:
        case "conv" | "linear":
            return size.dense_macs
        case "attention" if size.attention == "dssa":
            return size.heads * size.tokens * size.head_dim * size.width
        case "attention" if size.attention:
            return 0
        case "attention":
            both = size.head_dim + size.width
            return (
                size.heads
                * size.tokens
                * (2 * size.head_dim * size.width if size.order == "q(kv)" else size.tokens * both)
            )
        case "lif":
            return 0
    assert_never(kind)


def dense_operations(kind: RowKind, size: Geometry) -> int:
    """Return the dense operations per timestep as the paper's tool counts them: with the bias.

    The bias of a conv counts once per output position, that of a linear layer once; attention is always
    ``2 * heads * N * dh^2``, the order q (k^T v). Other kinds of attention: as
    `dense_macs`. Neurons: 0.
    """
    match kind:
        case "conv":
            return size.dense_macs + size.outputs * size.bias
        case "linear":
            return size.dense_macs + size.out_channels * size.bias
        case "attention" if size.attention:
            return dense_macs(kind, size)
        case "attention":
            return 2 * size.heads * size.tokens * size.head_dim * size.width
        case "lif":
            return 0
    assert_never(kind)


@lru_cache(maxsize=256)
def fan_out(size: Geometry) -> NDArray[np.int64]:
    """Return how many outputs an input at each position reaches, padding not counted: int64 [P] (conv and linear)."""
    axes = []
    for i, (inner, outer) in enumerate(((size.in_height, size.out_height), (size.in_width, size.out_width))):
        taps = np.arange(size.kernel[i]) * size.dilation[i]
        reached = np.arange(outer)[:, np.newaxis] * size.stride[i] - size.padding[i] + taps
        inside = reached[(reached >= 0) & (reached < inner)]
        axes.append(np.bincount(inside, minlength=inner))
    return np.multiply.outer(axes[0], axes[1]).reshape(-1).astype(np.int64) * size.row

"""What the families share: taking weights from a checkpoint, and the common runs of primitives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evsim.converters.checkpoint import Checkpoint
from evsim.errors import CheckpointError
from evsim.network import LIF, Conv2d, Linear, MaxPool, Node

BATCH_NORM_EPS = 1e-5


@dataclass
class Builder:
    """Collects nodes, and for each the keys of the checkpoint that hold its parameters.

    Attributes
    ----------
    nodes
        In order of execution.
    sources
        ``"<node>.<parameter>"`` to how it is made from the checkpoint.
    taken
        Keys of the checkpoint that some layer takes.
    """

    checkpoint: Checkpoint
    nodes: list[Node] = field(default_factory=list)
    sources: dict[str, tuple[str, ...]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def add(self, node: Node) -> str:
        """Append a node and return its name."""
        self.nodes.append(node)
        return node.name

    def shape(self, key: str) -> tuple[int, ...]:
        """Return the shape of a key, which must be there."""
        if key not in self.checkpoint.shapes:
            raise CheckpointError(f"{self.checkpoint.path} lacks {key}; give the complete state_dict")
        return self.checkpoint.shapes[key]

    def conv(self, name: str, source: str, key: str, norm: str, module: str = "Conv2d", pad: int = 0) -> str:
        """Append a convolution with its BatchNorm; sizes and bias as the keys have them."""
        shape = self.shape(f"{key}.weight")
        if len(shape) not in (3, 4):
            raise CheckpointError(
                f"{self.checkpoint.path}: {key}.weight has shape {list(shape)}, a convolution's has 3 or 4 axes"
            )
        kernel = (shape[2], shape[3]) if len(shape) == 4 else (1, shape[2])
        bias = f"{key}.bias" in self.checkpoint.shapes
        self._weights(name, key, norm, bias)
        padding = (pad, pad)
        return self.add(Conv2d(name, (source,), shape[1], shape[0], kernel, (1, 1), padding, bias, True, module))

    def linear(self, name: str, source: str, key: str, norm: str | None = None) -> str:
        """Append a linear layer, with its BatchNorm if there is one."""
        shape = self.shape(f"{key}.weight")
        if len(shape) != 2:
            raise CheckpointError(
                f"{self.checkpoint.path}: {key}.weight has shape {list(shape)}, a linear layer's has 2 axes"
            )
        bias = f"{key}.bias" in self.checkpoint.shapes
        self._weights(name, key, norm, bias)
        return self.add(Linear(name, (source,), shape[1], shape[0], bias, norm is not None))

    def lif(self, name: str, source: str, tau: float, layout: str = "map", threshold: float = 1.0) -> str:
        """Append LIF neurons."""
        return self.add(LIF(name, (source,), tau, threshold, layout))  # type: ignore[arg-type]

    def pool(self, name: str, source: str) -> str:
        """Append the max-pooling 3 x 3, stride 2, padding 1 of the tokenizers."""
        return self.add(MaxPool(name, (source,)))

    def finish(self, unused: tuple[str, ...]) -> Mapping[str, NDArray[np.floating]]:
        """Return the weights; refuse keys that no layer takes, but for the modules `unused` of model or block."""
        passed = re.compile(rf"(block\.\d+\.)?({'|'.join(map(re.escape, unused))})(\.\w+)?")
        counters = {key.removesuffix("weight") + "num_batches_tracked" for key in self.taken}
        known = self.taken | counters
        rest = [key for key in self.checkpoint.shapes if key not in known and not passed.fullmatch(key)]
        if rest:
            more = f" and {len(rest) - 8} more" if len(rest) > 8 else ""
            raise CheckpointError(
                f"{self.checkpoint.path} has weights that no layer takes: {', '.join(rest[:8])}{more}; "
                "is it of another family? (--family)"
            )
        return Weights(self.checkpoint, self.sources)

    def _weights(self, name: str, key: str, norm: str | None, bias: bool) -> None:
        out = self.shape(f"{key}.weight")[0]
        used: dict[str, tuple[str, ...]] = {f"{name}.weight": (f"{key}.weight",)}
        if bias:
            used[f"{name}.bias"] = (f"{key}.bias",)
        if norm:
            scale = (f"{norm}.weight", f"{norm}.running_var")
            used[f"{name}.bn_scale"] = scale
            used[f"{name}.bn_shift"] = (*scale, f"{norm}.bias", f"{norm}.running_mean")
        for wanted in {k for keys in used.values() for k in keys} - {f"{key}.weight"}:
            if self.shape(wanted) != (out,):
                raise CheckpointError(
                    f"{self.checkpoint.path}: {wanted} has shape {list(self.shape(wanted))}, "
                    f"but {key}.weight has {out} output channels"
                )
        self.sources |= used
        self.taken.update(k for keys in used.values() for k in keys)


class Weights(Mapping[str, NDArray[np.floating]]):
    """The network's parameters, made from the checkpoint on access: nothing is held twice.

    Weights become [kH, kW, C_in, C_out] or [C_in, C_out] as they are; BatchNorm becomes ``bn_scale = weight /
    sqrt(running_var + eps)`` and ``bn_shift = bias - running_mean * bn_scale``, in float64.

    Attributes
    ----------
    sources
        ``"<node>.<parameter>"`` to the keys of the checkpoint that it is made from.

    Raises
    ------
    CheckpointError
        On access, if a value is NaN or infinite, or becomes so in the type that is stored, or a variance negative.
    """

    def __init__(self, checkpoint: Checkpoint, sources: Mapping[str, tuple[str, ...]]) -> None:
        self._checkpoint, self.sources = checkpoint, sources

    def __getitem__(self, key: str) -> NDArray[np.floating]:
        parts = [self._read(name) for name in self.sources[key]]
        parameter = key.rsplit(".", 1)[1]
        if parameter == "weight":
            (weight,) = parts
            axes = (2, 3, 1, 0) if weight.ndim == 4 else (2, 1, 0) if weight.ndim == 3 else (1, 0)
            turned = self._single(weight.transpose(axes), key)
            return turned[np.newaxis] if weight.ndim == 3 else turned
        if parameter == "bias":
            return self._single(parts[0], key)
        gain, variance, *rest = (part.astype(np.float64) for part in parts)
        if (variance + BATCH_NORM_EPS <= 0.0).any():
            raise CheckpointError(
                f"{self._checkpoint.path}: {self.sources[key][1]} holds negative variances; train or copy it again"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            scale = gain / np.sqrt(variance + BATCH_NORM_EPS)
            folded = scale if parameter == "bn_scale" else rest[0] - rest[1] * scale
        self._check(folded, key)
        return folded

    def __iter__(self) -> Iterator[str]:
        return iter(self.sources)

    def __len__(self) -> int:
        return len(self.sources)

    def _single(self, values: NDArray[np.floating], key: str) -> NDArray[np.float32]:
        with np.errstate(over="ignore"):
            rounded = values.astype(np.float32)
        self._check(rounded, key)
        return rounded

    def _check(self, values: NDArray[np.floating], key: str) -> None:
        """Refuse values that overflowed on the way to the type that is stored."""
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"{self._checkpoint.path}: {', '.join(self.sources[key])} overflow in {values.dtype}, in which "
                "they are stored; use a checkpoint of sound weights"
            )

    def _read(self, name: str) -> NDArray[np.floating]:
        values = self._checkpoint.tensors[name]
        if values.dtype.kind != "f":
            raise CheckpointError(f"{self._checkpoint.path}: {name} holds {values.dtype}, not real numbers")
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"{self._checkpoint.path}: {name} holds NaN or infinite values; use a checkpoint from before that"
            )
        return values  # type: ignore[return-value]

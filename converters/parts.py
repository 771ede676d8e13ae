"""What the families share: taking weights from a checkpoint, and the common runs of primitives."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from evsim.converters.checkpoint import Checkpoint
from evsim.converters.table import Layer, Match, named, pattern
from evsim.errors import CheckpointError
from evsim.network import LIF, Conv2d, Linear, MaxPool, Node

BATCH_NORM_EPS = 1e-5

LEAST_W = -80.0
"""Least w of a PLIF whose tau, 1 + exp(-w), float32 holds."""

Recipe = Callable[[Mapping[str, NDArray[np.floating]]], NDArray[np.floating]]
"""Makes a parameter of tensors in float64, given by their keys."""


class Builder:
    """Collects nodes, and for each the keys of the checkpoint that hold its parameters.

    Parameters
    ----------
    checkpoint
        Where the weights are.
    match
        How its keys match the family's table.

    Attributes
    ----------
    form, sizes
        The form of the table, and the sizes of the model.
    nodes
        In order of execution.
    notes
        What a person should know of the conversion, one line each.

    Raises
    ------
    CheckpointError
        If a shape contradicts the table.
    """

    def __init__(self, checkpoint: Checkpoint, match: Match) -> None:
        self.checkpoint, self.form, self.sizes = checkpoint, match.form, match.sizes(checkpoint.shapes, checkpoint.path)
        self.layers = {layer.node: layer for layer in match.form.layers(self.sizes)}
        self.nodes: list[Node] = []
        self.notes: list[str] = []
        self._sources: dict[str, tuple[str, ...]] = {}
        self._recipes: dict[str, Recipe] = {}
        self._extra: list[str] = []
        self._taus: list[float] = []

    def add(self, node: Node) -> str:
        """Append a node and return its name."""
        self.nodes.append(node)
        return node.name

    def layer(self, name: str, source: str, stride: int = 1, padding: int = 0, groups: int = 1) -> str:
        """Append a convolution or linear layer of the table, with its BatchNorm if the table has one.

        Raises
        ------
        CheckpointError
            If a tensor that the table states is missing or misshapen.
        """
        layer = self.layers[name]
        shape = layer.sized(self.sizes)
        outputs, inputs, *kernel = shape
        bias = f"{layer.key}.bias"
        used: dict[str, tuple[str, ...]] = {"weight": (layer.weight,)}
        has_bias = layer.bias or bias in self.checkpoint.shapes
        if has_bias:
            used["bias"] = (bias,)
            self._extra += [] if layer.bias else [bias]
        if layer.norm:
            scale = (f"{layer.norm}.weight", f"{layer.norm}.running_var")
            used |= {"bn_scale": scale, "bn_shift": (*scale, f"{layer.norm}.bias", f"{layer.norm}.running_mean")}
        self._check(layer, used, outputs)
        self._sources |= {f"{name}.{parameter}": keys for parameter, keys in used.items()}
        norm = bool(layer.norm)
        if not kernel:
            return self.add(Linear(name, (source,), inputs, outputs, has_bias, norm))
        module = "Conv1d" if len(kernel) == 1 else "Conv2d"
        window = (kernel[-2] if len(kernel) == 2 else 1, kernel[-1])
        strides, paddings = (stride, stride), (padding, padding)
        return self.add(Conv2d(
            name, (source,), inputs * groups, outputs, window, strides, paddings, has_bias, norm, module, groups
        ))  # fmt: skip

    def made(self, node: Node, parameters: Mapping[str, tuple[Sequence[str], Recipe]]) -> str:
        """Append a node whose parameters are computed: each from which keys, and how; what comes out is float64."""
        for parameter, (keys, recipe) in parameters.items():
            self._sources[f"{node.name}.{parameter}"] = tuple(keys)
            self._recipes[f"{node.name}.{parameter}"] = recipe
        return self.add(node)

    def lif(
        self,
        name: str,
        source: str,
        tau: float,
        layout: str = "map",
        threshold: float = 1.0,
        view: tuple[int, ...] = (),
    ) -> str:
        """Append LIF neurons: PLIF where the checkpoint has their trained time constant, ``<name>.w``.

        Raises
        ------
        CheckpointError
            If that is no single number, or none that a time constant can have.
        """
        parametric = f"{name}.w" in self.checkpoint.shapes
        tau = self._trained(name) if parametric else tau
        return self.add(LIF(name, (source,), tau, threshold, layout, parametric=parametric, view=view))  # type: ignore[arg-type]

    def _trained(self, name: str) -> float:
        """Take w of PLIF neurons, and return what it makes of tau: 1 / sigmoid(w)."""
        key, path = f"{name}.w", self.checkpoint.path
        shape = self.checkpoint.shapes[key]
        if prod(shape) != 1:
            raise CheckpointError(f"{path}: {key} has shape {list(shape)}, but a PLIF has one time constant")
        self._sources[key] = (key,)
        w = float(self.checkpoint.tensors[key].reshape(()).astype(np.float64))
        if not w >= LEAST_W:  # NaN as well
            raise CheckpointError(f"{path}: {key} is {w}, of which no time constant comes; use a sound checkpoint")
        self._taus.append(1.0 + math.exp(-w))
        return self._taus[-1]

    def pool(self, name: str, source: str) -> str:
        """Append the max-pooling 3 x 3, stride 2, padding 1 of the tokenizers."""
        return self.add(MaxPool(name, (source,)))

    def finish(self, unused: Sequence[str]) -> Weights:
        """Return the weights, and say in `notes` what was left out.

        Parameters
        ----------
        unused
            As `Family.unused`.

        Raises
        ------
        CheckpointError
            If a key is neither taken by a layer nor unused.
        """
        taken = {key for keys in self._sources.values() for key in keys}
        counters = {f"{layer.norm}.num_batches_tracked" for layer in self.layers.values() if layer.norm}
        passed = re.compile(rf"({'|'.join(map(pattern, unused))})(\.\w+)?") if unused else re.compile("(?!)")
        left = [key for key in self.checkpoint.shapes if key not in taken]
        dropped = [key for key in left if key not in counters and passed.fullmatch(key)]
        rest = [key for key in left if key not in counters and not passed.fullmatch(key)]
        if rest:
            raise CheckpointError(
                f"{self.checkpoint.path} has weights that no layer takes: {named(rest, 8)}; "
                "is it of another family? (`family`)"
            )
        if dropped:
            numbers = sum(prod(self.checkpoint.shapes[key]) for key in dropped)
            self.notes.append(
                f"left out, as no forward pass reads them: {len(dropped)} tensors of {numbers:,} numbers "
                f"({named(dropped)})"
            )
        if counted := len(left) - len(dropped):
            self.notes.append(
                f"left out: {counted} counters of BatchNorm (num_batches_tracked), which are no parameters"
            )
        if self._taus:
            least, most = min(self._taus), max(self._taus)
            self.notes.append(
                f"took trained time constants (PLIF) of {len(self._taus)} layers of neurons: tau {least:.3g} to "
                f"{most:.3g}"
            )
        if self._extra:
            self.notes.append(f"took a bias that the family's models do not have: {named(self._extra)}")
        return Weights(self.checkpoint, self._sources, self._recipes)

    def _check(self, layer: Layer, used: Mapping[str, tuple[str, ...]], outputs: int) -> None:
        """Refuse a layer that lacks a tensor, or has one of another size than its output channels."""
        path, shapes = self.checkpoint.path, self.checkpoint.shapes
        keys = sorted({key for keys in used.values() for key in keys} - {layer.weight})
        if lost := [key for key in keys if key not in shapes]:
            raise CheckpointError(f"{path} lacks {named(lost)}; give the complete state_dict")
        for key in keys:
            if shapes[key] != (outputs,):
                raise CheckpointError(
                    f"{path}: {key} has shape {list(shapes[key])}, but {layer.weight} has {outputs} output channels"
                )


class Weights(Mapping[str, NDArray[np.floating]]):
    """The network's parameters, made from the checkpoint on access: nothing is held twice.

    Weights become [kH, kW, C_in, C_out] or [C_in, C_out] as they are; BatchNorm becomes ``bn_scale = weight /
    sqrt(running_var + eps)`` and ``bn_shift = bias - running_mean * bn_scale``, in float64.

    Attributes
    ----------
    sources
        ``"<node>.<parameter>"`` to the keys of the checkpoint that it is made from.
    recipes
        How those are made that are neither a tensor as it is nor a BatchNorm.

    Raises
    ------
    CheckpointError
        On access, if a value is NaN or infinite, or becomes so in the type that is stored, or a variance negative.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        sources: Mapping[str, tuple[str, ...]],
        recipes: Mapping[str, Recipe] | None = None,
    ) -> None:
        self._checkpoint, self.sources, self.recipes = checkpoint, sources, recipes or {}

    def __getitem__(self, key: str) -> NDArray[np.floating]:
        if key in self.recipes:
            tensors = {name: self._read(name).astype(np.float64) for name in self.sources[key]}
            computed = self.recipes[key](tensors)
            self._check(computed, key)
            return computed
        parts = [self._read(name) for name in self.sources[key]]
        parameter = key.rsplit(".", 1)[1]
        if parameter == "weight":
            (weight,) = parts
            axes = (2, 3, 1, 0) if weight.ndim == 4 else (2, 1, 0) if weight.ndim == 3 else (1, 0)
            turned = self._single(weight.transpose(axes), key)
            return turned[np.newaxis] if weight.ndim == 3 else turned
        if parameter == "w":
            return self._single(parts[0].reshape(1), key)
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

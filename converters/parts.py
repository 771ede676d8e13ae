"""What the families share: taking weights from a checkpoint, and the common runs of primitives."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from math import exp, prod

import numpy as np
from numpy.typing import NDArray

from evsim.converters import affine
from evsim.converters.affine import BATCH_NORM_EPS, turned
from evsim.converters.checkpoint import Checkpoint
from evsim.converters.table import Layer, Match, learned_constants, named, pattern
from evsim.errors import CheckpointError
from evsim.network import LIF, Conv2d, Linear, MaxPool, Node

__all__ = ["BATCH_NORM_EPS", "Builder", "Weights"]

Recipe = Callable[[affine.Tensors], NDArray[np.floating]]
"""How a parameter is computed, in float64, from tensors by their keys."""

LARGEST_W = 80.0
"""Of a PLIF's learned number: e^80 is a time constant that float32 still holds."""


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
    folded
        What was folded into one, for the notes, to the nodes that came of it.

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
        self.folded: dict[str, list[str]] = {}
        self._extra: list[str] = []
        self._taus: list[float] = []

    def add(self, node: Node) -> str:
        """Append a node and return its name."""
        self.nodes.append(node)
        return node.name

    def layer(
        self,
        name: str,
        source: str,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
        repeated: bool = False,
        scale: str = "",
    ) -> str:
        """Append a convolution or linear layer of the table, with its BatchNorms if the table has any.

        Parameters
        ----------
        name, source
            Of the node, and of the one that it reads.
        stride, padding, groups, repeated
            Of a convolution; see `Conv2d`.
        scale
            Node of a lone tensor, a factor on each output channel behind the BatchNorms; it becomes part of theirs.

        Raises
        ------
        CheckpointError
            If a tensor that the table states is missing or misshapen.
        """
        layer = self.layers[name]
        shape = layer.sized(self.sizes)
        outputs, inputs, *kernel = shape
        used = self.affine(layer) | self.normalised(name, layer.norms, scale)
        self.check(layer, used, outputs)
        self.take(name, used)
        has_bias, norm = "bias" in used, "bn_scale" in used
        if not kernel:
            return self.add(Linear(name, (source,), inputs, outputs, has_bias, norm))
        return self.add(Conv2d(
            name, (source,), inputs * groups, outputs, window(kernel), (stride, stride), (padding, padding), has_bias,
            norm, module(kernel), groups, repeated,
        ))  # fmt: skip

    def take(self, name: str, used: Mapping[str, tuple[str, ...]]) -> None:
        """Take the keys of a node's parameters, which `Weights` knows how to make."""
        self._sources |= {f"{name}.{parameter}": keys for parameter, keys in used.items()}

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
        """Append LIF neurons: PLIF where the checkpoint has their trained time constant, ``<name>.w``."""
        if f"{name}.w" in self.checkpoint.shapes:
            return self.plif(name, source, layout, threshold, view)
        return self.add(LIF(name, (source,), tau, threshold, layout, view=view))  # type: ignore[arg-type]

    def plif(
        self, name: str, source: str, layout: str = "map", threshold: float = 1.0, view: tuple[int, ...] = ()
    ) -> str:
        """Append neurons whose leak was learned: SpikingJelly's ParametricLIFNode, of one number ``w``.

        Raises
        ------
        CheckpointError
            If the checkpoint has no such number for them.
        """
        key, path = f"{name}.w", self.checkpoint.path
        shape = self.checkpoint.shapes.get(key)
        if shape not in ((), (1,)):
            has = "lacks" if shape is None else f"has shape {list(shape)} for"
            raise CheckpointError(f"{path} {has} {key}, the learned time constant of its PLIF neurons, one number")
        w = float(_read(self.checkpoint, key).reshape(-1)[0])
        if not abs(w) < LARGEST_W:
            raise CheckpointError(f"{path}: {key} is {w}, no time constant that was learned; use a sound checkpoint")
        self._sources[f"{name}.w"] = (key,)
        self._taus.append(1.0 + exp(-w))
        return self.add(LIF(name, (source,), self._taus[-1], threshold, layout, parametric=True, view=view))  # type: ignore[arg-type]

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
        counters = {f"{norm}.num_batches_tracked" for layer in self.layers.values() for norm in layer.norms}
        passed = re.compile(rf"({'|'.join(map(pattern, unused))})(\.\w+)?") if unused else re.compile("(?!)")
        left = [key for key in self.checkpoint.shapes if key not in taken]
        dropped = [key for key in left if key not in counters and passed.fullmatch(key)]
        rest = [key for key in left if key not in counters and not passed.fullmatch(key)]
        learned = learned_constants({key: self.checkpoint.shapes[key] for key in rest})
        if learned:
            raise CheckpointError(
                f"{self.checkpoint.path} has PLIF neurons (ParametricLIFNode: {named(learned, 6)}), whose learned time "
                "constants this network does not take; give a model of LIF neurons, or another `family`"
            )
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
        for what, names in self.folded.items():
            self.notes.append(f"folded {what}: {len(names)} ({named(names)})")
        if self._taus:
            least, most = min(self._taus), max(self._taus)
            self.notes.append(
                f"took trained time constants (PLIF) of {len(self._taus)} layers of neurons: tau {least:.3g} to "
                f"{most:.3g}"
            )
        if self._extra:
            self.notes.append(f"took a bias that the family's models do not have: {named(self._extra)}")
        return Weights(self.checkpoint, self._sources, self._recipes)

    def affine(self, layer: Layer) -> dict[str, tuple[str, ...]]:
        """Return the keys of a layer's weight and, if it has one, of its bias."""
        used: dict[str, tuple[str, ...]] = {"weight": (layer.weight,)}
        bias = f"{layer.key}.bias"
        if layer.bias or bias in self.checkpoint.shapes:
            used["bias"] = (bias,)
            self._extra += [] if layer.bias else [bias]
        return used

    def normalised(self, name: str, norms: Sequence[str], scale: str) -> dict[str, tuple[str, ...]]:
        """Return the keys of a node's BatchNorms and of the factor behind them; of one alone, `Weights` knows how."""
        factor = (self.layers[scale].weight,) if scale else ()
        if not norms and not factor:
            return {}
        if len(norms) == 1 and not factor:
            single = (f"{norms[0]}.weight", f"{norms[0]}.running_var")
            return {"bn_scale": single, "bn_shift": (*single, f"{norms[0]}.bias", f"{norms[0]}.running_mean")}
        keys = (*(key for norm in norms for key in affine.parts_of(norm)), *factor)
        if factor:
            self.folded.setdefault("scales of residual branches into BatchNorm", []).append(scale)
        for parameter in ("bn_scale", "bn_shift"):
            self._recipes[f"{name}.{parameter}"] = partial(affine.normalised, tuple(norms), factor, parameter)
        return {"bn_scale": keys, "bn_shift": keys}

    def check(self, layer: Layer, used: Mapping[str, tuple[str, ...]], outputs: int) -> None:
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


def window(kernel: Sequence[int]) -> tuple[int, int]:
    """Return height and width of a kernel as the table has it, none, one or both."""
    return (kernel[-2] if len(kernel) == 2 else 1, kernel[-1])


def module(kernel: Sequence[int]) -> str:
    """Return PyTorch's class for a kernel."""
    return "Conv1d" if len(kernel) == 1 else "Conv2d"


class Weights(Mapping[str, NDArray[np.floating]]):
    """The network's parameters, made from the checkpoint on access: nothing is held twice.

    Weights become [kH, kW, C_in, C_out] or [C_in, C_out] as they are; BatchNorm becomes ``bn_scale = weight /
    sqrt(running_var + eps)`` and ``bn_shift = bias - running_mean * bn_scale``, in float64. What is computed of several
    layers stays float64, so that nothing of them is lost.

    Attributes
    ----------
    sources
        ``"<node>.<parameter>"`` to the keys of the checkpoint that it is made from.
    recipes
        How those are made that are neither a tensor as it is nor one BatchNorm.

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
            tensors = {name: _read(self._checkpoint, name).astype(np.float64) for name in self.sources[key]}
            with np.errstate(over="ignore", invalid="ignore"):
                computed = self.recipes[key](tensors)
            self._check(computed, key)
            return np.ascontiguousarray(computed)
        parts = [_read(self._checkpoint, name) for name in self.sources[key]]
        parameter = key.rsplit(".", 1)[1]
        if parameter == "weight":
            (weight,) = parts
            return self._single(turned(weight), key)
        if parameter == "w":
            return self._single(parts[0].reshape(1), key)
        if parameter == "bias":
            return self._single(parts[0], key)
        gain, variance, *rest = (part.astype(np.float64) for part in parts)
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


def _read(checkpoint: Checkpoint, name: str) -> NDArray[np.floating]:
    """Return a tensor's values; CheckpointError where they are not real, finite and of sense."""
    values = checkpoint.tensors[name]
    if values.dtype.kind != "f":
        raise CheckpointError(f"{checkpoint.path}: {name} holds {values.dtype}, not real numbers")
    if not np.isfinite(values).all():
        raise CheckpointError(
            f"{checkpoint.path}: {name} holds NaN or infinite values; use a checkpoint from before that"
        )
    if name.endswith(".running_var") and (values.astype(np.float64) + BATCH_NORM_EPS <= 0.0).any():
        raise CheckpointError(f"{checkpoint.path}: {name} holds negative variances; train or copy it again")
    return values  # type: ignore[return-value]

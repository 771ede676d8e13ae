"""Several layers of a checkpoint as the one node that they amount to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import prod
from typing import cast

from evsim.converters import affine
from evsim.converters.parts import Builder, module, window
from evsim.network import Conv2d, Linear


def stack(
    builder: Builder, name: str, source: str, parts: Sequence[str], what: str, padding: int = 0, scale: str = ""
) -> str:
    """Append layers of the table that follow each other without neurons between as the one layer that they are.

    All but one have kernels of 1 x 1. The second BatchNorm of the last, `Row.outer`, stays the new layer's own; all
    other BatchNorms become part of its weight and bias, which are float64.

    Parameters
    ----------
    builder
        Collects nodes and knows the table.
    name, source
        Of the new node, and of the one that it reads.
    parts
        Nodes of the table, in order.
    what
        What was folded, for the notes.
    padding, scale
        As of `Builder.layer`.

    Raises
    ------
    CheckpointError
        If a tensor that the table states is missing or misshapen.
    """
    layers = [builder.layers[part] for part in parts]
    inner: dict[str, tuple[str, ...]] = {}
    for layer in layers:
        used = builder.affine(layer)
        if layer.norm:
            used["norm"] = affine.parts_of(layer.norm)
        builder.check(layer, used, layer.sized(builder.sizes)[0])
        inner |= {f"{layer.key} {parameter}": keys for parameter, keys in used.items()}
    last, kernels = layers[-1], [layer.sized(builder.sizes)[2:] for layer in layers]
    outer = builder.normalised(name, (last.outer,) if last.outer else (), scale)
    builder.check(last, outer, last.sized(builder.sizes)[0])
    builder.take(name, outer)
    builder.folded.setdefault(what, []).append(name)
    kernel = max(kernels, key=prod)
    node = Conv2d(
        name, (source,), layers[0].sized(builder.sizes)[1], last.sized(builder.sizes)[0], window(kernel), (1, 1),
        (padding, padding), True, bool(outer), module(kernel),
    )  # fmt: skip
    keys = tuple(key for names in inner.values() for key in names)
    return builder.made(node, {p: (keys, partial(affine.stacked, layers, p)) for p in ("weight", "bias")})


def average(builder: Builder, name: str, source: str, others: Sequence[str], what: str) -> str:
    """Append linear layers of the table that read the same as one of their mean weights, which are float64.

    Raises
    ------
    CheckpointError
        If a tensor that the table states is missing or misshapen.
    """
    layers = [builder.layers[each] for each in (name, *others)]
    for layer in layers:
        builder.check(layer, builder.affine(layer), layer.sized(builder.sizes)[0])
    builder.folded.setdefault(what, []).append(name)
    outputs, inputs = layers[0].sized(builder.sizes)
    keys = {p: tuple(f"{layer.key}.{p}" for layer in layers) for p in ("weight", "bias")}
    return builder.made(
        Linear(name, (source,), inputs, outputs), {p: (keys[p], partial(affine.mean, keys[p])) for p in keys}
    )


def weighted(builder: Builder, name: str, source: str, factor: float) -> str:
    """Append a linear layer of the table that gives its values times a factor: one of several to be averaged."""
    builder.layer(name, source)
    node = cast("Linear", builder.nodes.pop())
    keys = (builder.layers[name].weight,)
    constants = {"bn_scale": factor, "bn_shift": 0.0}
    return builder.made(
        replace(node, batch_norm=True),
        {p: (keys, partial(affine.constant, node.out_channels, value)) for p, value in constants.items()},
    )

"""The key table of a family: every layer with weights, its keys, and its shape in terms of the model's sizes.

All that must agree follows from this one table: whether a checkpoint is the family's, its sizes, what each layer must
have, and the random weights of `evsim.synthesis`.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from evsim.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]
Sizes = Mapping[str, int]

COUNTER = re.compile(r"\{(\w+)\}")
SHOWN = 4
"""Keys that a message names."""


@dataclass(frozen=True)
class Row:
    """A layer with weights, or one in each of several blocks.

    Attributes
    ----------
    node
        Name of the network's node; ``block.{depth}.attn.q_conv`` stands for blocks 0 to depth - 1.
    shape
        Shape of the weight as PyTorch has it: numbers, and names of sizes.
    norm
        The BatchNorm that follows, as a sibling of the key ("q_bn"); "" if there is none.
    bias
        Whether the layer always has a bias.
    key
        The layer's key, where it is not the node's name.
    part
        Name of the tensor, where it is not the weight: ``w`` of a PLIF, the scale of a residual branch.
    initial
        What a model of random weights has there, where that is no random number.
    outer
        A second BatchNorm behind the first, by its whole key; "" if there is none.
    buffer
        Whether the tensor is no parameter, but was measured in training.
    """

    node: str
    shape: tuple[int | str, ...]
    norm: str = ""
    bias: bool = False
    key: str = ""
    part: str = "weight"
    initial: float | None = None
    outer: str = ""
    buffer: bool = False

    @property
    def counter(self) -> str:
        """Name of the size that counts the blocks, or ""."""
        counter = COUNTER.search(self.node)
        return counter[1] if counter else ""

    def at(self, index: int | str) -> Layer:
        """Return the layer in block `index`."""
        node, key, outer = (COUNTER.sub(str(index), text) for text in (self.node, self.key or self.node, self.outer))
        parent = key.rpartition(".")[0]
        norm = f"{parent}.{self.norm}" if parent and self.norm else self.norm
        return Layer(node, key, self.shape, norm, self.bias, self.part, self.initial, outer, self.buffer)


@dataclass(frozen=True)
class Layer:
    """One layer of a model: `Row` with its block's number in all names."""

    node: str
    key: str
    shape: tuple[int | str, ...]
    norm: str
    bias: bool
    part: str = "weight"
    initial: float | None = None
    outer: str = ""
    buffer: bool = False

    @property
    def weight(self) -> str:
        """Key of the weight, or of the lone tensor that the row is about."""
        return f"{self.key}.{self.part}"

    @property
    def norms(self) -> tuple[str, ...]:
        """The BatchNorms that follow, in order."""
        return tuple(norm for norm in (self.norm, self.outer) if norm)

    def sized(self, sizes: Sizes) -> tuple[int, ...]:
        """Return the shape of the weight in numbers."""
        return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in self.shape)


@dataclass(frozen=True)
class Form:
    """One set of names that a family's checkpoints come in.

    Attributes
    ----------
    name
        How the family tells it from its other forms.
    rows
        Every layer with weights, in the order in which random weights are drawn. A row of a fixed number
        (``stage.0.x``) stands in for that block's layer of a counted one (``stage.{depth}.x``).
    shared
        Whose checkpoints have these very keys too, for messages; "" if the keys alone tell the family.
    learned
        Layers of neurons that have a key ``<neurons>.w`` where they are PLIF, for models of random weights.
    grown
        Makes the rows from a checkpoint's shapes, where its layers are numbered with gaps or differ from model to
        model; `rows` are then those of a published one, for messages and random weights.
    """

    name: str
    rows: tuple[Row, ...]
    shared: str = ""
    learned: tuple[str, ...] = ()
    grown: Callable[[Shapes], tuple[Row, ...]] | None = None

    def of(self, shapes: Shapes) -> Form:
        """Return the form with the rows that a checkpoint of these shapes has."""
        return replace(self, rows=self.grown(shapes), grown=None) if self.grown else self

    def layers(self, sizes: Sizes) -> Iterator[Layer]:
        """Yield all layers of a model, block by block; of the sizes only the counts of blocks are needed."""
        fixed = {row.key or row.node for row in self.rows if not row.counter}
        for counter, group in itertools.groupby(self.rows, lambda row: row.counter):
            if not counter:
                yield from (row.at(0) for row in group)
                continue
            rows = tuple(group)
            for index in range(sizes[counter]):
                layers = (row.at(index) for row in rows)
                yield from (layer for layer in layers if layer.key not in fixed)

    def parameters(self, sizes: Sizes) -> int:
        """Return how many parameters a PyTorch model has: weights, biases, gains and shifts of BatchNorm."""
        total = 0
        for layer in self.layers(sizes):
            if not layer.buffer:
                shape = layer.sized(sizes)
                total += prod(shape) + sum(shape[:1]) * (layer.bias + 2 * len(layer.norms))
        return total

    def kinds(self) -> Iterator[str]:
        """Yield every key that a checkpoint of this form always has, with N for the block's number."""
        for row in self.rows:
            layer = row.at("N")
            yield layer.weight
            if layer.bias:
                yield f"{layer.key}.bias"
            for norm in layer.norms:
                yield from (f"{norm}.{part}" for part in ("weight", "bias", "running_mean", "running_var"))

    def match(self, shapes: Shapes) -> Match:
        """Hold the keys of a checkpoint against the table."""
        if self.grown:
            return self.of(shapes).match(shapes)
        present, missing, misshapen = 0, [], []
        counts = self._counts(shapes)
        for layer in self.layers(self._walked(counts, shapes)):
            if layer.weight not in shapes:
                missing.append(layer.weight)
            elif len(shapes[layer.weight]) != len(layer.shape):
                shape = list(shapes[layer.weight])
                misshapen.append(f"{layer.weight} of shape {shape}, not of {len(layer.shape)} axes")
            else:
                present += 1
        return Match(self, counts, present, tuple(missing), tuple(misshapen))

    def fits(self, shapes: Shapes) -> bool:
        """Whether the weight of every layer is there: `match`, ended by the first that is not."""
        if self.grown:
            return self.of(shapes).fits(shapes)
        layers = self.layers(self._walked(self._counts(shapes), shapes))
        return all(layer.weight in shapes and len(shapes[layer.weight]) == len(layer.shape) for layer in layers)

    def _counts(self, shapes: Shapes) -> Sizes:
        counters = {row.counter for row in self.rows if row.counter}
        return {counter: _count(counter, self.rows, shapes) for counter in sorted(counters)}

    def _walked(self, counts: Sizes, shapes: Shapes) -> Sizes:
        """Return how many blocks to look at: of more than there are keys for, which one key can claim, some lack."""
        rows = Counter(row.counter for row in self.rows)
        return {counter: min(count, len(shapes) // rows[counter] + 1) for counter, count in counts.items()}


@dataclass(frozen=True)
class Match:
    """How a checkpoint fits a form: number of layers that are there, keys that are not, or have other axes."""

    form: Form
    counts: Sizes
    present: int
    missing: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether the weight of every layer is there."""
        return not (self.missing or self.misshapen)

    @property
    def share(self) -> float:
        """Share of the layers that are there."""
        return self.present / (self.present + len(self.missing) + len(self.misshapen))

    def fault(self) -> str:
        """Say what does not fit, such as "lacks a.weight, b.weight and 3 more"."""
        lacks = f"lacks {named(self.missing)}" if self.missing else ""
        has = f"has {named(self.misshapen, 1)}" if self.misshapen else ""
        return " and ".join(part for part in (has, lacks) if part)

    def sizes(self, shapes: Shapes, path: Path) -> Sizes:
        """Return the sizes of the model; the first layer that has one decides it.

        Parameters
        ----------
        shapes
            Those of a checkpoint that is complete.
        path
            Its file, for messages.

        Raises
        ------
        CheckpointError
            If the shapes of two layers contradict each other.
        """
        sizes = dict(self.counts)
        for layer in self.form.layers(self.counts):
            shape = shapes[layer.weight]
            for axis, size in zip(layer.shape, shape, strict=True):
                known = sizes.setdefault(axis, size) if isinstance(axis, str) else axis
                if known != size:
                    axes, wanted = ", ".join(map(str, layer.shape)), list(layer.sized(sizes))
                    raise CheckpointError(
                        f"{path}: {layer.weight} has shape {list(shape)}, but [{axes}] is {wanted} by the other layers"
                    )
        return sizes


def pattern(key: str) -> str:
    """Return a regular expression for a key in which ``{count}`` stands for any number."""
    parts = re.split(r"\{\w+\}", key)
    return r"\d{1,9}".join(map(re.escape, parts))  # no more digits: Python refuses to read thousands of them


def learned_constants(shapes: Shapes) -> list[str]:
    """Return the keys of PLIF neurons' learned time constants: ``<neurons>.w``, one number each."""
    return [key for key, shape in shapes.items() if key.endswith(".w") and shape in ((), (1,))]


def named(keys: Sequence[str], shown: int = SHOWN) -> str:
    """Name the first few keys, and how many more there are."""
    more = f" and {len(keys) - shown} more" if len(keys) > shown else ""
    return ", ".join(keys[:shown]) + more


def _count(counter: str, rows: Sequence[Row], shapes: Shapes) -> int:
    """Return the number of blocks of which some key is there, at least 1: the highest number and those below it."""
    heads = {re.split(r"\{\w+\}", row.key or row.node)[0] for row in rows if row.counter == counter}
    numbered = re.compile(rf"(?:{'|'.join(map(re.escape, sorted(heads)))})(\d{{1,9}})\.")
    return 1 + max((int(number[1]) for number in map(numbered.match, shapes) if number), default=0)

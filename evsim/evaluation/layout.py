"""What is kept of each sample: the columns of an audit, and how a run fills a row of them.

Every counter of every layer and timestep is kept, so a sample's counts can be made again as they were. What is the same
for every sample, such as input sizes and geometry, is kept once, in the counts of the first sample that ran.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.counters import AttentionCounts, Counts, LayerCounts, SynapseCounts
from evsim.countsfile import per_head
from evsim.movement import Traffic
from evsim.quantized import WEIGHTS

Arrays = Mapping[str, NDArray[Any]]

SAME = ("input_size", "bias_adds", "neuron_updates")
"""Counters that follow from geometry and T alone."""

ABSENT, RAN, FAILED = 0, 1, 2
"""What `status` says of a sample."""

LONGEST_REASON = 512
"""Bytes of the reason why a sample failed."""


@dataclass(frozen=True)
class Column:
    """One dataset of an audit.

    Attributes
    ----------
    name
        Path within the file.
    dtype
        Of its values.
    shape
        Of one sample.
    rows
        Index in the list of layers of each entry of its first axis; empty where it is not by layer.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    rows: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of one sample."""
        return int(np.prod(self.shape, dtype=object)) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, eq=False)
class Layout:
    """The columns of an audit.

    Attributes
    ----------
    first
        Counts of the first sample that ran: names, geometry and what is the same for all.
    columns
        By name.
    """

    first: Counts
    columns: Mapping[str, Column]

    @property
    def measured(self) -> bool:
        """Whether traffic is measured."""
        return all(layer.traffic is not None for layer in self.first.layers)

    @property
    def size(self) -> int:
        """Bytes of one sample."""
        return sum(column.size for column in self.columns.values())

    def alike(self, other: Layout) -> bool:
        """Whether two keep the same of the same layers."""
        mine, theirs = (
            [(type(layer), layer.name, layer.geometry) for layer in layout.first.layers] for layout in (self, other)
        )
        return mine == theirs and self.columns == other.columns


def layout_of(first: Counts, classes: int, precision: str) -> Layout:
    """Return the columns that hold runs like this one.

    Parameters
    ----------
    first
        What a run counted.
    classes
        Number of logits.
    precision
        Of the runs; logits of integer networks are float64.
    """
    steps = first.timesteps
    columns = [
        Column("status", "u1", ()),
        Column("reason", "u1", (LONGEST_REASON,)),
        Column("input_digest", "u1", (32,)),
        Column("logits", "float64" if precision in WEIGHTS else precision, (classes,)),
        Column("anytime/prediction", "i4", (steps,)),
        Column("anytime/rank", "i4", (steps,)),
        Column("anytime/sops", "i8", (steps,)),
        Column("anytime/macs", "i8", (steps,)),
    ]
    synapses = tuple(i for i, layer in enumerate(first.layers) if isinstance(layer, SynapseCounts))
    columns.append(Column("binary", "u1", (len(synapses),), synapses))
    gathered: dict[str, list[tuple[int, NDArray[Any]]]] = {}
    for row, name, values in _counters(first):
        gathered.setdefault(name, []).append((row, values))
    for name, entries in gathered.items():
        widest = max(values.shape[-1] if values.ndim else 0 for _, values in entries)
        one = entries[0][1]
        inner = (*one.shape[:-1], widest) if one.ndim else ()
        columns.append(Column(name, "i8", (len(entries), *inner), tuple(row for row, _ in entries)))
    columns += [Column(f"operations/{i}/{key}", "i8", values.shape) for i, key, values in _operations(first)]
    columns += [Column(f"other/{key}", "i8", (steps,)) for key in first.other]
    return Layout(first, {column.name: column for column in columns if column.size})


def fill(layout: Layout, arrays: dict[str, NDArray[Any]], at: int, counts: Counts) -> str:
    """Write what a run counted into a row of arrays; say in what it is unlike the first, or "".

    Parameters
    ----------
    layout
        The columns.
    arrays
        Name to array [samples, ...].
    at
        Which sample.
    counts
        What the run counted.
    """
    for mine, first in zip(counts.layers, layout.first.layers, strict=True):
        if any(not np.array_equal(getattr(mine, key), getattr(first, key)) for key in SAME if hasattr(first, key)):
            return f"{mine.name} runs at other timesteps than for the first sample; evaluate such samples apart"
    places = {name: {row: i for i, row in enumerate(column.rows)} for name, column in layout.columns.items()}
    for row, name, values in _counters(counts):
        place = arrays[name][at, places[name][row]]
        if values.ndim:
            place[..., : values.shape[-1]] = values
        else:
            arrays[name][at, places[name][row]] = values
    for i, key, values in _operations(counts):
        arrays[f"operations/{i}/{key}"][at] = values
    for key, values in counts.other.items():
        arrays[f"other/{key}"][at] = values
    if "binary" in layout.columns:
        rows = layout.columns["binary"].rows
        arrays["binary"][at] = [getattr(counts.layers[row], "binary_samples", 0) for row in rows]
    return ""


def counts_of(layout: Layout, arrays: Arrays, at: int) -> Counts:
    """Return the counts of one sample as its run gave them."""
    return _rebuilt(layout, {name: values[at] for name, values in arrays.items()}, 1)


def summed(layout: Layout, arrays: Arrays, chosen: NDArray[np.bool_]) -> Counts:
    """Return the counts of all chosen samples as `evsim.counters.merged` adds them up.

    Parameters
    ----------
    layout
        The columns.
    arrays
        Name to array [samples, ...].
    chosen
        [samples], which are added up.
    """
    number = int(chosen.sum())
    sums: dict[str, NDArray[Any]] = {}
    for name, column in layout.columns.items():
        if column.dtype == "i8" or name == "binary":
            kept = arrays[name][chosen]
            most = name.startswith("traffic/") and _is_greatest(name)
            sums[name] = kept.max(axis=0, initial=0) if most else kept.sum(axis=0, dtype=np.int64)
    if "binary" in sums:
        sums["binary_nonzeros"] = binary_nonzeros(layout, arrays)[chosen].sum(axis=0, dtype=np.int64)
    return _rebuilt(layout, sums, number)


def binary_nonzeros(layout: Layout, arrays: Arrays) -> NDArray[np.int64]:
    """Return the nonzero inputs of each layer with weights [samples, rows] where all its inputs were 0/1, else 0."""
    column, nonzeros = layout.columns["binary"], layout.columns["counters/input_nonzeros"]
    places = [nonzeros.rows.index(row) for row in column.rows]
    totals = arrays["counters/input_nonzeros"][:, places].sum(axis=-1, dtype=np.int64)
    product: NDArray[np.int64] = totals * arrays["binary"].astype(np.int64)
    return product


def _rebuilt(layout: Layout, values: Arrays, samples: int) -> Counts:
    """Return counts of these values, [rows, ...] each; what is the same for all samples counts for each."""
    changes: list[dict[str, Any]] = [{"samples": samples} for _ in layout.first.layers]
    moved: list[dict[str, Any]] = [{} for _ in layout.first.layers]
    for name, column in layout.columns.items():
        group, _, key = name.partition("/")
        if group not in ("counters", "traffic"):
            continue
        for place, row in enumerate(column.rows):
            part = values[name][place]
            layer = layout.first.layers[row]
            if group == "traffic":
                moved[row][key] = int(part) if part.ndim == 0 else _own_heads(key, part, layer)
            else:
                changes[row][key] = _own_heads(key, part, layer)
    if "binary" in layout.columns:
        column = layout.columns["binary"]
        for place, row in enumerate(column.rows):
            flag = int(values["binary"][place])
            seen = values.get("binary_nonzeros")
            nonzeros = int(changes[row]["input_nonzeros"].sum()) * flag if seen is None else int(seen[place])
            changes[row] |= {"binary_samples": flag, "binary_nonzeros": nonzeros}
    layers = []
    for i, (layer, own) in enumerate(zip(layout.first.layers, changes, strict=True)):
        own |= {key: getattr(layer, key) * samples for key in SAME if key in {f.name for f in fields(layer)}}
        if isinstance(layer, AttentionCounts) and layer.operations:
            own["operations"] = {key: values[f"operations/{i}/{key}"] for key in layer.operations}
        if layer.traffic is not None:
            own["traffic"] = replace(layer.traffic, **moved[i])
        layers.append(replace(layer, **own))
    other = {key: np.asarray(values[f"other/{key}"]) for key in layout.first.other}
    return Counts(layout.first.timesteps, tuple(layers), other, samples)


def _counters(counts: Counts) -> Iterator[tuple[int, str, NDArray[Any]]]:
    """Yield row, column and value of every counter that differs from sample to sample."""
    for row, layer in enumerate(counts.layers):
        for f in fields(layer):
            value = getattr(layer, f.name)
            if isinstance(value, np.ndarray) and f.name not in SAME:
                yield row, f"counters/{f.name}", value
        if layer.traffic is not None:
            for f in fields(Traffic):
                value = getattr(layer.traffic, f.name)
                if isinstance(value, np.ndarray | int):
                    yield row, f"traffic/{f.name}", np.asarray(value)


def _operations(counts: Counts) -> Iterator[tuple[int, str, NDArray[Any]]]:
    for row, layer in enumerate(counts.layers):
        if isinstance(layer, AttentionCounts):
            for key, values in layer.operations.items():
                yield row, key, values


def _own_heads(name: str, values: NDArray[Any], layer: LayerCounts) -> NDArray[Any]:
    """Return values without what pads them to the widest row."""
    return np.ascontiguousarray(values[..., : layer.geometry.heads]) if per_head(name) else values


def _is_greatest(name: str) -> bool:
    from evsim.movement import is_maximum

    return is_maximum(name.removeprefix("traffic/"))

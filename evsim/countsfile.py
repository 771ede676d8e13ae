"""``counts.h5``: what a run counted, so that energy can be charged without the model or the recording.

The layout is documented in docs/counts-format.md: one dataset per counter, stacked over the layers that have it.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evsim import hdf5
from evsim.counters import (
    ROW_TYPES,
    AttentionCounts,
    Counts,
    Ints,
    LayerCounts,
    NeuronCounts,
    SynapseCounts,
    Traffic,
    merged,
    unknown_row,
)
from evsim.countscheck import fault
from evsim.errors import EvsimError, OptionError
from evsim.files import check_input
from evsim.geometry import Geometry, RowKind
from evsim.hdf5_group import Group
from evsim.origin import Origin, array_digest, network_digest, origin
from evsim.ownfiles import own_kind
from evsim.primitives import Kind
from evsim.schema import LARGEST, SchemaError, build, checked, is_of, parsed, printable, shown
from evsim.sharedsums import ON_REQUEST

__all__ = [
    "COUNTERS", "FORMAT", "SCALARS", "SCHEMA", "CountsError", "Origin", "Stored", "array_digest", "fill", "load",
    "merge", "network_digest", "origin", "per_head", "save", "stored",
]  # fmt: skip

SCALARS: Mapping[str, Any] = {
    "name": str,
    "kind": RowKind,
    "input_kind": Kind,
    "steps": int,
    "samples": int,
    "binary_samples": int,
    "binary_nonzeros": int,
    "reads_input": bool,
}
"""What the list of layers says of each row beside its geometry, and the type of each; what a kind lacks is 0 there."""

COUNTERS = (
    "input_nonzeros", "input_size", "input_sum", "sops", "macs", "bias_adds", "neuron_updates", "sops_other_order",
    "acs_unrolled", "spikes", "sops_per_head", "sops_other_order_per_head", "operand_nonzeros",
    "sops_unrolled_per_head", "nonzeros", *ON_REQUEST,
)  # fmt: skip
"""Datasets of counters; a kind of row has a part of them, some by its other counters."""

MOST_LAYERS = 100_000
"""Rows; a network has some hundred."""

LARGEST_SIZE = 2**31 - 1
"""Of anything about the shape of a layer."""

LARGEST_TOTAL = 2**62
"""Sum of a counter over all layers and timesteps, so that sums of sums stay within int64."""

SCHEMA = 2
"""Newest version of the layout; a reader refuses newer ones. What version 1 can say is written as version 1."""

FORMAT = "evsim-counts"


class CountsError(EvsimError):
    """A ``counts.h5`` is missing, damaged, newer than this evsim, or does not fit another."""


@dataclass(frozen=True, eq=False)
class Stored:
    """Counts and where they came from."""

    counts: Counts
    origin: Origin


def save(path: str | Path, counts: Counts, source: Origin) -> None:
    """Write counts; the file appears whole or not at all.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    """
    hdf5.write(path, lambda file: fill(file, counts, source), "latest")


def fill(group: Any, counts: Counts, source: Origin) -> None:
    """Write counts into a group of an open h5py file, or its root."""
    entries = [_entry(layer) for layer in counts.layers]
    group.attrs["format"], group.attrs["schema"] = FORMAT, _oldest_schema(counts)
    group.attrs["timesteps"], group.attrs["samples"] = counts.timesteps, counts.samples
    group.create_dataset("origin", data=json.dumps(asdict(source)))
    group.create_dataset("layers", data=json.dumps(entries))
    other = group.create_group("other")
    for key, values in counts.other.items():
        other.create_dataset(key, data=values)
    _write_arrays(group.create_group("counters"), COUNTERS, counts.layers)
    for i, layer in enumerate(counts.layers):
        if isinstance(layer, AttentionCounts):
            for key, values in layer.operations.items():
                group.create_dataset(f"operations/{i}/{key}", data=values)
    traffic = [layer.traffic for layer in counts.layers]
    if all(row is not None for row in traffic):
        _write_arrays(group.create_group("traffic"), [f.name for f in fields(Traffic)], traffic)


def load(path: str | Path) -> Stored:
    """Read counts.

    Raises
    ------
    CountsError
        If the file is missing, damaged, newer than this evsim, or holds no counts.
    """
    path = Path(path)
    again = f"make it again by a run with `save_counts={path}`"
    check_input(path, CountsError, "a file of counts", f"make one by a run with `save_counts={path}`")
    if not hdf5.is_hdf5(path):
        raise CountsError(f"{path} is no counts file (it is no HDF5 file, or cut short); {again}")
    try:
        with hdf5.File(path, CountsError, again) as file:
            told = file.attributes()
            if told.get("format") != FORMAT and (kind := own_kind(file)):
                raise CountsError(f"{path} is no file of counts: it holds {kind}")
            if told.get("format") != FORMAT:
                raise CountsError(
                    f"{path} is an HDF5 file but holds no counts; a run with `save_counts=True` makes some"
                )
            if type(told.get("schema")) is int and told["schema"] > SCHEMA:
                raise CountsError(
                    f"{path} has schema {told['schema']}, this evsim reads up to {SCHEMA}; install a newer evsim"
                )
            return stored(file)
    except SchemaError as error:
        raise CountsError(f"{path} is damaged or no counts file ({error}); {again}") from error


def merge(paths: Sequence[str | Path]) -> tuple[Stored, tuple[str, ...]]:
    """Return the sum of several counts files, and what a person should know about it.

    Raises
    ------
    CountsError
        If there is but one file, one cannot be read, or they are not of one model and one T.
    """
    if len(paths) < 2:
        raise CountsError(f"counts merge takes two files or more, got {len(paths)}; one file of counts needs no merge")
    parts = [load(path) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        if part.origin.model_digest != parts[0].origin.model_digest:
            raise CountsError(f"{path} was counted on another model than {paths[0]}; merge counts of one model")
    try:
        total = merged([part.counts for part in parts])
    except OptionError as error:
        raise CountsError(f"{', '.join(map(str, paths))}: {error}") from error
    notes = []
    inputs = tuple(entry for part in parts for entry in part.origin.inputs)
    if len({digest for _, digest in inputs}) < len(inputs):
        notes.append("the same input is counted more than once")
    lacking = [str(p) for p, s in zip(paths, parts, strict=True) if any(x.traffic is None for x in s.counts.layers)]
    if lacking and len(lacking) < len(parts):
        notes.append(f"traffic is left out, for it is missing in {', '.join(lacking)}")
    lacking = [str(p) for p, s in zip(paths, parts, strict=True) if not s.counts.shares]
    if lacking and len(lacking) < len(parts):
        notes.append(f"shared sums are left out, for they are missing in {', '.join(lacking)}")
    first = parts[0].origin
    precisions = {part.origin.precision for part in parts}
    precision = first.precision if len(precisions) == 1 else ", ".join(sorted(precisions))
    return Stored(total, Origin(first.model, first.model_digest, inputs, first.versions, precision)), tuple(notes)


def per_head(name: str) -> bool:
    """Whether a counter is an array [T, heads]."""
    return name.endswith("_per_head") or name.startswith(("kv_", "qk_"))


def _oldest_schema(counts: Counts) -> int:
    """Return the oldest version of the layout that can hold counts."""
    return 2 if any(_is_later(row) for row in counts.layers) else 1


def _is_later(row: LayerCounts) -> bool:
    if isinstance(row, AttentionCounts) and (row.operations or row.sops_unrolled_per_head is not None):
        return True
    if any(getattr(row, key, None) is not None for key in ON_REQUEST):
        return True
    return row.geometry.is_later or (isinstance(row, NeuronCounts) and row.nonzeros is not None)


def _entry(layer: LayerCounts) -> dict[str, Any]:
    """Return all of a row that is no array, for JSON."""
    match layer:
        case SynapseCounts() | AttentionCounts() | NeuronCounts():
            pass
        case _:
            raise unknown_row(layer, "counts.h5", "a file of this schema cannot hold it")
    entry = {name: getattr(layer, name, 0) for name in SCALARS}
    entry["geometry"] = layer.geometry.told()
    if layer.traffic is not None:
        pairs = ((f.name, getattr(layer.traffic, f.name)) for f in fields(layer.traffic))
        entry["traffic"] = {key: value for key, value in pairs if isinstance(value, int)}
    return entry


def _write_arrays(group: Any, names: Sequence[str], rows: Sequence[Any]) -> None:
    """Write each array attribute as one dataset, stacked over the rows that have it; attribute `rows` says which."""
    for name in names:
        having = [i for i, row in enumerate(rows) if isinstance(getattr(row, name, None), np.ndarray)]
        if not having:
            continue
        arrays = [getattr(rows[i], name) for i in having]
        widest = max(array.shape[-1] for array in arrays)
        padded = [np.pad(a, [(0, 0)] * (a.ndim - 1) + [(0, widest - a.shape[-1])]) for a in arrays]
        group.create_dataset(name, data=np.stack(padded).astype(np.int64)).attrs["rows"] = having


class _Header(NamedTuple):
    """What the attributes of the file say."""

    steps: int
    samples: int


def stored(file: hdf5.File | Group) -> Stored:
    """Read counts from an open file, or a group of one.

    Raises
    ------
    SchemaError
        Where it is not what `save` writes.
    """
    told = file.attributes()
    head = _Header(*(_whole(told, name, 1) for name in ("timesteps", "samples")))
    _whole(told, "schema", 1)
    entries = parsed(file.text("layers"))
    if not isinstance(entries, list) or len(entries) > MOST_LAYERS or not all(isinstance(e, dict) for e in entries):
        raise SchemaError(f"layers are no list of at most {MOST_LAYERS} objects")
    file.check_claims(name for name, member in file.members.items() if member.dtype is not None)
    sizes = [_geometry(entry.pop("geometry", None)) for entry in entries]
    moved = [checked(Traffic, entry.pop("traffic", {}), 0) for entry in entries]
    arrays = _read_arrays(file, "counters", COUNTERS, sizes, head.steps)
    measured = "traffic" in file.members
    if measured:
        arrays_moved = _read_arrays(file, "traffic", [f.name for f in fields(Traffic)], sizes, head.steps)
        moved = [scalars | own for scalars, own in zip(moved, arrays_moved, strict=True)]
    layers = []
    for i, entry in enumerate(entries):
        traffic = _whole_row(Traffic, moved[i]) if measured else None
        scalars = _scalars(entry, head)
        operations = _operations(file, i, sizes[i], head.steps)
        own = {"geometry": sizes[i], "traffic": traffic, "operations": operations}
        layers.append(_row({**scalars, **arrays[i], **own}))
    if len({layer.name for layer in layers} | {""}) <= len(layers):
        raise SchemaError("two layers bear one name, or one bears none")
    other = {}
    for name in file.members:
        if name.startswith("other/"):
            other[printable(name.removeprefix("other/"))] = _integers(name, file.read(name), (head.steps,))
    counts = Counts(head.steps, tuple(layers), other, head.samples)
    if reason := fault(counts):
        raise SchemaError(reason)
    return Stored(counts, _origin(parsed(file.text("origin"))))


def _operations(file: hdf5.File | Group, row: int, size: Geometry, steps: int) -> dict[str, Ints]:
    """Return the operations of a row of attention, by name."""
    found: dict[str, Ints] = {}
    above = f"operations/{row}/"
    for path in (name for name in file.members if name.startswith(above) and file.members[name].dtype is not None):
        values = file.read(path)
        found[printable(path.removeprefix(above))] = _integers(
            printable(path), values, (steps, size.heads) if values.ndim == 2 else (steps,)
        )
    return found


def _origin(values: object) -> Origin:
    """Return where counts came from, its texts escaped where a terminal would obey them."""
    told = build(Origin, values)
    return Origin(
        printable(told.model),
        printable(told.model_digest),
        tuple((printable(source), printable(digest)) for source, digest in told.inputs),
        {printable(key): printable(text) for key, text in told.versions.items()},
        printable(told.precision),
    )


def _whole(told: Mapping[str, Any], name: str, least: int) -> int:
    value = told.get(name)
    if type(value) is not int or not least <= value <= LARGEST:
        raise SchemaError(f"{value!r} {name}" if isinstance(value, int) else f"its {name} is no whole number")
    return value


def _geometry(values: object) -> Geometry:
    size = build(Geometry, values, 0)
    numbers = [n for f in fields(size) for n in _numbers(getattr(size, f.name))]
    if max(numbers, default=0) > LARGEST_SIZE:
        raise SchemaError(f"a size of a layer is beyond {LARGEST_SIZE}")
    return size


def _numbers(value: object) -> tuple[float, ...]:
    if isinstance(value, tuple):
        return value
    return (value,) if isinstance(value, int | float) else ()


def _scalars(entry: dict[str, Any], head: _Header) -> dict[str, Any]:
    """Return what is no array of a row."""
    row: dict[str, Any] = {}
    for name, value in entry.items():
        if name not in SCALARS or not is_of(value, SCALARS[name]) or (type(value) is int and value < 0):
            raise SchemaError(f"a layer's {printable(name)} is {shown(value)}, which counts do not have")
        row[name] = printable(value) if name == "name" else value
    if not 1 <= row.get("steps", 1) <= head.steps:
        raise SchemaError(f"{row.get('name')} runs {row['steps']} steps of {head.steps}")
    if row.get("samples", 1) != head.samples or row.get("binary_samples", 0) > head.samples:
        raise SchemaError(f"{row.get('name')} sums another number of samples than {head.samples}")
    return row


def _row(values: dict[str, Any]) -> LayerCounts:
    """Return a row of the type of its kind, which takes what it has of its own; the rest follows from that."""
    if "kind" not in values:
        raise SchemaError(f"{values.get('name')} is of no kind")
    kind = ROW_TYPES[values["kind"]]
    if kind is AttentionCounts:
        values.setdefault("sops_other_order_per_head", None)
    own = {f.name for f in fields(kind)}
    row: LayerCounts = _whole_row(kind, {key: value for key, value in values.items() if key in own})
    return row


def _whole_row(kind: type[Any], values: dict[str, Any]) -> Any:
    """Make a row; one that lacks a counter that its kind always has is refused."""
    try:
        return kind(**values)
    except TypeError as error:
        raise SchemaError(f"a layer is not whole: {error}") from error


def _read_arrays(
    file: hdf5.File | Group, group: str, known: Sequence[str], sizes: Sequence[Geometry], steps: int
) -> list[dict[str, Any]]:
    """Return, for each row, name to array."""
    found: list[dict[str, Any]] = [{} for _ in sizes]
    totals: dict[str, float] = {}
    for path in (name for name in file.members if name.startswith(f"{group}/")):
        name, stacked = path.removeprefix(f"{group}/"), file.read(path)
        if name not in known:
            raise SchemaError(f"{printable(path)} is no counter that evsim knows")
        rows = file.attributes(path).get("rows")
        if not isinstance(rows, list) or stacked.ndim < 2 or len(rows) != len(stacked):
            raise SchemaError(f"{path} has shape {list(stacked.shape)}, which does not fit its attribute rows")
        if not all(type(row) is int and 0 <= row < len(sizes) for row in rows) or len(set(rows)) < len(rows):
            raise SchemaError(f"the attribute rows of {path} names layers that there are not, or one twice")
        for row, values in zip(rows, stacked, strict=True):
            heads = sizes[row].heads
            if per_head(name):
                found[row][name] = _integers(path, np.ascontiguousarray(values[:, :heads]), (steps, heads))
            else:
                found[row][name] = _integers(path, values, (3, steps) if values.ndim == 2 else (steps,))
            totals[name] = totals.get(name, 0.0) + float(values.sum(dtype=np.float64))
            if totals[name] > LARGEST_TOTAL:
                raise SchemaError(f"{path} sums up to more than {LARGEST_TOTAL}")
    return found


def _integers(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> Ints:
    if values.dtype != np.int64 or values.shape != shape:
        raise SchemaError(f"{name}: expected int64 {list(shape)}, found {values.dtype} {list(values.shape)}")
    if values.size and int(values.min()) < 0:
        raise SchemaError(f"{name} holds a negative count")
    return typing.cast("Ints", values)

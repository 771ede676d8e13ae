"""``counts.h5``: what a run counted, so that energy can be charged without the model or the recording.

The layout is documented in docs/counts-format.md: one dataset per counter, stacked over the layers that have it.
"""

from __future__ import annotations

import hashlib
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
from evsim.network import Kind, Network, attributes
from evsim.schema import LARGEST, SchemaError, build, checked, is_of, parsed, printable, shown
from evsim.workload import Geometry, RowKind

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
)  # fmt: skip
"""Datasets of counters; a kind of row has a part of them, some by its other counters."""

MOST_LAYERS = 100_000
"""Rows; a network has some hundred."""

LARGEST_SIZE = 2**31 - 1
"""Of anything about the shape of a layer."""

LARGEST_TOTAL = 2**62
"""Sum of a counter over all layers and timesteps, so that sums of sums stay within int64."""

SCHEMA = 1
"""Version of the layout; a reader refuses newer ones."""

FORMAT = "evsim-counts"


class CountsError(EvsimError):
    """A ``counts.h5`` is missing, damaged, newer than this evsim, or does not fit another."""


@dataclass(frozen=True)
class Origin:
    """Where counts came from.

    Attributes
    ----------
    model, model_digest
        Name of the network, and the SHA-256 of its graph and weights.
    inputs
        (path, SHA-256 of what the network was fed) of each sample.
    versions
        Of evsim, NumPy, Python.
    precision
        Of the run.
    """

    model: str
    model_digest: str
    inputs: tuple[tuple[str, str], ...]
    versions: Mapping[str, str]
    precision: str = ""


@dataclass(frozen=True, eq=False)
class Stored:
    """Counts and where they came from."""

    counts: Counts
    origin: Origin


def origin(network: Network, values: NDArray[np.generic], path: str = "", precision: str = "") -> Origin:
    """Return the origin of a run of `network` on an input; reads every weight once for the digest."""
    import platform

    from evsim import __version__

    versions = {"evsim": __version__, "numpy": np.__version__, "python": platform.python_version()}
    return Origin(network.name, network_digest(network), ((path, array_digest(values)),), versions, precision)


def network_digest(network: Network) -> str:
    """Return the SHA-256 of a network's nodes, input and weights; how the file lays them out does not matter."""
    nodes = [[type(node).__name__, node.name, node.inputs, attributes(node)] for node in network.nodes]
    digest = hashlib.sha256(json.dumps([nodes, asdict(network.spec)], default=str).encode())
    for key in sorted(network.weights):
        digest.update(f"{key} {array_digest(network.weights[key])}".encode())
    return digest.hexdigest()


def array_digest(values: NDArray[np.generic]) -> str:
    """Return the SHA-256 of an array's type, shape and values."""
    digest = hashlib.sha256(f"{values.dtype.str} {list(values.shape)}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()


def save(path: str | Path, counts: Counts, source: Origin) -> None:
    """Write counts; the file appears whole or not at all.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    """
    entries = [_entry(layer) for layer in counts.layers]

    def fill(file: Any) -> None:
        file.attrs["format"], file.attrs["schema"] = FORMAT, SCHEMA
        file.attrs["timesteps"], file.attrs["samples"] = counts.timesteps, counts.samples
        file.create_dataset("origin", data=json.dumps(asdict(source)))
        file.create_dataset("layers", data=json.dumps(entries))
        other = file.create_group("other")
        for key, values in counts.other.items():
            other.create_dataset(key, data=values)
        _write_arrays(file.create_group("counters"), COUNTERS, counts.layers)
        traffic = [layer.traffic for layer in counts.layers]
        if all(row is not None for row in traffic):
            _write_arrays(file.create_group("traffic"), [f.name for f in fields(Traffic)], traffic)

    hdf5.write(path, fill, "latest")


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
            if told.get("format") != FORMAT:
                raise CountsError(
                    f"{path} is an HDF5 file but holds no counts; a run with `save_counts=True` makes some"
                )
            if type(told.get("schema")) is int and told["schema"] > SCHEMA:
                raise CountsError(
                    f"{path} has schema {told['schema']}, this evsim reads up to {SCHEMA}; install a newer evsim"
                )
            return _stored(file, told)
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
    first = parts[0].origin
    precisions = {part.origin.precision for part in parts}
    precision = first.precision if len(precisions) == 1 else ", ".join(sorted(precisions))
    return Stored(total, Origin(first.model, first.model_digest, inputs, first.versions, precision)), tuple(notes)


def per_head(name: str) -> bool:
    """Whether a counter is an array [T, heads]."""
    return name.endswith("_per_head") or name.startswith(("kv_", "qk_"))


def _entry(layer: LayerCounts) -> dict[str, Any]:
    """Return all of a row that is no array, for JSON."""
    match layer:
        case SynapseCounts() | AttentionCounts() | NeuronCounts():
            pass
        case _:
            raise unknown_row(layer, "counts.h5", "a file of this schema cannot hold it")
    entry = {name: getattr(layer, name, 0) for name in SCALARS}
    entry["geometry"] = asdict(layer.geometry)
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


def _stored(file: hdf5.File, told: Mapping[str, Any]) -> Stored:
    """Read everything; SchemaError where it is not what `save` writes."""
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
        layers.append(_row({**scalars, **arrays[i], "geometry": sizes[i], "traffic": traffic}))
    other = {}
    for name in file.members:
        if name.startswith("other/"):
            other[printable(name.removeprefix("other/"))] = _integers(name, file.read(name), (head.steps,))
    counts = Counts(head.steps, tuple(layers), other, head.samples)
    if reason := fault(counts):
        raise SchemaError(reason)
    return Stored(counts, _origin(parsed(file.text("origin"))))


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
    file: hdf5.File, group: str, known: Sequence[str], sizes: Sequence[Geometry], steps: int
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

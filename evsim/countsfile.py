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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.counters import (
    ROW_TYPES,
    AttentionCounts,
    Counts,
    Ints,
    LayerCounts,
    NeuronCounts,
    RowCounts,
    SynapseCounts,
    Traffic,
    merged,
    unknown_row,
)
from evsim.errors import EvsimError, OptionError
from evsim.files import replacing
from evsim.network import Kind, Network, attributes
from evsim.workload import Geometry

SCHEMA = 1
"""Version of the layout; a reader refuses newer ones."""

FORMAT = "evsim-counts"

SCALARS = (
    "name", "kind", "input_kind", "steps", "samples", "binary_samples", "binary_nonzeros", "reads_input"
)  # fmt: skip
"""What the list of layers says of each row; a number that a kind does not have is 0 there."""

COUNTERS = (
    "input_nonzeros", "input_size", "input_sum", "sops", "macs", "bias_adds", "neuron_updates", "sops_other_order",
    "acs_unrolled", "spikes", "sops_per_head", "sops_other_order_per_head", "operand_nonzeros",
)  # fmt: skip
"""Datasets of counters; a kind of row has a part of them, some by its other counters."""


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
    import h5py

    entries = [_entry(layer) for layer in counts.layers]
    with replacing(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
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


def load(path: str | Path) -> Stored:
    """Read counts.

    Raises
    ------
    CountsError
        If the file is missing, damaged, newer than this evsim, or holds no counts.
    """
    import h5py

    path = Path(path)
    if not path.is_file():
        raise CountsError(f"{path} is no file; make one by: evsim run MODEL --input RECORDING --counts {path.name}")
    try:
        with h5py.File(path) as file:
            if "format" not in file.attrs or file.attrs["format"] != FORMAT:
                raise CountsError(f"{path} is an HDF5 file but holds no counts; make some by: evsim run --counts")
            if int(file.attrs["schema"]) > SCHEMA:
                raise CountsError(
                    f"{path} has schema {int(file.attrs['schema'])}, this evsim reads up to {SCHEMA}; "
                    "install a newer evsim"
                )
            return _read(file)
    except (OSError, KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        if isinstance(error, CountsError):
            raise
        raise CountsError(
            f"{path} is damaged or no counts file ({error}); make it again by: evsim run --counts"
        ) from error


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
    entry = {key: getattr(layer, key, 0) for key in SCALARS}
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


def _read(file: Any) -> Stored:
    steps, samples = int(file.attrs["timesteps"]), int(file.attrs["samples"])
    if steps < 1 or samples < 1:
        raise ValueError(f"{steps} timesteps, {samples} samples")
    entries = json.loads(file["layers"][()])
    told = json.loads(file["origin"][()])
    told["inputs"] = tuple((str(path), str(digest)) for path, digest in told["inputs"])
    sizes = [_geometry(entry.pop("geometry")) for entry in entries]
    arrays = _read_arrays(file["counters"], sizes, steps)
    moved = _read_arrays(file["traffic"], sizes, steps) if "traffic" in file else None
    layers = []
    for i, (entry, size) in enumerate(zip(entries, sizes, strict=True)):
        traffic = None
        scalars = entry.pop("traffic", {})
        if moved is not None:
            traffic = Traffic(**scalars, **moved[i])
        layers.append(_row(entry, arrays[i], geometry=size, traffic=traffic))
    other = {key: _integers(item[()], (steps,)) for key, item in file["other"].items()}
    return Stored(Counts(steps, tuple(layers), other, samples), Origin(**told))


def _geometry(values: dict[str, Any]) -> Geometry:
    sizes: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Geometry(**sizes)


def _row(entry: Mapping[str, Any], arrays: Mapping[str, Ints], **more: Any) -> LayerCounts:
    """Return a row of the type of its kind, which takes what it has of its own; the rest follows from that."""
    if entry["kind"] not in ROW_TYPES or entry["input_kind"] not in typing.get_args(Kind):
        raise ValueError(f"layer {entry['name']} is of unknown kind {entry['kind']}, {entry['input_kind']}")
    if extra := (entry.keys() - set(SCALARS)) | (arrays.keys() - set(COUNTERS)):
        raise ValueError(f"layer {entry['name']} has an unknown counter {min(extra)}")
    row: type[RowCounts] = ROW_TYPES[entry["kind"]]
    own = {f.name for f in fields(row)}
    return typing.cast("LayerCounts", row(**{k: v for k, v in {**entry, **arrays, **more}.items() if k in own}))


def _read_arrays(group: Any, sizes: Sequence[Geometry], steps: int) -> list[dict[str, Any]]:
    """Return, for each row, name to array."""
    found: list[dict[str, Any]] = [{} for _ in sizes]
    for name, item in group.items():
        rows, stacked = item.attrs["rows"], item[()]
        if len(rows) != len(stacked):
            raise ValueError(f"{name} has {len(stacked)} rows, its attribute names {len(rows)}")
        for row, values in zip(rows, stacked, strict=True):
            heads = sizes[row].heads
            if per_head(name):
                found[row][name] = _integers(values[:, :heads].copy(), (steps, heads))
            else:
                found[row][name] = _integers(values, (3, steps) if values.ndim == 2 else (steps,))
    return found


def _integers(values: Any, shape: tuple[int, ...]) -> Ints:
    if values.dtype != np.int64 or values.shape != shape:
        raise ValueError(f"expected int64 {list(shape)}, found {values.dtype} {list(values.shape)}")
    return typing.cast("Ints", values)

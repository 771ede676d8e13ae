"""``model.h5``: a network as an HDF5 file. The layout is documented in docs/model-format.md.

The graph and the input specification are JSON attributes, one walk over the dataclasses; the weights are datasets
named as in `Network.weights`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from evsim.errors import ModelFileError, NetworkError
from evsim.files import replacing
from evsim.inputspec import INTERPOLATIONS, InputSpec
from evsim.network import NODE_TYPES, Network, Node, attributes

SCHEMA = 2
"""Version of the layout; a reader refuses newer ones. What needs nothing newer is written as schema 1."""

FORMAT = "evsim-model"

LIBVER = ("v110", "v110")
"""HDF5 releases that can read the file: 1.10 and later; its headers are much smaller than the default's."""

MOST_COMPRESSED = 1100
"""Deflate, HDF5's own compression, cannot shrink data further than 1032 to 1."""

AGAIN = "make it again by: evsim convert CHECKPOINT"

DAMAGE = (
    OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError, IndexError, ArithmeticError,
    RecursionError, MemoryError,
)  # fmt: skip
"""What h5py, the JSON decoder and the dataclasses raise on content that is not what a model holds."""


def save(network: Network, path: str | Path) -> None:
    """Write a network; the file appears whole or not at all.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    CheckpointError
        If a weight turns out damaged on reading it.
    """
    import h5py

    nodes: list[dict[str, object]] = [
        {"type": type(node).__name__, "name": node.name, "inputs": node.inputs, **attributes(node)}
        for node in network.nodes
    ]
    with replacing(path) as temporary, h5py.File(temporary, "w", libver=LIBVER) as file:
        file.attrs["format"] = FORMAT
        spec, schema = _versioned(network.spec)
        file.attrs["schema"] = schema
        meta = {"name": network.name, "family": network.family, "variant": network.variant}
        file.attrs["network"] = json.dumps(meta)
        file.attrs["input"] = json.dumps(spec)
        file.create_dataset("nodes", data=json.dumps(nodes))
        file.create_dataset("labels", data=json.dumps(network.labels))
        file.create_dataset("provenance", data=json.dumps(dict(network.provenance)))
        weights = file.create_group("weights")
        for key in network.weights:
            weights.create_dataset(key, data=network.weights[key])


def _versioned(spec: InputSpec) -> tuple[dict[str, Any], int]:
    """Return the fields of an input specification and the schema that they need; schema 1 knows bicubic alone."""
    values = asdict(spec)
    if spec.interpolation == INTERPOLATIONS[0]:
        del values["interpolation"]
        return values, 1
    return values, 2


def is_model(path: str | Path) -> bool:
    """Whether an HDF5 file says that it is a model of evsim's."""
    import h5py

    try:
        with h5py.File(path) as file:
            return _says_model(file)
    except (OSError, RuntimeError, KeyError):
        return False


def load(path: str | Path) -> Network:
    """Read a network; its weights stay on disk until they are asked for.

    Raises
    ------
    ModelFileError
        If the file is missing, damaged, newer than this evsim, or no model.
    """
    import h5py

    path = Path(path)
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder; give a model.h5")
    if not path.exists():
        raise ModelFileError(f"{path} does not exist; make it by: evsim convert CHECKPOINT {path}")
    if not h5py.is_hdf5(path):
        raise ModelFileError(f"{path} is no model.h5 (it is no HDF5 file, or cut short); give a model or a checkpoint")
    try:
        with h5py.File(path) as file:
            _check_version(file, path)
            meta = _parsed(file.attrs["network"])
            spec = _made(InputSpec, _parsed(file.attrs["input"]))
            nodes = tuple(_node(entry) for entry in _parsed(file["nodes"][()]))
            labels = tuple(_parsed(file["labels"][()]))
            provenance = _parsed(file["provenance"][()])
            weights = _Stored(path, {key: (item.shape, item.dtype) for key, item in file["weights"].items()})
            _check_room(path, (file["nodes"], file["labels"], file["provenance"], *file["weights"].values()))
        names = [meta["name"], meta["family"], meta["variant"], *labels, *provenance, *provenance.values()]
        if not all(isinstance(name, str) for name in names):
            raise NetworkError("names, labels and provenance are texts")  # noqa: TRY301 - one place tells the person
        network = Network(meta["name"], meta["family"], meta["variant"], spec, nodes, weights, labels, provenance)
        weights.check(network)
    except ModelFileError:
        raise
    except NetworkError as error:
        raise ModelFileError(f"{path} is not consistent: {error}; {AGAIN} {path}") from error
    except DAMAGE as error:
        raise ModelFileError(f"{path} is damaged or no model ({error}); {AGAIN} {path}") from error
    return network


def _check_version(file: Any, path: Path) -> None:
    if not _says_model(file):
        raise ModelFileError(
            f"{path} is an HDF5 file but no model of evsim; make one by: evsim convert CHECKPOINT OUT.h5"
        )
    schema = int(file.attrs["schema"])
    if schema > SCHEMA:
        raise ModelFileError(
            f"{path} has schema {schema}, this evsim reads up to {SCHEMA}; install a newer evsim, or convert again"
        )
    if schema < 1:
        raise ModelFileError(f"{path} has schema {schema}, which never was; {AGAIN} {path}")


def _check_room(path: Path, items: Iterable[Any]) -> None:
    """Refuse datasets that claim more than the file can hold, before anything is allocated for them."""
    room = MOST_COMPRESSED * path.stat().st_size
    for item in items:
        if item.nbytes > room:
            raise NetworkError(f"{item.name} claims {item.nbytes} bytes")


def _says_model(file: Any) -> bool:
    says = file.attrs.get("format")
    return isinstance(says, str) and says == FORMAT


class _Stored(Mapping[str, NDArray[np.floating]]):
    """Weights in the file, read and checked on access."""

    def __init__(self, path: Path, kinds: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> None:
        self._path, self._kinds = path, kinds

    def __getitem__(self, key: str) -> NDArray[np.floating]:
        import h5py

        if key not in self._kinds:
            raise KeyError(key)
        try:
            with h5py.File(self._path) as file:
                values: NDArray[np.floating] = file["weights"][key][()]
        except (OSError, KeyError) as error:
            raise ModelFileError(f"{self._path}: the weights {key} cannot be read ({error}); convert again") from error
        if not np.isfinite(values).all():
            raise ModelFileError(f"{self._path}: the weights {key} hold NaN or infinite values; convert again")
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._kinds)

    def __len__(self) -> int:
        return len(self._kinds)

    def check(self, network: Network) -> None:
        """Compare shapes and types with what the nodes want."""
        for node in network.nodes:
            for parameter, wanted in node.parameters().items():
                shape, dtype = self._kinds[f"{node.name}.{parameter}"]
                if shape != wanted or dtype.kind != "f":
                    raise NetworkError(
                        f"weights {node.name}.{parameter} have shape {list(shape)} of {dtype}, "
                        f"the layer wants {list(wanted)} of floats"
                    )


def _parsed(text: str | bytes) -> Any:
    """Return what JSON says; NaN and Infinity, which Python alone takes for JSON, are refused."""

    def refuse(name: str) -> None:
        raise NetworkError(f"{name} is no number that JSON knows")

    return json.loads(text, parse_constant=refuse)


def _node(entry: dict[str, Any]) -> Node:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise NetworkError("a node is no JSON object with a type")
    kind = entry.pop("type")
    if kind not in NODE_TYPES:
        raise NetworkError(f"unknown primitive {kind}: written by a newer evsim?")
    node: Node = _made(NODE_TYPES[kind], entry)
    return node


def _made(kind: type[Any], values: dict[str, Any]) -> Any:
    """Make a dataclass from JSON, every value of the type that its field declares; lists become tuples."""
    if not isinstance(values, dict):
        raise NetworkError(f"{kind.__name__} is no JSON object")
    hints = get_type_hints(kind)
    names = {f.name for f in fields(kind) if f.init}
    if not values.keys() <= names:
        raise NetworkError(f"{kind.__name__} has no field {', '.join(sorted(values.keys() - names))}")
    taken = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    for key, value in taken.items():
        if not _is_of(value, hints[key]):
            raise NetworkError(f"{kind.__name__}.{key} is {value!r}, which is not of its type")
    return kind(**taken)


def _is_of(value: object, hint: Any) -> bool:
    """Whether a value from JSON is what a field's annotation says."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        wanted = inner[:1] * len(value) if isinstance(value, tuple) and inner[-1] is ... else inner
        return isinstance(value, tuple) and len(value) == len(wanted) and all(map(_is_of, value, wanted))
    if hint is float:
        return type(value) in (int, float)
    return type(value) is hint

"""``model.h5``: a network as an HDF5 file. The layout is documented in docs/model-format.md.

The graph and the input specification are JSON attributes, one walk over the dataclasses; the weights are datasets
named as in `Network.weights`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.errors import ModelFileError, NetworkError
from evsim.files import replacing
from evsim.network import NODE_TYPES, InputSpec, Network, Node, attributes

SCHEMA = 1
"""Version of the layout; a reader refuses newer ones."""

FORMAT = "evsim-model"


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

    nodes = [
        {"type": type(node).__name__, "name": node.name, "inputs": node.inputs, **attributes(node)}
        for node in network.nodes
    ]
    with replacing(path) as temporary, h5py.File(temporary, "w", libver="latest") as file:
        file.attrs["format"] = FORMAT
        file.attrs["schema"] = SCHEMA
        meta = {"name": network.name, "family": network.family, "variant": network.variant}
        file.attrs["network"] = json.dumps(meta)
        file.attrs["input"] = json.dumps(asdict(network.spec))
        file.create_dataset("nodes", data=json.dumps(nodes))
        file.create_dataset("labels", data=json.dumps(network.labels))
        file.create_dataset("provenance", data=json.dumps(dict(network.provenance)))
        weights = file.create_group("weights")
        for key in network.weights:
            weights.create_dataset(key, data=network.weights[key])


def is_model(path: str | Path) -> bool:
    """Whether an HDF5 file says that it is a model of evsim's."""
    import h5py

    try:
        with h5py.File(path) as file:
            return "format" in file.attrs and file.attrs["format"] == FORMAT
    except OSError:
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
    try:
        with h5py.File(path) as file:
            _check_version(file, path)
            meta = json.loads(file.attrs["network"])
            spec = _made(InputSpec, json.loads(file.attrs["input"]))
            nodes = tuple(_node(entry) for entry in json.loads(file["nodes"][()]))
            labels = tuple(json.loads(file["labels"][()]))
            provenance = json.loads(file["provenance"][()])
            weights = _Stored(path, {key: (item.shape, item.dtype) for key, item in file["weights"].items()})
        network = Network(meta["name"], meta["family"], meta["variant"], spec, nodes, weights, labels, provenance)
        weights.check(network)
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        if isinstance(error, ModelFileError):
            raise
        what = f"not consistent: {error}" if isinstance(error, NetworkError) else f"damaged or no model ({error})"
        raise ModelFileError(f"{path} is {what}; make it again by: evsim convert CHECKPOINT {path}") from error
    return network


def _check_version(file: Any, path: Path) -> None:
    if "format" not in file.attrs or file.attrs["format"] != FORMAT:
        raise ModelFileError(
            f"{path} is an HDF5 file but no model of evsim; make one by: evsim convert CHECKPOINT OUT.h5"
        )
    if int(file.attrs["schema"]) > SCHEMA:
        raise ModelFileError(
            f"{path} has schema {int(file.attrs['schema'])}, this evsim reads up to {SCHEMA}; install a newer evsim"
        )


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


def _node(entry: dict[str, Any]) -> Node:
    kind = entry.pop("type")
    if kind not in NODE_TYPES:
        raise NetworkError(f"unknown primitive {kind}: written by a newer evsim?")
    node: Node = _made(NODE_TYPES[kind], entry)
    return node


def _made(kind: type[Any], values: dict[str, Any]) -> Any:
    """Make a dataclass from JSON; lists become tuples."""
    names = {f.name for f in fields(kind) if f.init}
    if not values.keys() <= names:
        raise NetworkError(f"{kind.__name__} has no field {', '.join(sorted(values.keys() - names))}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in values.items()})

"""``model.h5``: a network as an HDF5 file. The layout is documented in docs/model-format.md.

The graph and the input specification are JSON attributes, one walk over the dataclasses; the weights are datasets
named as in `Network.weights`. Integer weights stand apart, see `evsim.storedweights`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from evsim import hdf5
from evsim.errors import ModelFileError, NetworkError
from evsim.files import check_input
from evsim.inputspec import INTERPOLATIONS, LATER, InputSpec
from evsim.network import NODE_TYPES, Network, Node, Origin, attributes, oldest_schema
from evsim.ownfiles import own_kind
from evsim.schema import LONGEST_NAME, SchemaError, build, parsed, printable, shown
from evsim.storedweights import StoredWeights, save_weights, stored_weights

SCHEMA = 2
"""Version of the layout; a reader refuses newer ones. What needs nothing newer is written as schema 1."""

FORMAT = "evsim-model"

LIBVER = ("v110", "v110")
"""HDF5 releases that can read the file: 1.10 and later; its headers are much smaller than the default's."""

AGAIN = "make it again by: evsim convert CHECKPOINT"

MOST_NODES = 10_000
"""The deepest network that anybody published has some thousand."""

LARGEST_MAP = 1 << 26
"""Values of the greatest map of one timestep; that of a network on 1024 x 1024 pixels with 64 channels."""

NO_NAMES = ("", ".", "..")
"""What HDF5 does not take as the name of a dataset."""


class ForeignFileError(ModelFileError):
    """An HDF5 file that is whole, but no model of evsim's."""


def save(network: Network, path: str | Path) -> None:
    """Write a network; the file appears whole or not at all.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    CheckpointError
        If a weight turns out damaged on reading it.
    """
    nodes: list[dict[str, object]] = [
        {"type": type(node).__name__, "name": node.name, "inputs": node.inputs, **attributes(node)}
        for node in network.nodes
    ]
    _check_names(network.nodes)

    def fill(file: Any) -> None:
        file.attrs["format"] = FORMAT
        file.attrs["schema"] = schema_of(network)
        meta = {"name": network.name, "family": network.family, "variant": network.variant}
        file.attrs["network"] = json.dumps(meta)
        file.attrs["input"] = json.dumps(_fields(network.spec))
        file.create_dataset("nodes", data=json.dumps(nodes))
        file.create_dataset("labels", data=json.dumps(network.labels))
        file.create_dataset("provenance", data=json.dumps(dict(network.provenance)))
        save_weights(file, network)

    hdf5.write(path, fill, LIBVER)


def schema_of(network: Network) -> int:
    """Return the oldest schema that can hold a network; its readers refuse what they would take for something else."""
    if network.quantization:
        return 2
    told, newer = _fields(network.spec), ("interpolation", *LATER)
    return 2 if any(name in told for name in newer) or told["frames"] == "bin" else oldest_schema(network)


def _fields(spec: InputSpec) -> dict[str, Any]:
    """Return an input specification as JSON has it; what came after schema 1 only where it is not the default."""
    values = spec.told()
    if spec.interpolation == INTERPOLATIONS[0]:
        del values["interpolation"]
    return values


def is_model(path: str | Path) -> bool:
    """Whether an HDF5 file says that it is a model of evsim's."""
    try:
        with hdf5.File(path, ModelFileError) as file:
            return file.attributes().get("format") == FORMAT
    except ModelFileError:
        return False


def load(path: str | Path) -> Network:
    """Read a network; its weights stay on disk until they are asked for.

    Raises
    ------
    ModelFileError
        If the file is missing, in use, damaged, newer than this evsim, or no model, or asks for more memory than any
        network of its kind.
    """
    path = Path(path)
    check_input(path, ModelFileError, "a model.h5", f"make it by: evsim convert CHECKPOINT {path}")
    if not hdf5.is_hdf5(path):
        raise ModelFileError(f"{path} is no model.h5 (it is no HDF5 file, or cut short); give a model or a checkpoint")
    try:
        with ExitStack() as held:
            file = held.enter_context(hdf5.File(path, ModelFileError, f"{AGAIN} {path}"))
            network = _loaded(path, file)
            held.pop_all()  # its weights will be read from it
    except NetworkError as error:
        raise ModelFileError(f"{path} is not consistent: {error}; {AGAIN} {path}") from error
    except SchemaError as error:
        raise ModelFileError(f"{path} is damaged or no model ({error}); {AGAIN} {path}") from error
    return network


def _loaded(path: Path, file: hdf5.File) -> Network:
    told = file.attributes()
    if told.get("format") != FORMAT and (kind := own_kind(file)):
        raise ModelFileError(f"{path} is no model: it holds {kind}")
    _check_version(path, told)
    meta, spec = parsed(_text(told, "network")), build(InputSpec, parsed(_text(told, "input")))
    nodes = _nodes(parsed(file.text("nodes")))
    _check_names(nodes)
    labels, provenance = parsed(file.text("labels")), parsed(file.text("provenance"))
    weights = stored_weights(file, told.get("quantization"))
    origin = Origin(str(path), path.stat().st_size)
    network = _network(meta, spec, nodes, weights, labels, provenance, origin)
    _check_maps(network)
    weights.check(network)
    if weights.direct:
        file.rest()
    return network


def _check_version(path: Path, told: Mapping[str, Any]) -> None:
    if told.get("format") != FORMAT:
        raise ForeignFileError(
            f"{path} is an HDF5 file but no model of evsim; make one by: evsim convert CHECKPOINT OUT.h5"
        )
    schema = told.get("schema")
    if type(schema) is not int:
        raise SchemaError("its schema is no whole number")
    if schema > SCHEMA:
        raise ModelFileError(
            f"{path} has schema {schema}, this evsim reads up to {SCHEMA}; install a newer evsim, or convert again"
        )
    if schema < 1:
        raise ModelFileError(f"{path} has schema {schema}, which never was; {AGAIN} {path}")


def _text(told: Mapping[str, Any], name: str) -> str:
    if not isinstance(told.get(name), str):
        raise SchemaError(f"its attribute {name} is missing or no text")
    return str(told[name])


def _nodes(entries: object) -> tuple[Node, ...]:
    if not isinstance(entries, list) or len(entries) > MOST_NODES:
        raise SchemaError(f"nodes are no list of at most {MOST_NODES}")
    return tuple(map(_node, entries))


def _node(entry: object) -> Node:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        raise SchemaError("a node is no JSON object with a type")
    kind = entry.pop("type")
    if kind not in NODE_TYPES:
        raise SchemaError(f"unknown primitive {printable(kind)}: written by a newer evsim?")
    node: Node = build(NODE_TYPES[kind], entry)
    return node


def _network(
    meta: object,
    spec: InputSpec,
    nodes: tuple[Node, ...],
    weights: StoredWeights,
    labels: object,
    provenance: object,
    origin: Origin,
) -> Network:
    """Tie it together; texts are escaped where a terminal would obey them."""
    if not isinstance(meta, dict) or not isinstance(labels, list) or not isinstance(provenance, dict):
        raise SchemaError("network, labels and provenance are no JSON object, list and object")
    names = (meta.get("name"), meta.get("family"), meta.get("variant"))
    if not all(isinstance(name, str) for name in (*names, *labels, *provenance.values())):
        raise SchemaError("names, labels and provenance are texts")
    name, family, variant = (printable(str(name)) for name in names)
    told = {printable(fact): printable(text) for fact, text in provenance.items()}
    known = tuple(map(printable, labels))
    return Network(
        name, family, variant, spec, nodes, weights.floats, known, told, origin, quantization=weights.quantization
    )


def _check_names(nodes: Iterable[Node]) -> None:
    """Refuse names that HDF5 cannot take or a terminal would obey."""
    for name in (name for node in nodes for name in (node.name, *node.inputs, *node.mentions())):
        if name in NO_NAMES or "/" in name or len(name) > LONGEST_NAME or not name.isprintable():
            raise NetworkError(f"{shown(name)} is no name for a node: printable letters without /")


def _check_maps(network: Network) -> None:
    """Refuse a graph that asks for more memory than any network would, before anything is allocated for it."""
    for node in network.nodes:
        shape = network.shapes[node.name]
        if shape.positions * shape.channels > LARGEST_MAP:
            size = 4 * shape.positions * shape.channels
            raise NetworkError(f"{node.name} emits {shape}, {size} bytes at each timestep; at most {4 * LARGEST_MAP}")

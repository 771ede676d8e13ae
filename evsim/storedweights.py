"""The weights of a network in its model.h5: floats, and the integers of a quantized one; read and checked on access."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim import hdf5
from evsim.errors import ModelFileError, NetworkError
from evsim.network import Network, units_of
from evsim.quantized import INPUT_FRACTION, MOST_FRACTION, WEIGHTS, Dequantized, IntegerLayer, Quantization
from evsim.schema import SchemaError, parsed, printable

FLOATS, INTEGERS = "weights/", "integers/"
"""Groups of the file."""

OFFSETS = 2**30
"""Offsets are below it in magnitude."""


def save_weights(file: Any, network: Network) -> None:
    """Write weights into an open h5py.File; integers in place of the floats that they stand for."""
    quantization = network.quantization
    layers = quantization.layers if quantization else {}
    if quantization:
        told = {name: getattr(quantization, name) for name in ("weights", "fraction", "input_fraction")}
        file.attrs["quantization"] = json.dumps(told)
        integers = file.create_group(INTEGERS[:-1])
        for name in layers:
            for part, values in layers[name]._asdict().items():
                integers.create_dataset(f"{name}.{part}", data=values)
    weights = file.create_group(FLOATS[:-1])
    for key in network.weights:
        if key.rpartition(".")[0] not in layers:
            weights.create_dataset(key, data=network.weights[key])


@dataclass(frozen=True, eq=False)
class StoredWeights:
    """What a file holds of weights.

    Attributes
    ----------
    floats
        As `Network.weights`.
    quantization
        As `Network.quantization`.
    members
        What the file says of all that is stored.
    units
        Of the integers that layers read, known once the network is.
    """

    floats: Mapping[str, NDArray[np.floating]]
    quantization: Quantization | None
    members: Mapping[str, hdf5.Member]
    units: dict[str, float] = field(default_factory=dict)

    @property
    def direct(self) -> bool:
        """Whether all lie in the file as they are."""
        return all(member.offset is not None for member in self.members.values())

    def check(self, network: Network) -> None:
        """Compare shapes and types with what the nodes want; and learn the units of what they read.

        Raises
        ------
        NetworkError
            If they differ.
        """
        self.units.update(units_of(network.nodes, network.shapes))
        layers = set() if self.quantization is None else set(self.quantization.layers)
        for node in network.nodes:
            if node.name in layers:
                self._check_integers(node.name, node.parameters()["weight"])
                continue
            for parameter, wanted in node.parameters().items():
                self._check(FLOATS, f"{node.name}.{parameter}", wanted, "floats", "f")

    def _check_integers(self, name: str, shape: tuple[int, ...]) -> None:
        """Compare a layer's integers with what it wants."""
        assert self.quantization is not None
        size = np.dtype(self.quantization.weights).itemsize
        self._check(INTEGERS, f"{name}.weight", shape, self.quantization.weights, "i", size)
        for part in ("multiplier", "offset"):
            self._check(INTEGERS, f"{name}.{part}", shape[-1:], "int32", "i", 4)

    def _check(self, group: str, key: str, wanted: tuple[int, ...], said: str, kind: str, size: int = 0) -> None:
        member = self.members.get(group + key, hdf5.Member())
        dtype = member.dtype
        if member.shape != wanted or dtype is None or dtype.kind != kind or size not in (0, dtype.itemsize):
            shape = "none" if member.shape is None else list(member.shape)
            raise NetworkError(
                f"{group}{key} has shape {shape} of {dtype}, the layer wants {list(wanted)} of {said}"
                if group == INTEGERS
                else f"weights {key} have shape {shape} of {dtype}, the layer wants {list(wanted)} of {said}"
            )


def stored_weights(file: hdf5.File, told: object) -> StoredWeights:
    """Return the weights in a file, which are read on access.

    Parameters
    ----------
    file
        The file, open.
    told
        Its attribute `quantization`; None if it has none.

    Raises
    ------
    SchemaError
        If that says nothing that there is.
    ModelFileError
        If arrays claim more than the file can hold.
    """
    members = {name: m for name, m in file.members.items() if name.startswith((FLOATS, INTEGERS))}
    file.check_claims(members)
    floats = _Floats(file, [name.removeprefix(FLOATS) for name in members if name.startswith(FLOATS)])
    integers = [name.removeprefix(INTEGERS) for name in members if name.startswith(INTEGERS)]
    if told is None:
        if integers:
            raise SchemaError("it holds integer weights, but no attribute quantization")
        return StoredWeights(floats, None, members)
    quantization = _quantization(told, file, integers)
    if twice := next((key for key in floats if key.rpartition(".")[0] in quantization.layers), None):
        raise SchemaError(f"it holds the weights {printable(twice)} as floats beside integers")
    units: dict[str, float] = {}
    return StoredWeights(Dequantized(quantization, floats, units), quantization, members, units)


def _quantization(told: object, file: hdf5.File, keys: list[str]) -> Quantization:
    """Return how the network computes in integers, as the file tells."""
    values = parsed(told) if isinstance(told, str) else None
    if not isinstance(values, dict) or values.keys() != {"weights", "fraction", "input_fraction"}:
        raise SchemaError("its quantization is no JSON object of weights, fraction and input_fraction")
    weights, fraction, at_input = values["weights"], values["fraction"], values["input_fraction"]
    if not isinstance(weights, str) or weights not in WEIGHTS:
        raise SchemaError("its quantization is of no weights that evsim knows: written by a newer evsim?")
    for value, most in ((fraction, MOST_FRACTION), (at_input, INPUT_FRACTION)):
        if type(value) is not int or not 0 <= value <= most:
            raise SchemaError(f"a fraction of its quantization is no whole number from 0 to {most}")
    layers = _Layers(file, keys, WEIGHTS[weights])
    return Quantization(weights, layers, fraction, at_input)  # type: ignore[arg-type]


class _Floats(Mapping[str, NDArray[np.floating]]):
    """Floats in the file."""

    def __init__(self, file: hdf5.File, keys: list[str]) -> None:
        self._file, self._keys = file, dict.fromkeys(keys)

    def __getitem__(self, key: str) -> NDArray[np.floating]:
        if key not in self._keys:
            raise KeyError(key)
        values: NDArray[np.floating] = self._file.read(FLOATS + key)
        if not np.isfinite(values).all():
            raise ModelFileError(f"{self._file.path}: the weights {key} hold NaN or infinite values; convert again")
        return values

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class _Layers(Mapping[str, IntegerLayer]):
    """Integers in the file: by layer, its three arrays."""

    def __init__(self, file: hdf5.File, keys: list[str], most: int) -> None:
        self._file, self._most = file, most
        parts: dict[str, set[str]] = {}
        for key in keys:
            name, _, part = key.rpartition(".")
            parts.setdefault(name, set()).add(part)
        if odd := next((name for name, own in parts.items() if own != set(IntegerLayer._fields)), None):
            raise SchemaError(f"its integers of {printable(odd)} are no {', '.join(IntegerLayer._fields)}")
        self._names = dict.fromkeys(parts)

    def __getitem__(self, name: str) -> IntegerLayer:
        if name not in self._names:
            raise KeyError(name)
        weight, multiplier, offset = (self._file.read(f"{INTEGERS}{name}.{part}") for part in IntegerLayer._fields)
        if weight.size and not -self._most <= int(weight.min()) <= int(weight.max()) <= self._most:
            raise self._fault(name, f"weights beyond {self._most}")
        if multiplier.size and multiplier.min() < 1:
            raise self._fault(name, "a multiplier below 1")
        if offset.size and not -OFFSETS < int(offset.min()) <= int(offset.max()) < OFFSETS:
            raise self._fault(name, "an offset beyond 30 bits")
        native = (values.astype(values.dtype.newbyteorder("="), copy=False) for values in (weight, multiplier, offset))
        return IntegerLayer(*native)

    def _fault(self, name: str, what: str) -> ModelFileError:
        return ModelFileError(f"{self._file.path}: the integers of {name} hold {what}; quantize again")

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

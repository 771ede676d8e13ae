"""Where counts came from: the model and the inputs, by digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evsim.network import Network, attributes


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


def origin(network: Network, values: NDArray[np.generic], path: str = "", precision: str = "") -> Origin:
    """Return the origin of a run of `network` on an input; reads every weight once for the digest."""
    import platform

    from evsim import __version__

    versions = {"evsim": __version__, "numpy": np.__version__, "python": platform.python_version()}
    return Origin(network.name, network_digest(network), ((path, array_digest(values)),), versions, precision)


def network_digest(network: Network) -> str:
    """Return the SHA-256 of a network's nodes, input, weights and integers; the layout of its file does not matter."""
    nodes = [[type(node).__name__, node.name, node.inputs, attributes(node)] for node in network.nodes]
    digest = hashlib.sha256(json.dumps([nodes, network.spec.told()], default=str).encode())
    for key in sorted(network.weights):
        digest.update(f"{key} {array_digest(network.weights[key])}".encode())
    if network.quantization:
        own = network.quantization
        digest.update(f"{own.weights} {own.fraction} {own.input_fraction}".encode())
        for name in sorted(own.layers):
            digest.update(f"{name} {array_digest(own.layers[name].multiplier)}".encode())
    return digest.hexdigest()


def array_digest(values: NDArray[np.generic]) -> str:
    """Return the SHA-256 of an array's type, shape and values."""
    digest = hashlib.sha256(f"{values.dtype.str} {list(values.shape)}".encode())
    digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()

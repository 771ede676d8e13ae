"""The page of the lesson: its parts, the bundled model and the digits put together in one file."""

from __future__ import annotations

import base64
import json
from importlib import resources
from pathlib import Path
from typing import Any

from evsim import __version__, demo, modelfile
from evsim.energy.profilefile import load_profile
from evsim.files import write_whole
from evsim.network import Network, attributes
from evsim.workload import dense_macs, rows

SCRIPTS = ("engine.js", "camera.js", "trace.js", "parts.js", "draw.js", "layers.js", "spike.js", "costs.js", "rate.js",
           "check.js", "main.js")  # fmt: skip
"""In the order in which they need each other."""


def write(path: str | Path) -> int:
    """Write the page; the file appears whole or not at all.

    Returns
    -------
    int
        Its size in bytes.

    Raises
    ------
    OutputError
        If the place cannot be written to.
    OptionError
        If this installation lacks the bundled model.
    """
    content = page().encode("utf-8")
    write_whole(path, content)
    return len(content)


def page() -> str:
    """Return the page as HTML that needs no other file and no network.

    Raises
    ------
    OptionError
        If this installation lacks the bundled model.
    """
    network = modelfile.load(demo.model_path())
    parts = {
        "style": _asset("page.css"),
        "data": _embedded(_data(network)),
        "script": "\n".join(_asset(name) for name in SCRIPTS),
    }
    text = _asset("page.html")
    for name, content in parts.items():
        text = text.replace(f"/*{name}*/", content)
    return text


def _asset(name: str) -> str:
    return resources.files("evsim.lesson").joinpath(name).read_text(encoding="utf-8")


def _data(network: Network) -> dict[str, Any]:
    """Return all that the page computes with, and what it holds its counts against."""
    prices = load_profile("45nm")
    return {
        "version": __version__,
        "model": model_of(network),
        "prices": {"ac": prices.e_ac_pj, "mac": prices.e_mac_pj},
        "digits": json.loads(_asset("digits.json")),
        "rates": json.loads(_asset("rates.json")),
    }


def model_of(network: Network) -> dict[str, Any]:
    """Return a network as the page's engine takes it: nodes with their shapes, and all weights as one text.

    Weights are little-endian float32 or float64 as model.h5 holds them, each at a multiple of 8 bytes.
    """
    dense = {work.name: dense_macs(row.kind, row.geometry) for work, row in rows(network)}
    nodes = []
    for node in network.nodes:
        shape = network.shapes[node.name]
        size = {"channels": shape.channels, "height": shape.height, "width": shape.width}
        told = {"type": type(node).__name__, "name": node.name, "inputs": list(node.inputs), **attributes(node), **size}
        nodes.append(told | ({"dense": dense[node.name]} if dense.get(node.name) else {}))
    blob, places = bytearray(), {}
    for key in network.weights:
        values = network.weights[key]
        blob += bytes(-len(blob) % 8)
        places[key] = (values.dtype.name, len(blob), values.size)
        blob += values.astype(values.dtype.newbyteorder("<")).tobytes()
    return {
        "name": network.name,
        "labels": list(network.labels),
        "timesteps": network.spec.timesteps,
        "nodes": nodes,
        "weights": places,
        "blob": base64.b64encode(blob).decode("ascii"),
    }


def _embedded(data: dict[str, Any]) -> str:
    """Return JSON that may stand inside a script element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")

"""Networks with integer weights: those that `evsim quantize` writes; without that command, weights rounded here.

The opponents with integer weights are given the same: a network of float weights, each an integer of int8 times the
scale of its output channel, see `onnxgraph.integers_of`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from workloads import Workload

from evsim import modelfile
from evsim.network import Conv2d, Linear, Network

EVSIM = Path(sys.executable).with_name("evsim")


@dataclass(frozen=True)
class Integers:
    """A network whose weights are integers times a scale, and why evsim does not run it as such, if it does not."""

    network: Network
    refusal: str = ""


def integers(workload: Workload) -> Integers:
    """Return a workload with int8 weights."""
    path = workload.integers
    if not path.exists():
        command = [EVSIM, "quantize", workload.model, path, "--weights", "int8"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            said = " ".join(re.sub(r"[^ -~]", " ", done.stderr).split())
            return Integers(rounded(modelfile.load(workload.model)), said or "evsim quantize failed")
    return Integers(modelfile.load(path))


def rounded(network: Network) -> Network:
    """Return a network with the weights of layers that read spikes or integers rounded, by output channel.

    127 times the scale of a channel is its largest weight, BatchNorm included; the other weights are integers of it.
    """
    weights = dict(network.weights)
    for node in network.nodes:
        if not isinstance(node, Conv2d | Linear) or network.shapes[node.inputs[0]].kind == "real":
            continue
        weight = np.asarray(weights[f"{node.name}.weight"], np.float64)
        scale = np.abs(weight).max(tuple(range(weight.ndim - 1))) / 127
        scale[scale == 0.0] = 1.0
        weights[f"{node.name}.weight"] = np.rint(weight / scale) * scale
    return replace(network, weights=weights)

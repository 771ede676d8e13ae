"""From timesteps back to continuous time: the constants of NIR whose Euler's step is a neuron's equation.

It is `evsim.converters.nir.discretise` read from right to left: with a timestep dt, ``v = decay v + x`` is the LIF of
``tau = dt / (1 - decay)`` and ``r = 1 / (1 - decay)``, and so on. What a graph does not tell, and whoever reads it must
choose, is returned beside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.converters.nir.values import Array, Dims, size_of
from evsim.errors import NetworkError
from evsim.network import Network
from evsim.primitives import LIF, Neuron
from evsim.primitives.neurons import logistic

Kind = str
Values = dict[str, Any]
Habits = dict[str, str]
"""Options that the reader of a graph must choose so that it computes the same."""


def lif(network: Network, node: LIF, dims: Dims, timestep: float) -> tuple[Kind, Values, Habits]:
    """Return an IF or LIF of a LIF, its parameters in full shape, and how it must be read."""
    limit: Array = np.array(node.v_threshold)
    if node.channels:
        limit = np.asarray(network.weights[f"{node.name}.v_threshold"], np.float64)
    habits = {
        "reset": "subtract" if node.soft_reset else "zero",
        "at_threshold": "wait" if node.strict else "fire",
    }
    if node.parametric:
        part = logistic(float(network.weights[f"{node.name}.w"].reshape(-1)[0]))
    else:
        part = 1.0 / node.tau if node.decay_input else 1.0 - node.decay
    constants: dict[str, Array] = {"v_threshold": limit, "v_reset": np.array(0.0)}
    if not part:
        return "IF", _full({**constants, "r": np.array(1.0)}, dims), habits
    constants |= {
        "tau": np.array(timestep / part),
        "r": np.array(1.0 if node.decay_input else 1.0 / part),
        "v_leak": np.array(0.0),
    }
    return "LIF", _full(constants, dims), habits


def neuron(network: Network, node: Neuron, dims: Dims, timestep: float) -> tuple[Kind, Values, Habits]:
    """Return NIR's node of a neuron of whatever equation, its parameters in full shape, and how it must be read.

    Raises
    ------
    NetworkError
        If NIR has no such equation; it says what is in the way.
    """
    own = {name: _constant(network, node, name) for name in node.constants}
    _refuse(node, own)
    fires = node.emits == "spikes"
    habits: Habits = {}
    constants: dict[str, Array] = {}
    if fires:
        habits["at_threshold"] = "wait" if node.strict else "fire"
        habits["spikes"] = "several" if node.levels else "one"
        constants["v_threshold"] = own["v_threshold"]
    if fires and node.reset != "none":
        habits["reset"] = "subtract" if node.reset == "subtract" else "zero"
        constants["v_reset"] = own["v_reset"]
        habits["floor"] = f"{node.v_floor:g}" if node.floored else ""
    if (
        node.charge == "decay"
        and not own["leak"].any()
        and fires
        and node.reset == "none"
        and (own["gain"] == 1.0).all()
    ):
        return "Threshold", _full({"threshold": constants["v_threshold"]}, dims), habits
    if fires and node.reset == "none":
        raise NetworkError(f"{node.name} keeps its potential when it fires; NIR has no neuron that does")
    if node.charge == "decay" and node.synapse == "none" and (own["leak"] == 1.0).all():
        return ("IF" if fires else "I"), _full({**constants, "r": own["gain"]}, dims), habits
    part = 1.0 - own["leak"] if node.charge == "decay" else 1.0 / own["leak"] if node.divides else own["leak"]
    if (part <= 0.0).any() or (part > 1.0).any():
        raise NetworkError(
            f"{node.name} keeps less than nothing or more than all of its potential; NIR has no tau for it"
        )
    gain = own["gain"] / part if node.charge == "decay" else own["gain"]
    constants |= {"r": gain, "v_leak": own["v_leak"]}
    if node.synapse == "none":
        return ("LIF" if fires else "LI"), _full({**constants, "tau": timestep / part}, dims), habits
    came = 1.0 - own["syn"]
    if (came <= 0.0).any() or (came > 1.0).any():
        raise NetworkError(f"{node.name} has a synaptic current that does not decay; NIR has no tau_syn for it")
    constants |= {"tau_syn": timestep / came, "w_in": 1.0 / came, "tau_mem": timestep / part}
    return ("CubaLIF" if fires else "CubaLI"), _full(constants, dims), habits


def _refuse(node: Neuron, own: Mapping[str, Array]) -> None:
    """Refuse equations that NIR has no node for."""
    wrong = ""
    if node.synapse not in ("none", "decay-add"):
        wrong = f"a synaptic current by {node.synapse}"
    elif node.charge not in ("decay", "relax"):
        wrong = f"a charge by {node.charge}"
    elif node.reset_at != "now" and node.emits == "spikes" and node.reset != "none":
        wrong = "a reset at the next timestep"
    elif own["v_start"].any():
        wrong = "a potential at the start other than 0"
    elif node.emits == "potential" and node.reset != "none":
        wrong = "a potential as output and a reset"
    elif node.floored and "v_floor" in node.arrays:
        wrong = "a floor of its own for each neuron"
    if wrong:
        raise NetworkError(f"{node.name} has {wrong}, for which NIR has no node")


def _constant(network: Network, node: Neuron, name: str) -> Array:
    """Return a constant: one number, [channels] or [height, width, channels]."""
    if name in node.arrays:
        return np.asarray(network.weights[f"{node.name}.{name}"], np.float64)
    return np.array(float(getattr(node, name)))


def _full(constants: Mapping[str, Array], dims: Dims) -> Values:
    """Return constants in the shape of what travels, as NIR asks for."""
    return {name: full(values, dims) for name, values in constants.items()}


def full(values: NDArray[np.floating], dims: Dims) -> Array:
    """Return numbers of all, by channel or by neuron ([height, width, channels]) in the shape of what travels."""
    channels, height, width = size_of(dims)
    whole = np.broadcast_to(np.asarray(values, np.float64), (height, width, channels))
    return np.ascontiguousarray(whole.transpose(2, 0, 1).reshape(dims))

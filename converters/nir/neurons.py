"""Neurons of NIR as evsim's: the constants of `evsim.primitives.Neuron`, of the timestep's equations."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.converters.nir.discretise import share
from evsim.converters.nir.graph import Unit
from evsim.converters.nir.options import Discretisation, NirOptions
from evsim.converters.nir.values import Array, Dims, array, fitting, mapped, size_of, spread
from evsim.errors import GraphError
from evsim.primitives import LIF, Neuron
from evsim.primitives.neurons import MOST_LEVELS

Made = tuple[Neuron | LIF, Dims, dict[str, NDArray[np.floating]]]
"""A node, the shape of what it gives, and its parameters."""


def integrate(unit: Unit, source: str, dims: Dims, options: NirOptions) -> Made:
    """Make an IF, or an I, which never fires: ``v += r x``."""
    constants = {"gain": array(unit, "r")}
    for key in ("r", "v_threshold", "v_reset"):
        if key in unit.values:
            spread(unit, key, array(unit, key), dims)
    if unit.kind == "IF" and (plain := _plain(unit, source, options)):
        return plain, dims, {}
    return _neuron(unit, source, dims, options, constants, {"leak": 1.0}, fires=unit.kind == "IF")


def leaky(unit: Unit, source: str, dims: Dims, options: NirOptions) -> Made:
    """Make a LIF, or an LI, which never fires: ``v += a ((v_leak - v) + r x)``."""
    constants = {
        "leak": _share(unit, "tau", options),
        "gain": array(unit, "r"),
        "v_leak": array(unit, "v_leak", 0.0),
    }
    return _neuron(unit, source, dims, options, constants, {"charge": "relax"}, fires=unit.kind == "LIF")


def current(unit: Unit, source: str, dims: Dims, options: NirOptions) -> Made:
    """Make a CubaLIF or a CubaLI.

    Its current is kept in units of what a spike adds, ``s w_in``, so that it is ``i = (1 - s) i + x``, and the factor
    goes with r.
    """
    part = fitting(unit, "tau_syn", _share(unit, "tau_syn", options), dims)
    factors = [fitting(unit, key, array(unit, key, default), dims) for key, default in (("r", None), ("w_in", 1.0))]
    with np.errstate(over="ignore"):
        gain = np.asarray(factors[0] * part * factors[1])
    if not np.isfinite(gain).all():
        raise GraphError(f"{unit}: r times w_in is beyond any number; export the graph from sound weights")
    constants = {
        "syn": np.asarray(1.0 - part),
        "gain": gain,
        "leak": _share(unit, "tau_mem", options),
        "v_leak": array(unit, "v_leak", 0.0),
    }
    fields = {"charge": "relax", "synapse": "decay-add"}
    return _neuron(unit, source, dims, options, constants, fields, fires=unit.kind == "CubaLIF")


def threshold(unit: Unit, source: str, dims: Dims, options: NirOptions) -> Made:
    """Make a Threshold: a spike where x is above it, nothing is kept."""
    strict = options.choice("at_threshold") == "wait"
    fields = {"leak": 0.0, "reset": "none", "strict": strict}
    return _assembled(unit, source, dims, {"v_threshold": array(unit, "threshold")}, fields)


def _plain(unit: Unit, source: str, options: NirOptions) -> LIF | None:
    """Return an IF of one threshold as the primitive of its own, which is fused with what it reads; None for others."""
    limit, rest, factor = array(unit, "v_threshold"), array(unit, "v_reset", 0.0), array(unit, "r")
    other = rest.any() or (factor != 1.0).any() or options.floor is not None or options.choice("spikes") != "one"
    if other or not limit.size or not (limit == limit.flat[0]).all() or limit.flat[0] <= 0.0:
        return None
    return LIF(
        unit.name,
        (source,),
        v_threshold=float(limit.flat[0]),
        decay_input=False,
        decay=1.0,
        strict=options.choice("at_threshold") == "wait",
        soft_reset=options.choice("reset") == "subtract",
    )


def _share(unit: Unit, key: str, options: NirOptions) -> Array:
    assert options.timestep is not None  # asked for before anything is built
    rule: Discretisation = "exact" if options.choice("discretisation") == "exact" else "euler"
    return share(unit, key, options.timestep, rule)


def _neuron(
    unit: Unit,
    source: str,
    dims: Dims,
    options: NirOptions,
    constants: dict[str, Array],
    fields: dict[str, Any],
    *,
    fires: bool,
) -> Made:
    """Return a node with the reset that options choose, or of an integrator, which emits its potential."""
    if not fires:
        return _assembled(unit, source, dims, constants, {**fields, "emits": "potential", "reset": "none"})
    several = options.choice("spikes") == "several"
    subtracts = options.choice("reset") == "subtract"
    limit = fitting(unit, "v_threshold", array(unit, "v_threshold"), dims)
    rest = fitting(unit, "v_reset", array(unit, "v_reset", 0.0), dims)
    if several and not (limit > 0.0).all():
        raise GraphError(f"{unit}: several spikes a step want thresholds above 0, got {limit.min():g}")
    if subtracts and rest.any():
        raise GraphError(f"{unit} has a v_reset of {rest.max():g}, which a reset by subtraction passes by")
    if not subtracts and (rest >= limit).any():
        raise GraphError(f"{unit}: v_reset is not below v_threshold, so it would fire without end")
    constants = {**constants, "v_threshold": limit}
    if not subtracts:
        constants["v_reset"] = rest
    fields |= {
        "reset": "subtract" if subtracts else "value",
        "strict": not several and options.choice("at_threshold") == "wait",
        "levels": MOST_LEVELS if several else 0,
    }
    if options.floor is not None:
        fields |= {"floored": True, "v_floor": options.floor}
    return _assembled(unit, source, dims, constants, fields)


def _assembled(unit: Unit, source: str, dims: Dims, constants: dict[str, Array], fields: dict[str, Any]) -> Made:
    """Return a node with each constant as one number, by channel or by neuron, whichever says all."""
    by_channel: list[str] = []
    by_neuron: list[str] = []
    weights: dict[str, NDArray[np.floating]] = {}
    for name, values in constants.items():
        if values.size == 1:
            fields[name] = float(values.reshape(()))
            continue
        whole = mapped(unit, _told(unit, name), values, dims)
        first = whole[0, 0]
        if (whole == first[0]).all():
            fields[name] = float(first[0])
        elif (whole == first).all():
            by_channel.append(name)
            weights[name] = np.ascontiguousarray(first)
        else:
            by_neuron.append(name)
            weights[name] = whole
    channels, height, width = size_of(dims) if weights else (0, 0, 0)
    arrays: dict[str, Any] = {"by_channel": tuple(by_channel), "by_neuron": tuple(by_neuron)}
    node = Neuron(unit.name, (source,), channels=channels, height=height, width=width, **arrays, **fields)
    return node, dims, weights


def _told(unit: Unit, name: str) -> str:
    """Return NIR's name of what a constant was made of, for messages."""
    cuba = unit.kind.startswith("Cuba")
    names = {"gain": "r", "leak": "tau_mem" if cuba else "tau", "syn": "tau_syn"}
    if unit.kind == "Threshold":
        names["v_threshold"] = "threshold"
    return names.get(name, name)

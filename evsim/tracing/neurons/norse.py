"""Neurons of Norse 1.x: LIF, LIFBox, IAF, and the integrator LI; cells take a timestep, the others a sequence.

LIF are also recurrent: they have weights for what they read, and for their own spikes of the timestep before.

Equations from `functional/{lif,lif_box,iaf,leaky_integrator}.py`: a spike where ``v - v_th > 0``. Products of dt and
inverse time constants are formed as the library forms them, in the precision of its parameters.
"""

from __future__ import annotations

from typing import Any

from evsim.primitives import Neuron
from evsim.tracing.neurons.equation import Equation, Recurrence, constant, numbers

KNOWN = {
    "LIFCell": "lif",
    "LIF": "lif",
    "LIFRecurrentCell": "lif",
    "LIFRecurrent": "lif",
    "LIFBoxCell": "box",
    "IAFCell": "iaf",
    "IAF": "iaf",
    "LICell": "li",
    "LI": "li",
    "LILinearCell": "li",
}
BASES = ("SNNCell", "SNN", "SNNRecurrentCell", "SNNRecurrent")
OTHERS = ("LILinearCell", "LSNNCell")


def equation(module: Any) -> Equation | str | None:
    """Return what a module of Norse computes, why evsim cannot, or None if it is no neuron."""
    classes = [kind for kind in type(module).__mro__ if kind.__module__.startswith("norse.")]
    if not any(kind.__name__ in (*BASES, *OTHERS) for kind in classes):
        return None
    name = classes[0].__name__
    if name not in KNOWN or type(module).__mro__[0] is not classes[0]:
        return f"neurons of type {type(module).__name__} have an equation of their own that no primitive computes"
    kind, p = KNOWN[name], module.p
    constants: dict[str, Any] = {}
    if kind != "iaf":
        constants = {"leak": module.dt * p.tau_mem_inv, "v_leak": p.v_leak, "v_start": p.v_leak}
    if kind in ("lif", "li"):
        constants["syn"] = module.dt * p.tau_syn_inv
    if kind != "li":
        constants["v_threshold"] = p.v_th
    subtracts = kind == "box" and getattr(p.reset_method, "__name__", "") == "reset_subtract"
    if kind == "box" and not subtracts and getattr(p.reset_method, "__name__", "") != "reset_value":
        return f"a reset by {getattr(p.reset_method, '__name__', p.reset_method)} is no primitive"
    if kind != "li" and not subtracts:
        constants["v_reset"] = p.v_reset
    single, several = numbers(**constants)
    facts: dict[str, Any] = {
        "lif": {"synapse": "jump", "charge": "relax"},
        "box": {"charge": "box"},
        "iaf": {},
        "li": {"synapse": "jump", "charge": "relax", "reset": "none", "emits": "potential"},
    }[kind]
    if subtracts:
        facts["reset"] = "subtract"
    weights = constant(module.input_weights) if hasattr(module, "input_weights") else None
    back = None
    if hasattr(module, "recurrent_weights"):
        back = Recurrence("recurrent", "linear", constant(module.recurrent_weights))
    steps: Any = "one" if name.endswith("Cell") else "first"
    node = Neuron("", ("",), strict=kind != "li", **facts, **single)
    place = -2 if kind == "lif" else -1  # behind it comes the current
    return Equation(node, steps, constants=several, given=True, weights=weights, recurrence=back, potential=place)


def reset(module: Any) -> None:
    """Norse's modules remember nothing: their state goes in and out."""

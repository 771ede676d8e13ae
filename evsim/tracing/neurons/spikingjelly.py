"""Neurons of SpikingJelly, from 0.0.0.0.12 (clock_driven) to 2.x (activation_based).

Equations from `neuronal_charge`, `neuronal_fire` and `neuronal_reset` of `neuron.py` (2.x: `functional`): a spike where
``v - v_threshold >= 0``; ``v_reset`` None subtracts the threshold. The potential starts at v_reset.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.primitives import LIF, Neuron
from evsim.tracing.neurons.equation import Equation, numbers

KNOWN = {"IFNode": "if", "LIFNode": "lif", "ParametricLIFNode": "plif"}
KNOWN |= {f"MultiStep{name}": kind for name, kind in KNOWN.items()}
OWN_EQUATION = (
    "neuronal_charge", "neuronal_fire", "neuronal_reset", "forward", "single_step_forward", "multi_step_forward",
    "single_step_functional_forward", "multi_step_functional_forward",
)  # fmt: skip
PASSIVE = ("Dropout", "Dropout2d", "MultiStepDropout", "MultiStepDropout2d")
STATEFUL = "MemoryModule"


def equation(module: Any) -> Equation | str | None:
    """Return what a module of SpikingJelly computes, why evsim cannot, or None if it is no neuron."""
    classes = [kind for kind in type(module).__mro__ if kind.__module__.startswith("spikingjelly.")]
    if not classes or not _fires(classes):
        return None
    own = type(module).__mro__[: type(module).__mro__.index(classes[0])]
    name = classes[0].__name__
    if name not in KNOWN or any(method in vars(kind) for kind in own for method in OWN_EQUATION):
        return f"neurons of type {type(module).__name__} have an equation of their own that no primitive computes"
    several = name.startswith("MultiStep") or getattr(module, "step_mode", "s") == "m"
    if np.size(_array(module.v_reset)) > 1:
        return "a v_reset of several values is no primitive of these neurons"
    steps: Any = "first" if several else "one"
    if np.size(_array(module.v_threshold)) > 1:
        return _of_thresholds(module, KNOWN[name], steps)
    node, arrays = _node(module, KNOWN[name])
    return Equation(node, steps, arrays)


def _array(value: Any) -> Any:
    return value.detach().numpy() if hasattr(value, "detach") else value


def _of_thresholds(module: Any, kind: str, steps: Any) -> Equation:
    """Return neurons whose thresholds differ, such as those of each channel, set on a module or learned."""
    reset = 0.0 if module.v_reset is None else float(module.v_reset)
    facts: dict[str, Any] = {"reset": "subtract"} if module.v_reset is None else {"v_reset": reset, "v_start": reset}
    rate = float(module.w.detach().sigmoid()) if kind == "plif" else 0.0
    if kind != "if" and getattr(module, "decay_input", True):
        leak = float(module.tau) if kind == "lif" else rate
        facts |= {"charge": "relax", "leak": leak, "divides": kind == "lif", "v_leak": reset}
    elif kind != "if" and reset:
        leak = float(module.tau) if kind == "lif" else rate
        facts |= {"charge": "drain", "leak": leak, "divides": kind == "lif", "v_leak": reset}
    elif kind != "if":
        facts["leak"] = 1.0 - (rate if kind == "plif" else 1.0 / float(module.tau))
    single, own = numbers(v_threshold=module.v_threshold)
    return Equation(Neuron("", ("",), **facts, **single), steps, constants=own)


def reset(module: Any) -> None:
    """Forget what a module remembers of runs before, and compute by PyTorch alone."""
    if any(kind.__module__.startswith("spikingjelly.") for kind in type(module).__mro__) and hasattr(module, "reset"):
        module.reset()
        if getattr(module, "backend", "torch") != "torch":
            module.backend = "torch"


def _fires(classes: list[type]) -> bool:
    """Whether these classes are of neurons: from the modules that hold them, and not what those share."""
    return any(".neuron" in kind.__module__ for kind in classes)


def _node(module: Any, kind: str) -> tuple[LIF | Neuron, dict[str, NDArray[np.floating]]]:
    threshold, v_reset = float(module.v_threshold), module.v_reset
    hard = v_reset is not None and float(v_reset) != 0.0
    decays_input = bool(getattr(module, "decay_input", True))
    leak = {"if": 1.0}.get(kind, 0.0)
    if kind == "lif":
        leak = float(module.tau)
    if kind == "plif":
        leak = float(module.w.detach().sigmoid())
    if hard:
        common: dict[str, Any] = {"v_threshold": threshold, "v_reset": float(v_reset), "v_start": float(v_reset)}
        if kind == "if":
            return Neuron("", ("",), **common), {}
        charge: Any = "relax" if decays_input else "drain"
        node = Neuron("", ("",), charge=charge, leak=leak, divides=kind == "lif", v_leak=float(v_reset), **common)
        return node, {}
    base: dict[str, Any] = {"v_threshold": threshold, "soft_reset": v_reset is None}
    if kind == "if":
        return LIF("", ("",), 1.0, decay_input=False, decay=1.0, **base), {}
    if kind == "lif":
        decay = 0.0 if decays_input else 1.0 - 1.0 / leak
        return LIF("", ("",), leak, decay_input=decays_input, decay=decay, **base), {}
    w = module.w.detach().numpy().reshape(1)
    return LIF("", ("",), 1.0 / leak, decay_input=decays_input, parametric=True, **base), {"w": w}

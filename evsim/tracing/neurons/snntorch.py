"""Neurons of snnTorch 0.5 to 1.0: Leaky, Synaptic, Lapicque, and the recurrent RLeaky and RSynaptic.

Equations from `_neurons/{leaky,synaptic,lapicque,rleaky,rsynaptic}.py`: a spike where ``mem - threshold > 0``; the
reset comes a timestep later, told by the potential that was kept, unless `reset_delay` is off. beta and alpha are
clamped to 0 .. 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from evsim.primitives import Neuron
from evsim.tracing.neurons.equation import Equation, Recurrence, layer, numbers, reads_double

KNOWN = ("Leaky", "Synaptic", "Lapicque", "RLeaky", "RSynaptic")
RECURRENT = ("RLeaky", "RSynaptic")
RESETS = {"subtract": "subtract", "zero": "value", "none": "none"}
OWN_EQUATION = ("forward", "fire", "mem_reset", "_base_state_function", "_base_sub", "_base_zero", "_base_int")


def equation(module: Any) -> Equation | str | None:
    """Return what a module of snnTorch computes, why evsim cannot, or None if it is no neuron."""
    classes = [kind for kind in type(module).__mro__ if kind.__module__.startswith("snntorch.")]
    if not any(kind.__name__ in ("SpikingNeuron", "StateLeaky") for kind in classes):
        return None
    own = type(module).__mro__[: type(module).__mro__.index(classes[0])]
    name = classes[0].__name__
    if name not in KNOWN or any(method in vars(kind) for kind in own for method in OWN_EQUATION):
        return f"neurons of type {type(module).__name__} have an equation of their own that no primitive computes"
    if (reason := _beyond(module)) is not None:
        return reason
    constants: dict[str, Any] = {"leak": module.beta.clamp(0, 1), "v_threshold": module.threshold}
    if name in ("Synaptic", "RSynaptic"):
        constants["syn"] = module.alpha.clamp(0, 1)
    if name == "Lapicque":
        constants["leak"] = 1 - module.time_step / (module.R * module.C)
        constants["gain"] = module.R * (1 / (module.R * module.C)) * module.time_step
    single, several = numbers(**constants)
    delayed = bool(getattr(module, "reset_delay", True))
    reset: Any = RESETS[module._reset_mechanism]  # noqa: SLF001 - the public property is the same text
    when: Any = "now"
    if reset == "subtract":
        when = "after-charge" if delayed else "both"
    elif reset == "value" and delayed:
        when = "before-charge" if name == "Leaky" else "after-charge"
    if reset == "value" and not delayed and float(module.threshold.min()) < 0.0:
        return "a reset to zero without delay, above the threshold, resets twice, which is no primitive"
    synapse: Any = "decay-add" if "syn" in constants else "none"
    facts: dict[str, Any] = {"synapse": synapse, "reset": reset, "reset_at": when, **single}
    node = Neuron("", ("",), strict=True, **facts)
    back = _recurrence(module) if name in RECURRENT else None
    if name in RECURRENT and back is None:
        return f"{name} through {module.recurrent} is no primitive"
    return Equation(node, constants=several, recurrence=back)


def _recurrence(module: Any) -> Recurrence | None:
    """Return through what neurons read their spikes of the timestep before; None if that is no layer evsim knows."""
    if not module.all_to_all:
        factor = module.V.detach().numpy() if hasattr(module.V, "detach") else np.asarray(module.V, np.float64)
        return Recurrence("recurrent", "scale", factor)
    return layer("recurrent", module.recurrent)


def _beyond(module: Any) -> str | None:
    """Return what a module does beyond the equations, None if it does nothing."""
    if module.inhibition:
        return "inhibition between the neurons of a layer is no primitive"
    if type(module).__name__ == "RSynaptic" and not module.reset_delay:
        return "RSynaptic without reset delay is no primitive: it resets a copy of its potential"
    if module.state_quant:
        return "quantised potentials are no primitive"
    if float(getattr(module, "graded_spikes_factor", 1.0)) != 1.0:
        return "graded spikes are no primitive"
    return None


def reset(module: Any) -> None:
    """Forget what a module remembers of runs before."""
    if any(kind.__module__.startswith("snntorch.") for kind in type(module).__mro__) and hasattr(module, "reset_mem"):
        module.reset_mem()
        if type(module).__name__ in RECURRENT:
            reads_double(module.recurrent)

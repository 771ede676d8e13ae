"""Neurons of sinabs 2 and 3: IAF, LIF, ExpLeak, their Squeeze forms, which merge batch and time, and recurrent forms.

Equations from `layers/functional/lif.py` and `activation/`: ``trunc(v / threshold)`` spikes a timestep, or one; the
threshold is subtracted for each, or the potential set to 0; `min_v_mem` floors it.
"""

from __future__ import annotations

from typing import Any

from evsim.primitives import Neuron
from evsim.primitives.neurons import MOST_LEVELS
from evsim.tracing.neurons.equation import Equation, Recurrence, layer, numbers, reads_double

KNOWN = ("IAF", "IAFSqueeze", "IAFRecurrent", "LIF", "LIFSqueeze", "LIFRecurrent", "ExpLeak", "ExpLeakSqueeze")
PASSIVE = ("Flatten", "Unflatten", "Identity")
"""What may stand around the layer of a recurrence: it arranges axes, and sinabs restores them."""


def equation(module: Any) -> Equation | str | None:
    """Return what a module of sinabs computes, why evsim cannot, or None if it is no neuron."""
    classes = [kind for kind in type(module).__mro__ if kind.__module__.startswith("sinabs.")]
    if not any(kind.__name__ == "StatefulLayer" for kind in classes):
        return None
    name = classes[0].__name__
    if name not in KNOWN or type(module).__mro__[0] is not classes[0]:
        return f"neurons of type {type(module).__name__} have an equation of their own that no primitive computes"
    leak, syn = module.alpha_mem_calculated, module.alpha_syn_calculated
    constants: dict[str, Any] = {"leak": leak}
    if syn is not None:
        constants["syn"] = syn
    if module.norm_input:
        constants["gain"] = 1 - leak
    if module.min_v_mem is not None:
        constants["v_floor"] = module.min_v_mem
    facts: dict[str, Any] = {"emits": "potential", "reset": "none"}
    if module.spike_fn is not None:
        constants["v_threshold"] = module.spike_threshold
        found = _spiking(module)
        if isinstance(found, str):
            return found
        facts = found
    single, several = numbers(**constants)
    node = Neuron(
        "", ("",), synapse="none" if syn is None else "add-decay", floored=module.min_v_mem is not None,
        **facts, **single,
    )  # fmt: skip
    back = None
    if hasattr(module, "rec_connect"):
        back = _recurrence(module.rec_connect)
        if back is None:
            return f"a recurrence through {type(module.rec_connect).__name__} is no primitive; one Linear or Conv2d is"
    return Equation(node, "merged" if name.endswith("Squeeze") else "second", constants=several, recurrence=back)


def _recurrence(module: Any) -> Recurrence | None:
    """Return the one layer that spikes come back through; None if there are more, or others."""
    if type(module).__name__ != "Sequential":
        return layer("rec_connect", module, behind=True)
    layers = [(number, each) for number, each in module.named_children() if type(each).__name__ not in PASSIVE]
    if len(layers) != 1:
        return None
    ((number, only),) = layers
    return layer(f"rec_connect.{number}", only, behind=True)


def _spiking(module: Any) -> dict[str, Any] | str:
    """Return how it fires and resets, or why evsim cannot."""
    spike, back = module.spike_fn, module.reset_fn
    fires = getattr(spike, "__name__", type(spike).__name__)
    levels = {"MultiSpike": MOST_LEVELS, "SingleSpike": 0, "MaxSpike": getattr(spike, "max_num_spikes_per_bin", 0)}
    if fires not in levels:
        return f"spikes by {fires} are no primitive"
    kind = type(back).__name__
    if kind == "MembraneSubtract" and (
        back.subtract_value is None or float(back.subtract_value) == float(module.spike_threshold)
    ):
        return {"levels": levels[fires] or 0, "reset": "subtract"}
    if kind == "MembraneReset" and not float(back.reset_value):
        return {"levels": levels[fires] or 0, "reset": "value"}
    return f"a reset by {back} is no primitive"


def reset(module: Any) -> None:
    """Forget what a module remembers of runs before; a batch merged with time is of one sample."""
    if any(kind.__name__ == "StatefulLayer" for kind in type(module).__mro__) and hasattr(module, "reset_states"):
        if module.is_state_initialised():
            module.reset_states()
        if type(module).__name__.endswith("Squeeze"):
            module.batch_size, module.num_timesteps = 1, -1
        if hasattr(module, "rec_connect"):
            reads_double(module.rec_connect)

"""Event-driven simulation of spiking vision transformers, with every synaptic operation counted.

A model and a recording give a run, which knows the prediction, the operations and the energy. ``evsim demo --save .``
writes the two files of this example:

    import evsim

    network = evsim.load("model.h5")
    run = evsim.simulate(network, "dvs_sample.aedat")
    print(run.label(run.prediction), "from", run.counts.sops, "synaptic operations")
    print(run.exact().energy_mj, "mJ as counted,", run.paper().energy_mj, "mJ as the paper estimates")
    for layer in run.counts.layers[:4]:
        print(layer.name, layer.kind)

``load``
    reads a model.h5, or converts a PyTorch checkpoint on the fly, without PyTorch and without running code from it.
``convert``
    converts a checkpoint with facts of yours, ``evsim.converters.ConvertOptions``, and says where each came from.
``from_torch``
    makes a network of a module of PyTorch in memory, whatever its code, and proves it on an example.
``read``
    reads a recording of any format, frames or a picture as a network takes it; ``evsim.events.ReadOptions`` say how.
``simulate``
    runs what was read, a file, or an array: frames [T, 2, H, W] of event counts, or an image [C, H, W].
``evaluate``
    runs a whole data set, such as ``evsim.datasets.open_dataset`` lists, in as many processes as wanted.
``quantize``
    gives a network integer weights, so that it runs in integers alone, the same bits on every machine.
``Evaluation``
    is what that brings: ``accuracy``, ``anytime``, ``energy(...)``, arrays by sample, ``to_dict``, ``to_dataframe``.
``Run``
    is the outcome: ``logits``, ``prediction``, ``counts``, ``exact()``, ``paper()``, ``energy(...)``, ``save_counts``.
``Network``
    is a model as data: nodes, weights and what it takes in.

What goes wrong is an ``evsim.errors.EvsimError``: one line that says what, where, and what to do. The same on the
command line: ``evsim --help``.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evsim.api import Run, load, read, simulate
    from evsim.converters import convert
    from evsim.evaluation.evaluate import evaluate
    from evsim.evaluation.outcome import Evaluation
    from evsim.network import Network
    from evsim.quantizing import quantize
    from evsim.tracing import from_torch

__version__ = "0.1.0"
__all__ = ["Evaluation", "Network", "Run", "convert", "evaluate", "from_torch", "load", "quantize", "read", "simulate"]

_HOMES = {
    "Evaluation": "evsim.evaluation.outcome",
    "Network": "evsim.network",
    "Run": "evsim.api",
    "convert": "evsim.converters",
    "evaluate": "evsim.evaluation.evaluate",
    "from_torch": "evsim.tracing",
    "load": "evsim.api",
    "quantize": "evsim.quantizing",
    "read": "evsim.api",
    "simulate": "evsim.api",
}
"""Where each name lives; a module is loaded when a name of it is first asked for, so `import evsim` costs little."""


def __getattr__(name: str) -> Any:
    """Return one of `__all__`, from its module."""
    if name not in _HOMES:
        raise AttributeError(f"module 'evsim' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    """Return what can be asked for, for tab completion: `__all__`, and the modules that are loaded."""
    return sorted({*__all__, *(name for name, value in globals().items() if name[:2] == "__" or _is_module(value))})


def _is_module(value: object) -> bool:
    return isinstance(value, ModuleType) and value.__name__.startswith("evsim.")

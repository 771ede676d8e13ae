"""What is known of a module of neurons: the node it becomes, and how its tensors are laid out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evsim.primitives import LIF, Neuron

Steps = Literal["one", "first", "second", "merged"]
"""Where a call has timesteps: it takes one; on the first axis, on the second; on the first, merged with the batch."""


@dataclass(frozen=True, eq=False)
class Recurrence:
    """What neurons emitted a timestep before and read again, through a layer of their own.

    Attributes
    ----------
    name
        Of the layer within the module.
    kind
        What the layer is: "linear", "conv", or "scale", a factor of each neuron.
    weight, bias
        Its parameters in PyTorch's order; of a "scale" one factor, or what broadcasts against a timestep.
    padding
        Of a "conv", whose stride is 1.
    behind
        Whether the layer reads spikes at once and gives what it makes of them a timestep later, so that its bias is
        not there at the first timestep (sinabs); else it reads the spikes of the timestep before.
    """

    name: str
    kind: Literal["linear", "conv", "scale"]
    weight: NDArray[np.floating]
    bias: NDArray[np.floating] | None = None
    padding: tuple[int, int] = (0, 0)
    behind: bool = False


@dataclass(frozen=True, eq=False)
class Equation:
    """Neurons of a library, by their own equation.

    Attributes
    ----------
    node
        The node without its name and source.
    steps
        Where a call has timesteps.
    arrays
        Parameters of the node that are one number each, such as ``w`` of a PLIF.
    given
        Whether its state goes in and out at each call; else the module keeps it.
    weights
        Of a linear layer [outputs, inputs] that the module has before its neurons, if any.
    constants
        Constants of the node that differ between neurons: arrays that broadcast against a timestep of the module.
    recurrence
        What of their own spikes they read again a timestep later, if anything.
    potential
        Which of the tensors that they return is their potential, counted from the end.
    """

    node: LIF | Neuron
    steps: Steps = "one"
    arrays: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    constants: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    given: bool = False
    weights: NDArray[np.floating] | None = None
    recurrence: Recurrence | None = None
    potential: int = -1

    @property
    def several(self) -> bool:
        """Whether a call takes several timesteps."""
        return self.steps != "one"

    def rows(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """Return shape of a timestep without batch, number of timesteps, and the order of axes that has time first."""
        axes = tuple(range(len(shape)))
        if self.steps == "one":
            return shape[1:] or (1,), 1, axes
        if self.steps == "merged":
            return shape[1:] or (1,), shape[0], axes
        if self.steps == "second":
            return shape[2:] or (1,), shape[1], (1, 0, *axes[2:])
        return shape[2:] or (1,), shape[0], axes


def constant(value: Any) -> NDArray[np.floating]:
    """Return a tensor of the model: float32 where that holds it exactly, as the checkpoint would."""
    array: NDArray[np.floating] = value.detach().numpy()
    single = array.astype(np.float32)
    return single if (single == array).all() else array


def layer(name: str, module: Any, *, behind: bool = False) -> Recurrence | None:
    """Return the recurrence through a Linear or a Conv2d that keeps the size of a map; None for any other module."""
    kind = type(module).__name__
    bias = None if getattr(module, "bias", None) is None else constant(module.bias)
    if kind == "Linear":
        return Recurrence(name, "linear", constant(module.weight), bias, behind=behind)
    if kind != "Conv2d" or isinstance(module.padding, str) or module.padding_mode != "zeros":
        return None
    if (*module.stride, *module.dilation, module.groups) != (1, 1, 1, 1, 1):
        return None
    return Recurrence(name, "conv", constant(module.weight), bias, tuple(module.padding), behind)


def reads_double(module: Any) -> None:
    """Let a layer take spikes that are float32 in any precision, which its weights in float64 would refuse."""
    module.register_forward_pre_hook(lambda _, given: tuple(each.double() for each in given))


def numbers(**values: Any) -> tuple[dict[str, Any], dict[str, NDArray[np.floating]]]:
    """Return constants that are one number each, and those that are several; tensors and numbers alike."""
    single: dict[str, Any] = {}
    several: dict[str, NDArray[np.floating]] = {}
    for name, value in values.items():
        array = np.asarray(value.detach().numpy() if hasattr(value, "detach") else value, np.float64)
        if array.size and (array == array.flat[0]).all():
            single[name] = float(array.flat[0])
        else:
            while array.shape[0] == 1:  # the axis of the batch
                array = array[0]
            several[name] = array
    return single, several

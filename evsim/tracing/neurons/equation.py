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
    """

    node: LIF | Neuron
    steps: Steps = "one"
    arrays: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    constants: Mapping[str, NDArray[np.floating]] = field(default_factory=dict)
    given: bool = False
    weights: NDArray[np.floating] | None = None

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


def numbers(**values: Any) -> tuple[dict[str, Any], dict[str, NDArray[np.floating]]]:
    """Return constants that are one number each, and those that are several; tensors and numbers alike."""
    single: dict[str, Any] = {}
    several: dict[str, NDArray[np.floating]] = {}
    for name, value in values.items():
        array = np.asarray(value.detach().numpy() if hasattr(value, "detach") else value, np.float64)
        if array.size and (array == array.flat[0]).all():
            single[name] = float(array.flat[0])
        else:
            several[name] = array
    return single, several

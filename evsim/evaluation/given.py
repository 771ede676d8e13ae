"""Samples that a program has at hand: pairs of an input and its class, in memory or by path."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from evsim import api
from evsim.datasets import Sample
from evsim.errors import OptionError
from evsim.events import ReadOptions
from evsim.network import Network
from evsim.origin import array_digest

Pair = tuple[ArrayLike | str | Path | api.Sample, int | str | None]
"""An input, as `evsim.api.simulate` takes it, and its class: index or name, None where nothing tells."""


@dataclass(frozen=True, eq=False)
class Given:
    """A list of samples that a program made.

    Attributes
    ----------
    samples, classes
        The list, and the name of each class.
    digest
        SHA-256 of names, classes and arrays.
    inputs
        What runs.
    """

    samples: Sequence[Sample]
    classes: tuple[str, ...]
    digest: str
    inputs: Sequence[api.Sample | Path]
    path: str = "samples of a program"
    notes: tuple[str, ...] = ()

    def read(self, index: int, network: Network, timesteps: int | None, options: ReadOptions) -> api.Sample:
        """Return a sample as the network takes it; errors as `evsim.api.read`."""
        source = self.inputs[index]
        return source if isinstance(source, api.Sample) else api.read(source, network, timesteps, options)


def given(pairs: Iterable[Pair], network: Network) -> Given:
    """Return pairs of an input and its class as samples that can be evaluated.

    Parameters
    ----------
    pairs
        Input and class of each.
    network
        Tells the names of its classes.

    Raises
    ------
    OptionError
        If there is none, one is no pair, or a class is none of the network's.
    """
    names: list[Sample] = []
    inputs: list[api.Sample | Path] = []
    whole = hashlib.sha256()
    for number, pair in enumerate(pairs):
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise OptionError(f"sample {number} is no pair of an input and its class; give both, or None for the class")
        source, label = pair
        index = _index(label, number, network)
        name = f"sample[{number}]"
        content = ""
        if isinstance(source, str | Path):
            name = str(source)
            inputs.append(Path(source))
        else:
            taken = source if isinstance(source, api.Sample) else api.Sample(_array(source, number))
            name = taken.path or name
            content = array_digest(taken.values)
            inputs.append(taken)
        whole.update(f"{name!r} {index} {content}\n".encode(errors="backslashreplace"))
        names.append(Sample(name, index))
    if not names:
        raise OptionError("there are no samples to evaluate; give at least one")
    classes = network.labels or tuple(str(i) for i in range(network.classes))
    return Given(tuple(names), classes, whole.hexdigest(), tuple(inputs))


def _index(label: Any, number: int, network: Network) -> int | None:
    """Return the index of a class."""
    if label is None:
        return None
    if isinstance(label, str):
        if label not in network.labels:
            raise OptionError(f"sample {number}: {label} is none of the model's classes; give its index")
        return network.labels.index(label)
    if not hasattr(label, "__index__") or not 0 <= label.__index__() < network.classes:
        raise OptionError(f"sample {number}: class {label} is none of 0 to {network.classes - 1}")
    return int(label.__index__())


def _array(source: Any, number: int) -> Any:
    try:
        values = np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:  # what libraries raise for tensors that NumPy cannot see
        raise OptionError(f"sample {number}, a {type(source).__name__}, is no array for NumPy ({error})") from error
    if values.dtype.kind not in "biuf":
        raise OptionError(f"sample {number} holds values of type {values.dtype}; give an array of real numbers")
    return values

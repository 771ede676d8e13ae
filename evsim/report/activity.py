"""What fired when, for the JSON of a run: activity per timestep, and spike trains; only where they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evsim.api import Run
from evsim.counters import NeuronCounts
from evsim.errors import OptionError

PARTS = ("activity", "spikes")
"""What can be asked for."""


def checked_parts(text: str | None) -> tuple[str, ...]:
    """Return the parts that a text names, commas between.

    Raises
    ------
    OptionError
        If there is no such part.
    """
    parts = tuple(text.split(",")) if text else ()
    for part in parts:
        if part not in PARTS:
            raise OptionError(f"`include` takes {' and '.join(PARTS)}, with a comma between; got {part}")
    return parts


def activity_fields(run: Run, parts: Sequence[str]) -> dict[str, Any]:
    """Return the fields that these parts add to the JSON of a run (docs: The JSON of a run)."""
    fields: dict[str, Any] = {}
    if "activity" in parts:
        fields["activity"] = {
            layer.name: {"spikes": layer.spikes.tolist(), "neuron_updates": layer.neuron_updates.tolist()}
            if isinstance(layer, NeuronCounts)
            else {"input_nonzeros": layer.input_nonzeros.tolist(), "input_size": layer.input_size.tolist()}
            for layer in run.counts.layers
        }
    if "spikes" in parts:
        fields["spike_trains"] = {name: _train(run, name) for name in run.spikes}
    return fields


def _train(run: Run, name: str) -> dict[str, Any]:
    """Return which neurons fired at each step, as places in the C order of one step's shape."""
    packed, shape = run.spikes.packed[name]
    layer = run.counts.layer(name)
    train = np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape[0], -1)
    return {
        "shape": list(shape),
        "levels": layer.geometry.levels or None,
        "fired": [np.flatnonzero(step).tolist() for step in train],
    }

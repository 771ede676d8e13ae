"""What a NIR graph does not tell and platforms differ in: options, each with a default that is told."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from evsim.errors import OptionError
from evsim.inputspec import Polarity

Discretisation = Literal["euler", "exact"]
Spikes = Literal["one", "several"]
Reset = Literal["zero", "subtract"]
AtThreshold = Literal["wait", "fire"]
Readout = Literal["sum", "max", "last"]
InputKind = Literal["events", "frames"]

CHOICES = {
    "discretisation": Discretisation, "spikes": Spikes, "reset": Reset, "at_threshold": AtThreshold,
    "readout": Readout, "input_kind": InputKind, "polarity": Polarity,
}  # fmt: skip
"""Options of few values, each with these; the first is the default."""

MEANING = {
    "discretisation": {
        "euler": "Euler's step, dt / tau",
        "exact": "exact for an input that is constant over a step, 1 - exp(-dt / tau)",
    },
    "spikes": {
        "one": "one spike a step at most",
        "several": "as many spikes a step as thresholds fit into the potential",
    },
    "reset": {"zero": "to v_reset, 0 where the graph tells none", "subtract": "the threshold is subtracted"},
    "at_threshold": {"wait": "fires above the threshold, as NIR's equations say", "fire": "fires at the threshold too"},
    "readout": {
        "sum": "what the output emits, summed over time",
        "max": "its maximum over time",
        "last": "its last value",
    },
    "input_kind": {"events": "whole counts per timestep", "frames": "real values per timestep"},
}
"""What each choice means, for reports."""


@dataclass(frozen=True)
class NirOptions:
    """What a person says about a NIR graph; None for the default.

    Attributes
    ----------
    timestep
        Seconds; needed where the graph has time constants or delays.
    timesteps
        T; None where it follows the input.
    labels
        Text file, one class name per line.
    discretisation
        How continuous time becomes steps, "euler" or "exact".
    spikes
        Whether a neuron emits "one" spike a step at most, or "several".
    reset
        What a spike does to the potential: "zero" sets it to v_reset, "subtract" takes the threshold off.
    at_threshold
        Whether a potential that equals the threshold fires ("fire") or not ("wait"); several spikes a step always do.
    floor
        Below which no potential of a spiking neuron falls; None for none.
    readout
        What the logits are: the "sum", "max" or "last" of what the output emits.
    input_kind
        What the network takes: "events" (whole counts) or "frames" (real values).
    sensor, polarity, crop
        Of recordings: see `evsim.inputspec.InputSpec`.

    Raises
    ------
    OptionError
        If a value is none of those.
    """

    timestep: float | None = None
    timesteps: int | None = None
    labels: str | None = None
    discretisation: Discretisation | None = None
    spikes: Spikes | None = None
    reset: Reset | None = None
    at_threshold: AtThreshold | None = None
    floor: float | None = None
    readout: Readout | None = None
    input_kind: InputKind | None = None
    sensor: tuple[int, int] | None = None
    polarity: Polarity | None = None
    crop: tuple[int, int, int, int] | None = None

    def __post_init__(self) -> None:
        for name, choice in CHOICES.items():
            value, known = getattr(self, name), get_args(choice)
            if value not in (None, *known):
                raise OptionError(f"`{name}` must be one of {', '.join(known)}, got {value}")
        if self.timestep is not None and not 0.0 < self.timestep < math.inf:
            raise OptionError(f"`timestep` must be above 0, got {self.timestep} s")
        if self.floor is not None and not math.isfinite(self.floor):
            raise OptionError(f"`floor` must be a number, got {self.floor}")
        if self.spikes == "several" and self.at_threshold == "wait":
            raise OptionError("several spikes a step fire at the threshold; leave `at_threshold` out")

    def choice(self, name: str) -> str:
        """Return what was chosen, or the default."""
        value = getattr(self, name)
        return str(get_args(CHOICES[name])[0] if value is None else value)

    @property
    def stated(self) -> dict[str, Any]:
        """What a person said."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}

    @property
    def bin_us(self) -> int:
        """Whole microseconds of a timestep; 0 where it is none."""
        if self.timestep is None:
            return 0
        length = round(self.timestep * 1e6)
        return length if length and math.isclose(length, self.timestep * 1e6, rel_tol=1e-9) else 0

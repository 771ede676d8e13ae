"""Which neurons a network of SpikingJelly has: IF, LIF or PLIF, of which the keys tell PLIF alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from evsim.converters.facts import CHOICES, Facts
from evsim.converters.parts import Builder
from evsim.converters.table import learned_constants
from evsim.errors import OptionError
from evsim.network import LIF
from evsim.primitives import Layout

THRESHOLD = 1.0
TAU = 2.0


@dataclass(frozen=True)
class Neurons:
    """The neurons of a network, all alike, hard reset to 0; a PLIF has its own ``w`` in each layer."""

    kind: str
    tau: float = TAU
    v_threshold: float = THRESHOLD

    def append(
        self, builder: Builder, name: str, source: str, layout: Layout = "map", view: tuple[int, ...] = ()
    ) -> str:
        """Append a layer of them; CheckpointError where a PLIF has no ``w``."""
        if self.kind == "plif":
            return builder.plif(name, source, layout, self.v_threshold, view)
        if self.kind == "if":
            node = LIF(name, (source,), 1.0, self.v_threshold, layout, decay_input=False, decay=1.0, view=view)
        else:
            node = LIF(name, (source,), self.tau, self.v_threshold, layout, view=view)
        return builder.add(node)


def find_neurons(facts: Facts, builder: Builder, constant: str | None = None, reason: str = "") -> Neurons:
    """Return the neurons of a network.

    Parameters
    ----------
    facts
        Where the options `neuron`, `tau` and `v_threshold` are looked up.
    builder
        Its checkpoint has a key ``<neuron>.w`` for each layer of PLIF neurons.
    constant, reason
        The neuron to assume where nothing tells, and why; None to ask.

    Raises
    ------
    OptionError
        If nothing tells the neuron, or the keys contradict what is said of it.
    """
    if learned_constants(builder.checkpoint.shapes):
        facts.agree("neuron", "plif")
        kind = "plif"
    else:
        kind = facts.find("neuron", constant=constant, reason=reason, check=lambda n: n in CHOICES["neuron"])
        if kind == "plif":
            raise OptionError(
                "`neuron=plif` contradicts the checkpoint, which has no learned time constants (keys `<neuron>.w`); "
                "give `neuron=lif` or `neuron=if`"
            )
    threshold = facts.find(
        "v_threshold", constant=THRESHOLD, reason="SpikingJelly's default", check=lambda v: 0.0 < v < math.inf
    )
    if kind != "lif":
        facts.refuse(f"means nothing for {kind.upper()} neurons", "tau")
        return Neurons(kind, v_threshold=threshold)
    tau = facts.find("tau", constant=TAU, reason="SpikingJelly's default", check=lambda t: 1.0 <= t < math.inf)
    return Neurons(kind, tau, threshold)

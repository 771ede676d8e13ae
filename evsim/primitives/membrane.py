"""Neurons of any discrete equation: how current and potential change, when they fire, what they emit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from evsim.errors import NetworkError
from evsim.primitives.constants import Constants
from evsim.primitives.neurons import MOST_LEVELS, NeuronKind, check_view
from evsim.primitives.node import Layout, Shape

Synapse = Literal["none", "decay-add", "add-decay", "jump"]
"""How the synaptic current takes the input in: not at all, or in which order it decays and adds."""

Charge = Literal["decay", "relax", "box", "drain"]
"""How the potential takes the current in."""

ResetAt = Literal["now", "before-charge", "after-charge", "both"]
"""When a spike resets: at its own timestep, at the next one before or after its charge, or at both."""


@dataclass(frozen=True)
class Neuron(Constants):
    """Neurons of the equations that the frameworks use, operation by operation in their order.

    At each timestep, with the input x, the synaptic current i (0 before the first timestep) and the potential v
    (`v_start` before it), each line rounded as it stands:

    1. `synapse`, with the constant `syn`. "none": ``s = x``. "decay-add": ``i = syn * i + x; s = i`` (snnTorch's
       Synaptic). "add-decay": ``i = syn * (i + x); s = i`` (sinabs). "jump": ``s = i + x; i = s - syn * s`` (Norse).
    2. ``d = gain * s``.
    3. `charge`, with the constants `leak` and `v_leak`. "decay": ``v = leak * v + d`` (snnTorch, sinabs; a leak of 1
       makes an IF, of 0 a bare threshold). "relax": ``v = v + leak * ((v_leak - v) + d)`` (Norse; NIR by Euler's step
       with dt / tau, exactly with 1 - exp(-dt / tau)). "box": ``v = v + leak * ((d + v_leak) - v)`` (Norse's LIFBox).
       "drain": ``v = (v - leak * (v - v_leak)) + d`` (SpikingJelly without decay_input, with a v_reset other than 0,
       and from 2.0 on with any). Where it `divides`, leak is a time constant: ``/ leak`` in place of ``leak *`` in the
       last three.
    4. A spike where ``v >= v_threshold``, or ``v > v_threshold`` where `strict`. With `levels`, several at once:
       ``k = min(trunc(v / v_threshold), levels)`` where v > 0, else 0 (sinabs' MultiSpike and MaxSpike).
    5. `reset`. "value": ``v = v_reset`` where it spiked. "subtract": ``v = v - k * v_threshold``, the product rounded
       to float32 where `single` (sinabs, whose spikes are float32 in any precision). "none": nothing.
       `reset_at` "now": at this timestep. Else it is the potential kept from the last timestep that tells who is reset:
       "before-charge", as said, before step 3 (snnTorch's Leaky to zero); "after-charge", behind step 3, so that what
       came in is lost or kept (snnTorch by default); "both": ``v = v - r * v_threshold`` behind step 3 and
       ``v = v - (k - r) * v_threshold`` here, r told by the potential kept (snnTorch without reset_delay).
    6. `floored`: ``v = max(v - v_floor, 0) + v_floor`` (sinabs' min_v_mem).

    `emits` says what travels: "spikes" (with `levels`, integers), or the "potential" after step 6, as real values.

    Constants (`constants`) are numbers, or arrays: see `Constants`. `layout` and `view` as of a `LIF`.

    Sources: snnTorch 1.0.0 `_neurons/{leaky,synaptic,lapicque}.py`, Norse 1.1.0 `functional/{lif,lif_box,iaf,
    leaky_integrator}.py`, sinabs 3.1.3 `layers/functional/lif.py` and `activation/`, SpikingJelly 0.0.0.0.14
    `activation_based/neuron.py`, NIR 1.0.8 `ir/neuron.py`.
    """

    synapse: Synapse = "none"
    charge: Charge = "decay"
    syn: float = 0.0
    gain: float = 1.0
    leak: float = 1.0
    divides: bool = False
    v_leak: float = 0.0
    v_start: float = 0.0
    v_threshold: float = 1.0
    strict: bool = False
    levels: int = 0
    reset: Literal["value", "subtract", "none"] = "value"
    reset_at: ResetAt = "now"
    v_reset: float = 0.0
    floored: bool = False
    v_floor: float = 0.0
    single: bool = False
    emits: Literal["spikes", "potential"] = "spikes"
    layout: Layout = "map"
    view: tuple[int, ...] = ()
    constants: ClassVar[tuple[str, ...]] = (
        "syn", "gain", "leak", "v_leak", "v_start", "v_threshold", "v_reset", "v_floor",
    )  # fmt: skip
    later: ClassVar[tuple[str, ...]] = (
        "channels", "height", "width", "by_channel", "by_neuron", "syn", "gain", "divides", "v_leak", "v_start",
        "strict", "levels", "reset_at", "v_reset", "floored", "v_floor", "single", "emits", "view",
    )  # fmt: skip

    @property
    def neuron(self) -> NeuronKind:
        """What kind of neuron it is: with a leak or without, with a synaptic current or without."""
        leaks = self.charge != "decay" or self.leak != 1.0 or "leak" in self.arrays
        kind: NeuronKind = "lif" if leaks else "if"
        if self.silent:
            kind = "li" if leaks else "integrator"
        if self.synapse != "none":
            kind = "cuba-li" if self.silent else "cuba-lif"
        return kind

    @property
    def silent(self) -> bool:
        """Whether no spikes leave it, but its potential."""
        return self.emits == "potential"

    @property
    def tau(self) -> float:
        """Time constant in timesteps, for reports; 0 without a leak, or where each neuron has its own."""
        rate = 1.0 - self.leak if self.charge == "decay" else self.leak
        if "leak" in self.arrays or not rate:
            return 0.0
        return rate if self.divides else 1.0 / rate

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return a map of spikes, integers or potentials of the source's size."""
        (source,) = sources
        self._check_constants(source)
        self._at_least(0, levels=self.levels)
        if self.levels > MOST_LEVELS:
            raise NetworkError(f"{self.name}: levels must be at most {MOST_LEVELS}, got {self.levels}")
        self._check_equation()
        check_view(self, self.view, source)
        kind = "real" if self.emits == "potential" else "integers" if self.levels else "spikes"
        return Shape(kind, *source.size)  # type: ignore[arg-type]

    def _check_equation(self) -> None:
        """Refuse what no equation says, and constants that it does not ask for."""
        if self.charge == "decay" and (self.divides or self._says("v_leak")):
            raise NetworkError(f"{self.name}: charge decay has neither `divides` nor `v_leak`")
        if self.divides and "leak" not in self.arrays and not self.leak > 0.0:
            raise NetworkError(f"{self.name}: leak divides, so it must be above 0, got {self.leak}")
        if self.synapse == "none" and self._says("syn"):
            raise NetworkError(f"{self.name}: syn says nothing without a synapse")
        if self.levels and (self.strict or self.reset_at != "now"):
            raise NetworkError(f"{self.name}: several spikes at once are reset at once, and fire at the threshold")
        if self.levels and "v_threshold" not in self.arrays and not self.v_threshold > 0.0:
            raise NetworkError(f"{self.name}: several spikes at once want a threshold above 0, got {self.v_threshold}")
        if self.reset != "value" and self._says("v_reset"):
            raise NetworkError(f"{self.name}: v_reset says nothing where reset is {self.reset}")
        if self.reset_at == "both" and self.reset != "subtract":
            raise NetworkError(f"{self.name}: reset_at both is a reset by subtraction, got {self.reset}")
        if self.single and (self.reset != "subtract" or self.reset_at != "now"):
            raise NetworkError(f"{self.name}: single says how a reset by subtraction, at once, is rounded")
        if not self.floored and self._says("v_floor"):
            raise NetworkError(f"{self.name}: v_floor says nothing unless `floored`")

    def _says(self, name: str) -> bool:
        return name in self.arrays or getattr(self, name) != 0.0

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - it is bounded
        """Return the greatest integer that it emits."""
        return self.levels

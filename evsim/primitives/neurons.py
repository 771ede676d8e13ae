"""Neurons: those that emit spikes, and those that emit integers."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, prod
from typing import ClassVar, Literal

from evsim.errors import NetworkError
from evsim.primitives.node import Layout, Node, Shape

NeuronKind = Literal["lif", "plif", "if", "i-lif", "i-if", "cuba-lif", "li", "cuba-li", "integrator"]
"""Spiking neurons with a leak, with a trained leak, without one; integer neurons without state, with one; spiking ones
with a synaptic current; and those that never fire and emit their potential."""

MOST_LEVELS = 2**15
"""Greatest integer of an integer neuron; those published stop at 8."""


@dataclass(frozen=True)
class LIF(Node):
    """Leaky integrate-and-fire neurons, one per position and channel, v = 0 before the first timestep.

    Per timestep ``v += (x - v) / tau``; a spike where ``v >= v_threshold``; then ``v = 0`` where it spiked
    (Spikingformer, arXiv 2304.11954, eq. 1-3; SpikingJelly's MultiStepLIFNode with decay_input and hard reset).
    `layout` is the axis order of the PyTorch module's output: "map" [C, H, W], "tokens" [C, N], "rows" [N, C].

    The other fields make other neurons of it. Not `decay_input`: ``v = decay * v + x``; with a decay of 1 it is an IF.
    `parametric`: sigmoid(w), w the parameter [1], stands for 1 / tau, and 1 - sigmoid(w) for the decay; `tau` is then
    what w amounts to, for reports. `strict`: a spike where ``v > v_threshold``. `soft_reset`: ``v -= v_threshold``
    where it spiked. `channels`: thresholds of each channel, the parameter v_threshold [C], in place of one for all.
    `view`: shape of the module's output per timestep, where `layout` does not tell it all, such as (heads, 1, N).
    """

    tau: float = 2.0
    v_threshold: float = 1.0
    layout: Layout = "map"
    decay_input: bool = True
    decay: float = 0.0
    parametric: bool = False
    strict: bool = False
    soft_reset: bool = False
    channels: int = 0
    view: tuple[int, ...] = ()
    later: ClassVar[tuple[str, ...]] = (
        "decay_input", "decay", "parametric", "strict", "soft_reset", "channels", "view",
    )  # fmt: skip

    @property
    def neuron(self) -> NeuronKind:
        """What kind of neuron it is."""
        if self.parametric:
            return "plif"
        return "if" if not self.decay_input and self.decay == 1.0 else "lif"

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return a map of spikes of the source's size."""
        (source,) = sources
        if not self.tau >= 1.0:
            raise NetworkError(f"{self.name}: tau must be at least 1, got {self.tau}")
        self._single(tau=self.tau, v_threshold=self.v_threshold)
        if not 0.0 <= self.decay <= 1.0:
            raise NetworkError(f"{self.name}: decay must be from 0 to 1, got {self.decay}")
        if self.decay and (self.decay_input or self.parametric):
            raise NetworkError(f"{self.name}: decay {self.decay} has no meaning, for tau or w tells how it leaks")
        self._at_least(0, channels=self.channels)
        self._expect(self.channels in (0, source.channels), source, f"{self.channels} channels with a threshold each")
        check_view(self, self.view, source)
        return Shape("spikes", source.channels, source.height, source.width)

    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of w and of thresholds by channel, where there are any."""
        own: dict[str, tuple[int, ...]] = {"w": (1,)} if self.parametric else {}
        return own | ({"v_threshold": (self.channels,)} if self.channels else {})


def logistic(w: float) -> float:
    """Return ``1 / (1 + exp(-w))``, without overflow: what the parameter w of `parametric` neurons stands for."""
    return 1.0 / (1.0 + exp(-w)) if w >= 0 else exp(w) / (1.0 + exp(w))


@dataclass(frozen=True)
class MultiSpike(Node):
    """Integer neurons: ``k = round(clamp(x, 0, levels))``, which stands for the value ``k / norm``.

    What travels is k; who reads it has 1 / norm in its weights. As spikes, k is k of them in `levels` virtual
    timesteps. `rounding` of halves is to the even neighbour (torch.round) or up (floor(x + 0.5)). Where `integrates`,
    it keeps what it did not emit: ``v += x; k = round(clamp(v, 0, levels)); v -= k``, v = 0 before the first timestep
    (Q_IFNode of Spike-driven Transformer V3). `layout` and `view` as of a `LIF`.
    """

    levels: int = 4
    norm: float = 4.0
    rounding: Literal["half-even", "half-up"] = "half-even"
    integrates: bool = False
    layout: Layout = "map"
    view: tuple[int, ...] = ()

    @property
    def neuron(self) -> NeuronKind:
        """What kind of neuron it is."""
        return "i-if" if self.integrates else "i-lif"

    def infer(self, sources: tuple[Shape, ...]) -> Shape:
        """Return a map of integers of the source's size, in units of 1 / norm."""
        (source,) = sources
        self._at_least(1, levels=self.levels)
        if self.levels > MOST_LEVELS:
            raise NetworkError(f"{self.name}: levels must be at most {MOST_LEVELS}, got {self.levels}")
        self._single(norm=self.norm)
        check_view(self, self.view, source)
        return Shape("integers", source.channels, source.height, source.width, 1.0 / self.norm)

    def largest(self, sources: tuple[int, ...], shapes: tuple[Shape, ...]) -> int:  # noqa: ARG002 - it is clamped
        """Return the greatest integer that it emits."""
        return self.levels


def check_view(node: Node, view: tuple[int, ...], source: Shape) -> None:
    """Refuse a shape that does not hold as many values as the map."""
    if view and (min(view) < 1 or prod(view) != source.positions * source.channels):
        raise NetworkError(f"{node.name}: view {view} does not hold the values of {source}")

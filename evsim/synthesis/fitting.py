"""How far a lever is moved: so far that the neurons behind it fire at their target, and clear of their thresholds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from evsim.layers.context import Context
from evsim.network import Network
from evsim.spikes import RealMap, SpikeMap
from evsim.synthesis.graph import Fired, Graph, Neurons, moved, rate_of, running
from evsim.synthesis.levers import Lever

TOLERANCE = 1e-3
"""Relative error of a rate at which a bisection stops."""

MARGIN = 2.0**-18
"""How near to its threshold no membrane potential comes; what float32 rounds is less."""

NUDGE, NUDGES = 2.0**-14, 64
"""Steps by which a channel's offset is moved where a potential comes too near, and how often at most."""

Amount = NDArray[np.floating]
"""How far a lever is moved in each channel: an offset, or the binary logarithm of a factor on its weights."""


class Fit(NamedTuple):
    """Neurons fitted to their rate: the lever before them, if any, how far it is moved, what they emit, the rate."""

    lever: Lever | None
    amount: Amount
    fired: Fired
    rate: float


@dataclass(frozen=True, eq=False)
class Drive:
    """A lever, and the currents of the neurons behind it once it is moved by an amount, as precise as it is stored."""

    lever: Lever
    at: Callable[[Amount], RealMap]
    stored: Callable[[Amount], Amount] = lambda amount: amount
    near: Callable[[Amount], RealMap] | None = None
    """Currents but for what rounding of weights does to them: by these the rate is sought where `at` takes long."""


def by_offset(lever: Lever, currents: RealMap) -> Drive:
    """Return the drive of a lever that adds an offset to each channel."""
    return Drive(lever, lambda amount: plus(currents, amount), lever.stored)


@dataclass(frozen=True, eq=False)
class Fitter:
    """Fits neurons to their targets, all on one network.

    Attributes
    ----------
    network, graph, context
        As the walk has them.
    targets
        Neurons to rate.
    """

    network: Network
    graph: Graph
    context: Context
    targets: dict[str, float]

    def fitted(self, node: Neurons, drive: Drive, profile: Amount) -> Fit:
        """Find the shift, beside a profile over channels, at which neurons fire at their target."""
        target = self.targets[node.name]
        firing, currents = self._firing(node), drive.near or drive.at

        def fire(shift: float) -> Fit:
            amount = drive.stored(profile + shift)
            return Fit(drive.lever, amount, *firing(currents(amount)))

        low, high = -4.0, 4.0
        while fire(low).rate > target and low > -1e4:
            low *= 2.0
        while fire(high).rate < target and high < 1e4:
            high *= 2.0
        best = fire(low)
        for _ in range(24):
            shift = (low + high) / 2
            tried = fire(shift)
            if abs(tried.rate - target) < abs(best.rate - target):
                best = tried
            if abs(tried.rate - target) <= TOLERANCE * target:
                break
            low, high = (low, shift) if tried.rate > target else (shift, high)
        return best

    def cleared(self, node: Neurons, drive: Drive, fit: Fit) -> Fit:
        """Nudge the channels in which a membrane potential comes within `MARGIN` of the threshold.

        Where a higher threshold and a lower one give the same spikes, no potential lies between them, and sums that
        are rounded in float32, in whatever order, give these spikes too.
        """
        lower, higher = (self._firing(node, margin) for margin in (-MARGIN, MARGIN))
        amount, currents = fit.amount, drive.at(fit.amount)
        for turn in range(NUDGES):
            near = _differ(lower(currents)[0], higher(currents)[0])[: len(amount)]
            if not near.any():
                break
            nudge = NUDGE * (turn // 2 + 1) * (-1) ** turn
            amount = np.where(near, drive.stored(fit.amount + nudge), amount)
            currents = drive.at(amount)
        return Fit(drive.lever, amount, *self._firing(node)(currents))

    def _firing(self, node: Neurons, margin: float = 0.0) -> Callable[[RealMap], tuple[Fired, float]]:
        """Return a function from currents to what neurons emit, thresholds higher by a margin, and the rate of that."""
        higher, shift = moved(node, margin)
        layer = running(higher, self.network, self.context)
        behind = self.graph.pools.get(node.name)
        pool = running(behind, self.network, self.context) if behind else None

        def fire(currents: RealMap) -> tuple[Fired, float]:
            layer.reset()
            fired = layer.step(plus(currents, np.full(currents.channels, shift)) if shift else currents)
            read = pool.step(cast("Fired", fired)) if pool else fired
            return cast("Fired", fired), rate_of(cast("Fired", read), node)

        return fire


def plus(currents: RealMap, offset: NDArray[np.floating]) -> RealMap:
    """Return the map with an offset added to every channel; padded channels stay 0."""
    padded = np.zeros(currents.values.shape[-1], currents.values.dtype)
    padded[: currents.channels] = offset
    return replace(currents, values=currents.values + padded)


def _differ(one: Fired, other: Fired) -> NDArray[np.bool_]:
    """Return in which channels two maps differ."""
    if isinstance(one, SpikeMap) and isinstance(other, SpikeMap):
        words = np.bitwise_or.reduce(one.words ^ other.words, axis=(0, 1))
        return np.unpackbits(words.astype("<u8").view(np.uint8), bitorder="little").astype(bool)
    assert not isinstance(one, SpikeMap)
    assert not isinstance(other, SpikeMap)
    differ: NDArray[np.bool_] = (one.values != other.values).any(axis=(0, 1))
    return differ

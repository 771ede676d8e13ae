"""Why a neuron fired: the tree of spikes that raised its potential, and the strongest way down to the input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evsim.explain.life import Feed, Life, chosen, feeds_of
from evsim.explain.potential import STEPS
from evsim.explain.reads import Part, read
from evsim.explain.watch import Ints, Watched
from evsim.workload import workload

MOST_CAUSES = 2000
"""Causes in a tree, whatever its depth and width."""

LONGEST_WAY = 1000
"""Spikes on the strongest way down."""


@dataclass(frozen=True)
class Place:
    """A spike, an integer or an input value: what a node emitted at a timestep."""

    layer: str
    t: int
    position: int
    channel: int


@dataclass(frozen=True, eq=False)
class Cause:
    """A spike (or an input value) in the tree, and what it is made of.

    Attributes
    ----------
    place, value
        What it is: 1 of a spike.
    push
        What it added to the potential of the neuron above, at the moment that this fired; of the root its potential.
    via
        The layer with weights that carried it.
    causes
        The strongest that raised its own potential.
    left_out, left_push
        How many further ones raised it, and by how much.
    against, against_push
        How many lowered it, and by how much.
    constant
        What biases and constants added.
    again
        Whether it stands in the tree already, with its causes.
    """

    place: Place
    value: float
    push: float
    via: str = ""
    causes: tuple[Cause, ...] = ()
    left_out: int = 0
    left_push: float = 0.0
    against: int = 0
    against_push: float = 0.0
    constant: float = 0.0
    again: bool = False


@dataclass(eq=False)
class _Pushes:
    """What moved a potential: by place, and by constants."""

    by_place: dict[Place, list[float]] = field(default_factory=dict)
    via: dict[Place, str] = field(default_factory=dict)
    constant: float = 0.0

    def add(self, place: Place, push: float, via: str) -> None:
        self.by_place.setdefault(place, []).append(push)
        self.via.setdefault(place, via)

    def ranked(self) -> list[tuple[float, Place]]:
        """Return what each place pushed in all, the strongest first."""
        sums = [(float(np.sum(pushes)), place) for place, pushes in self.by_place.items()]
        return sorted(sums, key=lambda each: -each[0])


def why(life: Life, t: int | None = None, *, depth: int = 2, width: int = 3) -> Cause:
    """Return the tree of what made a neuron fire.

    A cause pushed: it raised the potential by its weight, less what leaked since. What came before the last spike is
    forgotten where spikes reset the potential to a value.

    Parameters
    ----------
    life
        From `evsim.explain.life.explain`, with `whole`.
    t
        Timestep of the spike; by default the life's `focus`.
    depth, width
        Layers of neurons that the tree goes down, and causes of each that it shows.
    """
    seen, when = life.watched, life.focus if t is None else t
    assert life.address.position is not None
    assert life.address.channel is not None
    root = Place(life.address.layer, when, life.address.position, life.address.channel)
    room = [MOST_CAUSES]
    return _cause(seen, root, life.at(when).charged, "", depth, width, set(), room)


def way(life: Life, t: int | None = None) -> tuple[Cause, ...]:
    """Return the strongest way down: of each spike the strongest cause, until the input."""
    cause, seen = why(life, t, depth=1, width=1), life.watched
    steps: list[Cause] = []
    known: set[Place] = set()
    while len(steps) < LONGEST_WAY:
        steps.append(cause)
        known.add(cause.place)
        if not cause.causes or cause.causes[0].place in known:
            break
        below = cause.causes[0]
        cause = _cause(seen, below.place, below.push, below.via, 1, 1, set(), [MOST_CAUSES])
    return tuple(steps)


def _cause(
    seen: Watched, place: Place, push: float, via: str, depth: int, width: int, known: set[Place], room: list[int]
) -> Cause:
    value = float(seen.value(place.layer, place.t, place.position, place.channel))
    if place in known or depth == 0 or type(seen.network.node(place.layer)) not in STEPS:
        return Cause(place, value, push, via, again=place in known)
    known.add(place)
    pushes = pushes_of(seen, place)
    ranked = pushes.ranked()
    raised = [each for each in ranked if each[0] > 0]
    lowered = [each for each in ranked if each[0] < 0]
    shown = raised[: min(width, room[0])]
    room[0] -= len(shown)
    causes = tuple(
        _cause(seen, each, amount, pushes.via[each], depth - 1, width, known, room) for amount, each in shown
    )
    rest = raised[len(shown) :]
    return Cause(
        place, value, push, via, causes, len(rest), sum(amount for amount, _ in rest), len(lowered),
        sum(amount for amount, _ in lowered), pushes.constant,
    )  # fmt: skip


def pushes_of(seen: Watched, place: Place) -> _Pushes:
    """Return what moved a neuron's potential, up to a timestep."""
    node, layer = seen.network.node(place.layer), seen.stages[place.layer].layer
    cell = STEPS[type(node)](node, layer, place.position, place.channel)
    fired = seen.train(place.layer, place.position, place.channel)[: place.t]
    first = max((t + 1 for t, k in enumerate(fired) if k), default=0) if cell.hard else 0
    response, pushes = cell.response(place.t - first), _Pushes()
    for t in range(first, place.t + 1):
        counts = response[place.t - t]
        if (counts == 0.0 and t < place.t) or (node.inputs[0], t) not in seen.packets:  # it did not run then
            continue
        for feed in feeds_of(seen, place.layer, t, place.position, place.channel):
            _take(seen, feed, counts, pushes)
    return pushes


def _take(seen: Watched, feed: Feed, counts: float, pushes: _Pushes) -> None:
    """Enter what a sum pushed: its additions, each traced to the neurons or inputs that emitted it."""
    pushes.constant += feed.constant * feed.factor * counts
    for added in feed.additions:
        rows = zip(added.positions.tolist(), added.channels.tolist(), added.products.tolist(), strict=True)
        for position, channel, product in rows:
            push = product * feed.factor * counts
            for share, place in origins(seen, Place(added.source, added.t, position, channel)):
                pushes.add(place, push * share, feed.layer)


def origins(seen: Watched, place: Place) -> Iterator[tuple[float, Place]]:
    """Yield the neurons or inputs behind a value that is not 0, through pools, gates, sums and layers without neurons.

    Each comes with its share of the value: of a gate the spikes let through, of a maximum the first that reaches it.
    """
    waiting = [(1.0, place)]
    while waiting:
        share, here = waiting.pop()
        node = seen.network.node(here.layer)
        if type(node) in STEPS or not node.inputs:
            yield share, here
            continue
        made = chosen(seen, read(seen, here.layer, here.t, here.position, here.channel))
        parts = made.parts[:1] if made.joins in ("and", "not") else made.parts
        shares = [(part, *_active(seen, part)) for part in parts]
        total = sum(float(amounts.sum()) for _, _, amounts in shares)
        row = workload(seen.network)[here.layer].row
        if total == 0.0 or (row is not None and seen.shape(here.layer).kind == "real"):
            yield share, here  # a real value of another layer stands for itself
            continue
        for part, indices, amounts in shares:
            for i, amount in zip(indices.tolist(), amounts.tolist(), strict=True):
                where = Place(part.source, part.t, int(part.positions[i]), int(part.channels[i]))
                waiting.append((share * amount / total, where))


def _active(seen: Watched, part: Part) -> tuple[Ints, NDArray[np.float64]]:
    """Return which values of a part are not 0, and what each amounts to."""
    values = seen.values(part.source, part.t, part.positions, part.channels) * part.weights
    (indices,) = np.nonzero(values)
    return indices, values[indices].astype(np.float64)

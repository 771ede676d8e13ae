"""The life of one neuron: at each timestep what reached it, what that added, its potential, its spikes, the cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evsim.api import Sample
from evsim.counters import AttentionCounts, Counts
from evsim.energy import Profile, load_profile
from evsim.errors import OptionError
from evsim.explain.address import Address, at
from evsim.explain.potential import STEPS, Cell, State
from evsim.explain.reach import Reach, reach_of
from evsim.explain.reads import Part, Reads, read
from evsim.explain.sums import replayed
from evsim.explain.watch import Ints, Watched, sources_of
from evsim.network import Network
from evsim.observers import Observer
from evsim.quantized import Precision
from evsim.workload import Row, workload


@dataclass(frozen=True, eq=False)
class Additions:
    """The inputs of a sum that were not 0, in the order of the window.

    Attributes
    ----------
    source, t
        Which node emitted them, when.
    positions, channels
        int64 [n], their places.
    values, weights, products
        [n], what came, what it was multiplied by, and what was added.
    offered
        How many inputs the sum has in all.
    """

    source: str
    t: int
    positions: Ints
    channels: Ints
    values: NDArray[Any]
    weights: NDArray[np.floating]
    products: NDArray[np.floating]
    offered: int


@dataclass(frozen=True, eq=False)
class Feed:
    """A sum that a neuron read.

    Attributes
    ----------
    layer, kind
        The node that made it, and its primitive.
    position, channel
        Where in that node's map.
    factor
        What it counts in the neuron's current: 1, unless a scale or a mean lies between.
    value
        The engine's own sum.
    replayed
        The shown additions, added up in the engine's order; None where this is not told (attention, a single value).
    constant
        Bias and shift of BatchNorm, which are part of the sum.
    additions
        What was added.
    acs, macs
        Operations that the sum took, as they are counted; of attention its share of the row.
    """

    layer: str
    kind: str
    position: int
    channel: int
    factor: float
    value: float
    replayed: float | None
    constant: float
    additions: tuple[Additions, ...]
    acs: float
    macs: float


@dataclass(frozen=True, eq=False)
class Step:
    """One timestep of the neuron.

    Attributes
    ----------
    t
        Which.
    feeds
        The sums that it read.
    current
        Its current: the engine's own.
    before, charged, kept
        Its potential: kept from the timestep before (the engine's own), compared with the threshold, and kept now (the
        engine's own).
    replayed
        The potential kept, as the rule gives it.
    emitted
        Spikes, or the integer; None for neurons that emit their potential.
    acs, macs, pj
        What the sums that it read cost.
    out_acs, out_pj
        What its spikes cost those who read them; of integers, which are multiplied, `out_macs`.
    """

    t: int
    feeds: tuple[Feed, ...]
    current: float
    before: float
    charged: float
    kept: float
    replayed: float
    emitted: int | None
    acs: float
    macs: float
    pj: float
    out_acs: int
    out_macs: int
    out_pj: float

    @property
    def exact(self) -> bool:
        """Whether sums and potential, as shown, add up to the engine's to the last bit."""
        return self.kept == self.replayed and all(feed.replayed in (None, feed.value) for feed in self.feeds)


@dataclass(frozen=True, eq=False)
class Life:
    """The life of a neuron in one run.

    Attributes
    ----------
    address
        Which neuron; its `t` is the spike that was asked for.
    watched
        The run.
    cell
        The neuron's rule.
    profile
        Prices.
    steps
        A timestep each.
    reach
        Whom it reaches.
    """

    address: Address
    watched: Watched
    cell: Cell
    profile: Profile
    steps: tuple[Step, ...]
    reach: tuple[Reach, ...]

    @property
    def spikes(self) -> tuple[int, ...]:
        """The timesteps at which it fired."""
        return tuple(step.t for step in self.steps if step.emitted)

    def at(self, t: int) -> Step:
        """Return a timestep; KeyError if the neuron did not run at it."""
        return {step.t: step for step in self.steps}[t]

    @property
    def focus(self) -> int:
        """The timestep to look at: of the spike asked for, of the first, or of the highest potential."""
        if self.address.t is not None:
            return self.address.t
        return self.spikes[0] if self.spikes else max(self.steps, key=lambda step: step.charged).t


def explain(
    network: Network,
    sample: Sample,
    address: Address,
    *,
    timesteps: int | None = None,
    precision: Precision = "float32",
    threads: int | None = None,
    profile: Profile | None = None,
    whole: bool = False,
    observers: Sequence[Observer] = (),
) -> Life:
    """Run a sample, and tell the life of one neuron.

    Parameters
    ----------
    network, sample
        What runs on what, the sample from `evsim.api.read`.
    address
        Which neuron, see `evsim.explain.address.parse`.
    timesteps, precision, threads
        As `evsim.engine.Simulator` takes them.
    profile
        Prices in picojoules; by default those of 45 nm.
    whole
        Whether real values of the whole way to the input are kept, for `evsim.explain.why`.
    observers
        Further observers.

    Raises
    ------
    OptionError
        If the neuron did not fire at the timestep of the spike that is asked for, or there is no such timestep.
    RecordingError, NetworkError
        As `evsim.api.simulate`.
    """
    steps = timesteps or sample.timesteps or network.spec.timesteps
    if address.t is not None and address.t >= steps:
        raise OptionError(f"`spike=PLACE@{address.t}`: the run has the timesteps 0 to {steps - 1}")
    potential = _Potentials(address)
    seen = Watched(
        network, sample, timesteps=timesteps, precision=precision, threads=threads,
        reals=sources_of(network, address.layer, whole=whole), observers=[potential, *observers],
    )  # fmt: skip
    prices = profile or load_profile()
    address = _settled(seen, address)
    assert address.channel is not None
    assert address.position is not None
    node, layer = network.node(address.layer), seen.stages[address.layer].layer
    cell: Cell = STEPS[type(node)](node, layer, address.position, address.channel)
    reach = reach_of(seen, address.layer, address.position, address.channel)
    life = Life(address, seen, cell, prices, tuple(_steps(seen, address, cell, prices, potential.kept, reach)), reach)
    if address.t is not None and address.t not in life.spikes:
        fired = ", ".join(map(str, life.spikes)) or "never"
        raise OptionError(f"`spike=PLACE@{address.t}`: the neuron fired at timestep {fired}; name one of these")
    return life


class _Potentials:
    """Keeps the potentials of a layer after each timestep: the engine's own, all of them, as who fires is not known."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self.kept: dict[int, NDArray[np.floating]] = {}

    def observe(self, stage: Any, inputs: tuple[Any, ...], _output: Any) -> None:
        """Take the potentials of the layer."""
        if stage.name == self._address.layer:
            assert inputs[0].steps == 1
            self.kept[inputs[0].start] = stage.layer.potentials()


def _settled(seen: Watched, address: Address) -> Address:
    """Return the address with what it left open: the neuron of the layer that fired most, the first of several."""
    if address.channel is not None and address.position is not None:
        return address
    shape = seen.shape(address.layer)
    every = np.arange(shape.positions * shape.channels)
    places, channels = every // shape.channels, every % shape.channels
    steps = range(seen.timesteps) if address.t is None else (address.t,)
    counts = sum(seen.values(address.layer, t, places, channels) for t in steps)
    busiest = int(np.argmax(counts))
    return at(address, int(channels[busiest]), int(places[busiest]), address.t)


def _steps(
    seen: Watched,
    address: Address,
    cell: Cell,
    profile: Profile,
    potentials: Mapping[int, NDArray[np.floating]],
    reach: Sequence[Reach],
) -> Iterator[Step]:
    """Yield the timesteps, each from the potential that the engine kept at the one before."""
    layer, position, channel = address.layer, address.position, address.channel
    assert position is not None
    assert channel is not None
    source = seen.network.node(layer).inputs[0]
    unit, state = seen.shape(source).unit, cell.start
    with np.errstate(over="ignore", invalid="ignore"):
        for t in sorted(potentials):  # one alone behind a mean over time
            feeds = tuple(feeds_of(seen, layer, t, position, channel))
            x = seen.real(seen.value(source, t, position, channel))
            x = x * seen.real(unit) if unit != 1.0 else x
            before = state.v
            outcome = cell.step(state, x, True)
            kept = potentials[t][position, channel]
            state = State(kept, outcome.state.current)
            acs, macs = (sum(getattr(feed, key) for feed in feeds) for key in ("acs", "macs"))
            out_acs, out_macs = (
                sum(each.fan_out for each in reach if each.multiplies == multiplies and outcome.emitted)
                for multiplies in (False, True)
            )
            yield Step(
                t, feeds, float(x), float(before), float(outcome.charged), float(kept), float(outcome.state.v),
                outcome.emitted, acs, macs, priced(profile, acs, macs), out_acs, out_macs,
                priced(profile, out_acs, out_macs),
            )  # fmt: skip


def priced(profile: Profile, acs: float, macs: float) -> float:
    """Return picojoules of accumulates and multiply-accumulates, as the energy method "exact" charges them."""
    total = acs * profile.e_ac_pj if acs else 0.0
    return total + (macs * profile.e_mac_pj if macs else 0.0)


def feeds_of(seen: Watched, layer: str, t: int, position: int, channel: int) -> Iterator[Feed]:
    """Yield the sums that a neuron reads at a timestep: those of layers with weights, and single spikes or integers."""
    waiting = [(part, 1.0) for part in read(seen, layer, t, position, channel).parts]
    while waiting:
        part, factor = waiting.pop(0)
        name = part.source
        row = workload(seen.network)[name].row
        ends = seen.shape(name).kind != "real" or not seen.network.node(name).inputs
        ends = ends or row is not None  # neurons that emit their potential too
        for i, (place, inner) in enumerate(zip(part.positions.tolist(), part.channels.tolist(), strict=True)):
            own = factor * float(part.weights[i])
            if ends:
                yield _feed(seen, name, part.t, place, inner, own, row)
                continue
            made = chosen(seen, read(seen, name, part.t, place, inner))
            if made.constant:
                yield _constant(seen, name, part.t, place, inner, own, made.constant)
            waiting.extend((each, own) for each in made.parts)


def chosen(seen: Watched, made: Reads) -> Reads:
    """Return of a maximum the value that it is, the first of equals; anything else as it is."""
    if made.joins != "max":
        return made
    best: tuple[Any, Part, int] | None = None
    for part in made.parts:
        values = seen.values(part.source, part.t, part.positions, part.channels)
        i = int(values.argmax())
        if best is None or values[i] > best[0]:
            best = values[i], part, i
    assert best is not None
    _, part, i = best
    only = slice(i, i + 1)
    return Reads((Part(part.source, part.t, part.positions[only], part.channels[only], part.weights[only]),))


def _constant(seen: Watched, name: str, _t: int, position: int, channel: int, factor: float, constant: float) -> Feed:
    kind = type(seen.network.node(name)).__name__
    return Feed(name, kind, position, channel, factor, constant, None, constant, (), 0.0, 0.0)


def _feed(seen: Watched, name: str, t: int, position: int, channel: int, factor: float, row: Row | None) -> Feed:
    """Return one sum with its additions; of a spike, an integer or an input that is read as it is, that alone."""
    node = seen.network.node(name)
    kind, value = type(node).__name__, float(seen.value(name, t, position, channel))
    if row is None or row.kind == "lif":
        one = np.array([1.0], seen.real)
        part = Part(name, t, np.array([position]), np.array([channel]), one)
        return Feed(name, kind, position, channel, factor, value, None, 0.0, (additions(seen, part),), 0.0, 0.0)
    made = read(seen, name, t, position, channel)
    added = tuple(additions(seen, part) for part in made.parts)
    again = replayed(seen, name, t, position, made)
    acs, macs = _operations(seen, name, t, channel, row, added)
    shown = None if again is None else float(again)
    return Feed(name, kind, position, channel, factor, value, shown, made.constant, added, acs, macs)


def additions(seen: Watched, part: Part) -> Additions:
    """Return what of a part is not 0."""
    values = seen.values(part.source, part.t, part.positions, part.channels)
    (active,) = np.nonzero((values != 0) & (part.weights != 0) if seen.shape(part.source).kind == "real" else values)
    weights, factors = part.weights[active], values[active]
    products = weights * factors.astype(seen.real)
    return Additions(
        part.source, part.t, part.positions[active], part.channels[active], factors, weights, products, len(values)
    )


def _operations(
    seen: Watched, name: str, t: int, channel: int, row: Row, added: Sequence[Additions]
) -> tuple[float, float]:
    """Return accumulates and multiply-accumulates of one sum, as `evsim.counters` counts those of the layer."""
    if row.kind == "attention":
        return _share(seen.run.counts, name, t, channel, row), 0.0
    if getattr(seen.network.node(name), "repeated", False) and t > 0:
        return 0.0, 0.0  # an image's sums are made once
    (part,) = added
    active = float(np.count_nonzero(part.values))
    return (active, 0.0) if seen.shape(part.source).kind == "spikes" else (0.0, active)


def _share(counts: Counts, name: str, t: int, channel: int, row: Row) -> float:
    """Return the share of one output in what its head took: the first product serves all tokens."""
    layer = next(each for each in counts.layers if each.name == name)
    assert isinstance(layer, AttentionCounts)
    size, per_head = row.geometry, np.asarray(layer.sops_per_head)[t]
    outputs = size.outputs // size.heads
    head = min(size.heads - 1, channel * size.heads // size.out_channels)
    return float(per_head[head]) / outputs

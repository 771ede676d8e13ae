"""The life of a neuron as one page of HTML."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from evsim.charts import neurons
from evsim.charts.layers import joules
from evsim.energy.result import PICO_TO_MILLI
from evsim.explain.address import named
from evsim.explain.document import document
from evsim.explain.life import Feed, Life, Step
from evsim.explain.reach import Wave
from evsim.explain.text import exactness, of_integers, title_of
from evsim.explain.why import Cause
from evsim.report.page import MOST_SHOWN, Page, Section, Tile, facts, html, items, table
from evsim.report.pages import versions

MOST_ROWS = 4000
"""Additions in all tables of the page; the JSON has all."""

LEAST_ROWS = 5
"""Additions of a sum that are shown, however many sums there are."""


def life_page(
    life: Life,
    root: Cause | None = None,
    way: Sequence[Cause] = (),
    waves: Sequence[Wave] | None = None,
    notes: Sequence[str] = (),
    command: str = "",
) -> str:
    """Return the life of a neuron as one page of HTML that needs nothing else.

    Parameters
    ----------
    life
        From `evsim.explain.life.explain`.
    root, way
        From `evsim.explain.why`, to show why it fired.
    waves
        From `evsim.explain.reach.waves`, to show whom its spike can move.
    notes
        What was said of model and input.
    command
        The line that was typed.

    Raises
    ------
    OptionError
        If the extra `report` is missing.
    """
    told, network, sample = document(life), life.watched.network, life.watched.run.sample
    sections = [
        Section("Potential against threshold", _rule(life), neurons.potential(told)),
        Section("What reached it", ARRIVALS, neurons.arrivals(told)),
        Section("Additions", ADDITIONS, html="".join(_timesteps(life))),
        Section("Timestep by timestep", f"{exactness(life).capitalize()}.", html=_steps(life)),
        *([Section("Why it fired", WHY, html=_why(life, root, way))] if root is not None else []),
        Section("Whom it reaches", REACHES, html=_reaches(life)),
        *([Section("Whom its spike can move", _moved(life), html=_waves(waves))] if waves is not None else []),
        Section("Energy by timestep", COSTS, neurons.costs(told)),
        Section("Assumptions", html=items(_assumptions(life, notes))),
        Section("Sources", html=facts(_sources(life))),
    ]
    source = sample.path or "an array"
    lead = f"{network.name} on {source}, {life.watched.timesteps} timesteps, {life.watched.simulator.dtype.name}"
    if said := of_integers(life):
        lead += f". {said[0].upper()}{said[1:]}."
    return html(Page(_name(life), lead, _tiles(life), sections, command, versions()))


ARRIVALS = (
    "Bars are the weights of the inputs that were active, what raised the potential above the line and what lowered it "
    "below; the dot is their sum, the current."
)
ADDITIONS = "Each input that was not 0, and what it added: its value times its weight. The strongest come first."
WHY = (
    "Each line is a spike or an input value, and what is left of what it added to the potential of the neuron above "
    "it, after the leak. Open a line to see its own causes."
)
REACHES = "The layers that read its spikes, how many of their sums a spike is added to, and the strongest weights."
COSTS = (
    "One accumulate for each input that was active (one multiply-accumulate where it was no spike), and for each sum "
    "that a spike of this neuron is added to. Leak, comparison and reset have no price in this method."
)


def _name(life: Life, t: int | None = None) -> str:
    address = life.address
    assert address.channel is not None
    assert address.position is not None
    return named(life.watched.network, address.layer, address.channel, address.position, t)


def _rule(life: Life) -> str:
    return (
        f"Rule: {life.cell.rule}. A line rises or falls by the current of a timestep to the dot, which is compared "
        "with the threshold; a dashed fall is the reset. Orange dots are spikes."
    )


def _tiles(life: Life) -> list[Tile]:
    highest = max(life.steps, key=lambda step: step.charged)
    read, sent = (sum(getattr(step, key) for step in life.steps) for key in ("pj", "out_pj"))
    acs, macs = (sum(getattr(step, key) for step in life.steps) for key in ("acs", "macs"))
    threshold = f"threshold {life.cell.threshold:.6g}" if _fires(life) else "emitted as it is"
    spikes = sum(step.emitted or 0 for step in life.steps)
    when = f"at t = {', '.join(map(str, life.spikes))}" if life.spikes else "never reached its threshold"
    fired = Tile(f"{spikes}", "Spikes", when) if _fires(life) else Tile("none", "Spikes", "it emits its potential")
    readers = f"{sum(each.fan_out for each in life.reach):,} sums a spike"
    return [
        fired,
        Tile(f"{highest.charged:.4f}", f"Highest potential, t = {highest.t}", threshold),
        Tile(joules(read * PICO_TO_MILLI), "Energy of the sums that it read", f"{acs:,.6g} ACs, {macs:,.6g} MACs"),
        Tile(joules(sent * PICO_TO_MILLI), "Energy of what its spikes set off", readers),
    ]


def _fires(life: Life) -> bool:
    return life.steps[0].emitted is not None


def _timesteps(life: Life) -> Iterator[str]:
    """Yield each timestep's additions, folded but for the one that is looked at."""
    sums = sum(1 for step in life.steps for feed in step.feeds for _ in feed.additions)
    most = max(LEAST_ROWS, min(MOST_SHOWN, MOST_ROWS // max(1, sums)))
    for step in life.steps:
        inputs = sum(len(added.values) for feed in step.feeds for added in feed.additions)
        fired = ", fired" if step.emitted == 1 else f", emitted {step.emitted}" if step.emitted else ""
        head = f"t = {step.t}{fired}: {inputs:,} inputs, current {step.current:.6g}, {step.pj:,.4g} pJ"
        yield folded(escape(head), "".join(_feed(life, feed, most) for feed in step.feeds), shown=step.t == life.focus)


def _feed(life: Life, feed: Feed, most: int) -> str:
    """Return one sum: what it is, and a table of its additions."""
    network = life.watched.network
    times = "" if feed.factor == 1.0 else f", which counts {feed.factor:.4g} times in the current"
    name = named(network, feed.layer, feed.channel, feed.position)
    text = f"{name} ({feed.kind}) = {feed.value:.6g}{times}"
    rows: list[dict[str, Any]] = []
    if feed.constant and feed.additions:
        rows.append({"input": "bias and BatchNorm", "value": None, "weight": None, "added": feed.constant})
    left = 0
    for added in feed.additions:
        order = sorted(range(len(added.products)), key=lambda i: -abs(float(added.products[i])))
        left += len(order[most:])
        rows += [
            {
                "input": named(network, added.source, int(added.channels[i]), int(added.positions[i]), added.t),
                "value": float(added.values[i]),
                "weight": float(added.weights[i]),
                "added": float(added.products[i]),
            }
            for i in order[:most]
        ]
    offered = ", ".join(f"{len(a.values):,} of {a.offered:,} inputs of {a.source} were active" for a in feed.additions)
    more = f" The strongest {most} are shown; the JSON has {left:,} more." if left else ""
    told = f"<p>{escape(text)}. {escape(offered + '.' if offered else '')}{more}</p>"
    return told + (table(rows, f"Additions of {name}") if rows else "")


def _steps(life: Life) -> str:
    return table([_row(step) for step in life.steps], "Each timestep of the neuron", HEADS)


HEADS = {"before": "v before", "read": "sums (pJ)", "sent": "spikes (pJ)"}


def _row(step: Step) -> dict[str, Any]:
    return {
        "t": step.t,
        "inputs": sum(len(added.values) for feed in step.feeds for added in feed.additions),
        "ACs": step.acs,
        "MACs": step.macs,
        "current": step.current,
        "before": step.before,
        "v": step.charged,
        "kept": step.kept,
        "spike": step.emitted,
        "read": step.pj,
        "sent": step.out_pj,
    }


def _why(life: Life, root: Cause, way: Sequence[Cause]) -> str:
    """Return the tree as details within details, and the strongest way down as a list."""
    network, place = life.watched.network, root.place
    fired = "fired" if life.at(place.t).emitted else "did not fire; its potential was highest,"
    name = named(network, place.layer, place.channel, place.position, place.t)
    tree = folded(escape(f"{name} {fired} at v = {root.push:.4f}"), _causes(life, root), shown=True)
    steps = [
        {"spike": title_of(network, cause), "added to the one above": None if i == 0 else cause.push, "by": cause.via}
        for i, cause in enumerate(way)
    ]
    down = table(steps, "The strongest way down to the input", sentences=True)
    return f'<div class="tree">{tree}</div><h3>The strongest way down: of each spike its strongest cause</h3>{down}'


def _causes(life: Life, cause: Cause) -> str:
    """Return what raised, lowered and shifted a potential, each cause with its own below it."""
    network = life.watched.network
    parts: list[str] = []
    for below in cause.causes:
        via = f" by {below.via}" if below.via != below.place.layer else ""
        again = " (see above)" if below.again and below.place.layer != network.input.name else ""
        line = _pushed(below.push, f"{title_of(network, below)}{via}{again}")
        inner = _causes(life, below)
        parts.append(folded(line, inner, shown=True) if inner else f"<p>{line}</p>")
    rest = (
        (cause.left_out, cause.left_push, f"{cause.left_out:,} more that raised it"),
        (cause.against, cause.against_push, f"{cause.against:,} that lowered it"),
        (cause.constant, cause.constant, "biases and BatchNorm"),
    )
    return "".join(parts + [f"<p>{_pushed(push, text)}</p>" for there, push, text in rest if there])


def _pushed(push: float, text: str) -> str:
    return f'<span class="n">{push:+.4f}</span> {escape(text)}'


def _reaches(life: Life) -> str:
    if not life.reach:
        return "<p>Nobody reads it.</p>"
    network = life.watched.network
    rows = [
        {
            "layer": each.layer,
            "kind": each.kind,
            "positions": each.positions,
            "channels": each.channels,
            "operations a spike": (f"{each.fan_out:,} {'MACs' if each.multiplies else 'ACs'}" if each.fan_out
                                   else "counted with its row"),
            "strongest weights": ", ".join(
                f"{weight:+.6f} to {named(network, each.layer, channel, position)}"
                for weight, position, channel in each.strongest
            ),
        }
        for each in life.reach
    ]  # fmt: skip
    return table(rows, "Layers that read its spikes", sentences=True)


def _moved(life: Life) -> str:
    return (
        f"How many neurons the spike at t = {life.focus} can move, layer after layer: at most these, as each of them "
        "is counted to which any way leads; and how many of them fired then."
    )


def _waves(waves: Sequence[Wave]) -> str:
    if not waves:
        return "<p>Nobody.</p>"
    rows = [
        {"layer of neurons": w.layer, "layers on": w.depth, "t": w.t, "can be moved": w.neurons, "fired then": w.fired}
        for w in waves
    ]
    return table(rows, "Neurons that the spike can move")


def _assumptions(life: Life, notes: Sequence[str]) -> list[str]:
    prices = life.profile
    return [
        f"Prices: {prices.name}, {prices.e_ac_pj:g} pJ per accumulate, {prices.e_mac_pj:g} pJ per multiply-accumulate.",
        "Sums that several neurons read stand with each of them, so costs of neurons do not add up.",
        *([f"{said}."] if (said := of_integers(life)) else []),
        *notes,
    ]


def _sources(life: Life) -> dict[str, str]:
    run = life.watched.run
    origin = run.origin()
    return {
        "model": f"{run.network.name} ({run.network.family})",
        "SHA-256 of graph and weights": origin.model_digest,
        "input": origin.inputs[0][0] or run.sample.kind,
        "SHA-256 of what the network was fed": origin.inputs[0][1],
        "precision": run.precision,
    }


def folded(head: str, inner: str, *, shown: bool) -> str:
    """Return HTML below a line that opens and closes it.

    Parameters
    ----------
    head, inner
        The line and what it opens, both HTML.
    shown
        Whether it is open at first.
    """
    return f"<details{' open' if shown else ''}><summary>{head}</summary>{inner}</details>"

"""The life of a neuron as text for a terminal: plain characters where an encoding has no blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evsim.explain.address import named
from evsim.explain.life import Additions, Feed, Life, Step
from evsim.explain.reach import Wave
from evsim.explain.why import Cause
from evsim.report.text import WIDTH, aligned

ROWS = 9
"""Lines of the plot of the potential."""

AXIS = 9
"""Columns left of the plot."""

WIDEST = 8
"""Columns that a timestep takes at most."""

FEW = 3
"""Additions that are named of a timestep that is not looked at."""


def report(life: Life, top: int = 8) -> str:
    """Return the neuron's life: its rule, the plot of v(t), a table of timesteps, what was added, whom it reached.

    Parameters
    ----------
    life
        From `evsim.explain.life.explain`.
    top
        Additions that are named of each sum of the timestep that is looked at.
    """
    lines = [*_head(life), "", *plot(life), "", *_table(life), ""]
    lines += ["additions, by timestep (sums as the engine made them)"]
    for step in life.steps:
        lines += _additions(life, step, top if step.t == life.focus else FEW)
    return "\n".join([*lines, "", *_reached(life)])


def _head(life: Life) -> Iterator[str]:
    seen, address = life.watched, life.address
    assert address.channel is not None
    assert address.position is not None
    sample, precision = seen.run.sample, seen.simulator.dtype.name
    name = named(seen.network, address.layer, address.channel, address.position)
    yield name
    yield f"of {seen.network.name} on {sample.path or 'an array'}, T = {seen.timesteps}, {precision}"
    yield f"rule: {life.cell.rule}"
    if life.steps[0].emitted is None:
        yield "it emits its potential, no spikes"
        return
    spikes = ", ".join(str(t) for t in life.spikes)
    total = sum(step.emitted or 0 for step in life.steps)
    yield f"spikes: {total}" + (f", at t = {spikes}" if spikes else "; it never reached its threshold")
    cost, out = sum(step.pj for step in life.steps), sum(step.out_pj for step in life.steps)
    prices = life.profile.name
    yield f"energy ({prices}): {cost:,.2f} pJ for the sums that it read, {out:,.2f} pJ for what its spikes set off"


def plot(life: Life, width: int = WIDTH) -> list[str]:
    """Return v(t) as bars, the potential that is held against the threshold; ``*`` over each spike.

    Where there are more timesteps than columns, a column shows the highest of several.
    """
    steps = life.steps
    room = width - AXIS - 2
    together = -(-len(steps) // room)
    groups = [steps[i : i + together] for i in range(0, len(steps), together)]
    wide = max(1, min(WIDEST, room // len(groups)))
    highest = [max(group, key=lambda step: step.charged) for group in groups]
    values, fires = [step.charged for step in highest], life.steps[0].emitted is not None
    threshold = life.cell.threshold if fires else 0.0
    top, bottom = max(*values, threshold, 0.0), min(*values, threshold, 0.0)
    size = (top - bottom) / ROWS or 1.0
    marks = "".join(("*" if any(step.emitted for step in group) else " ").center(wide) for group in groups)
    lines = [f"{'v(t)':>{AXIS}}  {marks}".rstrip()]
    for row in range(ROWS):
        high = top - row * size
        low = high - size
        on_threshold = fires and (low < threshold <= high or (row == ROWS - 1 and threshold <= low))
        label = threshold if on_threshold else (high + low) / 2
        cells = ""
        for value in values:
            filled = low + size / 2 < value and high > 0 if value > 0 else high - size / 2 > value and low < 0
            bar = "█" * max(1, wide - 1) if filled else ("-" if on_threshold else " ") * max(1, wide - 1)
            cells += bar + ("-" if on_threshold else " ") * (wide > 1)
        end = " threshold" if on_threshold and AXIS + 2 + len(cells) + 10 <= width else ""
        lines.append(f"{label:>{AXIS}.4g} |{cells}{end}".rstrip())
    ticks = "".join(str(group[0].t).center(wide) if wide > len(str(group[0].t)) or i % 5 == 0 else " " * wide
                    for i, group in enumerate(groups))  # fmt: skip
    lines.append(f"{'t':>{AXIS}}  {ticks[: width - AXIS - 2]}".rstrip())
    if together > 1:
        lines.append(f"{together} timesteps in a column: the highest of each")
    return lines


def _table(life: Life) -> list[str]:
    """Return a row for each timestep."""
    fires = life.steps[0].emitted is not None
    rows = [("t", "inputs", "ACs", "MACs", "current", "v before", "v", "kept", "spike", "pJ", "pJ on")]
    for step in life.steps:
        inputs = sum(len(added.values) for feed in step.feeds for added in feed.additions)
        rows.append(
            (
                str(step.t), f"{inputs}", f"{step.acs:.4g}", f"{step.macs:.4g}", f"{step.current:.4f}",
                f"{step.before:.4f}", f"{step.charged:.4f}", f"{step.kept:.4f}",
                (str(step.emitted) if step.emitted else ".") if fires else "-", f"{step.pj:.4g}", f"{step.out_pj:.4g}",
            )
        )  # fmt: skip
    exact = all(step.exact for step in life.steps)
    added = (
        "the additions below, in the engine's order, give the engine's sums and potentials to the last bit"
        if exact
        else "sums and potentials are the engine's; some additions below are in another order and differ in rounding"
    )
    key = "v is held against the threshold; kept, after it; pJ on: what the spike costs those who read it"
    return [*aligned(rows, 0), key, added]


def _additions(life: Life, step: Step, top: int) -> Iterator[str]:
    fired = "" if not step.emitted else "  fired" if step.emitted == 1 else f"  emitted {step.emitted}"
    yield f"t = {step.t}{fired}"
    for feed in step.feeds:
        yield from _feed(life, feed, top)


def _feed(life: Life, feed: Feed, top: int) -> Iterator[str]:
    network = life.watched.network
    times = "" if feed.factor == 1.0 else f" x {feed.factor:.4g}"
    yield f"  {named(network, feed.layer, feed.channel, feed.position)} ({feed.kind}) = {feed.value:.6g}{times}"
    if feed.constant and feed.additions:
        yield f"    {feed.constant:+12.6f}  bias and BatchNorm"
    for added in feed.additions:
        yield from _strongest(life, added, top)


def _strongest(life: Life, added: Additions, top: int) -> Iterator[str]:
    network = life.watched.network
    order = sorted(range(len(added.products)), key=lambda i: -abs(float(added.products[i])))
    for i in order[:top]:
        place = named(network, added.source, int(added.channels[i]), int(added.positions[i]), added.t)
        times = (
            "" if float(added.values[i]) == 1.0 else f" = {float(added.values[i]):g} x {float(added.weights[i]):.6g}"
        )
        yield f"    {float(added.products[i]):+12.6f}  {place}{times}"
    rest = order[top:]
    if rest:
        total = sum(float(added.products[i]) for i in rest)
        yield f"    {total:+12.6f}  {len(rest)} more inputs"
    yield f"    {'':12}  {len(added.values)} of {added.offered} inputs of {added.source} were active"


def _reached(life: Life) -> Iterator[str]:
    network = life.watched.network
    yield "whom it reaches: what a spike of this neuron is added to"
    if not life.reach:
        yield "  nobody"
    for each in life.reach:
        operation = "MACs" if each.multiplies else "ACs"
        cost = f"{each.fan_out:,} {operation} a spike" if each.fan_out else "counted with its row"
        yield f"  {each.layer} ({each.kind}): {each.positions} positions x {each.channels} channels, {cost}"
        for weight, position, channel in each.strongest:
            yield f"    {weight:+12.6f}  {named(network, each.layer, channel, position)}"


def why_report(life: Life, root: Cause, way: Sequence[Cause]) -> str:
    """Return the tree of causes, and the strongest way down to the input."""
    network = life.watched.network

    def title(cause: Cause) -> str:
        place = cause.place
        name = named(network, place.layer, place.channel, place.position, place.t)
        return name if cause.value == 1.0 else f"{name} (value {cause.value:g})"

    def drawn(cause: Cause, before: str) -> Iterator[str]:
        for below in cause.causes:
            via = f"  by {below.via}" if below.via != below.place.layer else ""
            again = "  (see above)" if below.again and below.place.layer != network.input.name else ""
            yield f"{before}{below.push:+9.4f}  {title(below)}{via}{again}"
            yield from drawn(below, before + "    ")
        if cause.left_out:
            yield f"{before}{cause.left_push:+9.4f}  {cause.left_out} more that raised it"
        if cause.against:
            yield f"{before}{cause.against_push:+9.4f}  {cause.against} that lowered it"
        if cause.constant:
            yield f"{before}{cause.constant:+9.4f}  biases and BatchNorm"

    place = root.place
    name = named(network, place.layer, place.channel, place.position, place.t)
    fired = "fired" if life.at(place.t).emitted else "did not fire; its potential was highest,"
    lines = [
        f"why: {name} {fired} at v = {root.push:.4f}",
        "each line: what it added to the potential of the line above it, after what leaked since",
    ]
    lines += drawn(root, "  ")
    lines += ["", "the strongest way down, of each spike its strongest cause:"]
    for i, cause in enumerate(way):
        push = "" if i == 0 else f"{cause.push:+9.4f}"
        lines.append(f"  {push:9}  {title(cause)}")
    return "\n".join(lines)


def reach_report(waves: Sequence[Wave], t: int) -> str:
    """Return how many neurons a spike can move, layer after layer, and how many of them fired."""
    rows = [("layer of neurons", "layers on", "t", "can be moved", "fired then")]
    rows += [(w.layer, str(w.depth), str(w.t), f"{w.neurons:,}", f"{w.fired:,}") for w in waves]
    head = f"reach: whom the spike at t = {t} can move (a bound: all to whom a way leads), and who fired then"
    return "\n".join([head, *(aligned(rows, 1) if waves else ["  nobody"])])

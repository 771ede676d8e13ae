"""The life of a neuron as a report: plain characters where an encoding has no blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evsim.energy.result import PICO_TO_MILLI
from evsim.explain.address import named
from evsim.explain.life import Additions, Feed, Life, Step
from evsim.explain.reach import Wave
from evsim.explain.why import Cause
from evsim.network import Network
from evsim.report.tables import Column, Report, Table, Value
from evsim.report.terminal import WIDTH

ROWS = 9
"""Lines of the plot of the potential."""

AXIS = 9
"""Columns left of the plot."""

WIDEST = 8
"""Columns that a timestep takes at most."""

FEW = 3
"""Additions that are named of a timestep that is not looked at."""

POTENTIALS = {"current": 0, "v before": 1, "v": 0, "kept": 0}
"""Columns of the table, and when each leaves a narrow terminal."""


def report(life: Life, top: int = 8, width: int = WIDTH) -> Report:
    """Return the neuron's life: its rule, the plot of v(t), a table of timesteps, what was added, whom it reached.

    Parameters
    ----------
    life
        From `evsim.explain.life.explain`.
    top
        Additions that are named of each sum of the timestep that is looked at.
    width
        Columns of the plot.
    """
    added = ["additions, by timestep (sums as the engine made them)"]
    for step in life.steps:
        added += _additions(life, step, top if step.t == life.focus else FEW)
    parts = ("\n".join(plot(life, width)), steps(life), _key(life), "\n".join(added), "\n".join(_reached(life)))
    return Report(tuple(head(life)), parts)


def head(life: Life) -> Iterator[str]:
    """Yield who it is, its rule, when it fired, and what that cost."""
    seen, address = life.watched, life.address
    assert address.channel is not None
    assert address.position is not None
    sample, precision = seen.run.sample, seen.simulator.dtype.name
    name = named(seen.network, address.layer, address.channel, address.position)
    yield name
    yield f"of {seen.network.name} on {sample.path or 'an array'}, T = {seen.timesteps}, {precision}"
    if said := of_integers(life):
        yield said
    yield f"rule: {life.cell.rule}"
    if life.steps[0].emitted is None:
        yield "it emits its potential, no spikes"
        return
    spikes = ", ".join(str(t) for t in life.spikes)
    total = sum(step.emitted or 0 for step in life.steps)
    yield f"spikes: {total}" + (f", at t = {spikes}" if spikes else "; it never reached its threshold")
    cost, out = sum(step.pj for step in life.steps), sum(step.out_pj for step in life.steps)
    prices = life.profile.name
    yield f"energy ({prices}): {cost:,.2f} pJ for what it read, {out:,.2f} pJ for its spikes"


def plot(life: Life, width: int = WIDTH) -> list[str]:
    """Return v(t) as bars, the potential that is compared with the threshold; ``*`` over each spike.

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


def steps(life: Life) -> Table:
    """Return a row for each timestep; columns of operations that occur."""
    both = ("ACs", "acs"), ("MACs", "macs")
    kinds = [(name, key) for name, key in both if any(getattr(step, key) for step in life.steps)]
    whole = {key: all(float(getattr(step, key)).is_integer() for step in life.steps) for _, key in kinds}
    columns = (
        Column("t", "whole"),
        Column("inputs", "whole", drop=3),
        *(Column(name, "whole" if whole[key] else "number", drop=2) for name, key in kinds),
        *(Column(name, "number", decimals=4, drop=drop) for name, drop in POTENTIALS.items()),
        Column("spike", "whole"),
        Column("read", "energy", drop=4),
        Column("sent", "energy", drop=5),
    )
    return Table(columns, tuple(_row(step, [key for _, key in kinds]) for step in life.steps))


def _row(step: Step, kinds: Sequence[str]) -> tuple[Value, ...]:
    inputs = sum(len(added.values) for feed in step.feeds for added in feed.additions)
    operations = [getattr(step, key) for key in kinds]
    potentials = step.current, step.before, step.charged, step.kept
    return step.t, inputs, *operations, *potentials, step.emitted, step.pj * PICO_TO_MILLI, step.out_pj * PICO_TO_MILLI


def _key(life: Life) -> str:
    key = (
        "v is compared with the threshold, kept is what is left of it",
        "read: energy of the sums it read; sent: of the sums its spikes go into",
    )
    return "\n".join((*key, exactness(life)))


def exactness(life: Life) -> str:
    """Return in how far what is shown adds up to what the engine computed."""
    if all(step.exact for step in life.steps):
        return "the additions give the engine's sums and potentials to the last bit"
    return "sums and potentials are the engine's; some additions differ from them in rounding"


def of_integers(life: Life) -> str:
    """Return what to know of the life of a neuron in a quantized model, whose own run is another one; "" of others."""
    seen = life.watched
    if seen.network.quantization is None:
        return ""
    own, shown = seen.network.quantization.weights, seen.simulator.dtype.name
    return (
        f"the model runs in {own}; this is the run of its weights as floats, in {shown}, where spikes may differ: "
        "evsim diverge shows which"
    )


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

    def drawn(cause: Cause, before: str) -> Iterator[str]:
        for below in cause.causes:
            via = f"  by {below.via}" if below.via != below.place.layer else ""
            again = "  (see above)" if below.again and below.place.layer != network.input.name else ""
            yield f"{before}{below.push:+9.4f}  {title_of(network, below)}{via}{again}"
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
        "each line: what is left, after the leak, of what it added to the line above",
    ]
    lines += drawn(root, "  ")
    lines += ["", "the strongest way down, of each spike its strongest cause:"]
    for i, cause in enumerate(way):
        push = "" if i == 0 else f"{cause.push:+9.4f}"
        lines.append(f"  {push:9}  {title_of(network, cause)}")
    return "\n".join(lines)


def title_of(network: Network, cause: Cause) -> str:
    """Return the name of a cause, with its value where it is no spike."""
    place = cause.place
    name = named(network, place.layer, place.channel, place.position, place.t)
    return name if cause.value == 1.0 else f"{name} (value {cause.value:g})"


def reach_table(waves: Sequence[Wave], t: int) -> Table:
    """Return how many neurons a spike can move, layer after layer, and how many of them fired."""
    columns = (
        Column("layer of neurons"), Column("layers on", "whole", drop=1), Column("t", "whole"),
        Column("can be moved", "whole"), Column("fired then", "whole"),
    )  # fmt: skip
    title = f"reach: how many neurons the spike at t = {t} can move at most, how many fired"
    return Table(columns, tuple((w.layer, w.depth, w.t, w.neurons, w.fired) for w in waves), title)

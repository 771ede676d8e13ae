"""What ``evsim live`` does, apart from parsing: a board that is drawn anew after each event, and keys that steer it."""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from evsim import api
from evsim.cli import output
from evsim.cli.prices import operation_prices
from evsim.converters import load_model
from evsim.engine import Simulator
from evsim.events import ReadOptions
from evsim.explain.live import Board, Watch
from evsim.schema import printable

if TYPE_CHECKING:
    from rich.text import Text

FAST, SLOW = 0.02, 0.4
"""Seconds from one event to the next, at first."""

QUICKEST, SLOWEST = 0.001, 5.0

HEAT = "▁▂▃▄▅▆▇█"
COLOURS = ("grey35", "blue", "cyan", "green", "yellow", "dark_orange", "red", "bright_red")
EDGES = (0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.7)
"""Shares of active values at which the next character begins."""

KEYS = "space: pause   s: one step   + -: speed   q: quit"
NAME = 30
LINES = 7
"""Lines of the screen that are no rows of layers."""


@dataclass(frozen=True)
class Show:
    """The options of ``evsim live``."""

    model: str
    source: str
    slow: bool
    precision: str | None
    timesteps: int | None
    threads: int | None
    profile: str
    options: ReadOptions
    allow_memory: str | None


class Stopped(Exception):  # noqa: N818 - a wish, no error
    """The one who watches has seen enough."""


@dataclass(eq=False)
class Pace:
    """How fast it goes, and the keys that change that.

    Attributes
    ----------
    delay
        Seconds from one event to the next.
    paused
        Whether it waits for a key.
    keys
        File descriptor of the keyboard; None where there is none.
    """

    delay: float
    paused: bool = False
    keys: int | None = None
    pressed: list[str] = field(default_factory=list)

    def wait(self, redraw: Any) -> None:
        """Wait for the next event's turn, or for a key while paused; `redraw` shows what a key changed."""
        until = time.monotonic() + self.delay
        while True:
            left = until - time.monotonic()
            key = self._key(None if self.paused else max(0.0, left))
            if key is None and not self.paused:
                return
            if key and self._obeys(key):
                return
            redraw()

    def _obeys(self, key: str) -> bool:
        """Do what a key asks; return whether the next event is due."""
        if key in ("q", "\x1b", "\x03", "\x04"):
            raise Stopped
        if key in ("s", "."):
            self.paused = True
            return True
        if key in (" ", "p"):
            self.paused = not self.paused
        if key in ("+", "="):
            self.delay = max(QUICKEST, self.delay / 2)
        if key in ("-", "_"):
            self.delay = min(SLOWEST, self.delay * 2)
        return False

    def _key(self, timeout: float | None) -> str | None:
        """Return a key that was pressed; None if none was in time."""
        if self.keys is None:
            time.sleep(timeout or 0.0)
            return None
        ready, _, _ = select.select([self.keys], [], [], timeout)
        if not ready:
            return None
        pressed = os.read(self.keys, 1)
        if not pressed:  # the terminal is gone
            raise Stopped
        return pressed.decode("ascii", "ignore").lower()


@contextmanager
def keyboard() -> Iterator[int | None]:
    """Take keys as they are pressed, without echo; give the terminal back as it was."""
    try:
        import termios
        import tty
    except ImportError:  # a system that has no such terminals
        yield None
        return
    if sys.stdin is None or not sys.stdin.isatty():
        yield None
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    tty.setcbreak(number)
    try:
        yield number
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def show(request: Show) -> None:
    """Load, read, and run before the eyes of whoever watches."""
    profile = operation_prices(request.profile)
    model = load_model(request.model, request.allow_memory)
    network = model.network
    sample = api.read(request.source, network, request.timesteps, request.options)
    timesteps = sample.timesteps if request.timesteps is None else request.timesteps
    simulator = Simulator(network, timesteps, request.precision, "time", request.threads)  # type: ignore[arg-type]
    output.notes((*model.notes, *sample.notes))
    boards: list[Board] = []

    def run(shown: Any) -> str:
        watch = Watch(network, simulator.timesteps, profile, shown)
        logits = simulator.run(sample.values, [watch])
        best = int(logits.argmax())
        label = f" ({network.labels[best]})" if network.labels else ""
        return f"prediction: class {best}{label}"

    plain = sys.stdout is None or not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb"
    title = f"{network.name} on {sample.path}, T = {simulator.timesteps}"
    try:
        outcome = _in_lines(run, boards, title) if plain else _on_screen(run, boards, title, slow=request.slow)
    except Stopped:
        outcome = "stopped before the end"
    last = boards[-1]
    output.say(f"{outcome}\n{totals(last)}")


def totals(board: Board) -> str:
    """Return the counters as a line."""
    return (
        f"{board.events:,} events   {board.spikes:,} spikes   {board.sops:,} SOPs   {board.macs:,} MACs   "
        f"{board.mj * 1e6:,.1f} nJ"
    )


def _in_lines(run: Any, boards: list[Board], title: str) -> str:
    """Print a line for each timestep, where there is no terminal to draw on."""
    output.say(title)

    def shown(board: Board) -> None:
        if boards and board.t != boards[-1].t:
            output.say(f"t = {boards[-1].t}   {totals(boards[-1])}")
        boards[:] = [board]

    outcome: str = run(shown)
    output.say(f"t = {boards[-1].t}   {totals(boards[-1])}")
    return outcome


def _on_screen(run: Any, boards: list[Board], title: str, *, slow: bool) -> str:
    """Draw the board after each event, at the pace that the keys ask for."""
    from rich.console import Console
    from rich.live import Live

    console = Console(file=sys.stdout, highlight=False)
    fine = "utf" in console.encoding
    with keyboard() as keys, Live(console=console, auto_refresh=False, transient=True) as live:
        pace = Pace(SLOW if slow else FAST, keys=keys)

        def draw() -> None:
            live.update(drawn(boards[-1], pace, title, *console.size, fine=fine), refresh=True)

        def shown(board: Board) -> None:
            boards[:] = [board]
            draw()
            pace.wait(draw)

        outcome: str = run(shown)
        return outcome


def drawn(board: Board, pace: Pace, title: str, width: int, height: int, *, fine: bool = True) -> Text:
    """Return the board as coloured text: a row for each layer, a column for each timestep.

    Parameters
    ----------
    board
        What has happened so far.
    pace
        Whether it is paused, and how fast it goes.
    title
        The first line.
    width, height
        Of the screen; rows and timesteps that do not fit are left out around the one at work.
    fine
        Whether its encoding knows more than ASCII.
    """
    from rich.text import Text

    text = Text(no_wrap=True, overflow="crop")
    text.append(f"{printable(title)[: width - 1]}\n", "bold")
    steps = board.heat.shape[1]
    columns = max(1, width - NAME - 14)
    first = min(max(0, board.t - columns // 2), max(0, steps - columns))
    last = min(steps, first + columns)
    span = f"t = {first} .. {last - 1}" if last - first < steps else f"{steps} timesteps"
    text.append(f"{'layer':<{NAME}}  {'':5} active at {span}"[: width - 1] + "\n", "dim")
    rows = max(1, height - LINES)
    top = min(max(0, board.row - rows // 2), max(0, len(board.layers) - rows))
    for row in range(top, min(len(board.layers), top + rows)):
        here = row == board.row
        name = printable(board.layers[row])
        name = name if len(name) <= NAME else f"~{name[1 - NAME :]}"
        text.append(f"{'>' if here else ' '}{name:<{NAME}} ", "bold" if here else "")
        now = board.heat[row, board.t]
        text.append(f"{'' if np.isnan(now) else f'{now:.1%}':>6} ")
        for share in board.heat[row, first:last]:
            if np.isnan(share):
                text.append("·" if fine else ".", "grey23")
                continue
            level = int(np.searchsorted(EDGES, share, "right")) if share else 0
            text.append(HEAT[level] if share else " ", COLOURS[level])
        text.append("\n")
    left = len(board.layers) - rows
    text.append(f"{left} more layers\n" if left > 0 else "\n", "dim")
    text.append(f"t = {board.t}   {printable(board.name)}"[: width - 1] + "\n")
    text.append(f"{totals(board)}"[: width - 1] + "\n", "bold")
    state = "paused" if pace.paused else f"{1 / pace.delay:,.3g} events a second"
    text.append(f"{state}   {KEYS if pace.keys is not None else ''}"[: width - 1], "dim")
    return text

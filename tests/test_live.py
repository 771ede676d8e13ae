"""The queue at work: lines without a terminal, a board with keys on one; counters end where a run's do."""

from __future__ import annotations

import os
import re
import select
import sys
import time

import numpy as np
import pytest
from commands import evsim, refused

from evsim import api, demo
from evsim.cli.living import KEYS, Pace, Stopped, drawn
from evsim.energy import load_profile
from evsim.engine import Simulator
from evsim.explain.live import Watch

pty = pytest.importorskip("pty", reason="no terminals of this kind on this system")

ENTRY = "from evsim.cli.start import main; main()"
LONG = 150
"""Seconds after which a terminal is given up: kernels may have to be compiled first."""


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory):
    """Return the bundled model, and a recording."""
    return demo.save(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def boards(demonstrated):
    """Return what was shown after each event of a run, and the run's own counts."""
    model, recording = demonstrated
    network = api.load(model)
    sample = api.read(recording, network, 2)
    shown = []
    simulator = Simulator(network, 2, schedule="time")
    simulator.run(sample.values, [Watch(network, 2, load_profile(), shown.append)])
    return shown, api.simulate(network, sample, timesteps=2)


def test_the_counters_grow_to_those_of_a_run(boards):
    """They never fall, and end at the run's spikes, SOPs, MACs and energy."""
    shown, run = boards
    for name in ("events", "spikes", "sops", "macs", "mj"):
        values = [getattr(board, name) for board in shown]
        assert values == sorted(values)
    last = shown[-1]
    assert (last.events, last.sops, last.macs) == (len(shown), run.counts.sops, run.counts.macs)
    assert last.mj == run.exact().energy_mj
    assert last.spikes == sum(int(layer.spikes.sum()) for layer in run.counts.layers if layer.kind == "lif")


def test_heat_is_the_share_that_was_active(boards):
    """Of neurons the rate of each timestep, of layers with weights the density of their input; NaN where none came."""
    shown, run = boards
    last = shown[-1]
    assert last.layers == tuple(layer.name for layer in run.counts.layers)
    for i, layer in enumerate(run.counts.layers):
        active = layer.spikes if layer.kind == "lif" else layer.input_nonzeros
        shares = np.where(layer.input_size > 0, active / np.maximum(1, layer.input_size), np.nan)
        assert np.array_equal(last.heat[i], shares, equal_nan=True)
    first = shown[0]
    assert np.isnan(first.heat).sum() == first.heat.size - len(first.layers[: first.row + 1])


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 12), (200, 60), (24, 8)])
def test_the_board_fits_the_screen(boards, width, height):
    """No line is longer than the screen, no board higher; the layer at work is on it."""
    shown, _ = boards
    for board in shown[::7]:
        text = drawn(board, Pace(0.02, keys=0), "a title", width, height).plain
        lines = text.split("\n")
        assert len(lines) < height
        assert all(len(line) <= max(width, 46) for line in lines[2:-3])
        if board.row >= 0:
            assert sum(line.startswith(">") for line in lines) == 1


def test_keys_set_the_pace():
    """A pause, a step, the speed; q ends it; any other key does nothing."""
    reader, writer = os.pipe()
    pace = Pace(0.0, keys=reader)
    redrawn = []

    def press(keys):
        os.write(writer, keys.encode())
        pace.wait(lambda: redrawn.append(1))

    try:
        press(" s")  # paused, and one step
        assert pace.paused
        press("x s")  # nothing, on, and one step again
        assert pace.paused
        pace.delay = 1.0
        press("+-+s")
        assert pace.delay == 0.5
        assert redrawn
        with pytest.raises(Stopped):
            press("q")
    finally:
        os.close(reader)
        os.close(writer)


def test_without_a_terminal_it_prints_lines(demonstrated):
    """A line for each timestep, then the prediction and the totals that a run has."""
    model, recording = demonstrated
    outcome = evsim("live", model, "--input", recording, "--timesteps", 2)
    assert outcome.code == 0, outcome.err
    lines = outcome.out.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("t = ")] == ["0", "1"]
    assert lines[-2].startswith("prediction: class ")
    assert "\x1b" not in outcome.out
    assert "--precision must be" in refused("live", model, "--input", recording, "--precision", "both")


def on_a_terminal(arguments, keys, *, terminal="xterm-256color"):
    """Run ``evsim live`` on a terminal, type keys once they are offered, and return (exit code, what was shown)."""
    pid, screen = pty.fork()
    if pid == 0:
        os.environ.update(TERM=terminal, COLUMNS="90", LINES="30", PYTHONIOENCODING="utf-8")
        os.execv(sys.executable, [sys.executable, "-c", ENTRY, "live", *map(str, arguments)])  # noqa: S606 - this Python
    shown, end = b"", time.monotonic() + LONG
    waiting = list(keys)
    while time.monotonic() < end:
        ready, _, _ = select.select([screen], [], [], 1.0)
        if ready:
            try:
                part = os.read(screen, 65536)
            except OSError:  # its end
                break
            if not part:
                break
            shown += part
        while waiting and re.search(waiting[0][0], shown):
            os.write(screen, waiting.pop(0)[1])
    else:
        os.kill(pid, 9)
    os.close(screen)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status), shown.decode("utf-8", "replace")


def test_on_a_terminal_it_draws_and_obeys_keys(demonstrated):
    """It shows layers and keys; paused it waits, steps one event, and ends when asked; the cursor is back."""
    model, recording = demonstrated
    keys = [(KEYS[:12].encode(), b" "), (b"paused", b"s"), (b"(?s)paused.*nJ.*paused", b"q")]
    code, shown = on_a_terminal((model, "--input", recording, "--slow"), keys)
    assert code == 0, shown
    assert "patch_embed.proj1_lif" in shown
    assert "paused" in shown
    assert "stopped before the end" in shown
    assert shown.rstrip().endswith("nJ")
    assert "\x1b[?25h" in shown  # the cursor is back


def test_a_terminal_that_cannot_draw_gets_lines(demonstrated):
    """Where TERM is dumb nothing is drawn."""
    model, recording = demonstrated
    code, shown = on_a_terminal((model, "--input", recording, "--timesteps", "1"), [], terminal="dumb")
    assert code == 0, shown
    assert "\x1b" not in shown
    assert "t = 0" in shown

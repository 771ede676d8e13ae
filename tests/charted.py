"""What tests of charts and pages share: a small run of a transformer, its page, and a browser."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np

from evsim import api, demo

GOLDEN = Path(__file__).parent / "data" / "golden" / "spikingformer-dvs" / "checkpoint.pth.tar"
DRAWN = importlib.util.find_spec("vl_convert") is not None
NO_EXTRA = "charts are drawn by vl-convert-python (the extra 'report'), which is not installed"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@functools.cache
def small_run():
    """Return a run of a small transformer with all that a page shows."""
    network = api.load(GOLDEN)
    rng = np.random.default_rng(4)
    values = rng.poisson(0.06, (3, 2, 48, 48)).astype(np.uint8)
    return api.simulate(network, values, record_spikes=True, detail=True, anytime=True)


@functools.cache
def demo_run():
    """Return a run of the bundled model on the first of its recordings."""
    network = api.load(demo.model_path())
    path = next(iter(demo.recordings().values()))
    return api.simulate(network, api.read(path, network), record_spikes=True, detail=True, anytime=True)


def browse(page, tmp_path, *options):
    """Let Chromium load a page without a network, at home in the test's folder; return its result."""
    home = {key: value for key, value in os.environ.items() if not key.startswith("XDG_")} | {"HOME": str(tmp_path)}
    return subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            f"--user-data-dir={tmp_path / 'profile'}", *options, page.as_uri(),
        ],
        capture_output=True, text=True, check=False, timeout=120, env=home,
    )  # fmt: skip

"""No result depends on the width of the CPU's vectors: compiled for the plainest CPU, every bit is the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

GOLDEN = Path(__file__).parent / "data" / "golden" / "spikingformer-dvs"
SCRIPT = """
import hashlib, sys
import numpy as np
from evsim.converters import convert
from evsim.engine import Simulator
from evsim.observers import Counter, SpikeRecorder
from evsim.quantizing import quantize
network = convert(sys.argv[1] + "/checkpoint.pth.tar").network
recorder = SpikeRecorder(network)
logits = Simulator(network).run(np.load(sys.argv[1] + "/input.npy"), [recorder, Counter(network, 3)])
trains = b"".join(packed.tobytes() for packed, _ in recorder.trains.values())
whole = Simulator(quantize(network, "int8").network).run(np.load(sys.argv[1] + "/input.npy"))
print(logits.tobytes().hex(), hashlib.sha256(trains).hexdigest(), whole.tobytes().hex())
"""


def outcome(**environment):
    """Return logits and a digest of all spikes of a float32 run, and logits in int8, in a process of its own."""
    command = [sys.executable, "-c", SCRIPT, str(GOLDEN)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    return done.stdout


def test_plain_vectors_give_the_same_bits_and_are_compiled_once(tmp_path):
    """Kernels for a CPU without vector extensions agree with this CPU's; a second process finds them compiled."""
    plain = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "NUMBA_CACHE_DIR": str(tmp_path)}
    expected = outcome()
    assert outcome(**plain) == expected
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert kept
    assert outcome(**plain) == expected
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == kept

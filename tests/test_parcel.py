"""A simulator that travels to another process computes what it computed at home."""

from __future__ import annotations

import numpy as np

from evsim import api, demo
from evsim.engine import Simulator
from evsim.evaluation.parcel import on_lines, pack, unpack


def test_a_model_of_a_file_arrives_whole():
    """Packed and unpacked it gives the same logits; its file's weights stay behind, what is None stays None."""
    network = api.load(demo.model_path())
    sample = api.read(next(iter(demo.recordings().values())), network)
    simulator = Simulator(network)
    parcel = pack(simulator)
    assert parcel.arrays
    there = unpack(parcel.objects, on_lines(parcel.joined()))
    assert there.network.quantization is None
    assert np.array_equal(api.run_on(there, sample).logits, api.run_on(simulator, sample).logits)

"""A simulator that travels to another process comes there as it left."""

from __future__ import annotations

import numpy as np

import evsim
from evsim import demo
from evsim.engine import Simulator
from evsim.evaluation.parcel import on_lines, pack, unpack


def test_a_model_of_floats_from_a_file_travels():
    """It has no integers to be read again: what stands for them stands for nothing else, such as None."""
    network = evsim.load(demo.model_path())
    assert network.file is not None
    parcel = pack(Simulator(network))
    there = unpack(parcel.objects, on_lines(parcel.joined()))
    assert there.network.nodes == network.nodes
    assert there.network.quantization is None
    assert all(np.array_equal(there.network.weights[name], weight) for name, weight in network.weights.items())

"""A simulator that travels to another process computes what it computed at home."""

from __future__ import annotations

import io
import pickle

import numpy as np
import pytest

from evsim import api, demo
from evsim.engine import Simulator
from evsim.evaluation.parcel import LEAST, on_lines, pack, unpack
from evsim.quantizing import quantize


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


@pytest.mark.parametrize("schedule", ["layer", "time"])
@pytest.mark.parametrize("weights", [None, "int8", "int16"])
def test_packed_weights_lie_beside_the_objects(weights, schedule):
    """Of floats and of integers, not yet run or after a run: no array of a page or more is pickled with the objects."""
    network = api.load(demo.model_path())
    if weights:
        network = quantize(network, weights).network
    sample = api.read(next(iter(demo.recordings().values())), network)
    simulator = Simulator(network, schedule=schedule)
    for _ in range(2):
        parcel = pack(simulator)
        assert len(pickled_arrays(parcel)) > 0
        assert max(array.nbytes for array in pickled_arrays(parcel)) < LEAST
        assert sum(array.nbytes for array in parcel.arrays) > 2 * len(parcel.objects)
        there = unpack(parcel.objects, on_lines(parcel.joined()))
        logits = api.run_on(simulator, sample).logits
        for _ in range(2):
            assert np.array_equal(api.run_on(there, sample).logits, logits)


def pickled_arrays(parcel):
    """Return the arrays that are pickled with a parcel's objects."""
    arrays = []

    class Listing(pickle.Unpickler):
        def persistent_load(self, pid):
            return pid

        def find_class(self, module, name):
            found = super().find_class(module, name)
            if name not in ("_frombuffer", "_reconstruct"):
                return found
            return lambda *arguments: arrays.append(found(*arguments)) or arrays[-1]

    Listing(io.BytesIO(parcel.objects)).load()
    return arrays

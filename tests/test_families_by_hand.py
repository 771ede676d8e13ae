"""Networks of other families, built by hand on the primitives, against the authors' code: spikes, logits, counts."""

from __future__ import annotations

import json
from pathlib import Path

import by_hand
import by_hand_others
import h5py
import numpy as np
import pytest

from evsim import api, countsfile, modelfile
from evsim.document import document
from evsim.energy import METHODS, charge
from evsim.errors import OptionError

SHARED = Path(__file__).resolve().parents[2] / "shared" / "golden-families"
CASES = {
    "sdt-imagenet-2-64": by_hand.sdt_imagenet,
    "qkformer-imagenet-5-48": by_hand.qkformer_imagenet,
    "sdt-cifar10dvs-2-48": by_hand_others.sdt_cifar10dvs,
    "sew-resnet18-sj-4": by_hand_others.sew_resnet,
    "ms-resnet18-4": by_hand_others.ms_resnet,
    "dvsgesture-csnn-sj-8": by_hand_others.csnn,
    "spikingresformer-imagenet-32": by_hand_others.spikingresformer,
    "sdt-v3-8": by_hand_others.sdt_v3,
}
NOT_COUNTED = {"kind", "heads", "erode", "code_order", "k_spikes", "v_spikes"}
"""What a golden says of attention beside its operations; the networks here do not show the spikes of k and v."""

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="../shared absent")


def network(name):
    """Return the network with the golden's weights."""
    state = {}
    with h5py.File(SHARED / name / "state_dict.h5") as file:
        file.visititems(lambda key, item: state.__setitem__(key, item[()]) if isinstance(item, h5py.Dataset) else None)
    return CASES[name](state)


def told(name, which):
    """Return a JSON file of a golden, empty if it has none."""
    path = SHARED / name / f"{which}.json"
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return content.get("layers", content)


@pytest.mark.parametrize("name", CASES)
def test_spikes_logits_and_counts_are_the_authors_own(name, tmp_path):
    """In float64 no spike differs, logits agree, counts are equal to the integer, through both schedules and files."""
    modelfile.save(network(name), tmp_path / "m.h5")
    stored = modelfile.load(tmp_path / "m.h5")
    sample = np.load(SHARED / name / "input.npy")
    runs = [
        api.simulate(stored, sample, precision="float64", record_spikes=True, schedule=schedule, detail=True)
        for schedule in ("layer", "time")
    ]
    run = runs[0]
    with h5py.File(SHARED / name / "golden.h5") as golden:
        np.testing.assert_allclose(run.logits, golden["logits_float64"][()].reshape(-1), rtol=0, atol=1e-9)
        for neurons, spikes in golden["spikes_float64"].items():
            packed, shape = run.spikes.packed[neurons]
            whole = spikes.attrs["shape"].tolist()  # some modules have squeezed their batch of one
            assert list(shape) in (whole, whole[:1] + whole[2:]), neurons
            assert np.array_equal(packed, spikes[()]), neurons
    for row, other in zip(run.counts.layers, runs[1].counts.layers, strict=True):
        assert (row.sops.tolist(), row.macs.tolist()) == (other.sops.tolist(), other.macs.tolist()), row.name
    check_counts(name, run.counts)
    run.save_counts(tmp_path / "c.h5")
    check_counts(name, countsfile.load(tmp_path / "c.h5").counts)


def check_counts(name, counts):
    """Hold the counts of layers and of attention against those of the golden."""
    for layer, wanted in told(name, "exact_counts").items():
        row = counts.layer(layer)
        assert int((row.sops + row.macs).sum()) == wanted["accumulates_in_bounds"], layer
        assert row.dense_macs == wanted["dense_macs_with_padding"], layer
        assert int(row.input_nonzeros.sum()) == wanted["input_nonzeros"], layer
        assert int(row.input_size.sum()) == wanted["input_size"], layer
    unrolled = told(name, "unrolled_counts")
    for layer, wanted in unrolled.items():
        row = counts.layer(layer)
        assert row.input_kind == "real" or int(row.acs_unrolled.sum()) in wanted.values(), layer
    for module, wanted in told(name, "attention_counts").items():
        row = next(row for row in counts.layers if row.name in (module, f"{module}.ssa"))
        checked = 0
        for operation, values in {**wanted, **wanted.get("nonzero_pairs", {})}.items():
            mine = row.named_operations.get(operation)
            if mine is None and operation in ("q(kv)", "(qk)v"):
                mine = row.sops_per_head if operation == row.geometry.order else row.sops_other_order_per_head
            if mine is not None and operation not in NOT_COUNTED:
                assert (mine.tolist() if mine.ndim == 2 else int(mine.sum())) == values, (module, operation)
                checked += 1
        assert checked >= 1, module


@pytest.mark.parametrize("name", CASES)
def test_every_method_charges_or_refuses_by_name(name):
    """A row is charged, or the method names the row that it has no rule for; the JSON of the run holds all rows."""
    run = api.simulate(network(name), np.load(SHARED / name / "input.npy"), detail=True)
    names = {row.name for row in run.counts.layers}
    for method in METHODS:
        if method == "affine":
            continue  # asks for the time of an inference
        try:
            energy = charge(run.counts, method)
        except OptionError as error:
            refused = str(error)
            energy = None
        if energy is None:
            assert any(row in refused for row in names), refused
            continue
        assert energy.energy_mj > 0
        assert min(energy.low.min(), energy.high.min()) >= 0, method
    rows = {row["name"]: row for row in json.loads(json.dumps(document(run)))["layers"]}
    assert rows.keys() == names
    assert {row["neuron"] for row in rows.values() if row["kind"] == "lif"} <= {"lif", "if", "i-lif"}
    assert all(row["operations"] for row in rows.values() if row["kind"] == "attention")

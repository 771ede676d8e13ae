"""counts.h5: what is read is what was written, sums are sums, and damage is one clear line."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import h5py
import numpy as np
import pytest
from energy_cases import FOLDERS, golden_run, networks
from hypothesis import HealthCheck, given, settings

from evsim import api, countsfile
from evsim.counters import Traffic, merged
from evsim.countsfile import CountsError, Origin
from evsim.energy import METHODS, charge
from evsim.errors import EvsimError, OptionError

ORIGIN = Origin("net", "abc", (("a.npy", "1"),), {"evsim": "0"}, "float32")
SHARED_DIRECTORY = [HealthCheck.function_scoped_fixture]


def same(one, other):
    """Whether two counts agree in every field."""
    assert (one.timesteps, one.samples, set(one.other)) == (other.timesteps, other.samples, set(other.other))
    assert all(np.array_equal(one.other[key], other.other[key]) for key in one.other)
    for left, right in zip(one.layers, other.layers, strict=True):
        for kind, a, b in ((type(left), left, right), (Traffic, left.traffic, right.traffic)):
            for name in (f.name for f in fields(kind) if f.name != "traffic"):
                x, y = getattr(a, name, None), getattr(b, name, None)
                assert type(x) is type(y), name
                assert np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y, name
    return True


@settings(max_examples=30, deadline=None, suppress_health_check=SHARED_DIRECTORY)
@given(counts=networks())
def test_what_is_read_is_what_was_written(counts, tmp_path):
    """Every counter, geometry and origin survives the file."""
    countsfile.save(tmp_path / "c.h5", counts, ORIGIN)
    stored = countsfile.load(tmp_path / "c.h5")
    assert same(stored.counts, counts)
    assert stored.origin == ORIGIN


@settings(max_examples=30, deadline=None)
@given(counts=networks())
def test_merging_adds(counts):
    """Counts merged with themselves are twice the sums and the same maxima; energies per sample stay."""
    double = merged([counts, counts])
    assert double.samples == 2 * counts.samples
    for one, two in zip(counts.layers, double.layers, strict=True):
        assert (two.sops == 2 * one.sops).all()
        assert two.steps == one.steps
        assert two.samples == 2 * one.samples
        assert (two.traffic.least_bits == 2 * one.traffic.least_bits).all()
        assert (two.traffic.greatest_value == one.traffic.greatest_value).all()
        assert two.traffic.peak_events == one.traffic.peak_events
    for model in ("exact", "counted-memory", "lemaire", "bytes"):
        assert charge(double, model).pj == pytest.approx(charge(counts, model).pj, rel=1e-12)


def test_energy_from_the_file_is_the_runs_own(tmp_path):
    """Every method gives the same floats from counts.h5 as from the run."""
    run = golden_run(FOLDERS[0])
    run = api.simulate(run.network, run.sample, precision="float64", detail=True)
    run.save_counts(tmp_path / "c.h5")
    stored = countsfile.load(tmp_path / "c.h5")
    assert stored.counts.layer("head").input_kind == "real"
    for method in METHODS:
        try:
            own = run.energy(method)
        except EvsimError:
            continue
        again = charge(stored.counts, method)
        assert own.total == again.total
        assert (own.low == again.low).all()
        assert (own.high == again.high).all()
        assert own.layers == again.layers
    assert run.paper().energy_mj == charge(stored.counts, "paper").energy_mj
    assert run.exact().energy_mj == charge(stored.counts, "exact").energy_mj


def test_digests_tell_models_and_inputs_apart():
    """One changed weight or input value changes its digest, and no other does."""
    run = golden_run(FOLDERS[0])
    network = run.network
    weights = {key: network.weights[key].copy() for key in network.weights}
    whole = replace(network, weights=weights)
    assert countsfile.network_digest(whole) == countsfile.network_digest(network)
    weights["head.weight"].flat[0] += 1
    assert countsfile.network_digest(whole) != countsfile.network_digest(network)
    values = np.zeros((2, 3))
    assert countsfile.array_digest(values) != countsfile.array_digest(values.reshape(3, 2))


def write(path, counts, **changes):
    """Write counts to a path and return it."""
    countsfile.save(path, counts, replace(ORIGIN, **changes))
    return path


def test_merging_files(tmp_path):
    """Files of one model add up and keep their inputs; a repeated input and missing traffic are said."""
    run = golden_run(FOLDERS[0])
    paths = [write(tmp_path / f"{i}.h5", run.counts, inputs=((f"{i}.npy", str(i % 2)),)) for i in range(3)]
    total, notes = countsfile.merge(paths)
    assert total.counts.samples == 3
    assert total.counts.sops == 3 * run.counts.sops
    assert [path for path, _ in total.origin.inputs] == ["0.npy", "1.npy", "2.npy"]
    assert notes == ("the same input is counted more than once",)
    assert charge(total.counts, "paper").pj == pytest.approx(charge(run.counts, "paper").pj, rel=1e-12)


def test_merging_refuses_what_does_not_fit(tmp_path):
    """Counts of other models, timesteps or layers are refused, and so is nothing at all."""
    run, other = golden_run(FOLDERS[0]), golden_run(FOLDERS[2])
    paths = [write(tmp_path / "a.h5", run.counts), write(tmp_path / "b.h5", run.counts, model_digest="z")]
    with pytest.raises(CountsError, match=r"b\.h5 was counted on another model"):
        countsfile.merge(paths)
    with pytest.raises(CountsError, match="do not add up"):
        countsfile.merge([paths[0], write(tmp_path / "c.h5", other.counts)])
    with pytest.raises(OptionError, match="no counts to merge"):
        merged([])


def damage_kind(file):
    """Make it another kind of file."""
    file.attrs["format"] = "other"


def damage_schema(file):
    """Make it newer than this evsim."""
    file.attrs["schema"] = 99


def damage_missing(file):
    """Leave a counter out."""
    del file["counters/sops"]


def damage_shape(file):
    """Cut a timestep off a counter."""
    values = file["counters/sops"][()]
    del file["counters/sops"]
    file.create_dataset("counters/sops", data=values[:, :-1]).attrs["rows"] = list(range(len(values)))


def damage_type(file):
    """Make a counter of floats."""
    values = file["counters/sops"][()]
    del file["counters/sops"]
    file.create_dataset("counters/sops", data=values * 1.0).attrs["rows"] = list(range(len(values)))


def damage_rows(file):
    """Name layers that there are not."""
    file["counters/sops"].attrs["rows"] = [10**6] * len(file["counters/sops"])


def damage_json(file):
    """Break the list of layers."""
    del file["layers"]
    file.create_dataset("layers", data="[{}")


def damage_samples(file):
    """Leave no samples."""
    file.attrs["samples"] = 0


def changed_layer(file, place, **changes):
    """Change what the list of layers says of one."""
    layers = json.loads(file["layers"][()])
    target = layers[place]
    for key, value in changes.items():
        (target["geometry"] if key in target["geometry"] else target)[key] = value
    del file["layers"]
    file["layers"] = json.dumps(layers)


def damage_name(file):
    """Give two layers one name: by name, one would be charged for both."""
    changed_layer(file, 2, name=json.loads(file["layers"][()])[0]["name"])


def damage_size(file):
    """Let a layer have no outputs."""
    changed_layer(file, 2, out_channels=0)


def damage_nonzeros(file):
    """Count more nonzero inputs than inputs."""
    file["counters/input_nonzeros"][2] = 10**12


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_name, "two layers bear"),
        (damage_size, "has a size of 0"),
        (damage_nonzeros, "has more nonzero inputs than inputs"),
        (damage_kind, "holds no counts"),
        (damage_schema, "install a newer evsim"),
        (damage_missing, "damaged"),
        (damage_shape, "expected int64"),
        (damage_type, "expected int64"),
        (damage_rows, "damaged"),
        (damage_json, "damaged"),
        (damage_samples, "0 samples"),
    ],
)
def test_damaged_files_are_one_line(damage, says, tmp_path):
    """Whatever is wrong, the message names the file and what to do."""
    path = write(tmp_path / "c.h5", golden_run(FOLDERS[0]).counts)
    with h5py.File(path, "a") as file:
        damage(file)
    with pytest.raises(CountsError, match=says) as caught:
        countsfile.load(path)
    assert str(path) in str(caught.value)


def test_what_is_no_file_at_all(tmp_path):
    """A missing file, a folder, an empty and a cut file are refused by name."""
    path = write(tmp_path / "c.h5", golden_run(FOLDERS[0]).counts)
    (tmp_path / "empty.h5").write_bytes(b"")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:2000])
    for name in ("missing.h5", ".", "empty.h5", "cut.h5"):
        with pytest.raises(CountsError, match="counts"):
            countsfile.load(tmp_path / name)


def test_a_layer_named_as_what_belongs_to_none_is_refused():
    """A layer of the name that energies give to what belongs to no layer is refused in one line."""
    counts = golden_run(FOLDERS[0]).counts
    strange = replace(counts, layers=(replace(counts.layers[0], name="(no layer)"), *counts.layers[1:]))
    with pytest.raises(OptionError, match="rename it"):
        charge(strange, "exact")

"""audit.h5: sound at every moment, resumed to the same figures, refused where it is of another run."""

from __future__ import annotations

import os
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest
from evaluations import GOLDEN, folder, frames, told

import evsim
from evsim.datasets import open_dataset
from evsim.errors import EvsimError, RecordingError
from evsim.evaluation import auditfile
from evsim.evaluation.auditfile import AuditError, load
from evsim.evaluation.layout import ABSENT, RAN
from evsim.evaluation.outcome import load_evaluation
from evsim.files import OutputError
from evsim.report.evaluation import evaluation_csv

SAMPLES = 10
CHANGES = int(os.environ.get("EVSIM_FAULTS", "10")) * 4
"""Changed files that are read."""


@pytest.fixture(scope="module")
def network():
    """Load the model."""
    return evsim.load(GOLDEN)


@pytest.fixture(scope="module")
def data(tmp_path_factory, network):
    """Write and open a data set."""
    place = folder(tmp_path_factory.mktemp("data"), SAMPLES)
    return open_dataset(place, network.labels, classes=network.classes)


@pytest.fixture(scope="module")
def whole(network, data, tmp_path_factory):
    """Evaluate it into a file."""
    path = tmp_path_factory.mktemp("whole") / "audit.h5"
    return path, evsim.evaluate(network, data, out=path)


def stop_after(number):
    """Return a progress that ends an evaluation after so many samples, as Ctrl-C would."""

    def progress(_total, there):
        if there >= number:
            raise KeyboardInterrupt

    return progress


def test_a_file_is_an_ordinary_hdf5_file(whole, network):
    """h5py reads what docs/audit-format.md says: a row per sample, layer and timestep."""
    path, outcome = whole
    with h5py.File(path) as file:
        assert file.attrs["format"] == "evsim-audit"
        assert file["status"][:].tolist() == [RAN] * SAMPLES
        sops = file["counters/sops"]
        rows = sops.attrs["rows"]
        assert sops.shape == (SAMPLES, len(rows), network.spec.timesteps)
        counts = outcome.counts_of(3)
        for i, row in enumerate(rows):
            assert sops[3, i].tolist() == counts.layers[row].sops.tolist()
        assert np.array_equal(file["logits"][:], outcome.logits)


@pytest.mark.parametrize("number", [0, 1, 4, SAMPLES - 1])
def test_an_interrupted_run_is_resumed(network, data, whole, tmp_path, number):
    """After any number of samples the file is sound, what is there stays, and the end is the same, byte for byte."""
    path = tmp_path / "audit.h5"
    with pytest.raises(KeyboardInterrupt):
        evsim.evaluate(network, data, out=path, progress=stop_after(number))
    there = load(path)
    assert int((there.arrays["status"] != ABSENT).sum()) == number
    with pytest.raises(AuditError, match=rf"{number} of {SAMPLES} samples; finish it"):
        load_evaluation(path)
    outcome = evsim.evaluate(network, data, out=path, resume=True)
    assert outcome.throughput.samples == SAMPLES - number
    assert told(outcome.to_dict()) == told(whole[1].to_dict())
    assert path.read_bytes() == whole[0].read_bytes()
    again = evsim.evaluate(network, data, out=path, resume=True)
    assert again.throughput.samples == 0
    assert told(again.to_dict()) == told(whole[1].to_dict())


def test_resuming_what_is_not_there_begins(network, data, whole, tmp_path):
    """Without a file there is nothing to go on with, and the run begins."""
    outcome = evsim.evaluate(network, data, out=tmp_path / "audit.h5", resume=True)
    assert told(outcome.to_dict()) == told(whole[1].to_dict())


def test_half_a_chunk_does_not_count(network, data, whole, tmp_path):
    """Values without their digest, a digest without its values, or a byte that changed: that chunk runs again."""
    path = tmp_path / "audit.h5"
    shutil.copy(whole[0], path)
    with h5py.File(path, "r+") as file:
        file["chunks"][2] = 0
        file["counters/sops"][5, 0, 0] += 1
        file["logits"][7] = 0
        file["chunks"][8] = file["chunks"][9]
    assert load(path).missing == [2, 5, 7, 8]
    outcome = evsim.evaluate(network, data, out=path, resume=True)
    assert outcome.throughput.samples == 4
    assert path.read_bytes() == whole[0].read_bytes()


def test_a_chunk_of_another_place_does_not_count(whole, tmp_path):
    """A chunk's digest is its own: values and digest of another chunk together are refused too."""
    path = tmp_path / "audit.h5"
    shutil.copy(whole[0], path)
    with h5py.File(path, "r+") as file:
        names = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        for name in names:
            if file[name].shape[:1] == (SAMPLES,):
                file[name][3] = file[name][4]
    assert load(path).missing == [3]


def test_an_existing_file_needs_resume(network, data, whole, tmp_path):
    """A file that is there is not written over, whatever it is."""
    with pytest.raises(OutputError, match="is there already"):
        evsim.evaluate(network, data, out=whole[0])
    other = tmp_path / "notes.h5"
    other.write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        evsim.evaluate(network, data, out=other)
    with pytest.raises(AuditError, match="no HDF5 file"):
        evsim.evaluate(network, data, out=other, resume=True)
    assert other.read_text() == "mine"


def test_another_run_is_not_gone_on_with(network, data, whole, tmp_path, monkeypatch):
    """Another model, list, T, precision, option or version is refused by name, and the file stays as it is."""
    before = whole[0].read_bytes()

    def refused(said, model=network, samples=data, **more):
        with pytest.raises(AuditError, match=said):
            evsim.evaluate(model, samples, out=whole[0], resume=True, **more)
        assert whole[0].read_bytes() == before

    refused("another model", evsim.load(GOLDEN.parents[1] / "spikingformer-dvs-cml" / "checkpoint.pth.tar"))
    fewer = folder(tmp_path / "fewer", SAMPLES - 1)
    refused("another list of samples", samples=str(fewer))
    refused("other `timesteps`", timesteps=2)
    refused("another `precision`", precision="float64")
    refused("other options of reading", options=evsim.events.ReadOptions(fit="crop"))
    refused("another choice of `detail`", detail=True)
    refused("another choice of `sharing`", sharing=True)
    monkeypatch.setattr(evsim, "__version__", "99.0")
    refused(r"other versions .*99\.0")


def test_the_same_list_elsewhere_is_the_same(network, whole, data, tmp_path):
    """A data set that has moved is gone on with: its list is the same."""
    place = shutil.copytree(data.path, tmp_path / "moved")
    path = tmp_path / "audit.h5"
    shutil.copy(whole[0], path)
    outcome = evsim.evaluate(network, str(place), out=path, resume=True)
    assert told(outcome.to_dict()) == told(whole[1].to_dict())


def test_failed_samples_are_kept_and_resumed(network, tmp_path):
    """A sample that failed is not run again, its reason is in the file."""
    place = folder(tmp_path / "data", 5)
    (place / "1" / "bad.npy").write_bytes(b"\x93NUMPY broken")
    path = tmp_path / "audit.h5"
    first = evsim.evaluate(network, str(place), out=path)
    again = evsim.evaluate(network, str(place), out=path, resume=True)
    assert told(again.to_dict()) == told(first.to_dict())
    assert again.throughput.samples == 0
    assert [each.path for each in again.failed] == ["1/bad.npy"]


def test_unreadable_data_leaves_no_file(network, tmp_path):
    """Where no sample can be read nothing is written."""
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "data" / "a" / "x.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(RecordingError, match="none of 1"):
        evsim.evaluate(network, str(tmp_path / "data"), out=tmp_path / "audit.h5")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_two_runs_do_not_write_into_one_file(network, data, tmp_path):
    """A second run is refused while the first one writes."""
    path = tmp_path / "audit.h5"
    said = []

    def second(_total, there):
        if there == 3 and not said:
            with pytest.raises(EvsimError, match=r"another (run|program)") as caught:
                evsim.evaluate(network, data, out=path, resume=True)
            said.append(str(caught.value))

    evsim.evaluate(network, data, out=path, progress=second)
    assert len(said) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_told_and_resumed(network, data, whole, tmp_path, monkeypatch):
    """A write that fails ends the run with one line; after room was made it goes on."""
    path = tmp_path / "audit.h5"
    write, writes = auditfile.write_all, []

    def full(file, content):
        writes.append(len(content))
        if len(writes) > 40:
            with Path("/dev/full").open("wb", buffering=0) as sink:
                sink.write(b"x")
        write(file, content)

    monkeypatch.setattr(auditfile, "write_all", full)
    with pytest.raises(OutputError, match=r"No space left on device; make room and go on"):
        evsim.evaluate(network, data, out=path)
    monkeypatch.undo()
    assert 0 < len(load(path).missing) < SAMPLES
    outcome = evsim.evaluate(network, data, out=path, resume=True)
    assert told(outcome.to_dict()) == told(whole[1].to_dict())


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and sparse files are Linux's here")
def test_room_is_taken_before_the_work(network, data, tmp_path, monkeypatch):
    """A disk that is too small for all samples says so before the second one runs, and no file is left."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OutputError, match="No space left"):
        evsim.evaluate(network, data, out=tmp_path / "audit.h5")
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_one_line(whole, tmp_path):
    """What no run writes is refused by name: cut files, other formats, newer schemas, counts that cannot be."""
    content = whole[0].read_bytes()

    def refused(said, change):
        path = tmp_path / "audit.h5"
        path.write_bytes(content)
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(AuditError, match=said) as caught:
            load(path)
        assert "audit.h5" in str(caught.value)

    refused("holds no audit|no audit", lambda file: file.attrs.__setitem__("format", "other"))
    refused("schema 9", lambda file: file.attrs.__setitem__("schema", 9))
    refused("Header", lambda file: (file.__delitem__("header"), file.create_dataset("header", data="{}")))
    refused("no logits", lambda file: file.__delitem__("logits"))
    refused("holds no status", lambda file: file.__delitem__("status"))
    refused("chunks", lambda file: file.__delitem__("chunks"))
    refused("first", lambda file: file.__delitem__("first"))
    path = tmp_path / "cut.h5"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AuditError, match=r"cut\.h5"):
        load(path)
    with pytest.raises(AuditError, match="does not exist"):
        load(tmp_path / "none.h5")
    with pytest.raises(AuditError, match="no HDF5 file"):
        load(__file__)


def test_names_of_a_stranger_cannot_reach_the_terminal(network, tmp_path):
    """Control characters in names of samples are escapes, in what a fresh run tells and in what is read back."""
    pairs = [(evsim.api.Sample(frames(i), name), 0) for i, name in enumerate(["a\x1b[31m.npy", "\udcff.npy"])]
    fresh = evsim.evaluate(network, pairs, out=tmp_path / "audit.h5")
    again = load_evaluation(tmp_path / "audit.h5")
    assert fresh.names == again.names == ("a\\x1b[31m.npy", "\\udcff.npy")
    assert told(fresh.to_dict()) == told(again.to_dict())
    assert evaluation_csv(fresh).encode() == evaluation_csv(again).encode()


def test_changed_bytes_never_crash(whole, tmp_path):
    """Whatever bytes of an audit change, it is read or refused in one line, in bounded time."""
    content, moments = whole[0].read_bytes(), random.Random(1)
    path, outcomes = tmp_path / "audit.h5", Counter()
    for _ in range(CHANGES):
        changed = bytearray(content)
        for _ in range(moments.choice([1, 4, 50])):
            place = moments.randrange(min(len(changed), moments.choice([512, 8192, len(changed)])))
            changed[place] = moments.randrange(256)
        if moments.random() < 0.2:
            del changed[moments.randrange(len(changed)) :]
        path.write_bytes(changed)
        try:
            audit = load(path)
        except AuditError as error:
            outcomes["refused" if "audit.h5" in str(error) else "refused without its name"] += 1
        else:
            outcomes["read"] += 1
            assert len(audit.arrays["status"]) == SAMPLES
    assert outcomes.keys() == {"read", "refused"}

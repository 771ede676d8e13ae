"""Audits of strangers, whose digests are right: what no run has written is refused."""

from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

from evsim.evaluation import auditfile
from evsim.evaluation.auditfile import AuditError, Header, digest
from evsim.evaluation.evaluate import evaluate
from evsim.inputspec import InputSpec
from evsim.network import LIF, Input, Network, TimeMean, TokenMean

SIZE = (2, 2, 3, 3)


def _network(*more):
    names = ["fires", *more]
    nodes = (
        Input("input", (), *SIZE[1:], "integers"),
        *(LIF(name, (source,)) for name, source in zip(names, ["input", *names], strict=False)),
        TokenMean("tokens", (names[-1],)),
        TimeMean("times", ("tokens",)),
    )
    return Network("n", "f", "v", InputSpec("events", *SIZE[1:], SIZE[0]), nodes, {})


def _samples(number=3):
    return [(np.full(SIZE, i % 3, np.uint8), i % 2) for i in range(number)]


def _audit(path, network, number=3):
    evaluate(network, _samples(number), out=path)
    return path


def _told(path):
    with h5py.File(path) as file:
        return json.loads(file["header"][()])


def _changed(path, *, chunks=True, **header):
    """Change fields of the header, and make all digests anew, or remove them."""
    layout, told = auditfile.load(path).layout, _told(path) | header
    own = Header(**told | {"samples": tuple(map(tuple, told["samples"])), "classes": tuple(told["classes"])})
    with h5py.File(path, "r+") as file:
        del file["header"]
        file["header"] = json.dumps(told)
        for chunk in range(own.chunks):
            span = own.span(chunk)
            parts = {name: file[name][span.start : span.stop] for name in layout.columns}
            file["chunks"][chunk] = np.frombuffer(digest(own, layout, chunk, parts), np.uint8) if chunks else 0
    return path


@pytest.mark.parametrize("label", [2, 7, 2**62])
def test_label_that_is_no_class_is_refused(tmp_path, label):
    """Label that is no class is refused."""
    path = _audit(tmp_path / "a.h5", _network())
    with pytest.raises(AuditError, match=r"a\.h5 .*labels a sample by a class that it does not name"):
        auditfile.load(_changed(path, samples=[["a", label], ["b", 0], ["c", 1]]))


@pytest.mark.parametrize("classes", [["one"], ["x"] * 200_000])
def test_fewer_names_of_classes_than_logits_are_refused_and_names_without_number(tmp_path, classes):
    """Fewer names of classes than logits are refused and names without number."""
    path = _audit(tmp_path / "a.h5", _network())
    with pytest.raises(AuditError, match=rf"a\.h5 .*names {len(classes)} classes, for 2 logits"):
        auditfile.load(_changed(path, classes=classes, samples=[["a", 0]] * 3))


def test_audit_of_other_layers_under_the_digest_of_the_model_is_not_gone_on_with(tmp_path):
    """Audit of other layers under the digest of the model is not gone on with."""
    mine, other = _network(), _network("again")
    digests = _told(_audit(tmp_path / "mine.h5", mine))["model_digest"]
    path = _changed(_audit(tmp_path / "a.h5", other), chunks=False, model_digest=digests)
    before = path.read_bytes()
    with pytest.raises(AuditError, match=r"a\.h5 holds other layers than this model has"):
        evaluate(mine, _samples(), out=path, resume=True)
    assert path.read_bytes() == before


def test_audit_of_other_samples_under_the_digest_of_the_list_is_not_gone_on_with(tmp_path):
    """Audit of other samples under the digest of the list is not gone on with."""
    network = _network()
    digests = _told(_audit(tmp_path / "mine.h5", network))["data_digest"]
    path = _changed(_audit(tmp_path / "a.h5", network, 6), chunks=False, data_digest=digests)
    with pytest.raises(AuditError, match=r"a\.h5 was begun with another list of samples"):
        evaluate(network, _samples(), out=path, resume=True)


def test_audit_of_samples_that_all_failed_is_refused_by_name(tmp_path):
    """No figure follows from it; the line names the file and the first reason."""
    path = _audit(tmp_path / "a.h5", _network())
    with h5py.File(path, "r+") as file:
        file["status"][...] = 2
        file["reason"][0, :4] = np.frombuffer(b"gone", np.uint8)
    with pytest.raises(AuditError, match=r"a\.h5 holds no sample that could be read; the first failed: gone"):
        auditfile.finished(_changed(path))


def test_digests_that_do_not_lie_in_one_piece_are_refused(tmp_path):
    """Going on would write them to wherever the file begins."""
    path = _audit(tmp_path / "a.h5", _network())
    with h5py.File(path, "r+") as file:
        stands = np.zeros_like(file["chunks"][()])
        del file["chunks"]
        file.create_dataset("chunks", data=stands, chunks=stands.shape, compression="gzip")
    with pytest.raises(AuditError, match=r"a\.h5 .*chunks are not bytes \[3, 16\] in one piece"):
        auditfile.load(path)

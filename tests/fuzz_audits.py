"""Audits for the fuzzer: whole files, changes under digests that agree, and every figure of what was read."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import h5py
import numpy as np

from evsim.evaluation import auditfile
from evsim.evaluation.auditfile import Header, digest
from evsim.evaluation.evaluate import evaluate
from evsim.evaluation.outcome import Evaluation
from evsim.inputspec import InputSpec
from evsim.network import LIF, Input, Linear, Network, TimeMean, TokenMean

SIZE = (2, 2, 3, 3)
ODD = (0, 1, -1, 2, 255, 2**31 - 1, 2**62, -(2**63))


def _network():
    nodes = (
        Input("input", (), *SIZE[1:], "integers"),
        LIF("fires", ("input",)),
        TokenMean("tokens", ("fires",)),
        TimeMean("times", ("tokens",)),
        Linear("head", ("times",), 2, 3, bias=False),
    )
    weights = {"head.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}
    return Network("n", "f", "v", InputSpec("events", *SIZE[1:], SIZE[0]), nodes, weights)


def audits():
    """Return an audit of four samples, and one of traffic too."""
    files = []
    for detail in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "a.h5"
            samples = [(np.full(SIZE, i % 3, np.uint8), i % 3) for i in range(4)]
            evaluate(_network(), samples, out=path, detail=detail)
            files.append(path.read_bytes())
    return files


def values(content, rng):
    """Change values of a column, and make the digests agree with them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.h5"
        path.write_bytes(content)
        whole = auditfile.load(path)
        told = whole.header
        buffer = io.BytesIO(content)
        with h5py.File(buffer, "r+") as file:
            name = rng.choice(sorted(whole.layout.columns))
            column = file[name][()]
            flat = column.reshape(-1)
            for _ in range(rng.choice((1, 1, 4, flat.size))):
                place = rng.randrange(flat.size)
                if column.dtype.kind == "f":
                    flat[place] = rng.choice((np.nan, np.inf, -np.inf, 0.0, 3e38))
                else:
                    flat[place] = np.array(rng.choice(ODD), np.int64).astype(column.dtype)
            file[name][...] = column
            own = Header(**{name: getattr(told, name) for name in Header.__dataclass_fields__})
            for chunk in range(own.chunks):
                span = own.span(chunk)
                parts = {name: file[name][span.start : span.stop] for name in whole.layout.columns}
                file["chunks"][chunk] = np.frombuffer(digest(own, whole.layout, chunk, parts), np.uint8)
        return buffer.getvalue()


def read_an_audit(path, rng):
    """Read an audit; what is whole gives every figure."""
    audit = auditfile.load(path)
    finished = auditfile.finished(path)
    assert len(audit.header.samples) == len(finished.arrays["status"])
    evaluation = Evaluation(finished, seed=rng.randrange(9))
    assert evaluation.accuracy.top1.count <= len(evaluation.names)
    assert len(evaluation.classes) == len(finished.header.classes)
    assert (evaluation.energy_mj >= 0.0).all(), "negative energy"
    assert len(evaluation.anytime) == finished.header.timesteps
    assert evaluation.confusion is not None
    assert evaluation.summaries

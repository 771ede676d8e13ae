"""evsim eval, and what reads its audits: energy, compare --eval; a folder given to run leads there."""

from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from commands import evsim, refused
from evaluations import GOLDEN, folder, frames, told
from h5py import File

from evsim import api, countsfile, demo
from evsim.audit.residual import with_residual
from evsim.evaluation.outcome import load_evaluation
from evsim.evaluation.paired import paired, paired_document
from evsim.evaluation.statistics import mcnemar
from evsim.modelfile import save

EVSIM = Path(sys.executable).with_name("evsim")
KILLS = int(os.environ.get("EVSIM_FAULTS", "3"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Write a data set."""
    return folder(tmp_path_factory.mktemp("data"), 12)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Write another model: the same weights, the residual placed otherwise."""
    path = tmp_path_factory.mktemp("model") / "sew.h5"
    save(with_residual(api.load(GOLDEN), "sew"), path)
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Write the model as model.h5."""
    path = tmp_path_factory.mktemp("model") / "model.h5"
    save(api.load(GOLDEN), path)
    return path


@pytest.fixture(scope="module")
def audits(data, other, tmp_path_factory):
    """Evaluate two models on it."""
    place = tmp_path_factory.mktemp("audits")
    for name, model in (("a", GOLDEN), ("b", other)):
        outcome = evsim(
            "eval", model, data, "--out", place / f"{name}.h5", "--json", place / f"{name}.json",
            "--csv", place / f"{name}.csv", "--counts", place / f"{name}.counts.h5",
        )  # fmt: skip
        assert outcome.code == 0, outcome
        (place / f"{name}.txt").write_text(outcome.out)
    return place


def test_eval_prints_and_writes_the_same(audits, data):
    """The report, the JSON, the CSV and the file tell the same figures."""
    document = json.loads((audits / "a.json").read_text())
    text = (audits / "a.txt").read_text()
    rows = list(csv.DictReader((audits / "a.csv").read_text().splitlines()))
    outcome = load_evaluation(audits / "a.h5")
    assert told(document) == told(outcome.to_dict())
    assert [row["sample"] for row in rows] == list(outcome.names)
    assert [int(row["sops"]) for row in rows] == outcome.sops.tolist()
    assert [float(row["energy_mj"]) for row in rows] == outcome.energy_mj.tolist()
    assert document["data"]["path"] == str(data)
    assert document["throughput"]["samples"] == 12
    for words in ("top-1:", "95 % interval", "timesteps  ", "cheapest", "paper / exact", "12 samples in"):
        assert words in text
    assert countsfile.load(audits / "a.counts.h5").counts.sops == outcome.counts.sops
    assert max(map(len, text.splitlines())) <= 110, "a pipe gets every column"


def test_eval_alone_on_standard_output(data):
    """`--json -` and `--csv -` print nothing else; both at once are refused."""
    document = json.loads(evsim("eval", GOLDEN, data, "--json", "-").out)
    assert document["accuracy"]["total"] == 12
    assert evsim("eval", GOLDEN, data, "--csv", "-").out.startswith("sample,label,")
    assert "standard output" in refused("eval", GOLDEN, data, "--csv", "-", "--json", "-")


def test_energy_charges_an_audit(audits):
    """An audit is charged as its summed counts are, by any method."""
    for more in (["--method", "paper,exact,lemaire"], ["--by", "stage"], ["--against", "ann"]):
        one, other = (evsim("energy", audits / name, *more) for name in ("a.h5", "a.counts.h5"))
        assert one.code == other.code == 0
        assert one.out.replace("a.h5", "X") == other.out.replace("a.counts.h5", "X")
    assert "mean of 12 samples" in evsim("energy", audits / "a.h5").out


def test_compare_holds_evaluations_against_the_first(audits):
    """Differences, their intervals and McNemar's test are those of the samples, one by one."""
    outcome = evsim("compare", "--eval", audits / "a.h5", audits / "b.h5", audits / "a.h5", "--json", "-")
    assert outcome.code == 0, outcome
    document = json.loads(outcome.out)
    a, b = (load_evaluation(audits / f"{name}.h5") for name in "ab")
    right = [each.predictions == each.labels for each in (a, b)]
    against = document["b"]["against_a"]
    assert against["top1"]["a_alone"] == int((right[0] & ~right[1]).sum())
    assert against["top1"]["this_alone"] == int((right[1] & ~right[0]).sum())
    assert against["top1"]["mcnemar_p"] == mcnemar(against["top1"]["a_alone"], against["top1"]["this_alone"])
    assert against["top1"]["difference"] == pytest.approx(right[1].mean() - right[0].mean())
    for name in ("sops", "macs", "energy_mj", "paper_energy_mj"):
        difference = getattr(b, name) - getattr(a, name)
        assert against[name]["difference"] == pytest.approx(difference.mean())
        low, high = against[name]["interval"]
        assert difference.min() <= low <= against[name]["difference"] <= high <= difference.max()
        assert against[name]["ratio"] == pytest.approx(getattr(b, name).mean() / getattr(a, name).mean())
    assert against["agreement"] == pytest.approx((a.predictions == b.predictions).mean())
    itself = document["c"]["against_a"]
    assert itself["energy_mj"] == {
        "difference": 0.0,
        "interval": [0.0, 0.0],
        "ratio": 1.0,
        "ratio_interval": [1.0, 1.0],
    }
    assert itself["top1"]["mcnemar_p"] == 1.0
    text = evsim("compare", "--eval", audits / "a.h5", audits / "b.h5").out
    assert "McNemar" in text
    assert "12 samples, the same for all" in text


def test_samples_that_failed_anywhere_are_left_out_of_pairs(tmp_path):
    """A pair needs both: a sample that one model could not read is in neither mean."""
    pairs = [(frames(i), i % 3) for i in range(4)]
    bad = np.zeros((3, 2, 48, 48))
    bad[0, 0, 0, 0] = 0.5
    network = api.load(GOLDEN)
    from evsim import evaluate

    one = evaluate(network, pairs, out=tmp_path / "a.h5")
    evaluate(network, pairs, out=tmp_path / "b.h5", precision="float64")
    from evsim.evaluation import auditfile

    with File(tmp_path / "b.h5", "r+") as file:  # as if sample 2 had failed
        for name in ("logits", "anytime/rank", "anytime/prediction"):
            file[name][2] = 0
        file["status"][2] = 2
        audit = auditfile.load(tmp_path / "a.h5")
        chunk = {name: file[name][2:3] for name in audit.layout.columns}
        file["chunks"][2] = np.frombuffer(auditfile.digest(audit.header, audit.layout, 2, chunk), np.uint8)
    outcome = paired([tmp_path / "a.h5", tmp_path / "b.h5"])
    assert (outcome.samples, outcome.left_out) == (3, 1)
    assert outcome.means["sops"][0] == one.sops[[0, 1, 3]].mean()
    assert paired_document(outcome)["data"]["left_out"] == 1


def test_compare_refuses_what_is_no_pair(audits, tmp_path):
    """Other lists, unfinished audits, other files and options of runs are one line."""
    assert "two audits" in refused("compare", "--eval", audits / "a.h5")
    fewer = folder(tmp_path / "data", 4)
    evsim("eval", GOLDEN, fewer, "--out", tmp_path / "few.h5")
    assert "another list of samples" in refused("compare", "--eval", audits / "a.h5", tmp_path / "few.h5")
    assert "no audit" in refused("compare", "--eval", audits / "a.h5", audits / "a.counts.h5")
    assert "--input" in refused("compare", "--eval", audits / "a.h5", audits / "b.h5", "--input", fewer)
    assert "--fit" in refused("compare", "--eval", audits / "a.h5", audits / "b.h5", "--fit", "crop")
    assert "--timesteps" in refused("compare", "--eval", audits / "a.h5", audits / "b.h5", "--timesteps", 2)
    assert "--input" in refused("compare", GOLDEN, GOLDEN)


def test_other_commands_say_what_an_audit_is(audits):
    """A model or counts were expected: the message names the commands that read audits."""
    for words in (["info", audits / "a.h5"], ["run", audits / "a.h5", "--input", audits / "a.csv"]):
        assert "it holds an audit of a data set; evsim energy charges it" in evsim(*words).err
    outcome = evsim("counts", "merge", audits / "a.h5", audits / "b.h5", "--out", audits / "sum.h5")
    assert "it holds an audit" in outcome.err


def test_run_leads_from_a_folder_to_eval(data):
    """A folder is no input of run; the line to type instead stands in the message."""
    assert f"evsim eval {GOLDEN} {data} --out audit.h5" in refused("run", GOLDEN, "--input", data)


def test_eval_refuses_in_one_line(audits, data, model, other, tmp_path):
    """Places, options and other people's audits: one line, exit code 2, nothing written."""
    assert "give --out" in refused("eval", model, data, "--resume")
    assert "go on with it by --resume" in refused("eval", model, data, "--out", audits / "a.h5")
    assert "another model" in refused("eval", other, data, "--out", audits / "a.h5", "--resume")
    assert "other --timesteps" in refused("eval", model, data, "--out", audits / "a.h5", "--resume", "--timesteps", "2")
    assert "--workers" in refused("eval", model, data, "--workers", "0")
    assert "--precision" in refused("eval", model, data, "--precision", "both")
    assert "--seed" in refused("eval", model, data, "--seed", "-1")
    assert "--split" in refused("eval", model, data, "--split", "duration", "--duration", "1ms")
    assert ".json" in refused("eval", model, data, "--out", tmp_path / "a.json")
    assert "no folder" in refused("eval", model, data, "--out", tmp_path / "none" / "a.h5")
    assert list(tmp_path.iterdir()) == []


def test_eval_runs_recordings_with_the_options_of_run(tmp_path):
    """Events become frames as `evsim run` makes them, with the same options."""
    recordings = list(demo.recordings().items())[:2]
    table = tmp_path / "table.csv"
    table.write_text("file,class\n" + "".join(f"{path},{digit}\n" for digit, path in recordings))
    options = ["--stop", "9000ev", "--orientation", "raw"]
    outcome = evsim("eval", demo.model_path(), table, "--outside", *options, "--csv", "-")
    assert outcome.code == 0, outcome
    rows = list(csv.DictReader(outcome.out.splitlines()))
    for row, (_, path) in zip(rows, recordings, strict=True):
        run = json.loads(evsim("run", demo.model_path(), "--input", path, *options, "--json", "-").out)
        assert int(row["sops"]) == run["totals"]["sops"]
        assert int(row["prediction"]) == run["prediction"]["class"]


@pytest.mark.skipif(sys.platform != "linux", reason="signals are POSIX's")
def test_kills_at_random_moments(audits, data, tmp_path):
    """Killed again and again, then resumed: the JSON is the same but for the throughput, and so is the file."""
    path, moments = tmp_path / "audit.h5", random.Random(0)
    command = [EVSIM, "eval", GOLDEN, data, "--out", path, "--json", tmp_path / "a.json", "--resume"]
    killed = 0
    while killed < KILLS:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if killed % 3:
            wait_for_chunks(path, standing(path) + moments.randrange(4), process)
            time.sleep(moments.uniform(0.0, 0.05))
        else:
            time.sleep(moments.uniform(0.0, 3.0))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        if process.returncode == 0:  # it was faster: from the beginning
            path.unlink()
    subprocess.run(command, check=True, capture_output=True)
    assert told(tmp_path / "a.json") == told(audits / "a.json")
    assert path.read_bytes() == (audits / "a.h5").read_bytes()
    assert {each.name for each in tmp_path.iterdir() if not each.name.startswith(".")} == {"audit.h5", "a.json"}


def standing(path):
    """Return how many chunks of an audit stand."""
    if not path.exists():
        return 0
    with File(path, locking=False) as file:
        return int(file["chunks"][:].any(axis=1).sum())


def wait_for_chunks(path, number, process):
    """Wait until so many chunks stand, or the process ends."""
    while process.poll() is None and standing(path) < number:
        time.sleep(0.003)

"""evsim energy, counts merge and profiles, end to end."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import numpy as np
import pytest
from energy_cases import FOLDERS, golden_run, published_counts

from evsim import countsfile
from evsim.cli.main import main
from evsim.countsfile import Origin
from evsim.data import published

FOLDER = next(f for f in FOLDERS if f.name == "spikingformer-imagenet")


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Run a golden through the command line, once; return the folder with run.json and counts.h5."""
    from evsim import modelfile

    folder = tmp_path_factory.mktemp("counted")
    modelfile.save(golden_run(FOLDER).network, folder / "model.h5")
    argv = ["evsim", "run", "model.h5", "--input", str(FOLDER / "input.npy"), "--precision", "float64"]
    argv += ["--json", "run.json", "--counts", "counts.h5"]
    code = f"import sys; from evsim.cli.main import main; sys.argv = {argv}; main()"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    return folder


@pytest.fixture
def evsim(counted, monkeypatch, capsys):
    """Return a function that runs a command beside the counts: (exit code, stdout, stderr)."""
    monkeypatch.chdir(counted)

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["evsim", *map(str, words)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        out = capsys.readouterr()
        return code, out.out, out.err

    return command


def test_figures_equal_the_runs_own(evsim, counted):
    """Paper and exact energies from counts.h5 are the very floats of the run's JSON, row by row."""
    code, out, _ = evsim("energy", "counts.h5", "--json", "-")
    assert code == 0
    run, models = json.loads((counted / "run.json").read_text()), json.loads(out)["counts"][0]["models"]
    paper, exact = models
    assert paper["energy_mj"] == run["totals"]["paper"]["energy_mj"]
    assert exact["energy_mj"] == run["totals"]["energy_mj"]
    for row in run["layers"]:
        assert exact["by"]["layer"][row["name"]]["energy_mj"] == pytest.approx(row["energy_mj"], rel=1e-12)
        assert paper["by"]["layer"][row["name"]]["energy_mj"] == pytest.approx(row["paper"]["energy_mj"], rel=1e-12)


def test_every_model_prints_or_says_why(evsim):
    """--model all shows every model that can answer, and a note for each that cannot."""
    code, out, err = evsim("energy", "counts.h5", "--model", "all", "--by", "cost", "--against", "ann")
    assert code == 0
    header = next(line for line in out.splitlines() if line.startswith(("stage ", "cost ")))
    assert all(
        f"{name} (" in header for name in ("paper", "exact", "counted-memory", "bytes", "lemaire", "chip", "qnn")
    )
    assert "weights=once" in out
    assert "exact against ann" in out
    assert "saving" in out
    assert "affine cannot answer" in err
    assert "spikesim cannot answer" in err


def test_bars_on_a_terminal(evsim, monkeypatch):
    """Where stdout is a terminal, each row has a bar in proportion to its energy."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    _, out, _ = evsim("energy", "counts.h5", "--model", "exact", "--by", "stage")
    lengths = [line.count("\u2588") for line in out.splitlines()]
    assert max(lengths) == 24
    _, report, _ = evsim("energy", "counts.h5", "--model", "exact", "--by", "stage", "--json", "-")
    stages = json.loads(report)["counts"][0]["models"][0]["by"]["stage"]
    energies = {name: entry["energy_mj"] for name, entry in stages.items()}
    greatest = max(energies.values())
    for line in out.splitlines():
        if (name := line.split()[0] if line else "") in energies and name != "head":
            assert abs(line.count("\u2588") - 24 * energies[name] / greatest) < 1


@pytest.mark.parametrize("key", ["layer", "stage", "block", "head", "timestep", "cost"])
def test_breakdowns(evsim, key):
    """Every key prints a table whose first column is that key."""
    code, out, _ = evsim("energy", "counts.h5", "--by", key)
    assert code == 0
    assert any(line.startswith(f"{key} ") for line in out.splitlines())
    labels = {"layer": "patch_embed.proj_conv", "stage": "patch_embed", "block": "block.0", "cost": "MAC"}
    labels |= {"timestep": "t3", "head": "block.0.attn.ssa head 1"}
    assert any(line.startswith(labels[key]) for line in out.splitlines())


def test_csv_adds_up(evsim, counted):
    """The lines of a model in the CSV add up to its total; attention comes by head."""
    code, _, _ = evsim("energy", "counts.h5", "--model", "exact,counted-memory", "--csv", "e.csv", "--json", "e.json")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO((counted / "e.csv").read_text())))
    for model in json.loads((counted / "e.json").read_text())["counts"][0]["models"]:
        own = [row for row in rows if row["model"] == model["model"]]
        assert sum(float(row["pj_low"]) for row in own) * 1e-9 == pytest.approx(model["energy_mj"], rel=1e-12)
        assert {row["head"] for row in own if row["layer"].endswith("ssa")} >= {"0", "1"}


def test_own_prices_and_ranges(evsim):
    """--e-ac and --e-mac replace prices; a range gives a range."""
    _, out, _ = evsim("energy", "counts.h5", "--model", "exact", "--e-ac", "0.5", "--e-mac", "1,2", "--json", "-")
    total = json.loads(out)["counts"][0]["models"][0]
    counts = golden_run(FOLDER).counts
    ends = [(0.5 * counts.sops + price * counts.macs) * 1e-9 for price in (1, 2)]
    assert total["range_mj"] == pytest.approx(ends, rel=1e-12)


def test_merge(evsim, counted):
    """Two files of counts become one of two samples; its energy per sample is the same."""
    code, out, err = evsim("counts", "merge", "counts.h5", "counts.h5", "--out", "two.h5")
    assert code == 0
    assert "2 samples" in out
    assert "the same input is counted more than once" in err
    assert countsfile.load(counted / "two.h5").counts.samples == 2
    _, out, _ = evsim("energy", "two.h5", "counts.h5", "--model", "counted-memory", "--json", "-")
    two, one = (entry["models"][0]["energy_mj"] for entry in json.loads(out)["counts"])
    assert two == pytest.approx(one, rel=1e-12)


def test_sensitivity(evsim, tmp_path):
    """Two published networks: the ratio in every model, and no break-even where one does more of everything."""
    for name in ("8-512", "8-768"):
        counts = published_counts(published(f"spikingformer-{name}"))
        countsfile.save(tmp_path / f"{name}.h5", counts, Origin(name, name, (), {}))
    files = (tmp_path / "8-512.h5", tmp_path / "8-768.h5")
    code, out, _ = evsim("energy", *files, "--sensitivity", "--set", "leave_out=attention", "--e-ac", "0.7,1.1")
    assert code == 0
    assert "A / B is least in" in out
    assert "A is cheaper at every E_MAC / E_AC" in out
    code, out, _ = evsim("energy", *files, "--sensitivity", "--json", "-")
    found = json.loads(out)
    paper = next(row for row in found["ratios"] if (row["model"], row["profile"]) == ("paper", "45nm"))
    assert paper["ratio"] == pytest.approx(7.463502602 / 13.658826977, rel=1e-8)
    refused = {(row["model"], row["profile"]): row["reason"] for row in found["refused"]}
    assert "lack the traffic" in refused["counted-memory", "45nm"]


def test_traffic(evsim):
    """--traffic tells what moved: three bounds of weights in order, the least code no more than each of three."""
    _, out, _ = evsim("energy", "counts.h5", "--traffic", "--json", "-")
    rows = {row["layer"]: row for row in json.loads(out)["counts"][0]["traffic"]}
    for name, row in rows.items():
        if row["weights_once"] is not None:
            assert row["weights_once"] <= row["weights_per_timestep"] <= row["weights_per_sop"], name
        if row["least_bits"] is not None:
            assert row["least_bits"] <= min(row["bitmap_bits"], row["address_bits"], row["run_length_bits"]), name
        if row["neurons"] is not None:
            assert row["neurons_touched"] <= row["neurons"], name
    attention = rows["block.0.attn.ssa"]
    assert attention["kv_buffer_bits"] > 0
    assert attention["qk_buffer_bits"] > 0
    _, out, _ = evsim("energy", "counts.h5", "--traffic")
    assert "what moves per inference" in out


def test_profiles(evsim):
    """Evsim profiles lists every profile and model; --sources prints every figure's source."""
    _, out, _ = evsim("profiles")
    assert all(name in out for name in ("45nm-int8", "truenorth", "spinnaker2-prototype", "counted-memory"))
    _, out, _ = evsim("profiles", "--profile", "loihi")
    assert "pre-silicon" in out
    assert "second hand" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("missing.h5",), "missing.h5 does not exist"),
        (("model.h5",), "model.h5 is no file of counts: it holds a model"),
        (("counts.h5", "--model", "spikesim"), "a crossbar holds weights"),
        (("counts.h5", "--model", "nonsense"), "no energy method is named nonsense"),
        (("counts.h5", "--model", "affine", "--profile", "odin", "--time-ms", "2"), "--frequency-mhz"),
        (("counts.h5", "--model", "paper", "--by", "head"), "nothing per attention head"),
        (("counts.h5", "--model", "paper", "--by", "timestep"), "not defined per timestep"),
        (("counts.h5", "--by", "colour"), "--by takes layer"),
        (("counts.h5", "--profile", "loihi", "--method", "paper"), "gives no e_ac_pj"),
        (("counts.h5", "--method", "chip", "--set", "hops_x=1e308"), "greater than any number"),
        (("counts.h5", "--profile", "truenorth", "--time-ms", "1e308"), "greater than any number"),
        (("counts.h5", "--method", "qnn", "--set", "hops=1e308", "--json", "-"), "greater than any number"),
        (("counts.h5", "--method", "counted-memory", "--set", "weight_bits=1e300"), "1 to 4096, got 1e+300"),
        (("counts.h5", "--e-ac", "cheap"), "--e-ac takes picojoules"),
        (("counts.h5", "--e-ac", "-1"), "e_ac_pj must be a number, not negative"),
        (("counts.h5", "--set", "sram"), "--set takes NAME=VALUE"),
        (("counts.h5", "--set", "sram=huge"), "sram must be piecewise, fit, packed, spikingjelly"),
        (("counts.h5", "--set", "hops=far"), "--set hops takes a number"),
        (("counts.h5", "--set", "leave_out=soma"), "--set leave_out=VALUE takes conv"),
        (("counts.h5", "--time-ms", "-3"), "time_ms must be a number, not negative"),
        (("counts.h5", "--against", "cnn"), "--against takes ann or qnn"),
        (("counts.h5", "--model", "qnn", "--against", "qnn"), "gives no e_mac_pj"),
        (("counts.h5", "--model", "chip", "--against", "ann"), "has no price for --against ann"),
        (("counts.h5", "--sensitivity"), "--sensitivity compares two counts files, got 1"),
        (("counts.h5", "--csv", "no/such/place.csv"), "cannot write no/such/place.csv"),
    ],
)
def test_errors_are_one_line(evsim, words, says):
    """What cannot be answered is one line on stderr and exit code 2."""
    code, _, err = evsim("energy", *words)
    assert code == 2
    assert says in err.splitlines()[-1]
    assert "Traceback" not in err


def test_run_asks_for_its_prices_first(evsim, tmp_path):
    """A profile without the prices that a run prints is refused before anything is simulated or written."""
    counts = tmp_path / "counts.h5"
    code, out, err = evsim("run", "model.h5", "--input", "no.npy", "--profile", "loihi", "--counts", counts)
    assert (code, out) == (2, "")
    assert "gives no e_ac_pj" in err
    assert not counts.exists()


def test_qnn_with_a_price_of_ones_own(evsim):
    """Given e_mac, the bit-matched network is charged, as a range while its share of zeros is unknown."""
    code, out, _ = evsim("energy", "counts.h5", "--model", "qnn", "--against", "qnn", "--e-mac", "0.2")
    assert code == 0
    assert "qnn against bit-matched QNN" in out


def test_energy_needs_neither_numba_nor_scipy(counted):
    """Charging counts imports nothing heavy, so that it takes well under a second."""
    argv = ["evsim", "energy", "counts.h5", "--model", "all"]
    code = (
        f"import sys; from evsim.cli.main import main; sys.argv = {argv}\n"
        "try: main()\nexcept SystemExit: pass\n"
        "heavy = {'numba', 'scipy', 'tqdm'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=counted, check=True, capture_output=True)


def test_counts_without_traffic_say_how_to_get_it(evsim, counted):
    """counted-memory on counts without traffic names the command that measures it."""
    run = golden_run(FOLDER)
    countsfile.save(counted / "plain.h5", run.counts, countsfile.origin(run.network, np.zeros(1)))
    code, _, err = evsim("energy", "plain.h5", "--model", "counted-memory")
    assert code == 2
    assert "by a run with --counts FILE" in err

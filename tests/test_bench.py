"""What the bench makes of its measurements: when a figure is settled, what is kept, what the page holds."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "benchmarks"))

import bench  # noqa: E402
import tables  # noqa: E402
from workloads import WORKLOADS  # noqa: E402

RUN = {
    "workload": "8-512", "threads": 2, "evsim_ms": 50.0, "openvino_ms": 200.0, "onnxruntime_ms": None,
    "eager_ms": 300.0, "original_ms": 500.0, "compile_ms": None, "evsim_int8_ms": None, "openvino_int8_ms": 90.0,
    "onnxruntime_int8_ms": None, "sops": 6 * 10**9, "flips": 0, "opponent_flips": {}, "unsettled": [],
    "peak_rss_mb": 300.0,
}  # fmt: skip
RESULT = {
    "machine": {"cpu": "Chip", "family_model": "1/2", "cores": 2, "avx512": True, "python": "3.11", "numba": "1",
                "numpy": "2", "torch": None, "openvino": "2026.4", "onnxruntime": None},
    "roofline_gacc_s": 60.0,
    "runs": [RUN, RUN | {"workload": "sdt-v1 sdt-8-512", "threads": 1}],
    "layers": [],
    "kinds": [],
    "images_per_s": {"evsim": 30.0, "evsim_int8": None, "openvino": 6.0, "eager": None},
    "images_per_s_ways": {"openvino": {"one process": 5.0, "2 streams": 6.0}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("medians", "agree"),
    [([100.0], False), ([100.0, 104.0], False), ([100.0, 102.9], True), ([104.0, 130.0, 101.5], True)],
)
def test_a_figure_is_settled_once_its_two_least_medians_agree(medians, agree):
    """Rounds that others disturbed are left behind."""
    assert bench.settled(medians) is agree


def test_runtimes_run_in_turn_until_each_is_settled(monkeypatch):
    """The least counts, what is absent is asked once, and what never settles is named after the last round."""
    times = {"evsim": iter([50.0, 49.0]), "openvino": iter([300.0, 250.0, 251.0]),
             "eager": iter([900.0, 700.0, 500.0, 300.0])}  # fmt: skip
    asked = []

    def child(_script, _workload, name, *_arguments, **_more):
        asked.append(name)
        return {"ms": next(times[name])} if name in times else {"absent": f"{name}: not installed"}

    monkeypatch.setattr(bench, "child", child)
    best, loose = bench.alone(WORKLOADS["8-512"], 1, ["evsim", "onnxruntime", "openvino", "eager"], 4)
    assert asked == [
        "evsim",
        "onnxruntime",
        "openvino",
        "eager",
        "evsim",
        "openvino",
        "eager",
        "openvino",
        "eager",
        "eager",
    ]
    assert {name: got["ms"] for name, got in best.items()} == {"evsim": 49.0, "openvino": 250.0, "eager": 300.0}
    assert loose == ["eager"]


def test_a_runtime_that_computes_something_else_is_refused(monkeypatch, capsys):
    """A few values may differ where rounding decides; many in the first layer that differs are another network."""
    flips = {"openvino": (5, 1, 10**6), "onnxruntime": (5000, 5000, 10**6), "openvino_int8": (9 * 10**5, 1, 10**6)}

    def child(_script, _workload, name, *_arguments):
        if name not in flips:
            return {"absent": name}
        return dict(zip(("flips", "first_flips", "first_neurons"), flips[name], strict=True))

    monkeypatch.setattr(bench, "child", child)
    good, counted = bench.accepted(WORKLOADS["8-512"])
    assert good == ["openvino", "openvino_int8"]
    assert counted == {name: values[0] for name, values in flips.items()}
    assert "8-512: onnxruntime refused, it differs from evsim in 5000 of 1000000 values" in capsys.readouterr().err


def test_an_opponent_that_fails_is_absent_and_evsim_is_not(monkeypatch, capsys):
    """Its cells stay empty, and the bench goes on."""
    monkeypatch.setattr(bench, "HERE", ROOT / "tests" / "data")  # no script is there
    assert "failed" in bench.child("runtimes.py", "8-512", "openvino")["absent"]
    assert "runtimes.py 8-512 openvino failed" in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"runtimes.py 8-512 evsim failed"):
        bench.child("runtimes.py", "8-512", "evsim")


def test_each_piece_is_kept_as_soon_as_it_is_measured(monkeypatch, tmp_path):
    """What fails later loses nothing, and pieces that were measured before stay where they are asked for."""
    out = tmp_path / "bench.json"
    out.write_text(json.dumps(RESULT | {"activity": "old"}))
    monkeypatch.setattr(bench, "machine", dict)
    monkeypatch.setattr(bench, "child", lambda *_arguments: 70.0)
    monkeypatch.setattr(
        bench, "measured", lambda *_arguments: {"runs": [RUN | {"evsim_ms": 40.0}], "layers": [], "kinds": []}
    )
    monkeypatch.setattr(bench, "images", lambda: sys.exit("no images"))
    monkeypatch.setattr(
        sys, "argv", ["bench.py", "--only", "8-512", "--part", "runs", "images", "--add", "--out", str(out)]
    )
    with pytest.raises(SystemExit, match="no images"):
        bench.main()
    kept = json.loads(out.read_text())
    assert [row["evsim_ms"] for row in kept["runs"]] == [40.0, 50.0]
    assert (kept["activity"], kept["roofline_gacc_s"]) == ("old", 70.0)


def test_rows_that_were_not_measured_anew_are_kept():
    """Pieces of the bench are put together, in the order of the workloads."""
    new = {"runs": [RUN | {"workload": "8-768"}, RUN | {"evsim_ms": 40.0}], "layers": [], "kinds": [],
           "roofline_gacc_s": 50.0, "machine": {}}  # fmt: skip
    whole = bench.merged(RESULT, new)
    assert [(row["workload"], row["evsim_ms"]) for row in whole["runs"]] == [
        ("8-512", 40.0), ("8-768", 50.0), ("sdt-v1 sdt-8-512", 50.0),
    ]  # fmt: skip
    assert whole["roofline_gacc_s"] == 60.0
    assert whole["images_per_s"] == RESULT["images_per_s"]


def test_tables_leave_out_what_was_not_measured():
    """A ratio stands where both times are known; families have a table of their own."""
    made = tables.all_tables(RESULT)
    assert (
        "| 8-512 | 2 | 50.0 | 200 ms, 4.00x | - | 300 ms, 6.00x | 500 ms, 10.00x | - | 6.00 | 1.00 | 0 | 300 |"
        in made["runs"]
    )
    assert "sdt" not in made["runs"]
    assert "| sdt-v1 sdt-8-512 | 50.0 | 200 ms, 4.00x | - | 300 ms, 6.00x | 6.00 | 0.50 | 0 | 300 |" in made["families"]
    assert "| 8-512 | 2 | - | 90 ms | - | 50.0 | - |" in made["integers"]
    assert made["images"].splitlines()[2:] == [
        "| evsim | 30.00 |  | 1.00x |",
        "| OpenVINO | 6.00 | 2 streams | 5.00x |",
    ]
    assert made["machine"].startswith(
        "Chip (family/model 1/2), 2 cores, AVX-512; OpenVINO 2026.4, numba 1, Python 3.11;"
    )
    assert made["activity"] == made["startup"] == made["layers"] == ""


def test_the_page_has_a_place_for_every_table(tmp_path):
    """What has rows is put between its markers, twice to the same page; what has none stays."""
    page = tmp_path / "performance.md"
    page.write_text(tables.PAGE.read_text())
    old = re.findall(r"<!-- bench:activity -->(.*?)<!-- bench:end -->", page.read_text(), re.DOTALL)
    tables.write(RESULT, page)
    once = page.read_text()
    tables.write(json.loads(json.dumps(RESULT)), page)
    assert page.read_text() == once
    for name, table in tables.all_tables(RESULT).items():
        assert once.count(f"<!-- bench:{name} -->") == 1
        assert table in once
    assert re.findall(r"<!-- bench:activity -->(.*?)<!-- bench:end -->", once, re.DOTALL) == old
    with pytest.raises(SystemExit, match="no markers <!-- bench:runs -->"):
        tables.put("a page", "runs", "a table")

"""evsim against dense runtimes: the tables of docs/performance.md, measured here and now.

Run as ``make bench`` (an hour and a half; ``--only`` and ``--part`` measure some of it, ``--add`` keeps the rest of
bench.json) or ``make bench-quick`` (8-512 on one thread). Needs the extra `bench` and spikingjelly==0.0.0.0.12; what is
not installed is named once, and its cells stay empty. Prints tables and writes bench.json; ``--write`` also puts the
tables into docs/performance.md.

Each runtime runs alone on the machine, in a process of its own, all in turn, round after round, until the two least
medians of each lie within 3 % of each other, but for 6 rounds at most; the least is its figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

import tables
from workloads import FOLDER, ROOT, WORKLOADS, Workload

HERE = Path(__file__).parent
EVSIM = str(Path(sys.executable).parent / "evsim")

SECONDS = 4.0
WITHIN = 1.03
ROUNDS = 6
"""A figure is settled once its two least medians agree so well; after so many rounds it stays as it is."""

MOST_FLIPS = 1e-4
"""Of what a layer of neurons emits may differ, in the first layer that differs: more is another network."""

DENSE = ("openvino", "onnxruntime", "openvino_int8", "onnxruntime_int8")
ALL = ("evsim", "evsim_int8", *DENSE, "eager")
SPIKINGFORMER = ("original", "compiled")
"""Runtimes of every workload, and those that only Spikingformer has."""

OTHERS = {*ALL, *SPIKINGFORMER} - {"evsim", "evsim_int8"}

PARTS = ("runs", "layers", "images", "activity", "startup")
UNDER: list[str] = []
"""A command that starts each measurement, such as one that holds other programs still."""

MORE: list[str] = []
"""How long each process runs."""

SAID: set[str] = set()


def child(script: str, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    """Run a script of this folder in a process of its own; return the JSON that it prints.

    An opponent that fails is named and absent; where evsim fails, the bench ends.
    """
    opponent = not OTHERS.isdisjoint(arguments)
    under = UNDER if script != "workloads.py" and "--check" not in arguments else []
    command = [*under, sys.executable, str(HERE / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | (environment or {}))
    if done.returncode:
        said = f"{script} {' '.join(arguments)} failed:\n{done.stderr[-2000:]}"
        if opponent:
            say(said)
            return {"absent": said}
        sys.exit(said)
    result = json.loads(done.stdout.splitlines()[-1])
    if isinstance(result, dict) and "absent" in result:
        say(result["absent"])
    return result


def say(line: str) -> None:
    """Print a line to the terminal, once."""
    if line not in SAID:
        SAID.add(line)
        sys.stderr.write(line + "\n")


def installed(name: str) -> str | None:
    """Return the release of a package; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def timed(*command: str, **environment: str) -> tuple[float, float]:
    """Run a command; return its wall seconds, and the MB of memory that it held at its peak.

    Linux counts what this process held when it started the other: nothing big may be imported or made in here.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - begin, usage.ru_maxrss / 1024


def machine() -> dict:
    """Say what this was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    facts = dict(line.split(":", 1) for line in lines if ":" in line)
    facts = {key.strip(): value.strip() for key, value in facts.items()}
    return {
        "cpu": facts.get("model name", platform.processor()),
        "family_model": f"{facts.get('cpu family')}/{facts.get('model')}",
        "cores": len(os.sched_getaffinity(0)),
        "avx512": "avx512f" in facts.get("flags", "") and "NUMBA_CPU_FEATURES" not in os.environ,
        "python": platform.python_version(),
        **{name: installed(name) for name in ("numpy", "numba", "torch", "openvino", "onnxruntime")},
    }


def startup() -> dict:
    """Time the command line: help, the demo's run warm, and the same with nothing compiled yet."""
    demo = tempfile.mkdtemp(prefix="evsim-bench-")
    timed(EVSIM, "demo", "--save", demo)
    run = (EVSIM, "run", f"{demo}/model.h5", "--input", f"{demo}/dvs_sample.aedat")
    timed(*run)
    with tempfile.TemporaryDirectory() as empty:
        first, _ = timed(*run, NUMBA_CACHE_DIR=empty)
    return {
        "help_s": round(statistics.median(timed(EVSIM, "--help")[0] for _ in range(5)), 3),
        "demo_s": round(statistics.median(timed(*run)[0] for _ in range(5)), 3),
        "first_run_s": round(first, 2),
    }


def settled(medians: list[float]) -> bool:
    """Whether the two least medians agree."""
    return len(medians) > 1 and sorted(medians)[1] <= WITHIN * min(medians)


def alone(workload: Workload, threads: int, runtimes: Iterable[str], rounds: int) -> tuple[dict[str, Any], list[str]]:
    """Time runtimes in turn until their figures are settled; return the best of each, and which are not."""
    best: dict[str, Any] = {}
    medians: dict[str, list[float]] = {name: [] for name in runtimes}
    ahead = list(medians)
    while ahead:
        for name in list(ahead):
            environment = {"TORCHINDUCTOR_CACHE_DIR": str(FOLDER / "inductor")}
            got = child("runtimes.py", workload.name, name, "--threads", str(threads), *MORE, environment=environment)
            if "absent" in got:
                ahead.remove(name)
                continue
            medians[name].append(got["ms"])
            if got["ms"] == min(medians[name]):
                best[name] = got
        ahead = [name for name in ahead if not settled(medians[name]) and len(medians[name]) < rounds]
    return best, [name for name, values in medians.items() if values and not settled(values)]


def accepted(workload: Workload) -> tuple[list[str], dict[str, int]]:
    """Return the dense runtimes that compute the same as evsim, and how many values each emits otherwise."""
    good, flips = [], {}
    for name in DENSE:
        got = child("runtimes.py", workload.name, name, "--check")
        if "absent" in got:
            continue
        flips[name] = got["flips"]
        if got["first_flips"] <= MOST_FLIPS * got["first_neurons"]:
            good.append(name)
        else:
            say(f"{workload.name}: {name} refused, it differs from evsim in {got['first_flips']} of "
                f"{got['first_neurons']} values of one layer")  # fmt: skip
    return good, flips


def peak(workload: Workload, model: Path) -> float:
    """Return the most MB of memory that `evsim run` held; the first of two runs may compile, which takes more."""
    return round(min(timed(EVSIM, "run", str(model), "--input", str(workload.sample))[1] for _ in range(2)), 1)


def measured(workload: Workload, threads: Iterable[int], parts: set[str], rounds: int) -> dict[str, list]:
    """Measure one workload; return its rows."""
    rows: dict[str, list] = {"runs": [], "layers": [], "kinds": []}
    child("workloads.py", workload.name)
    good, opponent_flips = accepted(workload) if "runs" in parts else ([], {})
    memory = {"peak_rss_mb": peak(workload, workload.model)}
    if workload.integers.exists():
        memory["int8_peak_rss_mb"] = peak(workload, workload.integers)
    for count in threads:
        say(f"{workload.name} on {count} thread(s) ...")
        got: dict[str, Any] = {"run": {"flips": None}, "layers": []}
        if installed("torch"):
            got = child("contest.py", workload.name, "--threads", str(count))
        else:
            say("torch is not installed: neither flips nor layers; pip install '.[bench]'")
        rows["layers"] += got["layers"]
        rows["kinds"] += got.get("kinds", [])
        if "runs" in parts:
            names = [name for name in ALL if name not in DENSE or name in good]
            best, loose = alone(workload, count, [*names, *(() if workload.of_family else SPIKINGFORMER)], rounds)
            figures = {f"{name}_ms": round(best[name]["ms"], 2) if name in best else None
                       for name in (*ALL, *SPIKINGFORMER)}  # fmt: skip
            figures["compile_ms"] = figures.pop("compiled_ms")
            rows["runs"].append(
                {"workload": workload.name, "threads": count}
                | figures
                | {"sops": best["evsim"]["sops"], "flips": got["run"]["flips"], "opponent_flips": opponent_flips,
                   "unsettled": loose} | memory
            )  # fmt: skip
    return rows


def images() -> dict[str, Any]:
    """Return the images per second of each runtime on all cores, on 8-512, and how it came to them."""
    got = {name: child("throughput.py", "8-512", name, *MORE) for name in ALL}
    return {
        "images_per_s": {name: one.get("images_per_s") for name, one in got.items()},
        "images_per_s_ways": {name: one["all"] for name, one in got.items() if "all" in one},
        "two_images_two_cores": child("alone.py", "images"),
    }


def merged(old: dict, new: dict) -> dict:
    """Return new rows, and those old ones that were not measured anew."""
    result = old | new
    for key in ("runs", "layers", "kinds"):
        fresh = {(row["workload"], row["threads"]) for row in new[key]}
        kept = [row for row in old.get(key, []) if (row["workload"], row["threads"]) not in fresh]
        order = list(WORKLOADS)
        result[key] = sorted(kept + new[key], key=lambda row: (order.index(row["workload"]), row["threads"]))
    result["roofline_gacc_s"] = max(old.get("roofline_gacc_s", 0.0), new["roofline_gacc_s"])
    return result


def main() -> None:
    """Measure, print, write bench.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="8-512 on one thread alone")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, help="rows of these workloads alone")
    parser.add_argument("--part", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="for Spikingformer's rows")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--add", action="store_true", help="keep what bench.json holds beside")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--under", type=shlex.split, default=[], help="a command that starts each measurement")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="that each process runs")
    parser.add_argument("--out", type=Path, default=ROOT / "bench.json")
    options = parser.parse_args()
    UNDER[:], MORE[:] = options.under, ["--seconds", str(options.seconds)]
    quick = options.quick
    parts = set(options.part or (("runs", "layers") if quick or options.only else PARTS))
    names = ["8-512"] if quick else options.only or list(WORKLOADS)
    result: dict = {"machine": machine(), "roofline_gacc_s": 0.0, "runs": [], "layers": [], "kinds": []}
    old = json.loads(options.out.read_text()) if options.add and options.out.exists() else None

    def save() -> dict:
        """Write what is there so far: an hour of measurements outlives what ends the next one."""
        whole = merged(old, result) if old else result
        temporary = options.out.with_suffix(".part")
        temporary.write_text(json.dumps(whole, indent=1) + "\n")
        temporary.replace(options.out)
        return whole

    if parts & {"runs", "layers"}:
        result["roofline_gacc_s"] = round(child("alone.py", "roofline"), 2)
        for name in names:
            one = quick or WORKLOADS[name].of_family
            rows = measured(WORKLOADS[name], (1,) if one else options.threads, parts, 2 if quick else options.rounds)
            for key in ("runs", "layers", "kinds"):
                result[key] += rows[key]
            save()
    more = {"images": images, "activity": lambda: {"activity": child("alone.py", "activity")},
            "startup": lambda: {"startup": startup()}}  # fmt: skip
    for part, measure in more.items():
        if part in parts:
            result |= measure()
            save()
    result = save()
    print(tables.printed(result))
    if options.write:
        tables.write(result)


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()

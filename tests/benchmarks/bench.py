"""evsim against dense PyTorch: the table of docs/performance.md, measured here and now.

Run as ``make bench`` (about half an hour; PyTorch compiles eight times) or ``make bench-quick`` (8-512 on one thread,
under 4 minutes). Needs torch==2.13.0 and spikingjelly==0.0.0.0.12. Prints a table and writes bench.json.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from workloads import FOLDER, ROOT, WORKLOADS

HERE = Path(__file__).parent
EVSIM = str(Path(sys.executable).parent / "evsim")


def child(script: str, *arguments: str):
    """Run a script of this folder in a process of its own; return the JSON that it prints."""
    done = subprocess.run([sys.executable, str(HERE / script), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{script} {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


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
        "cores": os.cpu_count(),
        "avx512": "avx512f" in facts.get("flags", ""),
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "numba": version("numba"),
        "torch": version("torch"),
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


def table(result: dict) -> str:
    """Return the result as Markdown."""
    facts = result["machine"]
    versions = f"torch {facts['torch']}, numba {facts['numba']}, Python {facts['python']}"
    vectors = "AVX-512" if facts["avx512"] else "no AVX-512"
    rate = f"L1 add rate {result['roofline_gacc_s']:.1f} Gacc/s"
    chip = f"{facts['cpu']} (family/model {facts['family_model']})"
    lines = [
        f"{chip}, {facts['cores']} cores, {vectors}; {versions}; {rate}.",
        "",
        "| network | threads | evsim ms | original | eager | compiled | G SOP | time / (SOPs / L1 rate) | flips | MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for run in result["runs"]:
        against = [
            f"{run[key]:.0f} ms, {run[key] / run['evsim_ms']:.2f}x" if run.get(key) else "-"
            for key in ("original_ms", "eager_ms", "compile_ms")
        ]
        ideal = run["sops"] / result["roofline_gacc_s"] / 1e6 / run["threads"]
        lines.append(
            f"| {run['workload']} | {run['threads']} | {run['evsim_ms']:.1f} | {' | '.join(against)} | "
            f"{run['sops'] / 1e9:.2f} | {run['evsim_ms'] / ideal:.2f} | {run['flips']} | {run['peak_rss_mb']:.0f} |"
        )
    lines += [
        "",
        "| layers | threads | evsim ms | eager ms | ratio | Gacc/s | share of L1 rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in grouped(result["layers"]):
        dense = row["eager_ms"]
        share = row["gacc_s"] / result["roofline_gacc_s"] / row["threads"]
        lines.append(
            f"| {row['workload']} {row['name']} | {row['threads']} | {row['evsim_ms']:.2f} | {dense:.2f} | "
            f"{dense / row['evsim_ms']:.1f} | {row['gacc_s']:.1f} | {share:.2f} |"
        )
    if result["kinds"]:
        lines += ["", "| network | layers | evsim ms | eager ms | ratio |", "|---|---|---|---|---|"]
    for row in result["kinds"]:
        ratio = f"{row['eager_ms'] / row['evsim_ms']:.1f}" if row["evsim_ms"] else "-"
        lines.append(f"| {row['workload']} | {row['kind']} | {row['evsim_ms']:.2f} | {row['eager_ms']:.2f} | {ratio} |")
    for key in ("activity", "startup", "two_images_two_cores"):
        if key in result:
            lines += ["", f"{key}: {json.dumps(result[key])}"]
    return "\n".join(lines)


def grouped(layers: list[dict]) -> list[dict]:
    """Sum the rows of equal layers over all blocks."""
    groups: dict[tuple, dict] = {}
    for row in layers:
        if row["eager_ms"] is None or not row["gacc_s"]:
            continue
        parts = ["*" if part.isdigit() else part for part in row["name"].split(".")]
        key = (row["workload"], row["threads"], ".".join(parts))
        group = groups.setdefault(key, {"workload": key[0], "threads": key[1], "name": key[2], "evsim_ms": 0.0,
                                        "eager_ms": 0.0, "gacc": 0.0})  # fmt: skip
        group["evsim_ms"] += row["evsim_ms"]
        group["eager_ms"] += row["eager_ms"]
        group["gacc"] += row["gacc_s"] * row["evsim_ms"]
    return [group | {"gacc_s": group["gacc"] / group["evsim_ms"]} for group in groups.values()]


def main() -> None:
    """Measure, print, write bench.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="8-512 on one thread alone")
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, help="these workloads alone")
    parser.add_argument("--out", type=Path, default=ROOT / "bench.json")
    options = parser.parse_args()
    names = ["8-512"] if options.quick else options.only or list(WORKLOADS)
    result: dict = {"machine": machine(), "roofline_gacc_s": 0.0, "runs": [], "layers": [], "kinds": []}
    for name in names:
        workload = WORKLOADS[name]
        child("workloads.py", name)
        _, memory = timed(EVSIM, "run", str(workload.model), "--input", str(workload.sample))
        for threads in (1,) if options.quick or workload.of_family else (1, 2):
            sys.stderr.write(f"{name} on {threads} thread(s) ...\n")
            got = child("contest.py", name, "--threads", str(threads))
            got["run"]["compile_ms"] = got["run"].pop("compiled_ms", None)
            result["runs"].append(got["run"] | {"peak_rss_mb": round(memory, 1)})
            result["layers"] += got["layers"]
            result["kinds"] += got.get("kinds", [])
            result["roofline_gacc_s"] = max(result["roofline_gacc_s"], round(got["roofline_gacc_s"], 2))
    if not options.quick:
        result["activity"] = child("alone.py", "activity")
        result["startup"] = startup()
        result["two_images_two_cores"] = child("alone.py", "images")
    temporary = options.out.with_suffix(".part")
    temporary.write_text(json.dumps(result, indent=1) + "\n")
    temporary.replace(options.out)
    print(table(result))


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()

"""Throughput and memory of `evsim eval` by workers: ``python tests/benchmarks/scale.py [--model NAME] [--samples N]``.

A synthetic model runs on random images, by `evsim eval` as users call it; samples per second are its own `throughput`,
after start-up. Memory is read from /proc while the workers run: what a process shares with others counts in parts
(Pss), what is its own alone (private).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import evsim

EVSIM = Path(sys.executable).with_name("evsim")
MB = 1 << 20


def main() -> None:
    """Make model and data, run, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="spikingformer-8-512-imagenet", help="preset of evsim synthesize")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--workers", default="1,2", help="numbers with commas between")
    parser.add_argument("--data", help="a data set in place of random images, and --h5 its model")
    parser.add_argument("--h5", help="a model.h5 in place of a preset")
    parser.add_argument("--more", default="", help="further options of evsim eval, in one text")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        model = chosen.h5 or synthesized(chosen.model, place)
        data = chosen.data or images(model, chosen.samples, place)
        print(
            "| workers | samples | seconds | per second | x one | private MB each | Pss MB each | shared weights MB |"
        )
        print("|---|---|---|---|---|---|---|---|")
        one = 0.0
        for workers in map(int, chosen.workers.split(",")):
            speed, memory = measured(model, data, workers, chosen.more.split(), place)
            one = one or speed["samples_per_second"]
            print(
                f"| {workers} | {speed['samples']} | {speed['seconds']:.2f} | {speed['samples_per_second']:.2f} "
                f"| {speed['samples_per_second'] / one:.2f} | {' | '.join(memory)} |"
            )


def synthesized(preset: str, place: Path) -> Path:
    """Return a synthetic model's file."""
    subprocess.run([EVSIM, "synthesize", preset, "--out", place / "model.h5"], check=True, stdout=subprocess.DEVNULL)
    return place / "model.h5"


def images(model: str | Path, number: int, place: Path) -> Path:
    """Write random inputs of a model's size, one class."""
    spec, random = evsim.load(model).spec, np.random.default_rng(0)
    (place / "data" / "0").mkdir(parents=True)
    for i in range(number):
        size = (spec.channels, spec.height, spec.width)
        values = random.standard_normal(size).astype(np.float32)
        if spec.kind != "image":
            values = random.poisson(0.05, (spec.timesteps, *size)).astype(np.uint8)
        np.save(place / "data" / "0" / f"{i:06}.npy", values)
    return place / "data"


def measured(model, data, workers: int, more: list[str], place: Path) -> tuple[dict[str, float], list[str]]:
    """Run `evsim eval` and return its throughput, and the most memory of a worker in MB."""
    target = place / f"{workers}.json"
    command = [EVSIM, "eval", model, data, "--workers", str(workers), "--threads", "1", "--json", target, *more]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    most = [0, 0, 0]
    while process.poll() is None:
        time.sleep(0.2)
        for child in workers_of(process.pid) if workers > 1 else [process.pid]:
            most = [max(a, b) for a, b in zip(most, memory_of(child), strict=True)]
    if process.returncode:
        sys.exit(f"evsim eval ended with {process.returncode}")
    return json.loads(target.read_text())["throughput"], [f"{size / MB:.0f}" for size in most]


def workers_of(parent: int) -> list[int]:
    """Return the workers of a process."""
    found = []
    for path in Path(f"/proc/{parent}/task").glob("*/children"):
        found += [int(child) for child in path.read_text().split()]
    return [child for child in found if b"evaluation.worker" in read(f"/proc/{child}/cmdline")]


def memory_of(process: int) -> tuple[int, int, int]:
    """Return private bytes, the proportional set, and the mapped packed weights."""
    rollup = read(f"/proc/{process}/smaps_rollup").decode().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in rollup[1:] if line.split()}
    shared, inside = 0, False
    for line in read(f"/proc/{process}/smaps").decode(errors="replace").splitlines():
        if "-" in line.split(" ")[0]:
            inside = "memfd:evsim" in line
        elif inside and line.startswith("Size:"):
            shared += int(line.split()[1]) * 1024
    return sizes.get("Private_Clean", 0) + sizes.get("Private_Dirty", 0), sizes.get("Pss", 0), shared


def read(path: str) -> bytes:
    """Return a file of /proc; nothing where its process has ended."""
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    main()

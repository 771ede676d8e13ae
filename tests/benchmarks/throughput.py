"""Images per second of a runtime on all cores: ``python tests/benchmarks/throughput.py 8-512 openvino``.

Tried are a process for each core, one process on all cores and, where a runtime has them, streams in one process and
several images at once; printed as JSON are the best and all. Each is run for some seconds, after all have begun.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import time
from functools import partial

from runtimes import INTEGERS, RUNTIMES, WARM, AbsentError, base, demand, model_of, opened, openvino_model
from workloads import WORKLOADS

SECONDS = 5.0
BATCHES = {"openvino": (1, 4), "onnxruntime": (1, 4), "eager": (1, 4)}
"""Images at once; evsim takes them one by one."""


def rate(run, images: int, seconds: float) -> float:
    """Return the images per second of runs of so many images."""
    runs, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds or not runs:
        run()
        runs += 1
    return runs * images / spent


def worker(name: str, runtime: str, batch: int, seconds: float, barrier, results) -> None:
    """Run once everybody is ready."""
    run = opened(WORKLOADS[name], runtime, 1, batch)
    for _ in range(WARM):
        run()
    barrier.wait()
    results.put(rate(run, batch, seconds))


def processes(name: str, runtime: str, batch: int, cores: int, seconds: float) -> float:
    """Return the images per second of a process on each core."""
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(cores), spawn.Queue()
    arguments = (name, runtime, batch, seconds, barrier, results)
    workers = [spawn.Process(target=worker, args=arguments) for _ in range(cores)]
    for process in workers:
        process.start()
    try:
        return sum(results.get(timeout=seconds + 120) for _ in workers)
    finally:
        for process in workers:
            process.terminate()
            process.join()


def one_process(name: str, runtime: str, batch: int, cores: int, seconds: float) -> float:
    """Return the images per second of one process on all cores."""
    run = opened(WORKLOADS[name], runtime, cores, batch)
    for _ in range(WARM):
        run()
    return rate(run, batch, seconds)


def streams(name: str, runtime: str, batch: int, cores: int, seconds: float) -> float:
    """Return the images per second of OpenVINO's queue of requests, a stream for each core."""
    import openvino

    model, x = model_of(WORKLOADS[name], runtime, batch)
    queue = openvino.AsyncInferQueue(openvino_model(model, cores, cores), cores)
    ended = []
    queue.set_callback(lambda _request, _data: ended.append(time.perf_counter()))
    for _ in range(WARM * cores):
        queue.start_async({0: x})
    queue.wait_all()
    ended.clear()
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        queue.start_async({0: x})  # waits for a request that is free
    queue.wait_all()
    return len(ended) * batch / (ended[-1] - begin)


def ways(runtime: str, cores: int):
    """Yield what to try: its description, and a function of the workload's name, cores and seconds."""
    for batch in BATCHES.get(base(runtime), (1,)):
        images = "" if batch == 1 else f", {batch} images at once"
        yield f"one process, {cores} threads{images}", partial(one_process, runtime=runtime, batch=batch)
        if base(runtime) == "openvino":
            yield f"{cores} streams{images}", partial(streams, runtime=runtime, batch=batch)
        else:
            yield f"{cores} processes{images}", partial(processes, runtime=runtime, batch=batch)


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("runtime", choices=[*RUNTIMES, *INTEGERS])
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=SECONDS)
    options = parser.parse_args()
    try:
        demand(options.runtime)
        rates = {
            way: round(function(options.workload, cores=options.cores, seconds=options.seconds), 2)
            for way, function in ways(options.runtime, options.cores)
        }
        how = max(rates, key=rates.get)
        result = {"images_per_s": rates[how], "how": how, "all": rates}
    except AbsentError as reason:
        result = {"absent": str(reason)}
    json.dump(result, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()

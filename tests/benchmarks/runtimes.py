"""One runtime alone in a process: how long it takes for an input, and whether it computes the same.

``python tests/benchmarks/runtimes.py 8-512 openvino --threads 1`` prints the median of its runs in milliseconds as
JSON, ``--check`` what its neurons emit otherwise than evsim in float64. A runtime that is not installed, or a network
that it cannot compute, is `absent`, with the reason. No process holds two runtimes: their threads wait for work by
spinning.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from quantized import integers
from workloads import WORKLOADS, Workload, prepare, reference

from evsim import modelfile
from evsim.errors import EvsimError
from evsim.network import Network

Run = Callable[[], Any]

SECONDS = 4.0
FEWEST = 5
"""A process runs for so long, and so many times at least."""

WARM = 2
"""Runs before those that are timed."""

NEEDS = {
    "openvino": ("onnx", "openvino"),
    "onnxruntime": ("onnx", "onnxruntime"),
    "eager": ("torch",),
    "original": ("torch", "spikingjelly"),
    "compiled": ("torch",),
}
"""The packages of each runtime beside evsim."""

RUNTIMES = ("evsim", "openvino", "onnxruntime", "eager", "original", "compiled")
INTEGERS = ("evsim_int8", "openvino_int8", "onnxruntime_int8")
FORMS = {"openvino": "float32", "onnxruntime": "float32", "openvino_int8": "qdq", "onnxruntime_int8": "integer"}
"""Of the ONNX graph that a runtime is given."""


class AbsentError(Exception):
    """A runtime that cannot be had here; the message is the reason."""


def base(runtime: str) -> str:
    """Return the name of a runtime without its precision."""
    return runtime.removesuffix("_int8")


def demand(runtime: str) -> None:
    """Raise if a package that a runtime needs is not installed."""
    missing = [name for name in NEEDS.get(base(runtime), ()) if importlib.util.find_spec(name) is None]
    if missing:
        raise AbsentError(f"{runtime}: {' and '.join(missing)} not installed; pip install '.[bench]'")


def array(workload: Workload, network: Network, batch: int) -> np.ndarray:
    """Return the input as dense graphs take it, `batch` times: [batch, C, H, W] or [T * batch, C, H, W]."""
    sample = np.load(workload.sample).astype(np.float32)
    still = network.spec.kind == "image"
    return np.repeat(sample[None] if still else sample, batch, axis=0)


def network_of(workload: Workload, runtime: str) -> Network:
    """Return the network that a runtime computes."""
    prepare(workload)
    return integers(workload).network if runtime in INTEGERS else modelfile.load(workload.model)


def open_evsim(workload: Workload, runtime: str, threads: int) -> Run:
    """Return evsim's run as users get it, with exact counting."""
    from evsim.engine import Simulator
    from evsim.observers import Counter

    prepare(workload)
    if runtime == "evsim_int8":
        own = integers(workload)
        if own.refusal:
            raise AbsentError(f"evsim_int8, {workload.name}: {own.refusal}")
        network, more = own.network, {"precision": "int8"}
    else:
        network, more = modelfile.load(workload.model), {}
    try:
        simulator = Simulator(network, threads=threads, **more)
    except EvsimError as error:
        if more:
            raise AbsentError(f"evsim_int8, {workload.name}: {error}") from error
        raise
    sample = np.load(workload.sample)

    def run():
        counter = Counter(network, simulator.timesteps)
        simulator.run(sample, [counter])
        return counter.counts()

    return run


def model_of(workload: Workload, runtime: str, batch: int = 1, *, watched: bool = False) -> tuple[bytes, np.ndarray]:
    """Return a workload as a dense ONNX model, and its input."""
    from onnxgraph import Graph

    network = network_of(workload, runtime)
    try:
        model = Graph(network, batch, FORMS[runtime], watched=watched).model()
    except KeyError as error:
        raise AbsentError(f"{runtime}: {error} has no ONNX form in onnxprimitives.py") from error
    return model.SerializeToString(), array(workload, network, batch)


def openvino_model(model: bytes, threads: int, streams: int = 1) -> Any:
    """Return a model compiled by OpenVINO."""
    import openvino

    core = openvino.Core()
    hint = "LATENCY" if streams == 1 else "THROUGHPUT"
    return core.compile_model(core.read_model(model), "CPU", {
        "PERFORMANCE_HINT": hint,
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",  # where the CPU has bfloat16, half of the spikes would be others
    })  # fmt: skip


def onnxruntime_session(model: bytes, threads: int) -> Any:
    """Return a session of ONNX Runtime."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def open_openvino(workload: Workload, runtime: str, threads: int, batch: int = 1) -> Run:
    """Return OpenVINO's run."""
    model, x = model_of(workload, runtime, batch)
    request = openvino_model(model, threads).create_infer_request()
    return lambda: request.infer({0: x})


def open_onnxruntime(workload: Workload, runtime: str, threads: int, batch: int = 1) -> Run:
    """Return ONNX Runtime's run."""
    model, x = model_of(workload, runtime, batch)
    session = onnxruntime_session(model, threads)
    return lambda: session.run(["logits"], {"x": x})


def open_torch(workload: Workload, runtime: str, threads: int, batch: int = 1) -> Run:
    """Return the run of a dense form in PyTorch: of Spikingformer's own forms, or of the network's."""
    import torch

    torch.set_num_threads(threads)
    torch.inference_mode().__enter__()
    prepare(workload)
    if workload.of_family:
        from eager import Eager

        if runtime != "eager" or batch > 1:
            raise AbsentError(f"{runtime}: Spikingformer alone has that form")
        model, x = Eager(modelfile.load(workload.model)), torch.from_numpy(np.load(workload.sample))
    else:
        config, state, x = reference(workload)
        x = x.repeat_interleave(batch, x.ndim - 4)
        import opponents

        forms = {"eager": opponents.Eager, "original": opponents.Original, "compiled": opponents.Eager}
        model = forms[runtime](config, state, torch.float32).eval()
        if runtime == "compiled":
            model = torch.compile(model, dynamic=False)
    return lambda: model(x)


OPENERS = {
    "evsim": open_evsim,
    "openvino": open_openvino,
    "onnxruntime": open_onnxruntime,
    "eager": open_torch,
    "original": open_torch,
    "compiled": open_torch,
}


def opened(workload: Workload, runtime: str, threads: int, batch: int = 1) -> Run:
    """Return the run of a runtime; raise `AbsentError` where there is none."""
    demand(runtime)
    more = () if batch == 1 else (batch,)
    return OPENERS[base(runtime)](workload, runtime, threads, *more)


def timed(run: Run, seconds: float = SECONDS) -> dict[str, Any]:
    """Return the median of runs in milliseconds, the least, and their number."""
    for _ in range(WARM):
        run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < FEWEST or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return {"ms": 1e3 * statistics.median(times), "least_ms": 1e3 * min(times), "runs": len(times)}


class Emitted:
    """Observer that keeps what each stage emits, [T, P, C] by name, if its name is wanted."""

    def __init__(self, names: set[str]) -> None:
        self.names, self.maps = names, dict[str, np.ndarray]()

    def observe(self, stage, inputs, output) -> None:  # noqa: ARG002
        """Keep a packet; each carries all timesteps."""
        if stage.name in self.names:
            self.maps[stage.name] = output.dense() if hasattr(output, "dense") else output.values


def checked(workload: Workload, runtime: str) -> dict[str, Any]:
    """Return how many values neurons emit otherwise in a dense runtime than in evsim in float64, of how many.

    The runtimes with integer weights are held against the same weights in float64. One value that rounding changes can
    change many behind it: so the layer that is the first to differ stands apart. A graph that computes something else
    does so there at once, in many places.
    """
    from evsim.engine import Simulator

    demand(runtime)
    got = emitted_by(workload, runtime)
    network = network_of(workload, runtime)
    emitted = Emitted(set(got))
    Simulator(network, precision="float64").run(np.load(workload.sample), [emitted])
    if missing := got.keys() - emitted.maps.keys():
        sys.exit(f"evsim has no {sorted(missing)}")
    result = {"flips": 0, "neurons": 0, "first_flips": 0, "first_neurons": 0}
    for name, wanted in emitted.maps.items():
        maps = got[name].reshape(*got[name].shape[:2], -1).transpose(0, 2, 1)
        flips = int(np.count_nonzero(maps != wanted))
        if flips and not result["flips"]:
            result |= {"first_flips": flips, "first_neurons": wanted.size}
        result["flips"] += flips
        result["neurons"] += wanted.size
    return result


def emitted_by(workload: Workload, runtime: str) -> dict[str, np.ndarray]:
    """Return what each layer of neurons emits in a dense runtime, [T, C, H, W]."""
    model, x = model_of(workload, runtime, watched=True)
    if base(runtime) == "openvino":
        compiled = openvino_model(model, 1)
        results = compiled({0: x})
        got = {output.get_any_name(): results[output] for output in compiled.outputs}
    else:
        session = onnxruntime_session(model, 1)
        names = [output.name for output in session.get_outputs()]
        got = dict(zip(names, session.run(names, {"x": x}), strict=True))
    return {name: values for name, values in got.items() if name != "logits"}


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("runtime", choices=[*RUNTIMES, *INTEGERS])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--check", action="store_true", help="compare what neurons emit, and time nothing")
    options = parser.parse_args()
    workload = WORKLOADS[options.workload]
    try:
        if options.check:
            result = checked(workload, options.runtime)
        else:
            run = opened(workload, options.runtime, options.threads)
            result = timed(run, options.seconds)
            if base(options.runtime) == "evsim":
                result["sops"] = run().sops
    except AbsentError as reason:
        result = {"absent": str(reason)}
    json.dump(result, sys.stdout)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()

"""What ``evsim quantize`` does, apart from parsing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evsim import api
from evsim.cli import output
from evsim.cli.looks import Look
from evsim.cli.progress import Progress
from evsim.cli.words import typed
from evsim.converters import load_model
from evsim.datasets import Dataset, open_dataset
from evsim.datasets.types import Choice
from evsim.errors import OptionError
from evsim.events import ReadOptions
from evsim.files import check_outputs, exists
from evsim.modelfile import save
from evsim.network import Network
from evsim.quantized import WEIGHTS
from evsim.quantizing import Calibration, calibrate, quantize
from evsim.report.quantizing import quantized_document, quantized_report


@dataclass(frozen=True)
class Request:
    """The options of ``evsim quantize``."""

    model: str
    out: str
    weights: str
    data: str | None
    samples: int
    choice: Choice
    largest: int | None
    seed: int
    timesteps: int | None
    options: ReadOptions
    threads: int | None
    allow_memory: str | None
    json_file: str | None
    look: Look


def quantize_and_print(request: Request) -> None:
    """Load, look at data where there are any, quantize, write and print."""
    if request.weights not in WEIGHTS:
        raise OptionError(f"`weights` must be {' or '.join(WEIGHTS)}, got {request.weights}")
    if request.samples < 1:
        raise OptionError(f"`samples` must be at least 1, got {request.samples}")
    check_outputs(
        {"OUT": request.out, "--json": request.json_file}, [request.model, request.data, *request.choice.tables]
    )
    model = load_model(request.model, request.allow_memory)
    output.notes(model.notes)
    seen = None if request.data is None else _seen(request, model.network)
    outcome = quantize(
        model.network,
        request.weights,  # type: ignore[arg-type]
        seen,
        largest=request.largest,
        timesteps=request.timesteps,
    )
    save(outcome.network, request.out)
    output.show(quantized_report(outcome), quantized_document(outcome), request.json_file, request.look, kept=True)
    if request.json_file != "-" and request.look.format == "table":
        again = typed("diverge", request.out, "--input", "FILE", "--against", request.model)
        output.say(f"wrote {request.out}; what it changes shows: {again}", kept=True)


def _seen(request: Request, network: Network) -> Calibration:
    """Return what layers read of the data: of a data set, of samples drawn at random."""
    assert request.data is not None
    if exists(request.data) and Path(request.data).is_file() and request.choice == Choice() and _is_one(request.data):
        sample = api.read(request.data, network, request.timesteps, request.options)
        output.notes(sample.notes)
        return calibrate(network, [sample], 1, timesteps=request.timesteps, threads=request.threads, seed=request.seed)
    data = open_dataset(
        request.data, network.labels, request.choice.pattern, classes=network.classes, tables=request.choice.tables,
        part=request.choice.part, outside=request.choice.outside,
    )  # fmt: skip
    output.notes(data.notes)
    number = min(request.samples, len(data.samples))
    chosen = np.random.default_rng(request.seed).choice(len(data.samples), number, replace=False)
    samples = _read(data, sorted(map(int, chosen)), request, network)
    with Progress(unit="sample") as progress:
        return calibrate(
            network, samples, number, timesteps=request.timesteps, threads=request.threads, seed=request.seed,
            progress=progress,
        )  # fmt: skip


def _read(data: Dataset, chosen: list[int], request: Request, network: Network) -> Iterator[api.Sample]:
    """Yield those samples, each read when it is asked for."""
    for index in chosen:
        yield data.read(index, network, request.timesteps, request.options)


def _is_one(path: str) -> bool:
    """Whether a file is one input, and no data set."""
    from evsim.datasets import FORMATS

    return not any(each.recognises(Path(path)) for each in FORMATS)

"""What ``evsim diverge`` does, apart from parsing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from evsim import api
from evsim.audit.divergence import check_original, diverge
from evsim.cli import output
from evsim.cli.looks import Look
from evsim.cli.progress import Progress
from evsim.converters import load_model
from evsim.datasets import open_dataset
from evsim.datasets.types import Choice
from evsim.errors import OptionError
from evsim.evaluation.evaluate import evaluate
from evsim.evaluation.paired import Paired, held, paired_document
from evsim.events import ReadOptions
from evsim.files import check_outputs
from evsim.network import Network
from evsim.origin import network_digest
from evsim.quantizing.quantizer import FROM
from evsim.report.divergence import divergence_document, divergence_report
from evsim.report.paired import paired_report
from evsim.report.tables import Report


@dataclass(frozen=True)
class Request:
    """The options of ``evsim diverge``."""

    model: str
    source: str | None
    against: str | None
    data: str | None
    choice: Choice
    workers: int
    schedule: str
    timesteps: int | None
    options: ReadOptions
    threads: int | None
    allow_memory: str | None
    json_file: str | None
    look: Look


def diverge_and_print(request: Request) -> None:
    """Run in integers and in float64, compare, print and write."""
    if request.source is None and request.data is None:
        raise OptionError("nothing to compare on; give `source`, one input, or `data`, a data set")
    check_outputs(
        {"--json": request.json_file},
        [request.model, request.against, request.source, request.data, *request.choice.tables],
    )
    model = load_model(request.model, request.allow_memory)
    output.notes(model.notes)
    network, original = model.network, None
    if network.quantization is None:
        raise OptionError(f"{request.model} is not quantized; make it by: evsim quantize MODEL OUT.h5")
    if request.against is not None:
        loaded = load_model(request.against, request.allow_memory)
        original = loaded.network
        check_original(network, original)
        if network_digest(original) not in network.provenance.get(FROM, ""):
            output.warning(
                f"{request.model} was not made of {request.against}: their weights differ by more than rounding"
            )
    headline: list[str] = []
    parts: list[Any] = []
    figures: dict[str, Any] = {"schema": 1, "model": network.name}
    if request.source is not None:
        sample = api.read(request.source, network, request.timesteps, request.options)
        output.notes(sample.notes)
        with Progress(unit="run") as progress:
            outcomes = diverge(
                network, sample, original, timesteps=request.timesteps,
                schedule=request.schedule,  # type: ignore[arg-type]
                threads=request.threads, progress=progress,
            )  # fmt: skip
        report = divergence_report(outcomes)
        headline += report.headline
        parts += report.parts
        figures |= {"input": request.source, **divergence_document(outcomes)}
    if request.data is not None:
        pair = _evaluated(request, network, original or network)
        report = paired_report(pair)
        headline += report.headline
        parts += report.parts
        figures["data"] = paired_document(pair)
    output.show(Report(tuple(headline), tuple(parts)), figures, request.json_file, request.look)


def _evaluated(request: Request, network: Network, floats: Network) -> Paired:
    """Run the data set in float64 and in integers, and hold the second against the first."""
    assert request.data is not None
    data = open_dataset(
        request.data, network.labels, request.choice.pattern, classes=network.classes, tables=request.choice.tables,
        part=request.choice.part, outside=request.choice.outside,
    )  # fmt: skip
    output.notes(data.notes)
    runs: Sequence[tuple[Network, str | None]] = ((floats, "float64"), (network, None))
    outcomes = []
    for each, precision in runs:
        progress = Progress(unit="sample", delay=0.0, smoothing=0.1)
        try:
            outcomes.append(
                evaluate(
                    each, data, workers=request.workers,
                    threads=request.threads, timesteps=request.timesteps,
                    precision=precision,  # type: ignore[arg-type]
                    options=request.options, progress=progress,
                )
            )  # fmt: skip
        finally:
            progress.close()
    assert network.quantization is not None
    names = (f"{request.against or request.model}, float64", f"{request.model}, {network.quantization.weights}")
    return held(names, outcomes)

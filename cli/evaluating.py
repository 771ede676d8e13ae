"""What ``evsim eval`` does, apart from parsing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from evsim.cli import output
from evsim.cli.looks import Look
from evsim.cli.pages import check_page, command_line, write_page
from evsim.cli.prices import operation_prices
from evsim.cli.progress import Progress
from evsim.converters import load_model
from evsim.datasets import open_dataset
from evsim.energy.paper import NonSpike
from evsim.errors import OptionError, RecordingError
from evsim.evaluation.evaluate import check_out, evaluate
from evsim.evaluation.pool import check_workers
from evsim.events import ReadOptions
from evsim.files import check_input, check_outputs, write_whole
from evsim.report.evaluation import evaluation_csv, evaluation_report


@dataclass(frozen=True)
class Request:
    """The options of ``evsim eval``."""

    model: str
    data: str
    out: str | None
    resume: bool
    counts: str | None
    tables: tuple[str, ...]
    pattern: str | None
    part: str | None
    outside: bool
    strict: bool
    precision: str | None
    workers: int
    dask: str | None
    threads: int | None
    detail: bool
    seed: int
    nonspike: str
    timesteps: int | None
    options: ReadOptions
    profile: str
    allow_memory: str | None
    json_file: str | None
    csv_file: str | None
    html_file: str | None
    layers: bool
    look: Look
    sharing: bool


def evaluate_and_print(request: Request) -> None:
    """Load, run the data set, print and write what was asked for."""
    if request.nonspike not in get_args(NonSpike):
        raise OptionError(f"--nonspike must be {' or '.join(get_args(NonSpike))}, got {request.nonspike}")
    if request.seed < 0:
        raise OptionError(f"--seed must be at least 0, got {request.seed}")
    if request.resume and request.out is None:
        raise OptionError("--resume goes on with the audit that --out names; give --out")
    if request.options.trials is not None:
        check_input(request.options.trials, RecordingError, "a label csv", "give it by `trials`")
    check_workers(request.workers)
    targets = {
        "--out": request.out, "--counts": request.counts, "--json": request.json_file, "--csv": request.csv_file,
        "--html": request.html_file,
    }  # fmt: skip
    check_page(request.html_file)
    check_outputs(targets, [request.model, *request.tables])
    if request.out is not None:
        check_out(Path(request.out), resume=request.resume)
    prices = operation_prices(request.profile)
    model = load_model(request.model, request.allow_memory)
    network = model.network
    output.notes(model.notes)
    data = open_dataset(
        request.data, network.labels, request.pattern, classes=network.classes,
        tables=request.tables, part=request.part, outside=request.outside,
    )  # fmt: skip
    told: list[str] = []

    def tell(note: str) -> None:
        told.append(note)
        output.notes([note])

    progress = Progress(unit="sample", delay=0.0, smoothing=0.1)
    try:
        outcome = evaluate(
            network, data, out=request.out, resume=request.resume, workers=request.workers, dask=request.dask,
            threads=request.threads, timesteps=request.timesteps,
            precision=request.precision,  # type: ignore[arg-type]
            options=request.options, detail=request.detail, sharing=request.sharing, strict=request.strict,
            profile=prices,
            nonspike=request.nonspike,  # type: ignore[arg-type]
            seed=request.seed, progress=progress, tell=tell,
        )  # fmt: skip
    finally:
        progress.close()
    if request.counts:
        outcome.save_counts(request.counts)
    if request.csv_file not in (None, "-"):
        write_whole(str(request.csv_file), evaluation_csv(outcome).encode())
    if request.html_file:
        from evsim.report.pages import evaluation_page

        write_page(request.html_file, evaluation_page(outcome, (*model.notes, *told), command_line()))
    kept = any((request.out, request.counts, request.html_file, request.csv_file not in (None, "-")))
    report = evaluation_report(outcome, layers=request.layers)
    text = evaluation_csv(outcome).rstrip("\n") if request.csv_file == "-" else report
    output.show(text, outcome.to_dict(), request.json_file, request.look, kept=kept)

"""What ``evsim traffic`` does, apart from parsing."""

from __future__ import annotations

from dataclasses import dataclass

from evsim import api
from evsim.audit.peaks import peaks
from evsim.cli import output
from evsim.cli.counted import counts_of
from evsim.cli.looks import Look
from evsim.cli.progress import Progress
from evsim.converters import load_model
from evsim.counters import Counts
from evsim.energy import load_profile
from evsim.engine import Simulator
from evsim.errors import OptionError
from evsim.evaluation.evaluate import reading_of
from evsim.events import ReadOptions
from evsim.files import check_outputs, write_whole
from evsim.report.countscsv import counts_csv
from evsim.report.peaks import peaks_document, peaks_report


@dataclass(frozen=True)
class Request:
    """The options of ``evsim traffic``."""

    file: str
    source: str | None
    fps: float | None
    timesteps: int | None
    reading: ReadOptions
    profile: str
    threads: int | None
    allow_memory: str | None
    csv_file: str | None
    json_file: str | None
    look: Look


def measure_and_print(request: Request) -> None:
    """Load or count, find the peaks, print and write what was asked for."""
    check_outputs({"--csv": request.csv_file, "--json": request.json_file}, [request.file, request.source])
    profile = load_profile(request.profile)
    title = request.file if request.source is None else f"{request.file} on {request.source}"
    counts = _counted(request)
    outcome = peaks(counts, profile, request.fps)
    if request.csv_file not in (None, "-"):
        write_whole(str(request.csv_file), counts_csv(counts).encode())
    if request.csv_file == "-":
        output.raw(counts_csv(counts).rstrip("\n"))
        return
    kept = request.csv_file is not None
    report, document = peaks_report(outcome, title), peaks_document(outcome, title)
    output.show(report, document, request.json_file, request.look, kept=kept)


def _counted(request: Request) -> Counts:
    """Return stored counts, or those of a run that measures what moves."""
    if request.source is None:
        unheeded = {"timesteps": request.timesteps, "allow_memory": request.allow_memory, **reading_of(request.reading)}
        if idle := [f"`{name}`" for name, value in unheeded.items() if value]:
            raise OptionError(f"{', '.join(idle)} says how a model runs; give `input` too, or leave it out")
        return counts_of(request.file)
    model = load_model(request.file, request.allow_memory)
    sample = api.read(request.source, model.network, request.timesteps, request.reading)
    output.notes((*model.notes, *sample.notes))
    timesteps = sample.timesteps if request.timesteps is None else request.timesteps
    simulator = Simulator(model.network, timesteps, threads=request.threads)
    with Progress(simulator.steps) as progress:
        return api.run_on(simulator, sample, detail=True, observers=[progress]).counts

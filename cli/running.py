"""What ``evsim run`` does, apart from parsing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from evsim import api
from evsim.cli import output
from evsim.cli.looks import Look
from evsim.cli.pages import check_page, command_line, write_page
from evsim.cli.prices import operation_prices
from evsim.cli.progress import Progress
from evsim.cli.words import typed
from evsim.converters import load_model
from evsim.document import document
from evsim.energy import Profile
from evsim.energy.paper import NonSpike
from evsim.engine import Simulator
from evsim.errors import OptionError
from evsim.events import ReadOptions
from evsim.files import check_outputs, exists
from evsim.network import Network
from evsim.report.activity import activity_fields, checked_parts
from evsim.report.files import save_frames, save_spikes
from evsim.report.perfetto import save_trace
from evsim.report.run import demo_report, run_report
from evsim.timeline import Timeline

if TYPE_CHECKING:
    from evsim.audit.divergence import Divergence
    from evsim.audit.precision import PrecisionComparison

LOOK = Look()


@dataclass(frozen=True)
class Request:
    """The options of ``evsim run``."""

    model: str
    source: str
    precision: str | None
    timesteps: int | None
    schedule: str
    threads: int | None
    json_file: str | None
    record_spikes: str | None
    save_frames: str | None
    profile: str
    options: ReadOptions
    counts: str | None
    nonspike: NonSpike
    allow_memory: str | None = None
    html_file: str | None = None
    layers: bool = False
    look: Look = LOOK
    include: str | None = None
    trace: str | None = None
    sharing: bool = False

    @property
    def keeps_spikes(self) -> bool:
        """Whether the spikes are wanted: in a file, on a page, or in the JSON."""
        wanted = (self.record_spikes, self.html_file)
        return any(each is not None for each in wanted) or "spikes" in checked_parts(self.include)

    @property
    def detailed(self) -> bool:
        """Whether what moves is wanted: in the counts, or on a page."""
        return self.counts is not None or self.html_file is not None


def run_and_print(request: Request) -> None:
    """Load, read, simulate, print and write what was asked for."""
    if request.nonspike not in get_args(NonSpike):
        raise OptionError(f"--nonspike must be {' or '.join(get_args(NonSpike))}, got {request.nonspike}")
    if exists(request.source) and Path(request.source).is_dir():
        line = typed("eval", request.model, request.source, "--out", "audit.h5")
        raise OptionError(f"{request.source} is a folder; give a file, or evaluate the whole data set: {line}")
    parts = checked_parts(request.include)
    if parts and request.json_file is None and request.look.format != "json":
        raise OptionError("`include` adds to the JSON of a run; give `json` too")
    if request.trace and request.precision == "both":
        raise OptionError("`trace` is of one run, `precision=both` makes two; give one precision")
    _check_outputs(request)
    profile = operation_prices(request.profile)
    model = load_model(request.model, request.allow_memory)
    network = model.network
    sample = api.read(request.source, network, request.timesteps, request.options)
    integers = network.quantization is not None
    both = _in_both(request, network, sample) if request.precision == "both" and not integers else None
    parted = _in_integers(request, network, sample) if request.precision == "both" and integers else None
    timeline = Timeline() if request.trace else None
    run = both.single if both else parted.floats if parted else _simulate(request, network, sample, timeline)
    output.notes((*model.notes, *run.sample.notes))
    if request.record_spikes:
        save_spikes(run, request.record_spikes)
    if request.counts:
        run.save_counts(request.counts)
    if request.save_frames:
        save_frames(sample, request.save_frames)
    if request.html_file:
        _save_page(request, run, profile, (*model.notes, *sample.notes))
    if timeline is not None:
        save_trace(run, timeline, str(request.trace))
    kept = any((request.trace, request.record_spikes, request.counts, request.save_frames, request.html_file))
    figures = {**document(run, profile, request.nonspike), **activity_fields(run, parts)}
    report = run_report(run, profile, request.nonspike, layers=request.layers)
    if both:
        from evsim.report.precision import precision_document, precision_parts

        report = replace(report, parts=(*report.parts, *precision_parts(both)))
        figures["against_float64"] = precision_document(both)
    if parted:
        from evsim.report.divergence import divergence_document, divergence_parts

        report = replace(report, parts=(*report.parts, *divergence_parts(parted)))
        figures["integers"] = divergence_document((parted,))
    output.show(report, figures, request.json_file, request.look, kept=kept)


def _check_outputs(request: Request) -> None:
    """Refuse places that cannot be written to before the work begins, and the inputs themselves."""
    targets = {
        "--json": request.json_file,
        "--record-spikes": request.record_spikes,
        "--counts": request.counts,
        "--save-frames": request.save_frames,
        "--html": request.html_file,
        "--trace": request.trace,
    }
    check_outputs(targets, [request.model, request.source])
    check_page(request.html_file)


def _save_page(request: Request, run: api.Run, profile: Profile, notes: Sequence[str]) -> None:
    from evsim.report.runpage import run_page

    assert request.html_file is not None
    facts = (f"{fact}: {source}" for fact, source in run.network.provenance.items())
    page = run_page(run, profile, request.nonspike, (*facts, *notes), command_line())
    write_page(request.html_file, page)


def _simulate(request: Request, network: Network, sample: api.Sample, timeline: Timeline | None) -> api.Run:
    timesteps = sample.timesteps if request.timesteps is None else request.timesteps
    simulator = Simulator(network, timesteps, request.precision, request.schedule, request.threads)  # type: ignore[arg-type]
    with Progress(simulator.steps) as progress:
        return api.run_on(
            simulator,
            sample,
            record_spikes=request.keeps_spikes,
            detail=request.detailed,
            sharing=request.sharing,
            anytime=bool(request.html_file or request.json_file or request.look.format == "json"),
            observers=[progress],
            timeline=timeline,
        )


def _in_both(request: Request, network: Network, sample: api.Sample) -> PrecisionComparison:
    """Run in float32, what is shown and written, and in float64."""
    from evsim.audit.precision import compare_precisions

    with Progress(2, "run") as progress:
        return compare_precisions(
            network,
            sample,
            timesteps=request.timesteps,
            schedule=request.schedule,  # type: ignore[arg-type]
            threads=request.threads,
            record_spikes=request.keeps_spikes,
            detail=request.detailed,
            sharing=request.sharing,
            progress=progress,
        )


def _in_integers(request: Request, network: Network, sample: api.Sample) -> Divergence:
    """Run a quantized model in float64, what is shown and written, and in its integers."""
    from evsim.audit.divergence import diverge

    with Progress(2, "run") as progress:
        (outcome,) = diverge(
            network,
            sample,
            timesteps=request.timesteps,
            schedule=request.schedule,  # type: ignore[arg-type]
            threads=request.threads,
            record_spikes=request.keeps_spikes,
            detail=request.detailed,
            progress=progress,
        )
    return outcome


def demonstrate(save: str | None, look: Look | None = None, *, layers: bool = False) -> None:
    """Run the bundled model on every bundled recording; print the first run whole and each outcome."""
    from evsim import demo

    look = look or Look()
    if save is not None:
        model, sample = demo.save(save)
        line = typed("run", model, "--input", sample)
        output.say(f"wrote {model} and {sample}; now try: {line}", kept=True)
        return
    network = api.load(demo.model_path())
    runs, recordings = {}, demo.recordings()
    with Progress(len(recordings), "digit") as progress:
        for digit, path in recordings.items():
            runs[digit] = api.simulate(network, api.read(path, network))
            progress.observe()
    output.tell(demo_report(runs, layers=layers), look)

"""Commands that question runs: check, compare, paper, sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from evsim.cli import reading
from evsim.cli.words import spell
from evsim.errors import spelled

if TYPE_CHECKING:
    from evsim.report.files import CountsFolder

SHOWN_NOTES = 8
"""Notes on inputs that are printed; a folder may give thousands."""


def check(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="model.h5, or a checkpoint")],
    source: Annotated[str | None, typer.Option("--input", help="recording, frames or image to look at too")] = None,
    timesteps: Annotated[int | None, typer.Option(help="timesteps T, if not the model's own")] = None,
    threads: Annotated[int, typer.Option(help="threads that share each layer's work")] = 1,
    json_file: Annotated[str | None, typer.Option("--json", help="write as JSON; - for stdout alone")] = None,
    profile: Annotated[str, typer.Option(help="prices: a bundled profile, or a .toml file")] = "45nm",
    split: reading.Split = None,
    duration: reading.Duration = None,
    fit: reading.Fit = None,
    orientation: reading.Orientation = None,
    layout: reading.Layout = None,
    sensor: reading.Sensor = None,
    start: reading.Start = None,
    stop: reading.Stop = None,
    trial: reading.Trial = None,
    trials: reading.Trials = None,
    allow_truncated: reading.AllowTruncated = False,
    honour_validity: reading.HonourValidity = False,
    time_unit: reading.TimeUnit = None,
    camera: reading.Camera = None,
    columns: reading.Columns = None,
    axis: reading.Axis = None,
    item: reading.Item = None,
) -> None:
    """Name every layer that reads other values than spikes.

    Verifies spike-driven computation: exit code 1 if any layer behind the first reads other values than 0/1.
    """
    from evsim import api
    from evsim.audit.check import check as check_network
    from evsim.converters import load_model
    from evsim.energy import load_profile
    from evsim.files import check_outputs
    from evsim.report.audit import check_document, check_report

    check_outputs({"--json": json_file}, [model, source, profile])
    options = reading.read_options(
        split=split, duration=duration, fit=fit, orientation=orientation, layout=layout, sensor=sensor, start=start,
        stop=stop, trial=trial, trials=trials, allow_truncated=allow_truncated, honour_validity=honour_validity,
        time_unit=time_unit, camera=camera, columns=columns, axis=axis, item=item,
    )  # fmt: skip
    prices = load_profile(profile)
    loaded = load_model(model)
    _notes(loaded.notes)
    sample = None if source is None else api.read(source, loaded.network, timesteps, options)
    _notes(sample.notes if sample else ())
    done = check_network(loaded.network, sample, prices, threads, timesteps)
    _show(check_report(done), check_document(done), json_file)
    raise typer.Exit(0 if done.spike_driven else 1)


def compare(
    first: Annotated[str, typer.Argument(metavar="MODEL_A", help="model A: model.h5, or a checkpoint")],
    second: Annotated[str | None, typer.Argument(metavar="MODEL_B", help="left out with --residual")] = None,
    source: Annotated[str, typer.Option("--input", help="recording, frames or image, or a folder of them")] = ...,  # type: ignore[assignment]
    residual: Annotated[
        str | None, typer.Option(help="compare A with itself, its residual placed so: spike-driven or sew")
    ] = None,
    timesteps: Annotated[int | None, typer.Option(help="timesteps T, if not the models' own")] = None,
    threads: Annotated[int, typer.Option(help="threads that share each layer's work")] = 1,
    json_file: Annotated[str | None, typer.Option("--json", help="write as JSON; - for stdout alone")] = None,
    profile: Annotated[str, typer.Option(help="prices: a bundled profile, or a .toml file")] = "45nm",
    counts: Annotated[str | None, typer.Option(help="folder: write the counts of A and B, summed over inputs")] = None,
    split: reading.Split = None,
    duration: reading.Duration = None,
    fit: reading.Fit = None,
    orientation: reading.Orientation = None,
    layout: reading.Layout = None,
    sensor: reading.Sensor = None,
    start: reading.Start = None,
    stop: reading.Stop = None,
    trial: reading.Trial = None,
    trials: reading.Trials = None,
    allow_truncated: reading.AllowTruncated = False,
    honour_validity: reading.HonourValidity = False,
    time_unit: reading.TimeUnit = None,
    camera: reading.Camera = None,
    columns: reading.Columns = None,
    axis: reading.Axis = None,
    item: reading.Item = None,
) -> None:
    """Compare two models, or one with another residual.

    Operations and energy by stage, and predictions, side by side.
    """
    from evsim.audit.compare import compare as compare_networks
    from evsim.audit.compare import compare_residuals
    from evsim.audit.inputs import inputs_of
    from evsim.converters import load_model
    from evsim.energy import load_profile
    from evsim.errors import OptionError
    from evsim.files import check_outputs
    from evsim.report.audit import compare_document, compare_report, skipped_note
    from evsim.report.files import CountsFolder

    if (second is None) == (residual is None):
        raise OptionError("compare takes a second model or --residual, one of the two")
    check_outputs({"--json": json_file}, [first, second, profile, *inputs_of(source)], counts, CountsFolder.SUFFIX)
    options: dict[str, Any] = {"profile": load_profile(profile), "threads": threads, "timesteps": timesteps}
    options["options"] = reading.read_options(
        split=split, duration=duration, fit=fit, orientation=orientation, layout=layout, sensor=sensor, start=start,
        stop=stop, trial=trial, trials=trials, allow_truncated=allow_truncated, honour_validity=honour_validity,
        time_unit=time_unit, camera=camera, columns=columns, axis=axis, item=item,
    )  # fmt: skip
    folder = CountsFolder(counts) if counts else None
    if folder:
        options["keep"] = lambda which, run: folder.add(f"{'ab'[which]}-{run.network.name}", run)
    a = load_model(first)
    _notes(a.notes)
    if residual is not None:
        done = compare_residuals(a.network, residual, source, **options)
    else:
        assert second is not None
        b = load_model(second)
        _notes(b.notes)
        done = compare_networks(a.network, b.network, source, **options)
    more = (f"and {len(done.notes) - SHOWN_NOTES} more on the inputs",) if len(done.notes) > SHOWN_NOTES else ()
    _notes((*done.notes[:SHOWN_NOTES], *more, *skipped_note(done)))
    _save(folder)
    _show(compare_report(done), compare_document(done), json_file)


def paper(
    json_file: Annotated[str | None, typer.Option("--json", help="write as JSON; - for stdout alone")] = None,
) -> None:
    """Recompute the paper's energy table from its firing rates.

    Shows beside it what the rest of the table implies.
    """
    from evsim.audit.paper import paper_table
    from evsim.files import check_outputs
    from evsim.report.audit import paper_document, paper_report

    check_outputs({"--json": json_file})
    table = paper_table()
    _show(paper_report(table), paper_document(table), json_file)


def sweep(
    depth: Annotated[str, typer.Option(help="numbers of blocks, e.g. 2,4,8")],
    dim: Annotated[str, typer.Option(help="embedding dimensions, e.g. 256,384,512")],
    rates: Annotated[str, typer.Option(help="published, or one rate for every LIF")] = "published",
    scale_rates: Annotated[float, typer.Option(help="factor on all rates; none goes beyond 0.9")] = 1.0,
    preset: Annotated[str, typer.Option(help="the model whose size is varied")] = "spikingformer-8-512-imagenet",
    heads: Annotated[int | None, typer.Option(help="attention heads, if not the preset's")] = None,
    seed: Annotated[int, typer.Option(help="seed of weights and inputs")] = 0,
    threads: Annotated[int, typer.Option(help="threads that share each layer's work")] = 1,
    csv_file: Annotated[str | None, typer.Option("--csv", help="write as CSV; - for stdout alone")] = None,
    json_file: Annotated[str | None, typer.Option("--json", help="write as JSON; - for stdout alone")] = None,
    profile: Annotated[str, typer.Option(help="prices: a bundled profile, or a .toml file")] = "45nm",
    counts: Annotated[str | None, typer.Option(help="folder: write the counts of every size")] = None,
) -> None:
    """Run synthetic models of many depths and widths.

    Prints operations, energy, parameters and time of each.
    """
    import sys

    from tqdm import tqdm

    from evsim.audit.sweep import SweepOptions
    from evsim.audit.sweep import sweep as sweep_sizes
    from evsim.energy import load_profile
    from evsim.files import check_outputs, write_whole
    from evsim.report.audit import sweep_csv, sweep_document, sweep_report, sweep_warnings
    from evsim.report.files import CountsFolder

    check_outputs({"--csv": csv_file, "--json": json_file}, [profile], counts, CountsFolder.SUFFIX)
    depths, dims = _integers(depth, "--depth"), _integers(dim, "--dim")
    options = SweepOptions(preset, rates, scale_rates, seed, heads, threads)
    folder = CountsFolder(counts) if counts else None
    keep = (lambda run: folder.add(run.network.name, run)) if folder else None
    todo = sweep_sizes(depths, dims, options, load_profile(profile), keep)
    bar = tqdm(todo, total=len(depths) * len(dims), unit="model", leave=False, disable=None, file=sys.stderr)
    rows = tuple(bar)
    for warning in sweep_warnings(rows):
        typer.echo(f"warning: {warning}", err=True)
    if csv_file not in (None, "-"):
        write_whole(str(csv_file), sweep_csv(rows).encode())
    _save(folder)
    text = sweep_csv(rows).rstrip("\n") if csv_file == "-" else sweep_report(rows)
    _show(text, sweep_document(rows), json_file)


def _save(folder: CountsFolder | None) -> None:
    """Write the counts that were kept, if they were asked for."""
    for path in folder.save() if folder else []:
        typer.echo(f"note: counts are in {path}", err=True)


def _show(text: str, document: dict[str, Any], json_file: str | None) -> None:
    """Print the text, or the document where ``--json -`` asks for it alone; write it where a file is named."""
    import json

    from evsim.files import write_whole

    content = json.dumps(document, indent=1)
    if json_file == "-":
        typer.echo(content)
        return
    if json_file:
        write_whole(json_file, content.encode())
    typer.echo(text)


def _notes(notes: tuple[str, ...]) -> None:
    for note in notes:
        typer.echo(f"note: {spelled(note, spell)}", err=True)


def _integers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        from evsim.errors import OptionError

        raise OptionError(f"{option} takes whole numbers with commas between, got {text}") from None

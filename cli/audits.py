"""Commands that question runs: check, compare, paper, sweep."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from evsim.cli import output
from evsim.cli.command import command
from evsim.cli.shared import INPUT, MODEL, OUTPUT, argument, option

if TYPE_CHECKING:
    from evsim.cli.looks import Look
    from evsim.events import ReadOptions
    from evsim.report.files import CountsFolder

PANEL = "Audits"


@command("evsim check model.h5", "evsim check model.h5 --input recording.aedat --json check.json", panel=PANEL)
def check(
    model: Annotated[str, argument("MODEL", "model.h5, or a checkpoint", INPUT)],
    source: Annotated[
        str | None,
        option("recording, frames or image to look at too", INPUT, "--input", metavar="FILE"),
    ] = None,
    *,
    timesteps: int | None,
    reading: "ReadOptions",
    profile: str,
    threads: int | None,
    allow_memory: str | None,
    json_file: str | None,
    look: "Look",
) -> None:
    """Name every layer that reads other values than spikes.

    Verifies spike-driven computation: exit code 1 if any layer behind the first reads other values than 0/1.
    """
    from evsim import api
    from evsim.audit.check import check as check_network
    from evsim.cli.prices import operation_prices
    from evsim.cli.progress import Progress
    from evsim.converters import load_model
    from evsim.files import check_outputs
    from evsim.report.audit import check_document, check_report

    check_outputs({"--json": json_file}, [model, source, profile])
    prices = operation_prices(profile)
    loaded = load_model(model, allow_memory)
    network = loaded.network
    output.notes(loaded.notes)
    sample = None if source is None else api.read(source, network, timesteps, reading)
    output.notes(sample.notes if sample else ())
    with Progress(len(network.nodes)) as progress:
        verdict = check_network(network, sample, prices, threads, timesteps, [progress])
    output.show(check_report(verdict), check_document(verdict), json_file, look)
    raise typer.Exit(0 if verdict.spike_driven else 1)


@command(
    "evsim compare spikingformer.h5 spikformer.h5 qkformer.h5 --input recordings/",
    "evsim compare model.h5 --residual sew --input recording.aedat",
    "evsim compare --eval spikingformer.audit.h5 spikformer.audit.h5",
    panel=PANEL,
)
def compare(
    models: Annotated[
        list[str], argument("MODELS", "A, B and so on: model.h5 or checkpoints; one alone with --residual", INPUT)
    ],
    source: Annotated[
        str | None,
        option(
            "recording, frames or image, or a folder of them [required without --eval]",
            INPUT,
            "--input",
            metavar="PATH",
        ),
    ] = None,
    evaluated: Annotated[
        bool, option("MODELS are audit.h5 of evsim eval on the same samples: paired differences", INPUT, "--eval")
    ] = False,
    residual: Annotated[
        str | None,
        option("compare one model with itself, its residual placed so: spike-driven or sew", INPUT, metavar="PLACE"),
    ] = None,
    counts: Annotated[
        str | None,
        option("write the counts of each, summed over inputs, into this folder", OUTPUT, metavar="FOLDER"),
    ] = None,
    *,
    timesteps: int | None,
    reading: "ReadOptions",
    profile: str,
    threads: int | None,
    allow_memory: str | None,
    json_file: str | None,
    html_file: str | None,
    look: "Look",
) -> None:
    """Compare models, or one with another residual.

    Operations and energy by stage, and predictions, side by side.
    """
    from evsim.cli.comparing import compare_models
    from evsim.cli.pairing import compare_evaluations
    from evsim.errors import OptionError

    if evaluated:
        unheeded = {
            "source": source, "residual": residual, "counts": counts, "timesteps": timesteps,
            "allow_memory": allow_memory, "threads": threads, "html": html_file,
        }  # fmt: skip
        compare_evaluations(models, profile, json_file, unheeded, reading, look)
        return
    if source is None:
        raise OptionError("compare runs models on an input; give --input, or --eval for what evsim eval has run")
    compare_models(
        models, source, residual, counts,
        timesteps=timesteps, reading=reading, profile=profile, threads=threads, allow_memory=allow_memory,
        json_file=json_file, html_file=html_file, look=look,
    )  # fmt: skip


@command("evsim paper", "evsim paper --json paper.json", panel=PANEL)
def paper(
    *,
    json_file: str | None,
    look: "Look",
) -> None:
    """Recompute Spikingformer's energies from its firing rates.

    The published table, layer by layer; and what published energies of other models imply.
    """
    from evsim.audit.paper import paper_table
    from evsim.files import check_outputs
    from evsim.report.audit import paper_document, paper_report

    check_outputs({"--json": json_file})
    table = paper_table()
    output.show(paper_report(table), paper_document(table), json_file, look)


@command(
    "evsim sweep --depth 2,4,8 --dim 256,384,512",
    "evsim sweep --depth 4 --dim 384 --heads 12 --rates 0.2 --csv sweep.csv",
    panel=PANEL,
)
def sweep(
    depth: Annotated[str, option("numbers of blocks, e.g. 2,4,8", MODEL, metavar="N,N,...")],
    dim: Annotated[str, option("embedding dimensions, e.g. 256,384,512", MODEL, metavar="N,N,...")],
    preset: Annotated[
        str, option("the model whose size is varied", MODEL, metavar="NAME")
    ] = "spikingformer-8-512-imagenet",
    heads: Annotated[int | None, option("attention heads, if not the preset's", MODEL)] = None,
    rates: Annotated[str, option("published, or one rate for every LIF", MODEL, metavar="RATE")] = "published",
    scale_rates: Annotated[float, option("factor on all rates; none goes beyond 0.9", MODEL)] = 1.0,
    seed: Annotated[int, option("seed of weights and inputs", MODEL)] = 0,
    counts: Annotated[
        str | None,
        option("write the counts of every size into this folder", OUTPUT, metavar="FOLDER"),
    ] = None,
    *,
    profile: str,
    threads: int | None,
    csv_file: str | None,
    json_file: str | None,
    look: "Look",
) -> None:
    """Run synthetic models of many depths and widths.

    Prints operations, energy, parameters and time of each.
    """
    from tqdm import tqdm

    from evsim.audit.sweep import SweepOptions
    from evsim.audit.sweep import sweep as sweep_sizes
    from evsim.cli.prices import operation_prices
    from evsim.cli.progress import announce_compiling
    from evsim.files import check_outputs, write_whole
    from evsim.report.audit import sweep_csv, sweep_document, sweep_report, sweep_warnings
    from evsim.report.files import CountsFolder

    check_outputs({"--csv": csv_file, "--json": json_file}, [profile], counts, CountsFolder.SUFFIX)
    depths, dims = _integers(depth, "--depth"), _integers(dim, "--dim")
    options = SweepOptions(preset, rates, scale_rates, seed, heads, threads)
    folder = CountsFolder(counts) if counts else None
    keep = (lambda run: folder.add(run.network.name, run)) if folder else None
    todo = sweep_sizes(depths, dims, options, operation_prices(profile), keep)
    announce_compiling()
    bar = tqdm(todo, total=len(depths) * len(dims), unit="model", leave=False, disable=None, file=sys.stderr)
    rows = tuple(bar)
    for warning in sweep_warnings(rows):
        output.warning(warning)
    if csv_file not in (None, "-"):
        write_whole(str(csv_file), sweep_csv(rows).encode())
    _save(folder)
    text = sweep_csv(rows).rstrip("\n") if csv_file == "-" else sweep_report(rows)
    kept = bool(folder) or csv_file not in (None, "-")
    output.show(text, sweep_document(rows), json_file, look, kept=kept)


def _save(folder: "CountsFolder | None") -> None:
    """Write the counts that were kept, if they were asked for."""
    output.notes(f"counts are in {path}" for path in (folder.save() if folder else []))


def _integers(text: str, option: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        from evsim.errors import OptionError

        raise OptionError(f"{option} takes whole numbers with commas between, got {text}") from None

"""Commands about energy: energy, counts, profiles."""

from __future__ import annotations

from typing import Annotated

import typer

counts = typer.Typer(help="Files of counts.", no_args_is_help=True)


def energy(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="counts.h5, from evsim run --counts")],
    model: Annotated[
        str | None,
        typer.Option(
            help="models with commas between, or all; evsim profiles lists them "
            "[default: paper,exact; with --sensitivity: all]"
        ),
    ] = None,
    profile: Annotated[str | None, typer.Option(help="prices: a bundled profile, or a .toml file")] = None,
    by: Annotated[str | None, typer.Option(help="layer, stage, block, head, timestep or cost [default: layer]")] = None,
    against: Annotated[str | None, typer.Option(help="ann: the dense network of the same shape; or qnn")] = None,
    sensitivity: Annotated[bool, typer.Option("--sensitivity", help="compare two files under all prices")] = False,
    traffic: Annotated[bool, typer.Option("--traffic", help="also what moved: weights, spikes, buffers")] = False,
    e_ac: Annotated[str | None, typer.Option(help="pJ per AC, or a range such as 0.7,1.1")] = None,
    e_mac: Annotated[str | None, typer.Option(help="pJ per MAC, or a range")] = None,
    time_ms: Annotated[float | None, typer.Option(help="duration of an inference, for static power")] = None,
    frequency_mhz: Annotated[float | None, typer.Option(help="clock, for idle power")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="what a model leaves open, e.g. sram=fit; see docs/energy-models.md"),
    ] = None,
    json_file: Annotated[str | None, typer.Option("--json", help="write all breakdowns as JSON; - for stdout")] = None,
    csv_file: Annotated[str | None, typer.Option("--csv", help="write every entry as CSV; - for stdout")] = None,
) -> None:
    """Charge stored counts by any energy model and profile.

    Neither the model nor the recording is needed.
    """
    from evsim.cli.charging import Request, charge_and_print

    charge_and_print(
        Request(
            tuple(files), model, profile, by, against, sensitivity, traffic, e_ac, e_mac, time_ms, frequency_mhz,
            tuple(settings or ()), json_file, csv_file,
        )
    )  # fmt: skip


@counts.command()
def merge(
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="counts.h5 of one model, two or more")],
    out: Annotated[str, typer.Option(help="counts.h5 to write")],
) -> None:
    """Add counts of several samples up."""
    from evsim import countsfile
    from evsim.files import check_place, check_suffix

    check_place(out)
    check_suffix("out", out)
    total, notes = countsfile.merge(files)
    countsfile.save(out, total.counts, total.origin)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    typer.echo(f"wrote {out}: {total.counts.samples} samples, {total.counts.sops:,} SOPs")


def profiles(
    sources: Annotated[bool, typer.Option("--sources", help="every figure with its source")] = False,
    profile: Annotated[str | None, typer.Option(help="only this one, bundled or a .toml file")] = None,
) -> None:
    """List hardware profiles and energy models."""
    from evsim.energy import load_profile, profile_names
    from evsim.report.breakdown import profiles_report

    chosen = [load_profile(name) for name in ([profile] if profile else profile_names())]
    typer.echo(profiles_report(chosen, sources or profile is not None))

"""Commands about energy: energy, counts, profiles."""

from typing import TYPE_CHECKING, Annotated

import typer

from evsim.cli import output
from evsim.cli.command import PlainGroup, command
from evsim.cli.shared import INPUT, OUTPUT, PRICES, argument, option
from evsim.manual import page

if TYPE_CHECKING:
    from evsim.cli.looks import Look
    from evsim.events import ReadOptions

PANEL = "Energy"
BREAKDOWN = "What is shown"

counts = typer.Typer(cls=PlainGroup, help="Merge files of counts.", no_args_is_help=True)


@command(
    "evsim energy counts.h5",
    "evsim energy counts.h5 --method all --by cost --against ann",
    "evsim energy counts.h5 --method lemaire --set sram=fit --profile 45nm-int8",
    "evsim energy a.h5 b.h5 --sensitivity --json sensitivity.json",
    panel=PANEL,
)
def energy(
    files: Annotated[
        list[str], argument("FILES", "counts.h5, from evsim run --counts; or audit.h5, from evsim eval", INPUT)
    ],
    method: Annotated[
        str | None,
        option(
            "energy methods with commas between, or all; evsim profiles lists them "
            "[default: paper,exact, or the first that can use the profile; with --sensitivity: all]",
            PRICES,
            metavar="NAMES",
        ),
    ] = None,
    model: Annotated[str | None, typer.Option(hidden=True)] = None,
    profile: Annotated[
        str | None,
        option("prices: a bundled profile, or a .toml file [default: the method's own]", PRICES, metavar="NAME"),
    ] = None,
    e_ac: Annotated[str | None, option("pJ per AC, or a range such as 0.7,1.1", PRICES, metavar="PJ")] = None,
    e_mac: Annotated[str | None, option("pJ per MAC, or a range", PRICES, metavar="PJ")] = None,
    time_ms: Annotated[float | None, option("duration of an inference, for static power", PRICES, metavar="MS")] = None,
    frequency_mhz: Annotated[float | None, option("clock, for idle power", PRICES, metavar="MHZ")] = None,
    settings: Annotated[
        list[str] | None,
        option(
            f"what a method leaves open, e.g. sram=fit; may be given again; see {page('energy-models')}",
            PRICES,
            "--set",
            metavar="NAME=VALUE",
        ),
    ] = None,
    by: Annotated[
        str | None,
        option("layer, stage, block, head, timestep or cost [default: stage]", BREAKDOWN, metavar="KEY"),
    ] = None,
    against: Annotated[
        str | None,
        option(
            "ann (the dense network of the same shape) or qnn (its quantised counterpart)", BREAKDOWN, metavar="NETWORK"
        ),
    ] = None,
    sensitivity: Annotated[bool, option("compare two files under all prices", BREAKDOWN, "--sensitivity")] = False,
    traffic: Annotated[
        bool,
        option("also what moved: weights, spikes, buffers", BREAKDOWN, "--traffic"),
    ] = False,
    *,
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
    layers: bool,
    look: "Look",
) -> None:
    """Charge stored counts by any energy method and profile.

    Neither the model nor the recording is needed.
    """
    from evsim.cli.charging import Request, charge_and_print
    from evsim.errors import OptionError

    if method is not None and model is not None:
        raise OptionError("--method is the name that --model had before; give --method alone")
    method = model if method is None else method

    charge_and_print(
        Request(
            tuple(files), method, profile, by, against, sensitivity, traffic, e_ac, e_mac, time_ms, frequency_mhz,
            tuple(settings or ()), json_file, csv_file, html_file, layers, look,
        )
    )  # fmt: skip


@command(
    "evsim traffic counts.h5 --fps 30",
    "evsim traffic model.h5 --input recording.aedat --fps 30",
    "evsim traffic counts.h5 --csv traffic.csv",
    panel=PANEL,
)
def traffic(
    file: Annotated[str, argument("FILE", "counts.h5 or audit.h5; with --input model.h5 or a checkpoint", INPUT)],
    source: Annotated[
        str | None, option("recording, frames or image to run the model on", INPUT, "--input", metavar="FILE")
    ] = None,
    fps: Annotated[float | None, option("inferences per second, for the bandwidth", BREAKDOWN)] = None,
    *,
    timesteps: int | None,
    reading: "ReadOptions",
    profile: str,
    threads: int | None,
    allow_memory: str | None,
    csv_file: str | None,
    json_file: str | None,
    look: "Look",
) -> None:
    """Tell what a chip must hold and move.

    Peaks of activity, buffers and bandwidth. --csv writes every counter per layer, timestep and head.
    """
    from evsim.cli.moving import Request, measure_and_print

    measure_and_print(
        Request(file, source, fps, timesteps, reading, profile, threads, allow_memory, csv_file, json_file, look)
    )


@command("evsim counts merge a.counts.h5 b.counts.h5 --out sum.h5")
def merge(
    files: Annotated[list[str], argument("FILES", "counts.h5 of one model, two or more", INPUT)],
    out: Annotated[str, option("counts.h5 to write", OUTPUT, metavar="FILE")],
) -> None:
    """Add counts of several samples up."""
    from evsim import countsfile
    from evsim.files import check_place, check_suffix

    check_place(out)
    check_suffix("out", out)
    total, notes = countsfile.merge(files)
    countsfile.save(out, total.counts, total.origin)
    output.notes(notes)
    output.say(f"wrote {out}: {total.counts.samples} samples, {total.counts.sops:,} SOPs", kept=True)


merge.add_to(counts)


@command("evsim profiles", "evsim profiles --profile 45nm", panel=PANEL)
def profiles(
    sources: Annotated[bool, option("every figure with its source", PRICES, "--sources")] = False,
    profile: Annotated[
        str | None,
        option("only this one, bundled or a .toml file", PRICES, metavar="NAME"),
    ] = None,
    *,
    look: "Look",
) -> None:
    """List hardware profiles and energy methods."""
    from evsim.energy import load_profile, profile_names
    from evsim.report.breakdown import profiles_report

    chosen = [load_profile(name) for name in ([profile] if profile else profile_names())]
    output.tell(profiles_report(chosen, sources or profile is not None), look)

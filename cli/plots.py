"""The command about figures: plot."""

from typing import Annotated

from evsim.cli import output
from evsim.cli.command import command
from evsim.cli.shared import INPUT, OUTPUT, PRICES, argument, option

PANEL = "Results"


@command(
    "evsim plot counts.h5 --kind energy -o energy.pdf",
    "evsim plot run.json --kind rates -o rates.svg --width double",
    "evsim plot spikes.h5 --kind attention -o attention.png",
    "evsim plot audit.h5 --kind anytime -o anytime.pdf --font 'Times New Roman'",
    panel=PANEL,
)
def plot(
    file: Annotated[str, argument("FILE", "counts.h5, audit.h5, spikes.h5, or what --json wrote", INPUT)],
    kind: Annotated[
        str,
        option(
            "energy, rates, operations, costs, anytime, raster, attention, compare, sweep, sensitivity, potential or "
            "arrivals",
            INPUT,
            metavar="KIND",
        ),
    ],
    out: Annotated[
        str,
        option("figure: .svg, .pdf, .png (300 dpi); .csv, its numbers; .json, Vega-Lite", OUTPUT, "--output", "-o",
               metavar="FILE"),
    ],
    layers: Annotated[
        list[str] | None,
        option("raster and attention: only this layer; may be given again", INPUT, "--layer", metavar="NAME"),
    ] = None,
    width: Annotated[
        str, option("single (88 mm), double (180 mm), or millimetres", OUTPUT, metavar="WIDTH")
    ] = "single",
    font: Annotated[
        str | None, option("font of the paper [default: Helvetica or Arial]", OUTPUT, metavar="NAME")
    ] = None,
    nonspike: Annotated[
        str, option("integers in the paper's estimate: binary-only or integer-as-events", PRICES, metavar="RULE")
    ] = "binary-only",
    *,
    profile: str,
) -> None:  # fmt: skip
    """Draw a figure for a paper.

    Columns of journals, letters of 7 pt, colours that colour-blind people tell apart.
    """
    from evsim.charts.chart import ending
    from evsim.charts.theme import printed
    from evsim.cli.prices import operation_prices
    from evsim.files import check_outputs, write_whole
    from evsim.report.plotting import chart_of

    suffix, look = ending(out), printed(width, font)
    check_outputs({"--output": out}, [file, profile])
    chart = chart_of(file, kind, tuple(layers or ()), operation_prices(profile), nonspike)
    write_whole(out, chart.drawn(suffix, look))
    output.say(f"wrote {out}: {chart.summary}", kept=True)

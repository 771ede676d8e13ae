"""Commands that run a model: run, demo."""

from typing import TYPE_CHECKING, Annotated

from evsim.cli.command import command
from evsim.cli.shared import ENGINE, INPUT, OUTPUT, PRICES, SHARING, argument, option

if TYPE_CHECKING:
    from evsim.cli.looks import Look
    from evsim.events import ReadOptions

PANEL = "Runs"


@command(
    "evsim run model.h5 --input recording.aedat",
    "evsim run model.h5 --input recording.aedat --json - --counts counts.h5",
    "evsim run model.h5 --input recording.aedat --html report.html",
    "evsim run model.h5 --input recording.raw --split duration --duration 100ms",
    "evsim run model.h5 --input recording.aedat --precision both",
    panel=PANEL,
)
def run(
    model: Annotated[str, argument("MODEL", "model.h5, or a checkpoint", INPUT)],
    source: Annotated[
        str,
        option("recording of any format, picture, or .npy", INPUT, "--input", metavar="FILE"),
    ],
    precision: Annotated[
        str | None,
        option(
            "float32, float64 (exact), both (float32, and what differs), or int8 or int16 of a quantized model "
            "[default: float32, or its integers]",
            ENGINE,
            metavar="TYPE",
        ),
    ] = None,
    schedule: Annotated[str, option("order of events: layer, or time (streaming)", ENGINE, metavar="ORDER")] = "layer",
    record_spikes: Annotated[str | None, option("write the spikes of every LIF (.h5)", OUTPUT, metavar="FILE")] = None,
    save_frames: Annotated[
        str | None,
        option("write what the network was fed (.npz)", OUTPUT, metavar="FILE"),
    ] = None,
    counts: Annotated[
        str | None,
        option("write every counter (.h5), for evsim energy", OUTPUT, metavar="FILE"),
    ] = None,
    include: Annotated[
        str | None,
        option("add to the JSON: activity (per timestep), spikes (their trains)", OUTPUT, metavar="PART,..."),
    ] = None,
    trace: Annotated[
        str | None, option("write the event queue over time (.json), for Perfetto", OUTPUT, metavar="FILE")
    ] = None,
    sharing: Annotated[bool, option(SHARING, ENGINE, "--sharing")] = False,
    nonspike: Annotated[
        str,
        option("integers in the paper's estimate: binary-only or integer-as-events", PRICES, metavar="RULE"),
    ] = "binary-only",
    *,
    timesteps: int | None,
    reading: "ReadOptions",
    profile: str,
    threads: int | None,
    allow_memory: str | None,
    json_file: str | None,
    html_file: str | None,
    layers: bool,
    look: "Look",
) -> None:
    """Run an input through a model: prediction, counts, energy."""
    from evsim.cli.running import Request, run_and_print

    run_and_print(
        Request(
            model, source, precision, timesteps, schedule, threads, json_file, record_spikes, save_frames, profile,
            reading,
            counts,
            nonspike,  # type: ignore[arg-type]
            allow_memory,
            html_file,
            layers,
            look,
            include,
            trace,
            sharing,
        )
    )  # fmt: skip


@command("evsim demo", "evsim demo --save demo-out", panel=PANEL)
def demo(
    save: Annotated[
        str | None,
        option("write model.h5 and dvs_sample.aedat into this folder", OUTPUT, metavar="FOLDER"),
    ] = None,
    *,
    layers: bool,
    look: "Look",
) -> None:
    """Run the bundled model on bundled recordings of digits."""
    from evsim.cli.running import demonstrate

    demonstrate(save, look, layers=layers)

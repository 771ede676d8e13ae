"""Commands that show a network at work: explain, live."""

from typing import TYPE_CHECKING, Annotated

from evsim.cli.command import command
from evsim.cli.shared import ENGINE, INPUT, PANELS, argument, option

if TYPE_CHECKING:
    from evsim.cli.looks import Look
    from evsim.events import ReadOptions

PANEL = "Lessons"
NEURON = "The neuron"
assert NEURON not in PANELS  # a panel of its own stands behind them


@command(
    "evsim explain model.h5 --input dvs.aedat --neuron block.0.mlp.mlp1_lif:17@3,4",
    "evsim explain model.h5 --input dvs.aedat --neuron block.0.attn.q_lif --reach",
    "evsim explain model.h5 --input dvs.aedat --spike block.0.attn.q_lif:44@17@2",
    "evsim explain model.h5 --input dvs.aedat --neuron head_lif --why --json -",
    "evsim explain model.h5 --input dvs.aedat --neuron head_lif --html neuron.html",
    panel=PANEL,
)
def explain(
    model: Annotated[str, argument("MODEL", "model.h5, a checkpoint, or a NIR graph", INPUT)],
    source: Annotated[str, option("recording of any format, picture, or .npy", INPUT, "--input", metavar="FILE")],
    neuron: Annotated[
        str | None,
        option("LAYER:CHANNEL@Y,X or LAYER:CHANNEL@TOKEN; a LAYER alone: its busiest", NEURON, metavar="PLACE"),
    ] = None,
    spike: Annotated[str | None, option("one spike of it: the same, then @T", NEURON, metavar="PLACE")] = None,
    why: Annotated[bool, option("why it fired: the spikes behind it, down to the pixels", NEURON, "--why")] = False,
    reach: Annotated[bool, option("whom its spike can move, layer after layer", NEURON, "--reach")] = False,
    depth: Annotated[int, option("layers of neurons that --why and --reach go", NEURON)] = 3,
    width: Annotated[int, option("causes of each spike that --why shows", NEURON)] = 3,
    top: Annotated[int, option("additions that are named of the spike's timestep", NEURON)] = 8,
    precision: Annotated[str, option("float32 or float64", ENGINE, metavar="TYPE")] = "float32",
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
    """Follow one neuron: inputs, potential, spikes, cost.

    At each timestep: what it added up, its potential against its threshold, when it fired, and whom it reached; with
    --why, the spikes that made it fire.
    """
    from evsim.cli.explaining import Question, explain_and_print

    explain_and_print(
        Question(
            model, source, neuron, spike, why, reach, depth, width, top, precision, timesteps, threads, json_file,
            html_file, look, profile, reading, allow_memory,
        )
    )  # fmt: skip


@command(
    "evsim live model.h5 --input recording.aedat",
    "evsim live model.h5 --input recording.aedat --slow",
    panel=PANEL,
)
def live(
    model: Annotated[str, argument("MODEL", "model.h5, a checkpoint, or a NIR graph", INPUT)],
    source: Annotated[str, option("recording of any format, picture, or .npy", INPUT, "--input", metavar="FILE")],
    slow: Annotated[bool, option("for a projector: 0.4 s from one event to the next", ENGINE, "--slow")] = False,
    precision: Annotated[
        str | None,
        option("float32, float64, or int8 or int16 of a quantized model", ENGINE, metavar="TYPE"),
    ] = None,
    *,
    timesteps: int | None,
    reading: "ReadOptions",
    profile: str,
    threads: int | None,
    allow_memory: str | None,
) -> None:
    """Watch the event queue at work.

    Layers, their activity, and counters; keys pause, step and set the speed.
    """
    from evsim.cli.living import Show, show

    show(Show(model, source, slow, precision, timesteps, threads, profile, reading, allow_memory))

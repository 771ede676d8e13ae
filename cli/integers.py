"""Commands about integer networks: quantize, diverge."""

from typing import TYPE_CHECKING, Annotated

from evsim.cli.command import command
from evsim.cli.shared import ENGINE, INPUT, MODEL, OUTPUT, argument, option

if TYPE_CHECKING:
    from evsim.cli.looks import Look
    from evsim.events import ReadOptions

PANEL = "Models"

Part = Annotated[str | None, option("part of DATA, e.g. train [default: what is held out]", INPUT, metavar="NAME")]
Tables = Annotated[
    list[str] | None,
    option("table of labels; may be given again [default: the one in DATA]", INPUT, "--table", metavar="FILE"),
]
Pattern = Annotated[
    str | None, option("a sample's file, made of a table's columns, e.g. '{id}.bs2'", INPUT, metavar="TEXT")
]
Outside = Annotated[bool, option("a table may name files outside DATA", INPUT, "--outside")]


@command(
    "evsim quantize model.h5 int8.h5",
    "evsim quantize model.h5 int8.h5 --calibrate recordings/",
    "evsim quantize model.h5 int16.h5 --weights int16 --json -",
    panel=PANEL,
)
def quantize(
    model: Annotated[str, argument("MODEL", "model.h5, or a checkpoint", INPUT)],
    out: Annotated[str, argument("OUT", "model.h5 to write", OUTPUT)],
    weights: Annotated[str, option("int8 or int16", MODEL, metavar="TYPE")] = "int8",
    calibrate: Annotated[
        str | None,
        option("choose scales by data: a data set as evsim eval takes it, or one recording", INPUT, metavar="DATA"),
    ] = None,
    samples: Annotated[int, option("how many inputs of DATA are looked at", INPUT)] = 32,
    part: Part = None,
    tables: Tables = None,
    pattern: Pattern = None,
    outside: Outside = False,
    largest: Annotated[
        int | None, option("event count for which nothing may overflow [default: 255, or DATA's]", MODEL)
    ] = None,
    seed: Annotated[int, option("seed of the inputs and places that are looked at", MODEL)] = 0,
    *,
    timesteps: int | None,
    reading: "ReadOptions",
    threads: int | None,
    allow_memory: str | None,
    json_file: str | None,
    look: "Look",
) -> None:
    """Give a model integer weights, to run in integers alone.

    BatchNorm is folded, each channel gets a scale, and it is proven that nothing overflows. The same bits come out on
    every machine; see docs: Integer networks.
    """
    from evsim.cli.quantizing import Request, quantize_and_print
    from evsim.datasets.types import Choice

    choice = Choice(pattern, tuple(tables or ()), part, outside)
    quantize_and_print(
        Request(
            model, out, weights, calibrate, samples, choice, largest, seed, timesteps, reading, threads, allow_memory,
            json_file, look,
        )
    )  # fmt: skip


@command(
    "evsim diverge int8.h5 --input recording.aedat --against model.h5",
    "evsim diverge int8.h5 --data recordings/ --against model.h5 --workers 2",
    panel="Audits",
)
def diverge(
    model: Annotated[str, argument("MODEL", "quantized model.h5", INPUT)],
    source: Annotated[
        str | None, option("recording, picture or .npy whose spikes are compared", INPUT, "--input", metavar="FILE")
    ] = None,
    against: Annotated[
        str | None, option("the model that it was made of [default: its own weights as floats]", INPUT, metavar="MODEL")
    ] = None,
    data: Annotated[
        str | None, option("data set on which accuracies are compared, sample by sample", INPUT, metavar="DATA")
    ] = None,
    part: Part = None,
    tables: Tables = None,
    pattern: Pattern = None,
    outside: Outside = False,
    workers: Annotated[int, option("processes that run DATA", ENGINE)] = 1,
    schedule: Annotated[str, option("order of events: layer, or time (streaming)", ENGINE, metavar="ORDER")] = "layer",
    *,
    timesteps: int | None,
    reading: "ReadOptions",
    threads: int | None,
    allow_memory: str | None,
    json_file: str | None,
    look: "Look",
) -> None:
    """Hold an integer model against float64.

    Flips are spikes that differ, by layer and timestep; it also says where they begin, and both logits. With a data
    set, the change of accuracy has a paired interval.
    """
    from evsim.cli.diverging import Request, diverge_and_print
    from evsim.datasets.types import Choice

    choice = Choice(pattern, tuple(tables or ()), part, outside)
    diverge_and_print(
        Request(
            model, source, against, data, choice, workers, schedule, timesteps, reading, threads, allow_memory,
            json_file, look,
        )
    )  # fmt: skip

"""The command about whole data sets: eval."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

from evsim.cli.command import command
from evsim.cli.shared import ENGINE, INPUT, OUTPUT, PRICES, SHARING, argument, option
from evsim.manual import page

if TYPE_CHECKING:
    from evsim.cli.looks import Look
    from evsim.events import ReadOptions

PANEL = "Runs"


@command(
    "evsim eval model.h5 recordings/ --out audit.h5",
    "evsim eval model.h5 recordings/ --out audit.h5 --resume --workers 8",
    "evsim eval model.h5 nmnist/ --table test.txt --pattern '{id}.bs2' --json -",
    "evsim eval model.h5 imagenet/ --out audit.h5 --dask tcp://head:8786",
    panel=PANEL,
)
def evaluate(
    model: Annotated[str, argument("MODEL", "model.h5, or a checkpoint", INPUT)],
    data: Annotated[str, argument("DATA", f"a folder for each class, a table, arrays; see {page('datasets')}", INPUT)],
    out: Annotated[
        str | None,
        option("audit.h5: every sample, layer and timestep; what --resume goes on with", OUTPUT, metavar="FILE"),
    ] = None,
    resume: Annotated[bool, option("go on with --out where it is there", OUTPUT, "--resume")] = False,
    counts: Annotated[
        str | None, option("write the summed counters (.h5), for evsim energy", OUTPUT, metavar="FILE")
    ] = None,
    tables: Annotated[
        list[str] | None,
        option("table of labels; may be given again [default: the one in DATA]", INPUT, "--table", metavar="FILE"),
    ] = None,
    pattern: Annotated[
        str | None,
        option("a sample's file, made of a table's columns, e.g. '{id}.bs2'", INPUT, metavar="TEXT"),
    ] = None,
    part: Annotated[
        str | None, option("part of DATA, e.g. train [default: what is held out]", INPUT, metavar="NAME")
    ] = None,
    outside: Annotated[bool, option("a table may name files outside DATA", INPUT, "--outside")] = False,
    strict: Annotated[bool, option("stop at a sample that cannot be read", INPUT, "--strict")] = False,
    precision: Annotated[
        str | None,
        option(
            "float32, float64 (exact), int8 or int16 [default: float32, or a model's integers]", ENGINE, metavar="TYPE"
        ),
    ] = None,
    workers: Annotated[int, option("processes, which share the weights", ENGINE)] = 1,
    dask: Annotated[
        str | None, option("scheduler of a Dask cluster to run on, or its file", ENGINE, metavar="ADDRESS")
    ] = None,
    threads: Annotated[
        int | None, option("threads of each worker [default: cores / workers; on Dask 1]", ENGINE)
    ] = None,
    detail: Annotated[bool, option("also measure what moves, for counted-memory", ENGINE, "--detail")] = False,
    sharing: Annotated[bool, option(SHARING, ENGINE, "--sharing")] = False,
    seed: Annotated[int, option("seed of the bootstrap's intervals", OUTPUT)] = 0,
    nonspike: Annotated[
        str,
        option("integers in the paper's estimate: binary-only or integer-as-events", PRICES, metavar="RULE"),
    ] = "binary-only",
    *,
    timesteps: int | None,
    reading: "ReadOptions",
    profile: str,
    allow_memory: str | None,
    json_file: str | None,
    csv_file: str | None,
    html_file: str | None,
    layers: bool,
    look: "Look",
) -> None:
    """Run a data set through a model: accuracy, counts, energy.

    With intervals, by layer, timestep and class. Resumed or spread over processes or a cluster, figures stay the same.
    """
    from evsim.cli.evaluating import Request, evaluate_and_print

    evaluate_and_print(
        Request(
            model, data, out, resume, counts, tuple(tables or ()), pattern, part, outside, strict, precision, workers,
            dask, threads, detail, seed, nonspike, timesteps, reading, profile, allow_memory, json_file, csv_file,
            html_file, layers, look, sharing,
        )
    )  # fmt: skip


evaluate = replace(evaluate, name="eval")

"""The command about families of models: families."""

import sys
from typing import TYPE_CHECKING, Annotated

from evsim.cli import output
from evsim.cli.command import command
from evsim.cli.models import PANEL
from evsim.cli.shared import ENGINE, INPUT, MODEL, THREADS, argument, option

if TYPE_CHECKING:
    from evsim.cli.looks import Look

TABLE = "Table of models"


@command(
    "evsim families",
    "evsim families sew-resnet ms-resnet --table",
    "evsim families sdt-v1 qkformer --table --run --rates 0.2 --json table.json",
    "evsim families --ways",
    panel=PANEL,
)
def families(
    names: Annotated[list[str] | None, argument("FAMILY", "only these: {families}", INPUT)] = None,
    table: Annotated[bool, option("the figures of their published models side by side", TABLE, "--table")] = False,
    models: Annotated[str | None, option("only these models in the table", TABLE, metavar="NAME,NAME,...")] = None,
    run: Annotated[
        bool, option("run a synthetic model of each size, and count: minutes for a large one", TABLE, "--run")
    ] = False,
    ways: Annotated[
        bool,
        option("what each way around other values than spikes costs, at equal rates: minutes", TABLE, "--ways"),
    ] = False,
    rates: Annotated[str, option("published, or one rate for every LIF", MODEL, metavar="RATE")] = "published",
    scale_rates: Annotated[float, option("factor on all rates; none goes beyond 0.9", MODEL)] = 1.0,
    seed: Annotated[int, option("seed of weights and input", MODEL)] = 0,
    threads: Annotated[int | None, option(THREADS, ENGINE)] = None,
    *,
    json_file: str | None,
    look: "Look",
) -> None:
    """List the families that evsim knows.

    With key patterns, published models and sources; --table puts the models' figures side by side, --ways runs models
    of one size that differ in how their blocks join what they compute with what they read.
    """
    from evsim.audit import families as audit
    from evsim.errors import OptionError
    from evsim.files import check_outputs
    from evsim.report import families as report

    if not table and (models or run):
        raise OptionError(f"{'--models' if models else '--run'} is about the table; give --table too")
    if ways:
        if names or table or rates != "published" or scale_rates != 1.0:
            raise OptionError("--ways has models and rates of its own; leave out FAMILY, --table and rates")
        _show_ways(seed, threads, json_file, look)
        return
    check_outputs({"--json": json_file})
    chosen = audit.families(tuple(names or ()))
    if not table:
        output.show(report.families_report(chosen), report.families_document(chosen), json_file, look)
        return
    from tqdm import tqdm

    from evsim.cli.progress import announce_compiling

    presets = _presets(models, [preset for family in chosen for preset in family.presets])
    activity = audit.Rates(rates, scale_rates, seed, threads) if run else None
    announce_compiling()
    todo = audit.figures(presets, activity)
    rows = tuple(tqdm(todo, total=len(presets), unit="model", leave=False, disable=None, file=sys.stderr))
    output.show(report.figures_report(rows), report.figures_document(rows), json_file, look)


def _show_ways(seed: int, threads: int | None, json_file: str | None, look: "Look") -> None:
    from tqdm import tqdm

    from evsim.audit import ways as audit
    from evsim.files import check_outputs
    from evsim.report.ways import ways_document, ways_report

    check_outputs({"--json": json_file})
    todo, total = audit.costs(audit.WAYS, seed, threads), sum(len(way.cases) for way in audit.WAYS)
    costs = tuple(tqdm(todo, total=total, unit="model", leave=False, disable=None, file=sys.stderr))
    output.show(ways_report(costs), ways_document(costs), json_file, look)


def _presets(models: str | None, known: list[str]) -> list[str]:
    """Return the models that are asked for, or all."""
    from evsim.errors import OptionError

    wanted = list(dict.fromkeys(models.split(","))) if models else known
    for name in wanted:
        if name not in known:
            raise OptionError(f"no model is named {name} there; known are {', '.join(known)}")
    return wanted

"""Options that several commands share; `evsim.cli.command` adds them where a command has a parameter of the name."""

from __future__ import annotations

from evsim.cli import facts, graphs, looks, reading, tracing
from evsim.cli.shared import ENGINE, INPUT, OUTPUT, PRICES, THREADS, Shared, option, shared, single

DASH = "- for stdout alone"
PROFILE = "prices: a bundled profile (see evsim profiles), or a .toml file"

ALLOW = "memory that a run may need, e.g. 32GB; else 300 MB and 4 x the model's file"

SHARED: dict[str, Shared] = {
    "reading": reading.AS_A_NETWORK_TAKES_IT,
    "recording": reading.AS_IT_IS,
    "own": facts.OWN,
    "program": tracing.PROGRAM,
    "graph": graphs.GRAPH,
    "timesteps": single(shared("timesteps", int | None, option("timesteps T, if not the model's own", INPUT))),
    "threads": single(shared("threads", int | None, option(THREADS, ENGINE))),
    "allow_memory": single(shared("allow_memory", str | None, option(ALLOW, ENGINE, metavar="SIZE"))),
    "profile": single(shared("profile", str, option(PROFILE, PRICES, metavar="NAME"), "45nm")),
    "look": looks.LOOK,
    "layers": single(shared("layers", bool, option("a row for each layer", OUTPUT, "--layers"), False)),
    "json_file": single(
        shared("json_file", str | None, option(f"write as JSON; {DASH}", OUTPUT, "--json", metavar="FILE"))
    ),
    "html_file": single(
        shared("html_file", str | None, option("write as a page to look at (.html)", OUTPUT, "--html", metavar="FILE"))
    ),
    "csv_file": single(
        shared("csv_file", str | None, option(f"write as CSV; {DASH}", OUTPUT, "--csv", metavar="FILE"))
    ),
}
"""Parameter of a command to the options typed for it."""

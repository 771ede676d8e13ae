"""The command line: parse, call one function of evsim, print."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from evsim.cli import audits, charges, models, recordings
from evsim.errors import EvsimError

app = typer.Typer(
    name="evsim",
    help="Event-driven simulation of spiking vision transformers, with every synaptic operation counted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)] = False,
) -> None:
    if version:
        from evsim import __version__

        typer.echo(f"evsim {__version__}")
        raise typer.Exit


COMMANDS = (
    models.convert,
    models.synthesize,
    models.info,
    models.run,
    models.demo,
    audits.check,
    audits.compare,
    audits.paper,
    audits.sweep,
    recordings.record,
    recordings.events,
    charges.energy,
    charges.profiles,
)
"""Every command, in the order of ``evsim --help``."""

for command in COMMANDS:
    app.command()(command)
app.add_typer(charges.counts, name="counts")


def main() -> None:
    """Entry point: errors of evsim are one line on stderr and exit code 2."""
    try:
        app()
    except EvsimError as error:
        sys.stderr.write(f"evsim: {' '.join(str(error).split())}\n")
        sys.exit(2)

"""The command line: parse, call one function of evsim, print."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from evsim.cli import (
    audits,
    charges,
    evals,
    families,
    integers,
    lessons,
    models,
    output,
    plots,
    recordings,
    runs,
    watching,
)
from evsim.cli.command import PlainGroup
from evsim.cli.words import spell
from evsim.errors import EvsimError, spelled
from evsim.manual import WHERE

app = typer.Typer(
    name="evsim",
    cls=PlainGroup,
    help=("Event-driven simulation of spiking vision transformers, with every synaptic operation counted.\n\n" + WHERE),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain text: pipes and screen readers take it, and rich need not be loaded
)

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Base of typer's complaints about options: click's UsageError, wherever this version of typer keeps it."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from evsim import __version__

        output.say(f"evsim {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


COMMANDS = (
    models.convert,
    models.export,
    models.synthesize,
    models.info,
    integers.quantize,
    families.families,
    runs.run,
    evals.evaluate,
    runs.demo,
    lessons.lesson,
    watching.explain,
    watching.live,
    audits.check,
    audits.compare,
    integers.diverge,
    audits.paper,
    audits.sweep,
    recordings.record,
    recordings.events,
    charges.energy,
    charges.traffic,
    charges.profiles,
    plots.plot,
)
"""Every command, in the order of ``evsim --help``."""

for command in COMMANDS:
    command.add_to(app)
app.add_typer(charges.counts, name="counts", rich_help_panel=charges.PANEL)


def main() -> None:
    """Entry point: errors of evsim, its options and its outputs are one line on stderr and exit code 2."""
    output.prepare()
    try:
        code = app(standalone_mode=False, prog_name="evsim")
        if sys.stdout is not None:
            sys.stdout.flush()
    except EvsimError as error:
        _fail(spelled(str(error), spell))
    except UsageError as error:
        message = getattr(error, "format_message", str)()
        context = getattr(error, "ctx", None)
        if not message or type(error).__name__ == "NoArgsIsHelpError":
            output.aside(context.get_help() if context else message)
            sys.exit(2)
        _fail(f"{message.rstrip('.')}; see {context.command_path if context else 'evsim'} --help")
    except typer.Abort:
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        output.leave(sys.stdout)
        sys.exit(1)
    except OSError as error:
        if error.errno is None:  # a library that does not load
            raise
        output.leave(sys.stdout)
        _fail(_reason(error))
    except MemoryError:
        _fail("there is not enough memory for this; give fewer --timesteps or a smaller model")
    sys.exit(code if isinstance(code, int) else 0)


def _reason(error: OSError) -> str:
    """Say what the system refused: a file, a process, or the output, which alone has no name."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open; allow more (ulimit -n)"
    if error.errno in (errno.ENOMEM, errno.EAGAIN):
        return f"the system gives no more memory or processes ({error.strerror}); allow more"
    if error.filename is not None:
        return f"{error.filename}: {error.strerror}; check the path"
    return f"cannot write the output: {error.strerror or error}; free some space or give another place"


def _fail(message: str) -> None:
    output.beside(f"evsim: {output.one_line(message)}")
    sys.exit(2)

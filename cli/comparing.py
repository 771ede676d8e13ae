"""What ``evsim compare`` does where models run, apart from parsing."""

from __future__ import annotations

from collections.abc import Sequence

from evsim.audit.compare import compare as compare_networks
from evsim.audit.compare import compare_residuals, letter
from evsim.audit.inputs import inputs_of
from evsim.cli import output
from evsim.cli.looks import Look
from evsim.cli.pages import check_page, command_line, write_page
from evsim.cli.prices import operation_prices
from evsim.cli.progress import Progress
from evsim.converters import load_model
from evsim.errors import OptionError
from evsim.events import ReadOptions
from evsim.files import check_outputs
from evsim.network import Network
from evsim.report.audit import skipped_note
from evsim.report.compare import compare_document, compare_report
from evsim.report.files import CountsFolder

SHOWN_NOTES = 8
"""Notes on inputs that are printed; a folder may give thousands."""


def compare_models(
    models: Sequence[str],
    source: str,
    residual: str | None,
    counts: str | None,
    *,
    timesteps: int | None,
    reading: ReadOptions,
    profile: str,
    threads: int | None,
    allow_memory: str | None,
    json_file: str | None,
    html_file: str | None,
    look: Look,
) -> None:
    """Run models on the same inputs, print and write; parameters as ``evsim compare`` takes them."""
    if (len(models) == 1) == (residual is None):
        raise OptionError("compare takes a second model or --residual, one of the two; with --residual one model alone")
    check_page(html_file)
    check_outputs(
        {"--json": json_file, "--html": html_file}, [*models, profile, *inputs_of(source)], counts, CountsFolder.SUFFIX
    )
    prices = operation_prices(profile)
    folder = CountsFolder(counts) if counts else None
    keep = (lambda which, run: folder.add(f"{letter(which)}-{run.network.name}", run)) if folder else None
    networks: list[Network] = []
    said: list[str] = []
    for model in models:
        loaded = load_model(model, allow_memory)
        said += loaded.notes
        output.notes(loaded.notes)
        networks.append(loaded.network)
    with Progress(unit="run") as progress:
        if residual is not None:
            outcome = compare_residuals(
                networks[0], residual, source,
                profile=prices, threads=threads, timesteps=timesteps, keep=keep, options=reading, progress=progress,
            )  # fmt: skip
        else:
            outcome = compare_networks(
                networks, source,
                profile=prices, threads=threads, timesteps=timesteps, keep=keep, options=reading, progress=progress,
            )  # fmt: skip
    hidden = len(outcome.notes) - SHOWN_NOTES
    more = (f"and {hidden} more on the inputs",) if hidden > 0 else ()
    output.notes((*outcome.notes[:SHOWN_NOTES], *more, *skipped_note(outcome)))
    output.notes(f"counts are in {path}" for path in (folder.save() if folder else []))
    if html_file:
        from evsim.report.pages import compare_page

        write_page(html_file, compare_page(outcome, (*said, *outcome.notes[:SHOWN_NOTES], *more), command_line()))
    kept = bool(folder or html_file)
    output.show(compare_report(outcome), compare_document(outcome), json_file, look, kept=kept)

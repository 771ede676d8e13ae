"""What ``evsim compare --eval`` does, apart from parsing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evsim.cli import output
from evsim.cli.looks import Look
from evsim.cli.prices import operation_prices
from evsim.errors import OptionError
from evsim.evaluation.evaluate import reading_of
from evsim.evaluation.paired import paired, paired_document
from evsim.events import ReadOptions
from evsim.files import check_outputs
from evsim.report.paired import paired_report


def compare_evaluations(
    files: Sequence[str],
    profile: str,
    json_file: str | None,
    unheeded: Mapping[str, object],
    reading: ReadOptions,
    look: Look,
) -> None:
    """Hold audits against the first, print and write.

    Parameters
    ----------
    files
        The audits.
    profile, json_file
        As the command takes them.
    unheeded
        Options that say how models run, by name; the audits have run, so each must be empty.
    reading
        How samples are read; likewise.
    look
        How the report is shown.

    Raises
    ------
    OptionError
        If one is given.
    """
    if idle := [f"`{name}`" for name, value in {**unheeded, **reading_of(reading)}.items() if value]:
        raise OptionError(f"`eval` compares what has run, so {', '.join(idle)} means nothing; leave it out")
    check_outputs({"--json": json_file}, [*files, profile])
    outcome = paired(files, operation_prices(profile))
    output.show(paired_report(outcome), paired_document(outcome), json_file, look)

"""What ``evsim events`` does, apart from parsing."""

from __future__ import annotations

import json

import typer

from evsim.errors import OptionError
from evsim.events import ReadOptions, read
from evsim.events.convert import write
from evsim.events.summary import activity, summarise
from evsim.files import check_outputs, write_whole
from evsim.report.recordings import draw, summary_document, summary_report


def list_recording(
    file: str, options: ReadOptions, json_file: str | None, png: str | None, to: str | None, aedat: str | None
) -> None:
    """Summarise, print, and write what was asked for."""
    if aedat and not to:
        raise OptionError("--aedat is the version of what --to writes; give --to OUT.aedat")
    check_outputs({"json": json_file, "png": png, "to": to}, [file])
    summary = summarise(file, options)
    for note in summary.notes:
        typer.echo(f"note: {note}", err=True)
    if not summary.count:
        typer.echo(f"warning: {file} holds no events" + (" in the range" if options.chooses else ""), err=True)
    if png or to:
        recording = read(file, options)
        if png:
            draw(recording, png)
        if to:
            kind = write(recording, to, aedat, options)
            typer.echo(f"wrote {to} ({kind}): {len(recording):,} events", err=True)
    text = json.dumps(summary_document(summary), indent=1)
    if json_file == "-":
        typer.echo(text)
        return
    if json_file:
        write_whole(json_file, (text + "\n").encode())
    typer.echo(summary_report(summary, activity(summary, options)))

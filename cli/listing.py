"""What ``evsim events`` does, apart from parsing."""

from __future__ import annotations

from collections.abc import Mapping

from evsim.cli import output
from evsim.errors import OptionError
from evsim.events import ReadOptions, read
from evsim.events.convert import check_target, write
from evsim.events.summary import activity, summarise
from evsim.files import check_outputs
from evsim.report.recordings import summary_document, summary_report
from evsim.report.sheet import draw, play


def list_recording(
    file: str,
    options: ReadOptions,
    json_file: str | None,
    png: str | None,
    moving: Mapping[str, str | None],
    to: str | None,
    aedat: str | None,
) -> None:
    """Summarise, print, and write what was asked for."""
    if aedat and not to:
        raise OptionError("`aedat` is the version of what `to` writes; give `to=OUT.aedat`")
    check_outputs({"json": json_file, "png": png, **moving, "to": to}, [file])
    played = [target for target in moving.values() if target is not None]
    if to:
        check_target(to, aedat)
    summary = summarise(file, options)
    output.notes(summary.notes)
    if not summary.count:
        output.warning(f"{file} holds no events" + (" in the range" if options.chooses else ""))
    if png or to or played:
        recording = read(file, options)
        if png:
            draw(recording, png)
        for target in played:
            output.aside(play(recording, target))
        if to:
            kind = write(recording, to, aedat, options)
            output.aside(f"wrote {to} ({kind}): {len(recording):,} events")
    text = summary_report(summary, activity(summary, options))
    output.show(text, summary_document(summary), json_file, kept=bool(png or to or played))

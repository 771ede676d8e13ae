"""Commands for teaching: lesson."""

from typing import Annotated

from evsim.cli import output
from evsim.cli.command import command
from evsim.cli.shared import OUTPUT, option

PANEL = "Lessons"


@command("evsim lesson -o lesson.html", panel=PANEL)
def lesson(
    html: Annotated[str, option("page to write (.html)", OUTPUT, "--html", "-o", metavar="FILE")],
) -> None:
    """Write an interactive page for a class.

    One spike, from pixel to picojoule. The page carries the bundled model and runs it in a browser, without a server:
    draw a digit, follow its spikes, and see what they cost.
    """
    from evsim.files import check_outputs
    from evsim.lesson import write

    check_outputs({"--html": html})
    size = write(html)
    output.say(f"wrote {html} ({size / 1e6:.1f} MB): open it in a browser, no server is needed", kept=True)

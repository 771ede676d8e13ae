"""What ``evsim explain`` does, apart from parsing."""

from __future__ import annotations

from dataclasses import dataclass, replace

from evsim import api
from evsim.cli import output
from evsim.cli.looks import Look
from evsim.cli.pages import check_page, command_line, write_page
from evsim.cli.prices import operation_prices
from evsim.cli.progress import Progress
from evsim.converters import load_model
from evsim.errors import OptionError
from evsim.events import ReadOptions
from evsim.explain.address import parse
from evsim.explain.document import document
from evsim.explain.life import explain
from evsim.explain.reach import Wave, waves
from evsim.explain.text import reach_table, report, why_report
from evsim.explain.why import Cause, way, why
from evsim.files import check_outputs
from evsim.report.terminal import WIDTH

MOST = 1000
"""Of depth, width and additions named: more is no reading matter."""


@dataclass(frozen=True)
class Question:
    """The options of ``evsim explain``."""

    model: str
    source: str
    neuron: str | None
    spike: str | None
    why: bool
    reach: bool
    depth: int
    width: int
    top: int
    precision: str
    timesteps: int | None
    threads: int | None
    json_file: str | None
    html_file: str | None
    look: Look
    profile: str
    options: ReadOptions
    allow_memory: str | None


def explain_and_print(question: Question) -> None:
    """Load, read, simulate, and print the life of one neuron."""
    text = question.neuron or question.spike
    if text is None or (question.neuron and question.spike):
        raise OptionError("give one of `neuron=PLACE` and `spike=PLACE`; a layer's name alone takes its busiest neuron")
    for name in ("depth", "width", "top"):
        value = getattr(question, name)
        if not 1 <= value <= MOST:
            raise OptionError(f"`{name}` must be from 1 to {MOST}, got {value}")
    check_outputs({"--json": question.json_file, "--html": question.html_file}, [question.model, question.source])
    check_page(question.html_file)
    profile = operation_prices(question.profile)
    model = load_model(question.model, question.allow_memory)
    network = model.network
    address = parse(text, network, spike=question.spike is not None)
    sample = api.read(question.source, network, question.timesteps, question.options)
    progress = Progress(len(network.nodes) * (question.timesteps or sample.timesteps or network.spec.timesteps))
    try:
        life = explain(
            network, sample, address, timesteps=question.timesteps, precision=question.precision,  # type: ignore[arg-type]
            threads=question.threads, profile=profile, whole=question.why, observers=[progress],
        )  # fmt: skip
    finally:
        progress.close()
    notes = (*model.notes, *life.watched.run.sample.notes)
    output.notes(notes)
    told = report(life, question.top, min(WIDTH, question.look.view().width or WIDTH))
    root: Cause | None = None
    down: tuple[Cause, ...] = ()
    reached: tuple[Wave, ...] | None = None
    if question.why:
        root = why(life, depth=question.depth, width=question.width)
        down = way(life)
        told = replace(told, parts=(*told.parts, why_report(life, root, down)))
    if question.reach:
        assert life.address.position is not None
        assert life.address.channel is not None
        place = life.address.position, life.address.channel
        reached = waves(life.watched, life.address.layer, *place, life.focus, question.depth)
        told = replace(told, parts=(*told.parts, reach_table(reached, life.focus)))
    if question.html_file:
        from evsim.explain.page import life_page

        facts = (f"{fact}: {source}" for fact, source in network.provenance.items())
        write_page(question.html_file, life_page(life, root, down, reached, (*facts, *notes), command_line()))
    content = document(life, root, down, reached or ())
    output.show(told, content, question.json_file, question.look, kept=question.html_file is not None)

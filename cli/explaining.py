"""What ``evsim explain`` does, apart from parsing."""

from __future__ import annotations

from dataclasses import dataclass

from evsim import api
from evsim.cli import output
from evsim.cli.prices import operation_prices
from evsim.cli.progress import Progress
from evsim.converters import load_model
from evsim.errors import OptionError
from evsim.events import ReadOptions
from evsim.explain.address import parse
from evsim.explain.document import document
from evsim.explain.life import explain
from evsim.explain.reach import Wave, waves
from evsim.explain.text import reach_report, report, why_report
from evsim.explain.why import Cause, way, why
from evsim.files import check_outputs

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
    check_outputs({"--json": question.json_file}, [question.model, question.source])
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
    output.notes((*model.notes, *life.watched.run.sample.notes))
    parts = [report(life, question.top)]
    root: Cause | None = None
    down: tuple[Cause, ...] = ()
    reached: tuple[Wave, ...] = ()
    if question.why:
        root = why(life, depth=question.depth, width=question.width)
        down = way(life)
        parts.append(why_report(life, root, down))
    if question.reach:
        assert life.address.position is not None
        assert life.address.channel is not None
        place = life.address.position, life.address.channel
        reached = waves(life.watched, life.address.layer, *place, life.focus, question.depth)
        parts.append(reach_report(reached, life.focus))
    output.show("\n\n".join(parts), document(life, root, down, reached), question.json_file)

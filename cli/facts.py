"""Facts of a model that only some families ask for, as options of `evsim convert`. To add one: a line in `OWN`.

Each has the name of its field of `ConvertOptions`, which has it of `Family.choices`.
"""

from __future__ import annotations

from evsim.cli.shared import MODEL, Shared, option, shared

FOLDED = "layers without neurons between as one, or apart"

OWN = Shared(
    (
        shared("fold", bool | None, option(FOLDED, MODEL, "--fold/--no-fold")),
        shared("levels", int | None, option("greatest integer of integer neurons", MODEL)),
        shared("norm", float | None, option("number that integer neurons divide by", MODEL)),
    ),
    lambda **typed: typed,
)

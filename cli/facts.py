"""Facts of a model that only some families ask for, as options of `evsim convert`. To add one: a line in `OWN`.

Each has the name of its field of `ConvertOptions`, which has it of `Family.choices`.
"""

from __future__ import annotations

from evsim.cli.shared import MODEL, Shared, option, shared

OWN = Shared(
    (
        shared("neuron", str | None, option("neurons: lif or plif", MODEL, metavar="NAME")),
        shared("pooling_stat", str | None, option("which of four stages pool, e.g. 0111", MODEL, metavar="XXXX")),
        shared("dvs_mode", bool | None, option("pool within attention", MODEL, "--dvs-mode/--no-dvs-mode")),
    ),
    lambda **typed: typed,
)

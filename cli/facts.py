"""Facts of a model that only some families ask for, as options of `evsim convert`. To add one: a line in `OWN`.

Each has the name of its field of `ConvertOptions`, which has it of `Family.choices`.
"""

from __future__ import annotations

from evsim.cli.shared import MODEL, Shared, option, shared

FOLDED = "layers without neurons between as one, or apart"

OWN = Shared(
    (
        shared("fold", bool | None, option(FOLDED, MODEL, "--fold/--no-fold")),
        shared(
            "connect",
            str | None,
            option("how a block joins spikes and shortcut: add, and or iand", MODEL, metavar="NAME"),
        ),
        shared("neuron", str | None, option("if, lif or plif, where the keys cannot tell", MODEL, metavar="NAME")),
        shared("pool", str | None, option("max or average, between convolutions", MODEL, metavar="NAME")),
        shared(
            "first_conv",
            str | None,
            option("how often the code runs it on an image: once or every-step", MODEL, metavar="WHEN"),
        ),
        shared("v_threshold", float | None, option("threshold of every neuron", MODEL)),
        shared("decay", float | None, option("what a potential keeps per timestep, where no tau tells", MODEL)),
        shared("levels", int | None, option("greatest integer of integer neurons", MODEL)),
        shared("norm", float | None, option("number that integer neurons divide by", MODEL)),
        shared("pooling_stat", str | None, option("which of four stages pool, e.g. 0111", MODEL, metavar="XXXX")),
        shared("built_size", int | None, option("image size that a SpikingResformer was built for", MODEL)),
        shared("dvs_mode", bool | None, option("pool within attention", MODEL, "--dvs-mode/--no-dvs-mode")),
    ),
    lambda **typed: typed,
)

"""The options that say how a network computes, where its keys cannot tell. To add one: a line, and its fact."""

from __future__ import annotations

from evsim.cli.shared import MODEL, Shared, option, shared

HOW_IT_COMPUTES = Shared(
    (
        shared("neuron", str | None, option("if, lif or plif", MODEL, metavar="NAME")),
        shared("pool", str | None, option("between convolutions: max or average", MODEL, metavar="NAME")),
        shared("first_conv", str | None, option("on an image: once or every-step", MODEL, metavar="RULE")),
        shared("v_threshold", float | None, option("threshold of every neuron", MODEL)),
        shared("decay", float | None, option("what a potential keeps per timestep, in MS-ResNet", MODEL)),
    ),
    lambda **facts: facts,
)
"""Fields of `ConvertOptions` by name."""

"""`evsim convert --from-torch`: a model in the user's own file, which is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from evsim.cli import output
from evsim.cli.shared import INPUT, Shared, option, shared
from evsim.cli.words import typed
from evsim.errors import OptionError

if TYPE_CHECKING:
    from evsim.converters import ConvertOptions


@dataclass(frozen=True)
class Program:
    """What is typed for a model in the user's own file; `source` is None where a checkpoint is converted."""

    source: str | None
    weights: str | None
    shape: str | None
    axes: str | None

    def target(self, first: str, second: str | None) -> str:
        """Return OUT: the second argument, or the only one where a program stands for CHECKPOINT."""
        if self.source is None:
            needless = {"--checkpoint": self.weights, "--input-shape": self.shape, "--axes": self.axes}
            for name, value in needless.items():
                if value is not None:
                    raise OptionError(f"{name} goes with --from-torch; give that, or leave it out")
            if second is None:
                raise OptionError(f"OUT is missing: where is the model of {first} to be written?")
            return second
        if second is not None:
            raise OptionError(
                f"--from-torch stands for CHECKPOINT: leave {first} out, or give it by --checkpoint as weights"
            )
        return first

    def convert(self, out: str, options: ConvertOptions) -> None:
        """Run the program, trace its model and write it."""
        from evsim.errors import CheckpointError
        from evsim.files import check_input, check_outputs
        from evsim.modelfile import save
        from evsim.report.model import facts
        from evsim.tracing import check_torch
        from evsim.tracing.program import file_of, from_program

        assert self.source is not None
        if self.weights is not None:
            check_input(self.weights, CheckpointError, "weights as torch.save writes them")
        check_torch()
        path = file_of(self.source)
        check_outputs({"OUT": out}, [path, self.weights, options.labels])
        output.notes([f"running the code in {path}, as --from-torch asks"])
        network = from_program(self.source, self.weights, self.shape, self.axes, options)
        save(network, out)
        for line in facts(network):
            output.say(line, kept=True)
        output.say(f"wrote {out}: {network.name}, {len(network.nodes)} nodes; now try: {typed('info', out)}", kept=True)


PROGRAM = Shared(
    (
        shared(
            "from_torch",
            str | None,
            option("in place of CHECKPOINT: your code, which is run, as module.py:factory", INPUT, metavar="FILE:NAME"),
        ),
        shared("program_weights", str | None, option("its weights", INPUT, "--checkpoint", metavar="FILE")),
        shared(
            "input_shape",
            str | None,
            option("of a random example for it: C,H,W or T,C,H,W", INPUT, metavar="N,N,N"),
        ),
        shared("axes", str | None, option("order of the example's axes [default: TBCHW]", INPUT)),
    ),
    lambda **typed: Program(*typed.values()),
)

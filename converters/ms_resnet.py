"""MS-ResNet (arXiv 2112.08954): its forms for ImageNet, ResNet-18 and -34, and ResNet-104.

The membrane shortcut adds currents: blocks read the real stream by neurons, so all their 3x3 convolutions see spikes.
Real values meet a convolution, as MACs, in the stem and in the 1x1 convolution of each shortcut; in ResNet-104 the
stem is three convolutions in a row. These stay apart: padded with zeros as each is, no one convolution equals them at
the border.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from evsim.converters import literature
from evsim.converters.facts import Facts
from evsim.converters.family import Family
from evsim.converters.inputs import Published, input_spec
from evsim.converters.parts import Builder
from evsim.converters.presets import IMAGENET, Preset
from evsim.converters.table import Form, Row
from evsim.errors import OptionError
from evsim.network import LIF, Add, Input, Network, TimeMean, TokenMean
from evsim.primitives import AveragePool

NAME = "ms-resnet"
DECAY, THRESHOLD = 0.25, 0.5
STAGES = (2, 3, 4, 5)
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 104: (3, 8, 32, 8)}
EVALUATION = Published(crop=0.875, interpolation="bilinear")
"""The authors resize to 256 and cut out 224."""


def _rows(deep: bool) -> tuple[Row, ...]:
    """Return the table of ResNet-104 or of the others."""
    if deep:
        rows = [
            Row("conv1.0", ("width1", "channels", 3, 3), bias=True),
            Row("conv1.1", ("width1", "width1", 3, 3), bias=True),
            Row("conv1.2", ("width1", "width1", 3, 3), "3.bn", bias=True),
        ]
    else:
        rows = [Row("conv1.0", ("width1", "channels", 7, 7), "1.bn")]
    shortcut, norm = ("shortcut.1", "2.bn") if deep else ("shortcut.0", "1.bn")
    for stage in STAGES:
        path, width, before = f"conv{stage}_x", f"width{stage}", f"width{stage - 1}"
        rows.append(Row(f"{path}.0.residual_function.1", (width, before, 3, 3), "2.bn"))
        rows.append(Row(f"{path}.0.{shortcut}", (width, before, 1, 1), norm))
        block = f"{path}.{{blocks{stage}}}.residual_function"
        rows.append(Row(f"{block}.1", (width, width, 3, 3), "2.bn"))
        rows.append(Row(f"{block}.4", (width, width, 3, 3), "5.bn"))
    return (*rows, Row("fc", ("classes", "width5"), bias=True))


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes, deep = builder.sizes, builder.form.name == "deep"
    blocks = [sizes[f"blocks{stage}"] for stage in STAGES]
    depth, width = 2 * sum(blocks) + 2, sizes["width1"]
    facts.note("layers", tuple(blocks), "from the keys")
    facts.agree("dim", width)
    facts.agree("depth", depth)
    facts.agree("classes", sizes["classes"], anyway=("num_classes",))
    facts.refuse(f"means nothing for {NAME}", "heads", "tau")
    reason = f"constant of {NAME}"
    decay = facts.find("decay", constant=DECAY, reason=reason, check=lambda d: 0.0 <= d <= 1.0)
    threshold = facts.find("v_threshold", constant=THRESHOLD, reason=reason, check=lambda v: 0.0 < v < math.inf)
    facts.note("neuron", "v = decay v (1 - s) + x, a spike where v > v_threshold", f"assumed: {reason}")
    spec = input_spec(facts, "imagenet", sizes["channels"], EVALUATION)

    def fire(name: str, source: str) -> str:
        """Append the neurons that the authors call mem_update."""
        return builder.add(LIF(name, (source,), 1.0, threshold, decay_input=False, decay=decay, strict=True))

    x = builder.add(Input("input", (), spec.channels, spec.height, spec.width, "real"))
    if deep:
        for i, stride in enumerate((2, 1, 1)):
            x = builder.layer(f"conv1.{i}", x, stride, padding=1)
    else:
        x = builder.layer("conv1.0", x, stride=2, padding=3)
    for stage, count in zip(STAGES, blocks, strict=True):
        for block in range(count):
            path = f"conv{stage}_x.{block}"
            function, stride = f"{path}.residual_function", 1 if block else 2
            y = builder.layer(f"{function}.1", fire(f"{function}.0", x), stride, padding=1)
            y = builder.layer(f"{function}.4", fire(f"{function}.3", y), padding=1)
            if block == 0:
                x = _shortcut(builder, f"{path}.shortcut", x, deep)
            x = builder.add(Add(f"{path}.add", (x, y)))
    x = builder.add(TokenMean("avgpool", (fire("mem_update", x),)))
    builder.layer("fc", builder.add(TimeMean("time_mean", (x,))))
    weights = builder.finish(FAMILY.unused)
    return Network(f"{NAME}-{depth}-{width}", NAME, "standard", spec, tuple(builder.nodes), weights)


def _shortcut(builder: Builder, path: str, x: str, deep: bool) -> str:
    """Append what makes the real stream half as wide: a 1x1 convolution, in ResNet-104 behind an average pool."""
    if not deep:
        return builder.layer(f"{path}.0", x, stride=2)
    return builder.layer(f"{path}.1", builder.add(AveragePool(f"{path}.0", (x,))))


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    if preset.depth not in BLOCKS:
        raise OptionError(f"{NAME} has {', '.join(map(str, BLOCKS))} layers, not {preset.depth}")
    widths = {f"width{stage}": preset.dim * 2 ** max(stage - 2, 0) for stage in (1, *STAGES)}
    blocks = {f"blocks{stage}": count for stage, count in zip(STAGES, BLOCKS[preset.depth], strict=True)}
    return "deep" if preset.depth == 104 else "plain", {
        "channels": 3,
        **widths,
        **blocks,
        "classes": preset.classes,
    }


def _preset(depth: int, timesteps: int, assumed: tuple[str, ...] = ()) -> Preset:
    mean, std = IMAGENET
    return Preset("imagenet", 64, depth, 0, timesteps, 1000, 224, NAME, "standard", mean, std, assumed)


def _fires_like(lif: str) -> str:
    """Return the neurons of Spikingformer's tokenizer whose rate is assumed: of the same stage."""
    stage = lif[4] if lif.startswith("conv") else "5"
    return f"patch_embed.proj{int(stage) - 1}_lif"


FAMILY = Family(
    name=NAME,
    title="MS-ResNet",
    literature=literature.MS_RESNET,
    forms=(Form("plain", _rows(deep=False)), Form("deep", _rows(deep=True))),
    graph=_graph,
    sizes=_sizes,
    presets={
        # the authors' code has T = 6 for all; that 104 was trained with 5 is known from its paper alone
        f"{NAME}-18-imagenet": _preset(18, 6),
        f"{NAME}-34-imagenet": _preset(34, 6),
        f"{NAME}-104-imagenet": _preset(104, 5),
    },
    choices={"variant": ("standard",), "tokenizer": ("imagenet",), "neuron": ("lif",), "decay": (), "v_threshold": ()},
    fires_like=_fires_like,
)

"""SEW-ResNet (arXiv 2102.04159): on ImageNet in the authors' keys and SpikingJelly's, and the authors' DVS nets.

Every convolution has its neurons, also the last of a block and the shortcut. A block then joins its spikes with those
of the shortcut: by ADD (integers, one more with each block), AND, or IAND. The authors' keys tell the family;
SpikingJelly's are those of every torchvision ResNet, so there the option `family` must say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from evsim.converters import literature
from evsim.converters.facts import CHOICES, Facts
from evsim.converters.family import Family
from evsim.converters.inputs import input_spec
from evsim.converters.parts import Builder
from evsim.converters.presets import Preset
from evsim.converters.resnet import (
    Body,
    fires_like,
    neurons_of,
    refuse_other,
    resnet,
    resnet_forms,
    resnet_models,
    resnet_presets,
    resnet_sizes,
)
from evsim.converters.table import Form, Row, Shapes
from evsim.errors import CheckpointError
from evsim.network import Add, Input, MaxPool, Network, TimeMean
from evsim.primitives import And, Flatten, IAnd

NAME = "sew-resnet"
JOINS = ("add", "and", "iand")
NETS = {"sewresnet": "standard", "plainnet": "plain", "spikingresnet": "basic"}
"""The authors' DVS nets by the name of their function, and the block of each. They are not the family's `models`:
scripts of other families kept this script's default, SEWResNet, for models of their own."""

WIDTHS = {"dvs-gesture": (1,) * 7, "dvs-cifar10": (1,) * 4 + (2,) * 3}
"""Published DVS nets: width before each of the seven pools, in terms of the first."""

SIDE = 128
"""Height and width of a recording, for which the authors' code makes the last layer."""

UNIT = re.compile(r"conv\.(\d{1,3})\.(0|conv\.0\.0|conv\.1\.0|conv\.1)\.module\.0\.weight")


def _graph(builder: Builder, facts: Facts) -> Network:
    if builder.form.name.startswith("dvs"):
        return _dvs(builder, facts)
    refuse_other(facts, "spiking_", NAME)
    connect = _connect(facts)
    key, neurons = ("downsample.0.module.0", "downsample.1") if builder.form.name.startswith("authors") else (
        "downsample.0", "downsample_sn"
    )  # fmt: skip

    def block(body: Body, path: str, x: str, stride: int) -> str:
        out = body.fire(f"{path}.sn{body.last}", body.convs(path, x, stride))
        shortcut = body.shortcut(path, x, stride, key)
        shortcut = shortcut if shortcut == x else body.fire(f"{path}.{neurons}", shortcut)
        return _join(builder, connect, path, out, shortcut, turned=_turned(body))

    network = resnet(builder, facts, NAME, block)
    if connect == "iand" and any(isinstance(node, IAnd) and node.inputs[0].endswith(".sn3") for node in builder.nodes):
        builder.notes.append(
            "IAND is out * (1 - shortcut) in this bottleneck, as in the code of SpikingJelly 0.0.0.0.14, which runs "
            "the first convolution at every step; where that runs once, it is shortcut * (1 - out)"
        )
    return network


def _turned(body: Body) -> bool:
    """Whether IAND's arguments have changed places: in the bottleneck of SpikingJelly, save in its multi-step class.

    That class, of 0.0.0.0.12, is the one that runs the first convolution once; 0.0.0.0.14 has the other alone.
    """
    return not (body.authors or body.once) and body.last == 3


def _connect(facts: Facts) -> str:
    """Return how blocks join their spikes with the shortcut's; the authors' arguments spell it in capitals."""
    spelled = {
        key: value.lower() if isinstance(value, str) and key in ("connect_f", "cnf") else value
        for key, value in facts.args.items()
    }
    facts = replace(facts, args=spelled)
    return str(facts.find("connect", anyway=("connect_f", "cnf"), check=JOINS.__contains__))


def _join(builder: Builder, connect: str, path: str, out: str, shortcut: str, *, turned: bool = False) -> str:
    """Append the element-wise function of a block; IAND keeps the shortcut's spikes where the block did not fire."""
    if connect == "add":
        return builder.add(Add(f"{path}.add", (shortcut, out)))
    if connect == "and":
        return builder.add(And(f"{path}.and", (shortcut, out)))
    return builder.add(IAnd(f"{path}.iand", (out, shortcut) if turned else (shortcut, out)))


def _dvs_rows(shapes: Shapes) -> tuple[Row, ...]:
    """Return the table of an authors' DVS net: its modules are numbered, and the numbers of pools have no keys."""
    units: dict[int, set[str]] = {}
    for key in shapes:
        if unit := UNIT.fullmatch(key):
            units.setdefault(int(unit[1]), set()).add(unit[2])
    rows: list[Row] = []
    before = "channels"

    def conv(name: str, neurons: str, out: str, source: str, kernel: int) -> None:
        rows.append(Row(f"{name}.module.0", (out, source, kernel, kernel), "1"))
        rows.append(Row(neurons, (), part="w"))

    for number in sorted(units):
        path = f"conv.{number}"
        if "0" in units[number]:
            kernel = 3 if shapes[f"{path}.0.module.0.weight"][-1:] == (3,) else 1
            conv(f"{path}.0", f"{path}.1", f"width{number}", before, kernel)
            before = f"width{number}"
            continue
        basic = "conv.1" in units[number]
        conv(f"{path}.conv.0.0", f"{path}.conv.0.1", f"inner{number}", before, 3)
        second, neurons = (f"{path}.conv.1", f"{path}.sn") if basic else (f"{path}.conv.1.0", f"{path}.conv.1.1")
        conv(second, neurons, before, f"inner{number}", 3)
    return (*rows, Row("out", ("classes", "features"), bias=True))


def _dvs_shapes(form: str) -> Shapes:
    """Return the weights of a published DVS net: a 1 x 1 convolution where the width changes, a block, a pool."""
    shapes: dict[str, tuple[int, ...]] = {}
    number, before = 0, 0
    for width in WIDTHS[form]:
        if width != before:
            shapes[f"conv.{number}.0.module.0.weight"] = (width, before, 1, 1)
            number, before = number + 1, width
        shapes |= {f"conv.{number}.conv.{i}.0.module.0.weight": (width, width, 3, 3) for i in (0, 1)}
        number += 2
    return shapes


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    """Return form and sizes; `dim` of a DVS net is its first width."""
    if preset.tokenizer not in WIDTHS:
        return resnet_sizes(preset)
    widths = {}
    for key, shape in _dvs_shapes(preset.tokenizer).items():
        number = key.split(".")[1]
        if ".conv.1." not in key:
            widths["inner" + number if ".conv.0." in key else "width" + number] = shape[0] * preset.dim
    side = preset.image_size >> len(WIDTHS[preset.tokenizer])
    features = WIDTHS[preset.tokenizer][-1] * preset.dim * max(side, 1) ** 2
    return preset.tokenizer, {"channels": 2, "classes": preset.classes, "features": features, **widths}


def _dvs(builder: Builder, facts: Facts) -> Network:
    """Build an authors' DVS net."""
    sizes, layers = builder.sizes, builder.layers
    facts.refuse("means nothing for a net on events", "first_conv", "heads")
    if any(node.endswith(".conv.1.module.0") for node in layers):
        block = "basic"
        facts.agree("variant", block)
    else:
        named = NETS.get(str(facts.args.get("model")).lower())
        reason = f"as args.model {facts.args.get('model')}" if named else "SEWBlock; a PlainBlock has the same keys"
        block = facts.find(
            "variant", constant=named or "standard", reason=reason, check=("standard", "plain").__contains__
        )
    if block == "standard":
        connect = _connect(facts)
    else:
        facts.refuse("means nothing for blocks without an element-wise function", "connect")
    facts.agree("classes", sizes["classes"], anyway=("num_classes",))
    fire = neurons_of(builder, facts)
    spec = input_spec(facts, "dvs", sizes["channels"])
    x = builder.add(Input("input", (), spec.channels, spec.height, spec.width, "integers"))
    side, number, width, blocks = spec.height, 0, sizes["channels"], 0
    units = sorted({int(node.split(".")[1]) for node in layers if node.startswith("conv.")})
    for unit in units:
        for pool in range(number, unit):
            side, x = _pooled(builder, side, pool, x)
        number, path = unit + 1, f"conv.{unit}"
        entry = f"{path}.0.module.0"
        if entry in layers:
            width, _, kernel, _ = layers[entry].sized(sizes)
            x = fire(f"{path}.1", builder.layer(entry, x, padding=kernel // 2))
            continue
        blocks += 1
        out = fire(f"{path}.conv.0.1", builder.layer(f"{path}.conv.0.0.module.0", x, padding=1))
        if block == "basic":
            out = builder.layer(f"{path}.conv.1.module.0", out, padding=1)
            x = fire(f"{path}.sn", builder.add(Add(f"{path}.add", (x, out))))
            continue
        out = fire(f"{path}.conv.1.1", builder.layer(f"{path}.conv.1.0.module.0", out, padding=1))
        x = out if block == "plain" else _join(builder, connect, path, out, x)
    # a pool behind the last block leaves no gap in the numbers: what the last layer takes tells of it
    if width * side * side > sizes["features"]:
        side, x = _pooled(builder, side, number, x)
        number += 1
    if width * side * side != sizes["features"]:
        raise CheckpointError(
            f"{builder.checkpoint.path}: out.weight takes {sizes['features']} values, but {width} channels of "
            f"{side} x {side} positions are left; give the size of the training by `image_size`"
        )
    x = builder.add(Flatten(f"conv.{number}", (x,)))
    builder.layer("out", builder.add(TimeMean("time_mean", (x,))))
    return Network(f"{NAME}-dvs-{blocks}-{width}", NAME, block, spec, tuple(builder.nodes), builder.finish(()))


def _pooled(builder: Builder, side: int, number: int, x: str) -> tuple[int, str]:
    """Append a max-pool 2 x 2, whose number has no key; return the side that is left, and its name."""
    if side < 2:
        raise CheckpointError(
            f"{builder.checkpoint.path}: the gap in its numbers at conv.{number} is a pool, but one position is left; "
            "give the size of the training by `image_size`"
        )
    return side // 2, builder.add(MaxPool(f"conv.{number}", (x,), 2, 2, 0))


FAMILY = Family(
    name=NAME,
    title="SEW-ResNet",
    literature=literature.SEW_RESNET,
    forms=(
        *resnet_forms("downsample.0.module.0", "downsample.0", "Spiking ResNet"),
        Form("dvs-cifar10", _dvs_rows(_dvs_shapes("dvs-cifar10"))),
        Form("dvs-gesture", _dvs_rows(_dvs_shapes("dvs-gesture")), grown=_dvs_rows),
    ),
    graph=_graph,
    sizes=_sizes,
    presets=resnet_presets(NAME, "add")
    | {
        # the paper, section 4.2; dvsgesture/ and cifar10dvs/smodels.py of the authors
        "sew-resnet-dvs128": Preset("dvs-gesture", 32, 7, 0, 16, 11, SIDE, NAME, connect="add", neuron="plif"),
        "sew-resnet-cifar10dvs": Preset("dvs-cifar10", 64, 7, 0, 16, 10, SIDE, NAME, connect="add", neuron="plif"),
    },
    models=resnet_models("sew_"),
    choices={
        "variant": ("standard", "plain", "basic"), "connect": JOINS, "neuron": CHOICES["neuron"],
        "first_conv": CHOICES["first_conv"],
    },
    fires_like=fires_like,
)  # fmt: skip

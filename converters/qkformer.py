"""QKFormer (arXiv 2403.16552): ImageNet, CIFAR and DVS forms, told apart by their keys.

Early stages attend by tokens: the spikes of q are summed over each head's channels, neurons make a mask of tokens of
the sum, and the mask lets k through. The last stage has spiking self-attention. The residual adds spikes to spikes, as
in Spikformer, so convolutions behind it read small integers. Every max-pool stands between BatchNorm and neurons.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evsim.converters import literature
from evsim.converters.facts import Facts
from evsim.converters.family import Family
from evsim.converters.inputs import Published, input_spec, is_count, mae_crop
from evsim.converters.neurons import find_neurons
from evsim.converters.parts import Builder
from evsim.converters.presets import CIFAR10, IMAGENET, Preset
from evsim.converters.table import Form, Row
from evsim.errors import OptionError
from evsim.network import Network
from evsim.primitives import Add, HeadSum, Input, Mask, SpikingSelfAttention, TimeMean, TokenMean

NAME = "qkformer"
ATTENTION_THRESHOLD = 0.5
SCALE = 0.125

HEADS = {"cifar": 8, "dvs": 16}
"""Heads that the authors' code of a form has whatever it is asked for."""

IMAGENET_HEADS = {384: 6, 512: 8, 768: 12}
"""Heads of the authors' functions ``QKFormer_10_<dim>``."""

RESIDUAL_RATE = 0.15
"""Rate of the neurons whose spikes go to the residual stream, as in Spikformer: none is published."""

TOKEN_BLOCKS = {"imagenet": (1, 2), "cifar": (1, 1), "dvs": (1,)}
"""Blocks with token attention in the published models, by stage; those of the last stage are the rest of the depth."""

Conv = tuple[str, bool]
"""A convolution of a patch embedding, and whether a max-pool follows."""


def _embedding(form: str, stage: int) -> tuple[tuple[Conv, ...], str, int]:
    """Return a patch embedding: its convolutions in their order, what `proj_res` reads, and its stride.

    `proj_res` reads the neurons behind the convolution of that name; "" is the input of the embedding.
    """
    if stage > 1:
        first = ("proj" if form == "dvs" else "proj3", form == "imagenet")
        return (first, ("proj4", form != "imagenet")), "", 2
    if form == "imagenet":
        return (("proj", True), ("proj1", True), ("proj2", False)), "proj", 2
    if form == "cifar":
        return (("proj", False), ("proj1", False)), "proj", 1
    return (("proj", False), ("proj1", True), ("proj2", True), ("proj3", True)), "proj1", 4


WIDTHS = {
    "imagenet": (("width1", "width2", "width2"), ("width3", "width3"), ("dim", "dim")),
    "cifar": (("width1", "width2"), ("width3", "width3"), ("dim", "dim")),
    "dvs": (("width1", "width2", "width3", "width4"), ("dim", "dim")),
}
"""Output channels of each convolution of a form's patch embeddings."""


def _modules(form: str, stage: int) -> tuple[str, str, str]:
    """Return how a stage's attention and the layers of its MLP are named."""
    fc1, fc2 = ("fc1", "fc2") if form == "imagenet" else ("mlp1", "mlp2")
    if stage <= len(TOKEN_BLOCKS[form]):
        return "tssa", fc1, fc2
    return ("attn" if form == "imagenet" else "ssa"), fc1, fc2


def _rows(form: str) -> Iterator[Row]:
    """Yield the table of a form."""
    inner = "channels"
    for stage, widths in enumerate(WIDTHS[form], 1):
        path, convs, source = f"patch_embed{stage}", *_embedding(form, stage)[:2]
        entry, outputs = inner, {"": inner}
        for (name, _), width in zip(convs, widths, strict=True):
            yield Row(f"{path}.{name}_conv", (width, entry, 3, 3), f"{name}_bn")
            entry = outputs[name] = width
        yield Row(f"{path}.proj_res_conv", (entry, outputs[source], 1, 1), "proj_res_bn")
        attention, fc1, fc2 = _modules(form, stage)
        block, inner, hidden = f"stage{stage}.{{depth{stage}}}", entry, f"hidden{stage}"
        for x in "qk" if attention == "tssa" else "qkv":
            yield Row(f"{block}.{attention}.{x}_conv", (entry, entry, 1), f"{x}_bn")
        yield Row(f"{block}.{attention}.proj_conv", (entry, entry, 1), "proj_bn", bias=True)
        yield Row(f"{block}.mlp.{fc1}_conv", (hidden, entry, 1, 1), f"{fc1}_bn", bias=True)
        yield Row(f"{block}.mlp.{fc2}_conv", (entry, hidden, 1, 1), f"{fc2}_bn", bias=True)
    yield Row("head", ("classes", "dim"), bias=True)


def _graph(builder: Builder, facts: Facts) -> Network:
    sizes, form = builder.sizes, builder.form.name
    channels, dim = sizes["channels"], sizes["dim"]
    stages = len(WIDTHS[form])
    depth = sum(sizes[f"depth{stage}"] for stage in range(1, stages + 1))
    facts.agree("tokenizer", form)
    facts.find("variant", constant="standard", reason="its only one", check=lambda v: v == "standard")
    facts.agree("dim", dim, "dim")
    facts.agree("depth", depth, "layer", "depths")
    facts.agree("classes", sizes["classes"], anyway=("num_classes", "nb_classes"))
    ratio = sizes[f"hidden{stages}"] / dim
    facts.agree("mlp_ratio", int(ratio) if ratio.is_integer() else ratio)
    heads = _heads(facts, form, dim)
    tau = find_neurons(facts, builder, "lif", "as in all published models").tau
    spec = input_spec(facts, form, channels, Published(crop=mae_crop if form == "imagenet" else None))
    facts.note("scale", SCALE, f"assumed: constant of {NAME}")
    facts.note("v_threshold", f"1.0, attn_lif {ATTENTION_THRESHOLD}", f"assumed: constants of {NAME}")
    kind = "integers" if form == "dvs" else "real"
    x = builder.add(Input("input", (), channels, spec.height, spec.width, kind))  # type: ignore[arg-type]
    side = spec.height
    for stage in range(1, stages + 1):
        x, halved = _patch_embed(builder, form, stage, x, tau)
        for _ in range(halved):
            side = (side + 1) // 2
        attention, fc1, fc2 = _modules(form, stage)
        for block in range(sizes[f"depth{stage}"]):
            path = f"stage{stage}.{block}"
            attend = _token_attention if attention == "tssa" else _self_attention
            x = attend(builder, f"{path}.{attention}", x, heads, tau, side * side)
            hidden = _fire(builder, f"{path}.mlp.{fc1}", x, tau, "map")
            x = builder.add(Add(f"{path}.mlp.add", (x, _fire(builder, f"{path}.mlp.{fc2}", hidden, tau, "map"))))
    x = builder.add(TokenMean("token_mean", (x,)))
    x = builder.add(TimeMean("time_mean", (x,)))
    builder.layer("head", x)
    weights = builder.finish(FAMILY.unused)
    return Network(f"{NAME}-{depth}-{dim}", NAME, "standard", spec, tuple(builder.nodes), weights)


def _heads(facts: Facts, form: str, dim: int) -> int:
    """Return the number of heads: fixed in the code of CIFAR and DVS models, and by the name of ImageNet's function."""
    if form != "imagenet":
        reason = f"fixed in the authors' code of the {form} form, whatever it is asked for"
        return int(facts.find("heads", constant=HEADS[form], reason=reason, check=is_count))
    function = f"QKFormer_10_{dim}"
    named = str(facts.args.get("model")).lower() == function.lower()
    told = IMAGENET_HEADS.get(dim) if named else None
    reason = f"that of the authors' {function}"
    return int(facts.find("heads", "num_heads", constant=told, reason=reason, check=is_count))


def _patch_embed(builder: Builder, form: str, stage: int, x: str, tau: float) -> tuple[str, int]:
    """Append a patch embedding; return its sum of spikes, 0 to 2, and how often it halved the map."""
    path = f"patch_embed{stage}"
    convs, source, stride = _embedding(form, stage)
    outputs = {"": x}
    for name, pooled in convs:
        x = builder.layer(f"{path}.{name}_conv", x, padding=1)
        if pooled:
            x = builder.pool(f"{path}.{name}_maxpool", x)
        x = outputs[name] = builder.lif(f"{path}.{name}_lif", x, tau)
    residual = builder.layer(f"{path}.proj_res_conv", outputs[source], stride=stride)
    residual = builder.lif(f"{path}.proj_res_lif", residual, tau)
    return builder.add(Add(f"{path}.add", (x, residual))), sum(pooled for _, pooled in convs)


def _token_attention(builder: Builder, path: str, x: str, heads: int, tau: float, tokens: int) -> str:
    """Append token attention, whose row shows what it lets through, and its residual addition."""
    q, k = (_fire(builder, f"{path}.{letter}", x, tau, "tokens") for letter in "qk")
    mask, masked = f"{path}.attn_lif", f"{path}.mask"
    shown = (("q_spikes", q), ("mask_spikes", mask), ("k_spikes", k), ("masked_k_spikes", masked))
    total = builder.add(HeadSum(path, (q,), heads, shown))
    builder.lif(mask, total, tau, "tokens", ATTENTION_THRESHOLD, (heads, 1, tokens))
    builder.add(Mask(masked, (k, mask)))
    return builder.add(Add(f"{path}.add", (x, _fire(builder, f"{path}.proj", masked, tau, "map"))))


def _self_attention(builder: Builder, path: str, x: str, heads: int, tau: float, tokens: int) -> str:  # noqa: ARG001
    """Append spiking self-attention and its residual addition."""
    qkv = tuple(_fire(builder, f"{path}.{letter}", x, tau, "tokens") for letter in "qkv")
    ssa = builder.add(SpikingSelfAttention(f"{path}.ssa", qkv, heads, SCALE))
    fired = builder.lif(f"{path}.attn_lif", ssa, tau, "tokens", ATTENTION_THRESHOLD)
    return builder.add(Add(f"{path}.add", (x, _fire(builder, f"{path}.proj", fired, tau, "tokens"))))


def _fire(builder: Builder, path: str, x: str, tau: float, layout: str) -> str:
    """Append a 1x1 convolution, its BatchNorm and its neurons."""
    return builder.lif(f"{path}_lif", builder.layer(f"{path}_conv", x), tau, layout)


def _sizes(preset: Preset) -> tuple[str, Mapping[str, int]]:
    form, dim = preset.tokenizer, preset.dim
    blocks = (*TOKEN_BLOCKS[form], preset.depth - sum(TOKEN_BLOCKS[form]))
    narrowest = dim >> len(TOKEN_BLOCKS[form])
    if dim % 16 or narrowest % preset.heads or blocks[-1] < 1:
        raise OptionError(
            f"a QKFormer ({form}) of dimension {dim} and depth {preset.depth} makes no sense: give a multiple of 16 "
            f"whose {narrowest} channels of stage 1 divide into {preset.heads} heads, and at least "
            f"{1 + sum(TOKEN_BLOCKS[form])} blocks"
        )
    shares = (16, 8, 4, 2) if form == "dvs" else (8, 4, 2)
    widths = {f"width{i}": dim // share for i, share in enumerate(shares, 1)}
    last = len(blocks)
    stages = {f"hidden{i}": preset.mlp_ratio * (dim >> (last - i)) for i in range(1, last + 1)}
    depths = {f"depth{i}": count for i, count in enumerate(blocks, 1)}
    channels = 2 if form == "dvs" else 3
    return form, {"channels": channels, **widths, "dim": dim, **stages, **depths, "classes": preset.classes}


def _presets() -> Iterator[tuple[str, Preset]]:
    """Yield what the authors publish; CIFAR-100 has the mean of CIFAR-10 in their files."""
    for dim, heads in IMAGENET_HEADS.items():
        mean, std = IMAGENET
        yield f"10-{dim}-imagenet", Preset("imagenet", dim, 10, heads, 4, 1000, 224, NAME, mean=mean, std=std)
    for classes in (10, 100):
        mean, std = CIFAR10
        yield f"4-384-cifar{classes}", Preset("cifar", 384, 4, 8, 4, classes, 32, NAME, mean=mean, std=std)
    yield "2-256-cifar10dvs", Preset("dvs", 256, 2, 16, 16, 10, 128, NAME, mlp_ratio=1)
    yield "2-256-dvs128", Preset("dvs", 256, 2, 16, 16, 11, 128, NAME)


def _fires_like(lif: str) -> str | float:
    """Return the neurons of Spikingformer at the same place; blocks and patch embeddings count through all stages."""
    path, _, module = lif.rpartition(".")
    if module == "proj_res_lif" or lif.endswith(("tssa.proj_lif", "ssa.proj_lif", "attn.proj_lif")):
        return RESIDUAL_RATE
    if path.startswith("patch_embed"):
        first = {"1": 1, "2": 3, "3": 4}[path[-1]]  # earlier stages are narrower than Spikingformer's
        convolution = int(module[4:-4] or 0) if path[-1] == "1" else 0
        return f"patch_embed.proj{min(first + convolution, 4)}_lif"
    if module in ("fc2_lif", "mlp2_lif"):
        return RESIDUAL_RATE
    stage, block, part, *_ = lif.split(".")
    before = {"stage1": 0, "stage2": 1, "stage3": 3 if part == "attn" or module == "fc1_lif" else 2}[stage]
    neurons = "mlp.mlp2_lif" if part == "mlp" else f"attn.{module}"
    return f"block.{before + int(block)}.{neurons}"


FAMILY = Family(
    name=NAME,
    title="QKFormer",
    literature=literature.QKFORMER,
    forms=tuple(Form(form, tuple(_rows(form))) for form in WIDTHS),
    graph=_graph,
    sizes=_sizes,
    presets={f"{NAME}-{name}": preset for name, preset in _presets()},
    models=dict.fromkeys((NAME, *(f"{NAME}_10_{dim}" for dim in IMAGENET_HEADS)), False),
    choices={"variant": ("standard",), "tokenizer": tuple(WIDTHS), "neuron": ("lif", "plif")},
    fires_like=_fires_like,
    residual_rate=RESIDUAL_RATE,
)

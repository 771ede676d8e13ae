"""What is published of a named model: the facts that no checkpoint's keys can tell."""

from __future__ import annotations

from dataclasses import dataclass

from evsim.errors import OptionError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels."""

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
"""Mean and standard deviation of CIFAR-10's channels."""


@dataclass(frozen=True)
class Preset:
    """Facts of one published model; `assumed` names those that were not published.

    `widths` are the channels of its stages where they do not follow from `dim`.
    """

    tokenizer: str
    dim: int
    depth: int
    heads: int
    timesteps: int
    classes: int
    image_size: int
    family: str = "spikingformer"
    variant: str = "standard"
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    assumed: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    neuron: str | None = None


def published_sizes(family: str, variant: str = "standard") -> dict[str, Preset]:
    """Return the sizes in which Spikingformer's paper compares the families, as presets of one of them.

    Names are family-depth-dim-dataset, and the variant where it is not the standard.
    """
    suffix = "" if variant == "standard" else f"-{variant}"
    sizes = {
        f"8-{dim}-imagenet": Preset(
            "imagenet", dim, 8, 8, 4, 1000, 224, family, variant, mean=IMAGENET[0], std=IMAGENET[1]
        )
        for dim in (384, 512, 768)
    }
    for depth, dim, heads, assumed in ((4, 384, 12, ()), (4, 256, 8, ("heads",)), (2, 384, 12, ("heads",))):
        sizes[f"{depth}-{dim}-cifar10"] = Preset(
            "cifar", dim, depth, heads, 4, 10, 32, family, variant, CIFAR10[0], CIFAR10[1], assumed
        )
    sizes["4-384-cifar100"] = Preset(
        "cifar", 384, 4, 8, 4, 100, 32, family, variant, CIFAR10[0], CIFAR10[1], assumed=("mean", "std")
    )
    sizes["2-256-cifar10dvs"] = Preset("dvs", 256, 2, 16, 16, 10, 128, family, variant)
    sizes["2-256-dvs128"] = Preset("dvs", 256, 2, 16, 16, 11, 128, family, variant)
    return {f"{family}-{name}{suffix}": preset for name, preset in sizes.items()}


def vision_sizes(preset: Preset) -> dict[str, int]:
    """Return the sizes of a vision transformer whose tokenizer doubles its channels up to `dim`.

    Raises
    ------
    OptionError
        If the dimension does not divide so, or not into its heads.
    """
    dim = preset.dim
    if dim % 8 or dim % preset.heads:
        raise OptionError(f"a dimension of {dim} is no multiple of 8 and of its {preset.heads} heads")
    widths = {"width1": dim // 8, "width2": dim // 4, "width3": dim // 2, "width4": dim}
    channels = 2 if preset.tokenizer == "dvs" else 3
    counts = {"depth": preset.depth, "classes": preset.classes}
    return {"channels": channels, **widths, "dim": dim, "hidden": 4 * dim, **counts}

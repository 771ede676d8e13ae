"""What is published of the named models: the facts that no checkpoint's keys can tell."""

from __future__ import annotations

from dataclasses import dataclass, replace

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of ImageNet's channels."""

CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
"""Mean and standard deviation of CIFAR-10's channels."""


@dataclass(frozen=True)
class Preset:
    """Facts of one published model; `assumed` names those that were not published."""

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


def _with_cml(presets: dict[str, Preset]) -> dict[str, Preset]:
    return presets | {f"{name}-cml": replace(preset, variant="cml") for name, preset in presets.items()}


def _with_spikformer(presets: dict[str, Preset]) -> dict[str, Preset]:
    """Add Spikformer in the sizes of Spikingformer: the paper compares the two size by size."""
    standard = {name: preset for name, preset in presets.items() if preset.variant == "standard"}
    return presets | {
        name.replace("spikingformer", "spikformer"): replace(preset, family="spikformer")
        for name, preset in standard.items()
    }


PRESETS: dict[str, Preset] = _with_spikformer(
    _with_cml(
        {
            **{
                f"spikingformer-8-{dim}-imagenet": Preset(
                    "imagenet", dim, 8, 8, 4, 1000, 224, mean=IMAGENET[0], std=IMAGENET[1]
                )
                for dim in (384, 512, 768)
            },
            **{
                f"spikingformer-{depth}-{dim}-cifar10": Preset(
                    "cifar", dim, depth, heads, 4, 10, 32, mean=CIFAR10[0], std=CIFAR10[1], assumed=assumed
                )
                for depth, dim, heads, assumed in (
                    (4, 384, 12, ()),
                    (4, 256, 8, ("heads",)),
                    (2, 384, 12, ("heads",)),
                )
            },
            "spikingformer-4-384-cifar100": Preset(
                "cifar", 384, 4, 8, 4, 100, 32, mean=CIFAR10[0], std=CIFAR10[1], assumed=("mean", "std")
            ),
            "spikingformer-2-256-cifar10dvs": Preset("dvs", 256, 2, 16, 16, 10, 128),
            "spikingformer-2-256-dvs128": Preset("dvs", 256, 2, 16, 16, 11, 128),
        }
    )
)
"""Every preset by its name: family-depth-dim-dataset, `-cml` for the variant."""

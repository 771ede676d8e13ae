"""How a recording or image becomes the input of a vision model: the same questions for every family."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from evsim.converters.facts import CHOICES, Facts
from evsim.converters.presets import CIFAR10, IMAGENET
from evsim.inputspec import CROP_PCT, INTERPOLATIONS, RESIZED, InputSpec

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

SIZES: Mapping[str, int] = {"cifar": 32, "dvs": 128}
"""Image size of the published models, by tokenizer; those of ImageNet come in several."""


@dataclass(frozen=True)
class Published:
    """What is published of the input of a family's models, where it is not what all of their tokenizer have.

    Attributes
    ----------
    sizes
        Image size by tokenizer, where all models have one.
    statistics
        Mean and standard deviation; None: those of ImageNet or CIFAR-10.
    crop
        Share of a picture that the authors' evaluation keeps, or image size to that share; None: all, as timm has it.
    interpolation
        How the evaluation resizes pictures; None: bicubic, as timm has it.
    evaluation
        Where crop and interpolation come from.
    timesteps
        T of all models of the family; None: it is asked for.
    resized
        Whether frames of events are resized to the model's size, bilinearly, and so become real values.
    """

    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)
    statistics: Statistics | None = None
    crop: float | Callable[[int], float] | None = None
    interpolation: str | None = None
    evaluation: str = "as the authors' scripts"
    timesteps: int | None = None
    resized: bool = False


def input_spec(facts: Facts, tokenizer: str, channels: int, published: Published | None = None) -> InputSpec:
    """Return how the model's input is made.

    Parameters
    ----------
    facts
        Where options, preset and arguments are looked up.
    tokenizer
        "imagenet", "cifar" or "dvs".
    channels
        Input channels.
    published
        What the family's models have of their own.

    Raises
    ------
    OptionError
        If a fact is unknown or makes no sense, or an option means nothing for such a model.
    """
    published = published or Published()
    timesteps = facts.find(
        "timesteps", "time_step", "time_steps", anyway=("T",), constant=published.timesteps,
        reason="that of all such models", check=is_count,
    )  # fmt: skip
    size = facts.find(
        "image_size", "img_size", "input_size",
        constant=published.sizes.get(tokenizer), reason=f"size of the published {tokenizer} models",
        check=is_count,
    )  # fmt: skip
    if tokenizer == "dvs":
        return _of_events(facts, channels, size, timesteps, published.resized)
    facts.refuse("means nothing for a model of images", "frames", "orientation")
    statistics = published.statistics or (IMAGENET if tokenizer == "imagenet" else CIFAR10)
    mean, std = (
        facts.find(
            fact, fact, constant=value,
            reason=f"that of the published {tokenizer} models", check=partial(_per_channel, channels, fact),
        )
        for fact, value in zip(("mean", "std"), statistics, strict=True)
    )  # fmt: skip
    crop_pct, interpolation = _resizing(facts, published, size)
    return InputSpec("image", channels, size, size, timesteps, mean, std, crop_pct, interpolation=interpolation)


def _of_events(facts: Facts, channels: int, size: int, timesteps: int, resized: bool) -> InputSpec:
    """Return how recordings become the input of a model of events."""
    facts.refuse("means nothing for a model of events", "mean", "std", "crop_pct", "interpolation")
    frames = facts.find(
        "frames", constant="number", reason="as the authors' scripts", check=lambda f: f in CHOICES["frames"]
    )
    orientation = facts.find(
        "orientation", constant="spikingjelly", reason="as the authors' loader",
        check=lambda o: o in CHOICES["orientation"],
    )  # fmt: skip
    if resized:
        facts.note("interpolation", RESIZED, "assumed: frames of the whole sensor are resized, as the authors' scripts")
    return InputSpec(
        "frames" if resized else "events", channels, size, size, timesteps, frames=frames, orientation=orientation,
        interpolation=RESIZED if resized else INTERPOLATIONS[0],
    )  # fmt: skip


def mae_crop(size: int) -> float:
    """Return the crop of the evaluation in MAE's style: resized to 256 / 224 of a size up to 224, else to the size."""
    return 0.875 if size <= 224 else 1.0


def _resizing(facts: Facts, published: Published, size: int) -> tuple[float, str]:
    """Return how pictures are cut to size, as timm's `crop_pct` and `interpolation` say.

    Each is noted where something says it: an option, the arguments, or what is published of the family.
    """
    own = published.crop(size) if callable(published.crop) else published.crop
    crop_pct, interpolation = CROP_PCT if own is None else own, published.interpolation or INTERPOLATIONS[0]
    if own is not None or facts.speaks_of("crop_pct"):
        crop_pct = facts.find(
            "crop_pct", "crop_pct", constant=crop_pct, reason=published.evaluation,
            check=lambda share: 0.0 < share <= 1.0,
        )  # fmt: skip
    if published.interpolation or facts.speaks_of("interpolation"):
        interpolation = facts.find(
            "interpolation", "interpolation", constant=interpolation, reason=published.evaluation,
            check=lambda name: name in INTERPOLATIONS,
        )  # fmt: skip
    return float(crop_pct), interpolation


def is_count(value: object) -> bool:
    """Whether a value is a whole number above 0."""
    return type(value) is int and value > 0


def _per_channel(channels: int, fact: str, values: tuple[float, ...]) -> bool:
    """Whether there is a usable mean or standard deviation for each channel."""
    return len(values) == channels and all(math.isfinite(v) and (v > 0.0 or fact == "mean") for v in values)

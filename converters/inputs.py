"""How a recording or image becomes the input of a vision model: the same questions for every family."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from evsim.converters.facts import CHOICES, Facts
from evsim.converters.presets import CIFAR10, IMAGENET
from evsim.inputspec import CROP_PCT, INTERPOLATIONS, RESIZED, InputSpec

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

SIZES: Mapping[str, int] = {"cifar": 32, "dvs": 128}
"""Image size of the published models, by tokenizer; those of ImageNet come in several."""


def input_spec(
    facts: Facts,
    tokenizer: str,
    channels: int,
    size: int | None = None,
    published: Statistics | None = None,
    resizing: tuple[float, str] | None = None,
    sizes: Mapping[str, int] = SIZES,
    crop: Callable[[int], float] | None = None,
    timesteps: int | None = None,
    resized: bool = False,
) -> InputSpec:
    """Return how the model's input is made.

    Parameters
    ----------
    facts
        Where options, preset and arguments are looked up.
    tokenizer
        "imagenet", "cifar" or "dvs".
    channels
        Input channels.
    size, published, resizing
        What is published of image size, mean and std, `crop_pct` and interpolation, where it is not the tokenizer's.
    sizes
        Image size of the family's published models by tokenizer, where all have one.
    crop
        Image size to the share of a picture that the authors' evaluation keeps, where `resizing` says none; None: all.
    timesteps
        T of all models of the family; None: it is asked for.
    resized
        Whether frames of events are resized to the model's size, bilinearly, and so become real values.

    Raises
    ------
    OptionError
        If a fact is unknown or makes no sense, or an option means nothing for such a model.
    """
    events = tokenizer == "dvs"
    timesteps = facts.find(
        "timesteps", "time_step", "time_steps", anyway=("T",), constant=timesteps, reason="that of all such models",
        check=is_count,
    )  # fmt: skip
    size = facts.find(
        "image_size", "img_size", "input_size",
        constant=size or sizes.get(tokenizer), reason=f"size of the published {tokenizer} models",
        check=is_count,
    )  # fmt: skip
    if events:
        return _of_events(facts, channels, size, timesteps, resized)
    facts.refuse("means nothing for a model of images", "frames", "orientation")
    published = published or (IMAGENET if tokenizer == "imagenet" else CIFAR10)
    mean, std = (
        facts.find(
            fact, fact, constant=value,
            reason=f"that of the published {tokenizer} models", check=partial(_per_channel, channels, fact),
        )
        for fact, value in (("mean", published[0]), ("std", published[1]))
    )  # fmt: skip
    crop_pct, interpolation = _resizing(facts, resizing, crop(size) if crop else CROP_PCT, tokenizer)
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


def _resizing(facts: Facts, published: tuple[float, str] | None, crop: float, tokenizer: str) -> tuple[float, str]:
    """Return how pictures are cut to size, as timm's `crop_pct` and `interpolation` say; noted where something says it.

    What neither an option nor the arguments tell is as the published models have it: `crop` of the picture, bicubic, or
    what the family says, which is noted too.
    """
    crop_pct, interpolation = published or (crop, INTERPOLATIONS[0])
    reason = "as the authors' scripts"
    if published or facts.speaks_of("crop_pct"):
        crop_pct = facts.find(
            "crop_pct", "crop_pct", constant=crop_pct, reason=reason, check=lambda share: 0.0 < share <= 1.0
        )
    elif crop != CROP_PCT:
        facts.note("crop_pct", crop, f"assumed: that of the published {tokenizer} models")
    if published or facts.speaks_of("interpolation"):
        interpolation = facts.find(
            "interpolation", "interpolation", constant=interpolation, reason=reason,
            check=lambda name: name in INTERPOLATIONS,
        )  # fmt: skip
    return float(crop_pct), interpolation


def is_count(value: object) -> bool:
    """Whether a value is a whole number above 0."""
    return type(value) is int and value > 0


def _per_channel(channels: int, fact: str, values: tuple[float, ...]) -> bool:
    """Whether there is a usable mean or standard deviation for each channel."""
    return len(values) == channels and all(math.isfinite(v) and (v > 0.0 or fact == "mean") for v in values)

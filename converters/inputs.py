"""How a recording or image becomes the input of a vision model: the same questions for every family."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

from evsim.converters.facts import CHOICES, Facts
from evsim.converters.presets import CIFAR10, IMAGENET
from evsim.inputspec import CROP_PCT, INTERPOLATIONS, InputSpec

SIZES: Mapping[str, int] = {"cifar": 32, "dvs": 128}
"""Image size of the published models, by tokenizer; those of ImageNet come in several."""


def input_spec(
    facts: Facts,
    tokenizer: str,
    channels: int,
    crop_pct: Callable[[int], float] | None = None,
    timesteps: int | None = None,
    sizes: Mapping[str, int] = SIZES,
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
    crop_pct
        Share of a picture that the authors' evaluation keeps, by the image's size; None: all of it.
    timesteps
        T of all models of the family; None: it is asked for.
    sizes
        Image size of the family's published models by tokenizer, where all have one.

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
        constant=sizes.get(tokenizer), reason=f"size of the published {tokenizer} models",
        check=is_count,
    )  # fmt: skip
    if events:
        facts.refuse("means nothing for a model of events", "mean", "std", "crop_pct", "interpolation")
        frames = facts.find(
            "frames", constant="number", reason="as the authors' scripts", check=lambda f: f in CHOICES["frames"]
        )
        orientation = facts.find(
            "orientation", constant="spikingjelly", reason="as the authors' loader",
            check=lambda o: o in CHOICES["orientation"],
        )  # fmt: skip
        return InputSpec("events", channels, size, size, timesteps, frames=frames, orientation=orientation)
    facts.refuse("means nothing for a model of images", "frames", "orientation")
    published = IMAGENET if tokenizer == "imagenet" else CIFAR10
    mean, std = (
        facts.find(
            fact, fact, constant=value,
            reason=f"that of the published {tokenizer} models", check=partial(_per_channel, channels, fact),
        )
        for fact, value in (("mean", published[0]), ("std", published[1]))
    )  # fmt: skip
    share, interpolation = _resizing(facts, crop_pct and crop_pct(size))
    return InputSpec("image", channels, size, size, timesteps, mean, std, share, interpolation=interpolation)


def _resizing(facts: Facts, own: float | None) -> tuple[float, str]:
    """Return how pictures are cut to size, as timm's `crop_pct` and `interpolation` say; noted where something says it.

    What neither an option nor the arguments tell is as the published models have it: the share that is their `own`, or
    the whole picture; bicubic.
    """
    crop_pct, interpolation = CROP_PCT, INTERPOLATIONS[0]
    if own is not None or facts.speaks_of("crop_pct"):
        crop_pct = facts.find(
            "crop_pct", "crop_pct", constant=own, reason="as the authors' evaluation",
            check=lambda share: 0.0 < share <= 1.0,
        )  # fmt: skip
    if facts.speaks_of("interpolation"):
        interpolation = facts.find("interpolation", "interpolation", check=lambda name: name in INTERPOLATIONS)
    return float(crop_pct), interpolation


def is_count(value: object) -> bool:
    """Whether a value is a whole number above 0."""
    return type(value) is int and value > 0


def _per_channel(channels: int, fact: str, values: tuple[float, ...]) -> bool:
    """Whether there is a usable mean or standard deviation for each channel."""
    return len(values) == channels and all(math.isfinite(v) and (v > 0.0 or fact == "mean") for v in values)

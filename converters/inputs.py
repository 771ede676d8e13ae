"""How a recording or image becomes the input of a vision model: the same questions for every family."""

from __future__ import annotations

import math
from functools import partial

from evsim.converters.facts import CHOICES, Facts
from evsim.converters.presets import CIFAR10, IMAGENET
from evsim.inputspec import InputSpec


def input_spec(facts: Facts, tokenizer: str, channels: int) -> InputSpec:
    """Return how the model's input is made.

    Parameters
    ----------
    facts
        Where options, preset and arguments are looked up.
    tokenizer
        "imagenet", "cifar" or "dvs".
    channels
        Input channels.

    Raises
    ------
    OptionError
        If a fact is unknown or makes no sense, or an option means nothing for such a model.
    """
    events = tokenizer == "dvs"
    timesteps = facts.find("timesteps", "time_step", anyway=("T",), check=is_count)
    size = facts.find(
        "image_size", "img_size",
        constant={"cifar": 32, "dvs": 128}.get(tokenizer), reason=f"size of the published {tokenizer} models",
        check=is_count,
    )  # fmt: skip
    if events:
        facts.refuse("means nothing for a model of events", "mean", "std")
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
    return InputSpec("image", channels, size, size, timesteps, mean, std)


def is_count(value: object) -> bool:
    """Whether a value is a whole number above 0."""
    return type(value) is int and value > 0


def _per_channel(channels: int, fact: str, values: tuple[float, ...]) -> bool:
    """Whether there is a usable mean or standard deviation for each channel."""
    return len(values) == channels and all(math.isfinite(v) and (v > 0.0 or fact == "mean") for v in values)

"""How a recording or image becomes the input of a vision model: the same questions for every family."""

from __future__ import annotations

from evsim.converters.facts import Facts
from evsim.converters.presets import CIFAR10, IMAGENET
from evsim.network import InputSpec


def input_spec(facts: Facts, tokenizer: str, channels: int, trusted: bool) -> InputSpec:
    """Return how the model's input is made.

    Parameters
    ----------
    facts
        Where options, preset and arguments are looked up.
    tokenizer
        "imagenet", "cifar" or "dvs".
    channels
        Input channels.
    trusted
        Whether sizes and normalisation in the checkpoint's arguments are this model's.

    Raises
    ------
    OptionError
        If a fact is unknown or makes no sense.
    """
    events = tokenizer == "dvs"
    timesteps = facts.find("timesteps", "T", "time_step", check=lambda t: isinstance(t, int) and t > 0)
    size = facts.find(
        "image_size", *(("img_size",) if trusted else ()),
        constant={"imagenet": 224, "cifar": 32, "dvs": 128}[tokenizer],
        reason=f"size of the published {tokenizer} models",
        check=lambda s: isinstance(s, int) and s > 0,
    )  # fmt: skip
    if events:
        frames = facts.find(
            "frames", constant="number", reason="as the authors' scripts", check=lambda f: f in ("number", "time")
        )
        orientation = facts.find(
            "orientation", constant="spikingjelly", reason="as the authors' loader",
            check=lambda o: o in ("spikingjelly", "jaer", "raw"),
        )  # fmt: skip
        return InputSpec("events", channels, size, size, timesteps, frames=frames, orientation=orientation)
    published = IMAGENET if tokenizer == "imagenet" else CIFAR10
    mean, std = (
        facts.find(
            fact, *((fact,) if trusted else ()), constant=value, reason=f"that of the published {tokenizer} models",
            check=lambda v: len(v) == channels,
        )
        for fact, value in zip(("mean", "std"), published, strict=True)
    )  # fmt: skip
    return InputSpec("image", channels, size, size, timesteps, mean, std)

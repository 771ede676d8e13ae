"""Where each fact about a model comes from, and what happens when two sources disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evsim.converters.presets import PRESETS
from evsim.errors import OptionError
from evsim.inputspec import INTERPOLATIONS

OWN_MODELS = ("spikingformer", "vitsnn", "spikformer")
"""Values of ``args.model`` whose arguments describe the model that was trained."""

CHOICES = {
    "variant": ("standard", "cml"),
    "tokenizer": ("imagenet", "cifar", "dvs"),
    "orientation": ("spikingjelly", "jaer", "raw"),
    "frames": ("number", "time"),
    "interpolation": INTERPOLATIONS,
}
"""What the options that name one of several things may be."""


@dataclass(frozen=True)
class ConvertOptions:
    """What a person says about a checkpoint; None where the file or a preset is to tell.

    Raises
    ------
    OptionError
        If there is no such tokenizer, variant, orientation or way of making frames.
    """

    family: str | None = None
    variant: str | None = None
    tokenizer: str | None = None
    heads: int | None = None
    timesteps: int | None = None
    tau: float | None = None
    image_size: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    labels: str | None = None
    orientation: str | None = None
    frames: str | None = None
    preset: str | None = None
    crop_pct: float | None = None
    interpolation: str | None = None
    weights: str | None = None
    keys: str | None = None

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in (None, *known):
                raise OptionError(f"--{name} must be one of {', '.join(known)}, got {value}")


@dataclass
class Facts:
    """Finds facts in this order: option, preset, the checkpoint's arguments, a constant; remembers the source.

    Attributes
    ----------
    sources
        Fact to one line: its value and where it came from.
    """

    options: ConvertOptions
    args: Mapping[str, object]
    sources: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        name = self.options.preset
        if name is not None and name not in PRESETS:
            raise OptionError(f"--preset {name} is unknown; known are {', '.join(sorted(PRESETS))}")

    @property
    def trusted(self) -> bool:
        """Whether the arguments describe the model: those of the authors' DVS scripts name a default never used."""
        model = self.args.get("model")
        return model is None or (isinstance(model, str) and model.lower() in OWN_MODELS)

    def find(
        self, fact: str, *arguments: str, constant: object = None, reason: str = "", check: Callable[[Any], bool] = bool
    ) -> Any:
        """Return a fact.

        Parameters
        ----------
        fact
            Its name, that of the option and of the preset's field.
        arguments
            Names under which the checkpoint's arguments may have it.
        constant, reason
            What to assume if nothing tells, and why that is sound.
        check
            Whether a value makes sense.

        Raises
        ------
        OptionError
            If nothing tells the fact, its value makes no sense, or two arguments of the checkpoint differ.
        """
        option = _option(fact)
        value, source = self.told(fact)
        recorded = {name: _plain(self.args[name]) for name in arguments if self.args.get(name) is not None}
        if value is None and recorded:
            if len(set(recorded.values())) > 1:
                texts = " but ".join(f"args.{name} is {told}" for name, told in recorded.items())
                raise OptionError(f"in the checkpoint {texts}: say which is right by {option}")
            name, value = next(iter(recorded.items()))
            source = f"from the checkpoint's args.{name}"
        elif value is not None:
            differs = [f"args.{name} is {_text(told)}" for name, told in recorded.items() if told != value]
            source += f", though {differs[0]}" if differs else ""
        if value is None and constant is not None:
            value, source = constant, f"assumed: {reason}"
        if value is None:
            raise OptionError(f"the checkpoint does not tell {fact.replace('_', ' ')}: give it by {option}")
        if not _sound(value, check):
            raise OptionError(
                f"{fact.replace('_', ' ')} {_text(value)} ({source}) makes no sense; give another by {option}"
            )
        self.note(fact, value, source)
        return value

    def told(self, fact: str) -> tuple[Any, str]:
        """Return what an option or the preset says of a fact, and which; (None, "") if neither does."""
        chosen = getattr(self.options, fact, None)
        if chosen is not None:
            return chosen, f"from {_option(fact)}"
        if self.options.preset is not None:
            preset = PRESETS[self.options.preset]
            value = getattr(preset, fact, None)
            if value not in (None, ()):
                hint = ", not published: assumed" if fact in preset.assumed else ""
                return value, f"from --preset {self.options.preset}{hint}"
        return None, ""

    def agree(self, fact: str, found: object, *arguments: str) -> None:
        """Take a fact from the keys and shapes of the weights.

        Raises
        ------
        OptionError
            If an option, the preset or one of these arguments of the checkpoint contradicts it.
        """
        name = fact.replace("_", " ")
        if self.options.preset is not None:
            value = getattr(PRESETS[self.options.preset], fact, None)
            if value not in (None, found):
                raise OptionError(
                    f"--preset {self.options.preset} says {name} {value}, but the checkpoint's weights say {found}; "
                    "give the --preset that fits, or none"
                )
        chosen = getattr(self.options, fact, None)
        if chosen not in (None, found):
            raise OptionError(
                f"{_option(fact)} {chosen} contradicts the checkpoint, whose weights say {found}; leave the option out"
            )
        for argument in arguments:
            value = self.args.get(argument)
            if value not in (None, found):
                raise OptionError(
                    f"the checkpoint's args.{argument} says {name} {_text(value)}, but its weights say {found}: these "
                    "args are of another model; save the state_dict alone and give --heads, --timesteps and the like"
                )
        self.note(fact, found, "from the keys")

    def refuse(self, meaning: str, *facts: str) -> None:
        """Refuse options that mean nothing for this model.

        Raises
        ------
        OptionError
            If one of them is given.
        """
        for fact in facts:
            if getattr(self.options, fact) is not None:
                raise OptionError(f"{_option(fact)} {meaning}; leave it out")

    def note(self, fact: str, value: object, source: str) -> None:
        """Remember where a fact came from."""
        self.sources[fact] = f"{_text(value)} ({source})"


def _option(fact: str) -> str:
    return "--" + fact.replace("_", "-")


def _text(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _plain(value: Any) -> Any:
    """Return an argument of the checkpoint; a list as a tuple of floats, as options and presets have it."""
    if isinstance(value, list | tuple):
        try:
            return tuple(float(v) for v in value)
        except (TypeError, ValueError):
            return str(value)
    return value if isinstance(value, str | int | float) else str(value)


def _sound(value: Any, check: Callable[[Any], bool]) -> bool:
    try:
        return bool(check(value))
    except TypeError:  # of another type altogether
        return False

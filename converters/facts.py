"""Where each fact about a model comes from, and what happens when two sources disagree."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from evsim.converters.presets import Preset
from evsim.errors import OptionError, spelled
from evsim.inputspec import INTERPOLATIONS

CHOICES = {
    "orientation": ("spikingjelly", "jaer", "raw"),
    "frames": ("number", "time"),
    "interpolation": INTERPOLATIONS,
    "neuron": ("if", "lif", "plif"),
    "pool": ("max", "average"),
    "first_conv": ("once", "every-step"),
}
"""What the options that say how an input is made may be, and those that say how a network computes; `variant` and
`tokenizer` are a family's own."""

OWN = (
    "variant", "tokenizer", "connect", "neuron", "pool", "first_conv", "v_threshold", "decay", "levels", "norm",
    "pooling_stat", "dvs_mode", "built_size",
)  # fmt: skip
"""Options that mean something only for families that say so, by `Family.choices`."""


@dataclass(frozen=True)
class ConvertOptions:
    """What a person says about a checkpoint; None where the file or a preset is to tell.

    Raises
    ------
    OptionError
        If there is no such orientation, way of making frames, interpolation, neuron, pool or first convolution.
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
    connect: str | None = None
    neuron: str | None = None
    pool: str | None = None
    first_conv: str | None = None
    v_threshold: float | None = None
    decay: float | None = None
    fold: bool | None = None
    levels: int | None = None
    norm: float | None = None
    pooling_stat: str | None = None
    dvs_mode: bool | None = None
    built_size: int | None = None

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            value = getattr(self, name)
            if value not in (None, *known):
                raise OptionError(_choice(name, known, value))


@dataclass
class Facts:
    """Finds facts in this order: option, preset, the checkpoint's arguments, a constant; remembers the source.

    Attributes
    ----------
    preset
        That of the options, looked up.
    models
        Values of ``args.model`` whose arguments describe the model that was trained.
    sources
        Fact to one line: its value and where it came from, as model.h5 stores it.
    """

    options: ConvertOptions
    args: Mapping[str, object]
    preset: Preset | None = None
    models: Collection[str] = ()
    sources: dict[str, str] = field(default_factory=dict)

    @property
    def trusted(self) -> bool:
        """Whether the arguments describe the model: those of the authors' DVS scripts name a default never used."""
        model = self.args.get("model")
        return model is None or (isinstance(model, str) and model.lower() in self.models)

    def find(
        self,
        fact: str,
        *arguments: str,
        anyway: tuple[str, ...] = (),
        constant: object = None,
        reason: str = "",
        check: Callable[[Any], bool] = bool,
    ) -> Any:
        """Return a fact.

        Parameters
        ----------
        fact
            Its name, that of the option and of the preset's field.
        arguments
            Names under which the checkpoint's arguments may have it, where they describe the model.
        anyway
            The same, where even scripts that leave the model's own arguments at a default set it.
        constant, reason
            What to assume if nothing tells, and why that is sound.
        check
            Whether a value makes sense.

        Raises
        ------
        OptionError
            If nothing tells the fact, its value makes no sense, or two arguments of the checkpoint differ.
        """
        option = f"`{fact}`"
        value, source = self.stated(fact)
        names = (*arguments, *anyway) if self.trusted else anyway
        recorded = {name: _plain(self.args[name]) for name in names if self.args.get(name) is not None}
        if value is None and recorded:
            if len(set(recorded.values())) > 1:
                texts = " but ".join(f"args.{name} is {text}" for name, text in recorded.items())
                raise OptionError(f"in the checkpoint {texts}: say which is right by {option}")
            name, value = next(iter(recorded.items()))
            source = f"from the checkpoint's args.{name}"
        elif value is not None:
            differs = [f"args.{name} is {_text(other)}" for name, other in recorded.items() if other != value]
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

    def speaks_of(self, fact: str) -> bool:
        """Whether an option, the preset or an argument of the same name tells a fact; an empty text tells nothing."""
        return self.stated(fact)[0] is not None or (self.trusted and self.args.get(fact) not in (None, ""))

    def stated(self, fact: str) -> tuple[Any, str]:
        """Return what an option or the preset says of a fact, and which; (None, "") if neither does."""
        chosen = getattr(self.options, fact, None)
        if chosen is not None:
            return chosen, f"from `{fact}`"
        value = getattr(self.preset, fact, None)
        if self.preset is not None and value not in (None, ()):
            hint = ", not published: assumed" if fact in self.preset.assumed else ""
            return value, f"from {self._preset}{hint}"
        return None, ""

    @property
    def _preset(self) -> str:
        return f"`preset={self.options.preset}`"

    def agree(self, fact: str, value: object, *arguments: str, anyway: tuple[str, ...] = ()) -> None:
        """Take a fact from the keys and shapes of the weights.

        Parameters
        ----------
        fact, value
            Its name, and what the weights say.
        arguments, anyway
            As `find` takes them.

        Raises
        ------
        OptionError
            If an option, the preset or one of these arguments of the checkpoint contradicts it.
        """
        name = fact.replace("_", " ")
        published = getattr(self.preset, fact, None)
        if published not in (None, value):
            raise OptionError(
                f"{self._preset} says {name} {published}, but the checkpoint's weights say {value}; "
                "give the `preset` that fits, or none"
            )
        chosen = getattr(self.options, fact, None)
        if chosen not in (None, value):
            raise OptionError(
                f"`{fact}={chosen}` contradicts the checkpoint, whose weights say {value}; leave the option out"
            )
        for argument in (*arguments, *anyway) if self.trusted else anyway:
            recorded = self.args.get(argument)
            if recorded not in (None, value):
                raise OptionError(
                    f"the checkpoint's args.{argument} says {name} {_text(recorded)}, but its weights say {value}: "
                    "these args are of another model; save the state_dict alone and give `heads`, `timesteps` and "
                    "the like"
                )
        self.note(fact, value, "from the keys")

    def choose_among(self, family: str, choices: Mapping[str, tuple[str | bool, ...]]) -> None:
        """Refuse an option that names what a family does not have.

        Parameters
        ----------
        family
            Its name, for messages.
        choices
            What the options `OWN` may be, an empty tuple for any value; one that is left out means nothing to the
            family.

        Raises
        ------
        OptionError
            If one of them is given and is none of these.
        """
        for name in OWN:
            value, known = getattr(self.options, name), choices.get(name, ())
            if value is not None and name not in choices:
                raise OptionError(f"`{name}` means nothing for {family}; leave it out")
            if known and value not in (None, *known):
                raise OptionError(_choice(name, known, value))

    def folds(self) -> bool:
        """Whether layers without neurons between are to be folded into one: unless `fold` is False."""
        chosen = self.options.fold
        told = "the default" if chosen is None else "from `fold`" if chosen else "from `no_fold`"
        self.note("fold", "no" if chosen is False else "yes", told)
        return chosen is not False

    def refuse(self, meaning: str, *facts: str) -> None:
        """Refuse options that mean nothing for this model.

        Raises
        ------
        OptionError
            If one of them is given.
        """
        for fact in facts:
            if getattr(self.options, fact) is not None:
                raise OptionError(f"`{fact}` {meaning}; leave it out")

    def note(self, fact: str, value: object, source: str) -> None:
        """Remember where a fact came from."""
        self.sources[fact] = f"{_text(value)} ({spelled(source, _stored)})"


def told_by(option: str) -> str:
    """Return "from --option", as model.h5 has it, for a fact that an option told."""
    return spelled(f"from `{option}`", _stored)


def _stored(name: str, value: str) -> str:
    """Spell an option as model.h5 has stored it since schema 1."""
    return f"--{name.replace('_', '-')} {value}".rstrip()


def _choice(name: str, known: tuple[str | bool, ...], value: object) -> str:
    return f"`{name}` must be one of {', '.join(map(str, known))}, got {value}"


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

"""Where each fact about a model comes from, and what happens when two sources disagree."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from evsim.converters.presets import PRESETS
from evsim.errors import OptionError


@dataclass(frozen=True)
class ConvertOptions:
    """What a person says about a checkpoint; None where the file or a preset is to tell."""

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

    def find(
        self, fact: str, *arguments: str, constant: object = None, reason: str = "", check: Callable[[Any], bool] = bool
    ) -> Any:
        """Return a fact.

        Parameters
        ----------
        fact
            Its name, that of the option and of the preset's field.
        arguments
            Names under which the checkpoint's arguments may have it, in order of trust.
        constant, reason
            What to assume if nothing tells, and why that is sound.
        check
            Whether a value makes sense.

        Raises
        ------
        OptionError
            If nothing tells the fact, or its value makes no sense.
        """
        option = "--" + fact.replace("_", "-")
        value, source = self._look(fact, option, arguments)
        if value is None and constant is not None:
            value, source = constant, f"assumed: {reason}"
        if value is None:
            raise OptionError(f"the checkpoint does not tell {fact.replace('_', ' ')}: give it by {option}")
        value = tuple(float(v) for v in value) if isinstance(value, list | tuple) else value
        if not check(value):
            raise OptionError(f"{fact.replace('_', ' ')} {value} ({source}) makes no sense; give another by {option}")
        self.note(fact, value, source)
        return value

    def note(self, fact: str, value: object, source: str) -> None:
        """Remember where a fact came from."""
        text = ", ".join(map(str, value)) if isinstance(value, tuple) else value
        self.sources[fact] = f"{text} ({source})"

    def agree(self, fact: str, found: object, *arguments: str) -> None:
        """Take a fact from the keys; refuse a preset or trusted argument that contradicts it."""
        value, source = self._look(fact, "--" + fact, arguments)
        if value is not None and value != found:
            raise OptionError(
                f"{source} says {fact} {value}, but the checkpoint's weights say {found}; give the preset that fits"
            )
        self.note(fact, found, "from the keys")

    def _look(self, fact: str, option: str, arguments: tuple[str, ...]) -> tuple[Any, str]:
        chosen = getattr(self.options, fact, None)
        if chosen is not None:
            return chosen, f"from {option}"
        if self.options.preset is not None:
            preset = PRESETS[self.options.preset]
            told = getattr(preset, fact, None)
            if told not in (None, ()):
                hint = ", not published: assumed" if fact in preset.assumed else ""
                return told, f"from --preset {self.options.preset}{hint}"
        for name in arguments:
            if self.args.get(name) is not None:
                return self.args[name], f"from the checkpoint's args.{name}"
        return None, ""

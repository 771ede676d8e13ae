"""Every family: those of evsim, one line each, and those that other packages bring.

A package brings a family by an entry point of the group ``evsim.converters`` whose name is the family's and which
leads to a `Family`. None is loaded before it is needed: evsim's own families are tried first.
"""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from evsim.converters import (
    csnn,
    ms_resnet,
    qkformer,
    sdt_v1,
    sdt_v2,
    sdt_v3,
    sew_resnet,
    spikformer,
    spiking_resnet,
    spiking_vgg,
    spikingformer,
    spikingresformer,
)
from evsim.converters.family import Family
from evsim.converters.presets import Preset
from evsim.errors import OptionError, PluginError

GROUP = "evsim.converters"

MOST_NEAR, NEAR = 3, 0.6
"""Presets that are named where one is unknown, and how like its name they must be: else all are listed."""

BUILT_IN: dict[str, Family] = {
    family.name: family
    for family in (
        spikingformer.FAMILY,
        spikformer.FAMILY,
        qkformer.FAMILY,
        sdt_v1.FAMILY,
        sdt_v2.FAMILY,
        sdt_v3.FAMILY,
        spikingresformer.FAMILY,
        sew_resnet.FAMILY,
        spiking_resnet.FAMILY,
        ms_resnet.FAMILY,
        spiking_vgg.FAMILY,
        csnn.FAMILY,
    )
}
"""The families of evsim by name."""

PRESETS: dict[str, Preset] = {name: preset for family in BUILT_IN.values() for name, preset in family.presets.items()}
"""The presets of evsim's families by name."""

FAULTS = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, OSError, RuntimeError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip
"""What may go wrong while code of others is loaded."""


def find_family(name: str) -> Family:
    """Return a family by its name.

    Raises
    ------
    OptionError
        If there is none.
    PluginError
        If the package that brings it is broken.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    for point in _points():
        if point.name == name:
            return _load(point)
    raise OptionError(f"`family={name}` is unknown; known are {', '.join(known_families())}")


def known_families() -> tuple[str, ...]:
    """Return the names of all families, evsim's own first; loads none."""
    return (*BUILT_IN, *(point.name for point in _points()))


def families_of_others() -> Iterator[Family]:
    """Yield the families of other packages; one that is broken raises PluginError after all others have come."""
    fault: PluginError | None = None
    for point in _points():
        try:
            family = _load(point)
        except PluginError as error:
            fault = fault or error
            continue
        yield family
    if fault:
        raise fault


def find_preset(name: str, option: bool = True) -> Preset:
    """Return a preset by its name.

    Parameters
    ----------
    name
        Of one of evsim's own or of another package's.
    option
        Whether it was given by the option `preset`, for the message.

    Raises
    ------
    OptionError
        If there is none.
    PluginError
        If evsim has none, and a package that might is broken.
    """
    if name in PRESETS:
        return PRESETS[name]
    known = list(PRESETS)
    for family in families_of_others():
        if name in family.presets:
            return family.presets[name]
        known += family.presets
    near = get_close_matches(name, known, MOST_NEAR, NEAR)
    names = f"near are {', '.join(near)}; evsim families lists all" if near else f"known are {', '.join(sorted(known))}"
    if option:
        raise OptionError(f"`preset={name}` is unknown; {names}")
    raise OptionError(f"no preset is named {name}; {names}")


def _points() -> list[EntryPoint]:
    points = {point.name: point for point in entry_points(group=GROUP) if point.name not in BUILT_IN}
    return [points[name] for name in sorted(points)]


def _load(point: EntryPoint) -> Family:
    package = point.dist.name if point.dist else "a package"
    where = f"the family {point.name} of {package} ({point.value})"
    remedy = "mend or uninstall that package"
    try:
        family = point.load()
    except FAULTS as error:
        raise PluginError(f"{where} cannot be loaded ({type(error).__name__}: {error}); {remedy}") from error
    if not isinstance(family, Family):
        raise PluginError(f"{where} is a {type(family).__name__}, not an evsim.converters.Family; {remedy}")
    if family.name != point.name:
        raise PluginError(f"{where} calls itself {family.name}; {remedy}")
    return family

"""Keys of a checkpoint under the names that a family knows: a map of one's own, and prefixes that wrappers add."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import cast

from evsim.converters.checkpoint import Checkpoint, Values, of_tensors
from evsim.converters.choose import EMA, check_name, renamed
from evsim.converters.family import Family
from evsim.converters.keymap import read_map, rewritten
from evsim.converters.registry import families_of_others
from evsim.converters.table import Shapes
from evsim.converters.values import shown
from evsim.errors import CheckpointError, OptionError, PluginError

MOST_SHOWN = 6
SHOWN_KEYS = 4

LEAST_THERE = 0.5
"""Share of a family's kinds of keys whose ends are there, from which on it is named: one key alone misleads."""

DEEPEST_PREFIX = 6

BESIDE = re.compile(r"(n_averaged$|\w*(loss|criterion)\w*\.)", re.IGNORECASE)
"""Keys that lie beside a network's in what trainers save."""

Families = Mapping[str, Family]


def fitted(checkpoint: Checkpoint, families: Families, keys: str | None, weights: str | None) -> Checkpoint:
    """Return a checkpoint under the keys that a family knows, as far as a map and a common prefix lead there.

    Parameters
    ----------
    checkpoint
        As it was read.
    families
        The families by name.
    keys
        Path of a map of keys, see `evsim.converters.keymap`.
    weights
        Which weights were asked for; where they lie under several prefixes, this names one.

    Raises
    ------
    OptionError
        If the map cannot be read, or several prefixes hold a network and none is asked for.
    CheckpointError
        If two keys get one name.
    """
    if keys is not None:
        checkpoint = mapped(checkpoint, keys)
    return _alone(checkpoint, families, weights) or _alone(checkpoint, _of_others(), weights) or checkpoint


def mapped(checkpoint: Checkpoint, keys: str) -> Checkpoint:
    """Return a checkpoint under the keys that a map (its path) makes: every rule on what those before it made of a key.

    A key that becomes empty is left out. Each key that changes is noted, and each rule that matches none.
    """
    new, idle = rewritten(checkpoint.shapes, read_map(keys), keys)
    names: dict[str, str] = {}
    notes: list[str] = []
    for key, name in zip(checkpoint.shapes, new, strict=True):
        if name:
            check_name(name, checkpoint.path)
            names[key] = name
        if name != key:
            notes.append(f"{keys}: {key} -> {name}" if name else f"{keys}: {key} is left out")
    notes.extend(f"{keys}: the rule {shown(old)} matches no key" for old, _ in idle)
    if not names:
        raise OptionError(f"{keys} leaves out every key of {checkpoint.path}; mend the map that `keys` names")
    return _under(checkpoint, names, notes)


def unknown(checkpoint: Checkpoint, families: Families) -> CheckpointError:
    """Return the error for keys of no family: the ways out, and the nearest family where much of it is there."""
    keys = list(checkpoint.shapes)
    some = ", ".join(keys[:SHOWN_KEYS]) + (", ..." if len(keys) > SHOWN_KEYS else "")
    text = (
        f"{checkpoint.path}: its keys ({some}) are of no family that evsim knows (evsim families lists them); trace "
        "the model's own code: evsim convert `from_torch=own.py:factory` OUT.h5; or, if it is a known family under "
        "other names, map them by `keys=map.toml`"
    )
    near = nearest(checkpoint.shapes, families)
    if near is None:
        return CheckpointError(text)
    name, there, missing, other = near
    ends, number = {_end(_kind(key)) for key in keys}, len(there) + len(missing)
    if sum(_end(kind) in ends for kind in (*there, *missing)) < LEAST_THERE * number:
        return CheckpointError(text)
    text += f"; nearest is {name}: of its {number} kinds of keys {len(there)} are there ({_some(there)})"
    text += f", {len(missing)} are missing ({_some(missing)})" if missing else ""
    text += f"; {len(other)} are not its own ({_some(other)})" if other else ""
    return CheckpointError(text)


def nearest(shapes: Shapes, families: Families) -> tuple[str, list[str], list[str], list[str]] | None:
    """Return the family most of whose keys are there: its name, its kinds of keys there and missing, other kinds.

    A kind of key is a key with N for each number: ``block.N.attn.q_conv.weight``, as `Form.kinds` lists them.
    """
    own = dict.fromkeys(_kind(key) for key in shapes)
    ends = Counter(_end(kind) for kind in own)
    best: tuple[tuple[float, float, int], str, tuple[str, ...]] | None = None
    for name, family in families.items():
        for form in family.forms:
            kinds = tuple(dict.fromkeys(map(_kind, form.kinds())))
            share = len(own.keys() & set(kinds)) / len(kinds)
            score = (share, form.match(shapes).share if share else 0.0, sum(ends[_end(kind)] > 0 for kind in kinds))
            if best is None or score > best[0]:
                best = score, name, kinds
    if best is None:
        return None
    _, name, kinds = best
    there, missing = [k for k in kinds if k in own], [k for k in kinds if k not in own]
    return name, there, missing, [k for k in own if k not in kinds and not k.endswith("num_batches_tracked")]


def _alone(checkpoint: Checkpoint, families: Families, weights: str | None) -> Checkpoint | None:
    """Return a checkpoint that fits one of these families, without prefix and losses; None if none fits."""
    if _fits(checkpoint.shapes, families) and not _fits(_inside(checkpoint.shapes, _prefix(weights)), families):
        return _without_losses(checkpoint)
    return _without_prefix(checkpoint, families, weights)


def _fits(shapes: Shapes, families: Families) -> bool:
    return any(family.fits(shapes) for family in families.values())


def _prefix(weights: str | None) -> str:
    """Return how keys begin that lie under a name."""
    return f"{(weights or '').rstrip('.')}."


def _inside(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    return {key.removeprefix(prefix): shape for key, shape in shapes.items() if key.startswith(prefix)}


def _of_others() -> Families:
    """Return the families of other packages; one that is broken is named where the family is chosen."""
    whole: dict[str, Family] = {}
    with suppress(PluginError):
        for family in families_of_others():
            whole[family.name] = family
    return whole


def _without_prefix(checkpoint: Checkpoint, families: Families, weights: str | None) -> Checkpoint | None:
    """Drop the prefix under which a network lies, and what lies beside it, such as a loss's weight."""
    shapes, found = checkpoint.shapes, list[str]()
    for prefix in _prefixes(shapes):
        if any(prefix.startswith(outer) for outer in found):
            continue
        if _fits(_inside(shapes, prefix), families):
            found.append(prefix)
    if not found:
        return None
    asked = _prefix(weights)
    named = [prefix for prefix in found if prefix == asked]
    if not named and _inside(shapes, asked):
        names = ", ".join(prefix.rstrip(".") for prefix in found)
        raise OptionError(
            f"{checkpoint.path}: under {shown(asked.rstrip('.'))} is no network that evsim knows; `weights` can be one "
            f"of: {names}"
        )
    plain = named or [prefix for prefix in found if not EMA.search(prefix)] or found
    if len(plain) > 1:
        names = ", ".join(prefix.rstrip(".") for prefix in plain)
        raise OptionError(
            f"{checkpoint.path} holds several networks, under {names}; say which by `weights={plain[0].rstrip('.')}`"
        )
    prefix = plain[0]
    inside = {key: key.removeprefix(prefix) for key in shapes if key.startswith(prefix)}
    beside = [key for key in shapes if key not in inside]
    notes = [f"dropped the prefix '{prefix}' of {len(inside)} keys"]
    others = [other.rstrip(".") for other in found if other != prefix]
    if others:
        notes[0] += f"; other weights lie under {', '.join(others)}: take those by `weights={others[0]}`"
    if beside:
        notes.append(f"passed over {len(beside)} keys without that prefix: {_some(beside)}")
    return _under(checkpoint, inside, notes)


def _without_losses(checkpoint: Checkpoint) -> Checkpoint:
    """Pass over what a training keeps beside its network: a loss's weight, the count of averaged steps."""
    names = {key: key for key in checkpoint.shapes if not BESIDE.match(key)}
    beside = [key for key in checkpoint.shapes if key not in names]
    if not beside:
        return checkpoint
    return _under(checkpoint, names, [f"passed over {len(beside)} keys of no network: {_some(beside)}"])


def _prefixes(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the prefixes under which a network may lie, the shortest first: those of a twentieth of the keys."""
    counts: Counter[str] = Counter()
    for key in shapes:
        parts = key.split(".")[:-1]
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), DEEPEST_PREFIX) + 1))
    usual = [prefix for prefix, count in counts.items() if count * 20 >= len(shapes)]
    return sorted(usual, key=lambda prefix: (prefix.count("."), prefix))


def _under(checkpoint: Checkpoint, names: Mapping[str, str], notes: list[str]) -> Checkpoint:
    """Return a checkpoint under other names, those that are not named left out."""
    tensors = cast("Values", checkpoint.tensors).tensors
    made = of_tensors(checkpoint.path, renamed(tensors, names, checkpoint.path), checkpoint.args, (), checkpoint.digest)
    return replace(made, notes=(*checkpoint.notes, *notes))


def _kind(key: str) -> str:
    return ".".join("N" if part.isdecimal() else part for part in key.split("."))


def _end(kind: str) -> str:
    return ".".join(kind.split(".")[-2:])


def _some(keys: list[str]) -> str:
    more = f", and {len(keys) - MOST_SHOWN} more" if len(keys) > MOST_SHOWN else ""
    return ", ".join(keys[:MOST_SHOWN]) + more

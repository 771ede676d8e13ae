"""Finds the weights in what a checkpoint holds: which dict of several, and the arguments of the training."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from evsim.converters.rebuild import NumpyArray, NumpyType, arrays_as_tensors
from evsim.converters.tensors import Tensor
from evsim.converters.values import Name, Opaque, kind_of, shown
from evsim.errors import CheckpointError, OptionError

T = TypeVar("T")

TOP = "."
"""What the option says for weights that lie at the top of the file, in no dict of their own."""

EMA = re.compile(r"(?<![a-z])(ema|swa|averaged?|avg|shadow)(?![a-z])", re.IGNORECASE)
"""How dicts are named that hold averages of the weights over the training: timm's ``state_dict_ema``, and so on."""

NO_WEIGHTS = re.compile(r"(optim|sched|scaler|criterion|loss|rng|callback|loop)", re.IGNORECASE)
"""Dicts of tensors that are no network: what a training goes on with."""

PROFILERS = ("total_ops", "total_params")
"""Buffers that profilers (thop) leave behind in every module."""

WRAPPERS = {
    "_orig_mod.": "torch.compile",
    "_checkpoint_wrapped_module.": "activation checkpointing",
    "_fsdp_wrapped_module.": "FSDP",
    "_forward_module.": "Fabric",
}
"""What wrappers put into keys, wherever they wrap, and who does."""

PARAMETERS = ("weight", "bias", "running_mean", "running_var")
DEEPEST = 4
LONGEST_KEY = 512
MOST_SHOWN = 8
LARGEST_INTEGER = 1 << 63
LONGEST_TEXT = 200
LONGEST_LIST = 64


def states_of(root: object) -> dict[str, dict[str, object]]:
    """Return every dict of weights in what a checkpoint holds, by its path; `TOP` is the outermost.

    A dict of weights has a ``weight`` of two axes or more; where none has, one has any tensor of two axes, or any.
    """
    dicts = dict(_dicts(root, "", 0, set()))
    for least in (("weight", 2), ("", 2), ("", 0)):
        found = {path: held for path, held in dicts.items() if _has(held, *least)}
        if found:
            return found
    return {}


def begins(names: Iterable[object], prefix: str) -> bool:
    """Whether a name begins with a prefix, wrappers left out: ``student`` of ``module.student._orig_mod.weight``."""
    texts = [name for name in names if type(name) is str]
    for wrapper in WRAPPERS:
        texts = [text.replace(wrapper, "") for text in texts]
    return any(text.removeprefix("module.").startswith(f"{prefix.rstrip('.')}.") for text in texts)


def choose(
    states: Mapping[str, dict[str, object]], wanted: str | None, path: Path, notes: list[str]
) -> dict[str, object]:
    """Return the one dict of weights that is wanted, or that alone is there beside averages.

    Raises
    ------
    OptionError
        If there is none of the wanted name, or several and none is wanted.
    """
    names = ", ".join(shown(name) for name in list(states)[:MOST_SHOWN])
    if wanted is not None:
        if wanted not in states and len(under := [name for name in states if begins(states[name], wanted)]) == 1:
            wanted = under[0]  # a prefix within it, which is dropped where families are known
        if wanted not in states:
            raise OptionError(f"{path} has no weights under {shown(wanted)}; `weights` can be one of: {names}")
        if len(states) > 1:
            notes.append(f"took the weights under {shown(wanted)} of: {names}")
        return states[wanted]
    plain = [name for name in states if not EMA.search(name)]
    if len(plain) == 1 or len(states) == 1:
        name = plain[0] if plain else next(iter(states))
        averages = [shown(other) for other in states if other != name]
        if averages:
            notes.append(
                f"took the weights under {shown(name)}; averaged ones (EMA) lie beside them under "
                f"{', '.join(averages)}: take those by `weights={averages[0]}`"
            )
        elif not plain:
            notes.append(f"took the weights under {shown(name)}, which are averaged ones (EMA); there are no others")
        return states[name]
    example = shown((plain or list(states))[0])
    raise OptionError(f"{path} holds weights under several names: {names}; say which by `weights={example}`")


def tensors_of(state: Mapping[str, object], path: Path, notes: list[str]) -> dict[str, Tensor]:
    """Return the tensors of a dict of weights, without what profilers and wrappers left in it.

    Raises
    ------
    CheckpointError
        If a parameter is no tensor, or a name is none that a module can have.
    """
    tensors: dict[str, Tensor] = {}
    for key, held in state.items():
        value = arrays_as_tensors(held)
        if type(key) is not str:
            continue
        last = key.rsplit(".", 1)[-1]
        if isinstance(value, Tensor):
            check_name(key, path)
            if not value.dense and last in PARAMETERS:
                raise value.refusal(key)
            tensors[key] = value
        elif last in PARAMETERS and "." in key:
            raise CheckpointError(f"{path}: {shown(key)} holds {_kind(value)}, not a tensor; save model.state_dict()")
    return unwrapped(tensors, path, notes)


def check_name(key: str, path: Path) -> None:
    """Refuse a name that no module has."""
    if len(key) > LONGEST_KEY or not key.isprintable():
        raise CheckpointError(
            f"{path} has weights named {shown(key)} ({len(key)} letters), as no module is; save model.state_dict()"
        )


def unwrapped(state: dict[str, T], path: Path, notes: list[str]) -> dict[str, T]:
    """Return a dict of weights without the buffers of profilers and the names of wrappers, with a note of each."""
    buffers = [key for key in state if key.rsplit(".", 1)[-1] in PROFILERS]
    if buffers:
        notes.append(f"passed over {len(buffers)} buffers of a profiler ({', '.join(PROFILERS)})")
        state = {key: value for key, value in state.items() if key.rsplit(".", 1)[-1] not in PROFILERS}
    names = {key: key for key in state}
    counts = dict.fromkeys(WRAPPERS, 0)
    parallel = ""
    changed = True
    while changed and names:
        changed = False
        for wrapper in WRAPPERS:
            for key, name in names.items():
                without = re.sub(rf"(^|\.){re.escape(wrapper)}", r"\1", name)
                if without != name:
                    names[key], changed, counts[wrapper] = without, True, counts[wrapper] + 1
        if all(name.startswith("module.") for name in names.values()):
            names = {key: name.removeprefix("module.") for key, name in names.items()}
            parallel, changed = parallel + "module.", True
    if parallel:
        notes.append(f"dropped the prefix '{parallel}' that DataParallel gave to every key")
    notes.extend(
        f"dropped '{name}' that {WRAPPERS[name]} put into {count} keys" for name, count in counts.items() if count
    )
    return renamed(state, names, path)


def renamed(state: Mapping[str, T], names: Mapping[str, str], path: Path) -> dict[str, T]:
    """Return a dict under other names; two keys of one name are an error."""
    made: dict[str, T] = {}
    came: dict[str, str] = {}
    for key, name in names.items():
        if name in made:
            raise CheckpointError(f"{path}: {shown(came[name])} and {shown(key)} would both be named {shown(name)}")
        made[name], came[name] = state[key], key
    return made


def arguments_of(root: object) -> dict[str, object]:
    """Return the arguments of the training, as far as the file has them: plain values, and lists of such."""
    args: Any = root.get("args") if type(root) is dict else None
    held: Any = (args.state if type(args.state) is dict else args.items) if isinstance(args, Opaque) else args
    if type(held) is not dict:
        return {}
    return {shown(key): _argument(value) for key, value in held.items() if type(key) is str}


def _argument(value: object) -> object:
    if value is None or type(value) in (bool, float):
        return value
    if type(value) is int:
        return value if abs(value) < LARGEST_INTEGER else f"a number of {len(str(value))} digits"
    if type(value) is str:
        return shown(value[:LONGEST_TEXT])
    if isinstance(value, list | tuple):
        plain = len(value) <= LONGEST_LIST and all(v is None or type(v) in (bool, float, int, str) for v in value)
        return tuple(_argument(v) for v in value) if plain else f"a {type(value).__name__} of {len(value)} values"
    return f"an object ({shown(kind_of(value))})"


def _dicts(value: object, path: str, depth: int, seen: set[int]) -> Iterator[tuple[str, dict[str, object]]]:
    if type(value) is not dict or depth > DEEPEST or id(value) in seen:
        return
    seen.add(id(value))
    yield path or TOP, value
    for key, inner in value.items():
        if type(key) is str and type(inner) is dict and not NO_WEIGHTS.search(key):
            yield from _dicts(inner, f"{path}.{key}" if path else key, depth + 1, seen)


def _has(held: Mapping[str, object], last: str, axes: int) -> bool:
    for key, value in held.items():
        tensor = arrays_as_tensors(value)
        if (
            type(key) is str
            and isinstance(tensor, Tensor)
            and len(tensor.shape) >= axes
            and (not last or key.rsplit(".", 1)[-1] == last)
        ):
            return True
    return False


def _kind(value: object) -> str:
    if isinstance(value, Opaque | Name | NumpyArray | NumpyType):
        return "an object"
    return {"NoneType": "nothing", "str": "a text", "dict": "a dict", "list": "a list", "tuple": "a tuple"}.get(
        type(value).__name__, f"a {kind_of(value)}"
    )

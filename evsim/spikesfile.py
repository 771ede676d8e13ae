"""``spikes.h5``: recorded spike trains, and which of them are q and k of an attention; see docs/json.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from evsim import hdf5
from evsim.counters import Counts
from evsim.errors import EvsimError
from evsim.network import Network
from evsim.ownfiles import own_kind
from evsim.schema import LONGEST_NAME, SchemaError, build, parsed
from evsim.spiketrains import Packed, SpikeTrains
from evsim.workload import rows

MOST_STEPS = 1 << 16
MOST_ATTENTIONS = 4096


class SpikesError(EvsimError):
    """A ``spikes.h5`` is missing, damaged, or holds no spikes."""


@dataclass(frozen=True)
class Attention:
    """Where an attention's queries and keys are recorded.

    Attributes
    ----------
    name
        Of the attention.
    q, k
        Layers of neurons whose spikes they are.
    heads, height, width
        Heads, and the map of tokens.
    axis
        Where the tokens stand in the spike trains: "last" [T, C, N], "middle" [T, N, C].
    """

    name: str
    q: str
    k: str
    heads: int
    height: int
    width: int
    axis: Literal["last", "middle"]


@dataclass(frozen=True, eq=False)
class Recorded:
    """What a file of spikes holds.

    Attributes
    ----------
    spikes
        By layer.
    levels
        Greatest integer of the layers of integer neurons, by layer.
    attentions
        In order of execution; empty in files of evsim before 0.2.
    """

    spikes: SpikeTrains
    levels: Mapping[str, int]
    attentions: tuple[Attention, ...]


def attentions(network: Network) -> tuple[Attention, ...]:
    """Return every attention between tokens whose q and k are spikes of neurons."""
    named = {work.name: row for work, row in rows(network)}
    nodes = {node.name: node for node in network.nodes}
    given = []
    for name, row in named.items():
        if row.kind != "attention" or (row.geometry.attention or "ssa") != "ssa":
            continue
        q, k = nodes[name].inputs[:2]
        neurons = [named.get(source) for source in (q, k)]
        layouts = {each.layout for each in neurons if each and each.kind == "lif" and not each.geometry.levels}
        viewed = any(each is None or each.view for each in neurons)
        if viewed or len(layouts) != 1:
            continue
        shape = network.shapes[q]
        axis: Literal["last", "middle"] = "middle" if layouts == {"rows"} else "last"
        given.append(Attention(name, q, k, row.geometry.heads, shape.height, shape.width, axis))
    return tuple(given)


def save(path: str | Path, spikes: SpikeTrains, network: Network, counts: Counts) -> None:
    """Write recorded spike trains: ``spikes/<name>`` bit-packed, attributes `shape`, `place`, `levels`.

    For the layout see docs: The JSON of a run.

    Of neurons that emit several spikes at once, `levels` is how many of them the trains hold.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    graded = {work.name for work, row in rows(network) if row.geometry.levels}
    told = [asdict(each) for each in attentions(network)]

    def fill(file: Any) -> None:
        group = file.create_group("spikes")
        for place, (name, (packed, shape)) in enumerate(spikes.packed.items()):
            dataset = group.create_dataset(name, data=packed)
            dataset.attrs["shape"] = shape
            dataset.attrs["place"] = place  # HDF5 lists by name
            if name in graded:
                dataset.attrs["levels"] = shape[0] // counts.layer(name).steps
        if told:
            group.attrs["attention"] = json.dumps(told)

    hdf5.write(path, fill)


def load(path: str | Path) -> Recorded:
    """Read recorded spike trains.

    Raises
    ------
    SpikesError
        If the file is missing, damaged, or holds no spikes.
    """
    again = "record it again by a run with `record_spikes`"
    with hdf5.File(path, SpikesError, again) as file:
        group = file.members.get("spikes")
        names = [name for name, member in file.members.items() if name.startswith("spikes/") and not member.group]
        if group is None or not group.group or not names:
            kind = own_kind(file) or "no spikes"
            raise SpikesError(f"{path} is no file of spikes: it holds {kind}; {again}")
        file.check_claims(names)
        packed, levels, places = {}, {}, {}
        for name in names:
            layer = name.removeprefix("spikes/")
            told = file.attributes(name)
            packed[layer] = _train(f"{path}: {layer}", file.read(name), told.get("shape"))
            places[layer] = told["place"] if type(told.get("place")) is int else 0
            if type(told.get("levels")) is int and told["levels"] > 0:
                levels[layer] = told["levels"]
        given = _attentions(f"{path}", file.attributes("spikes").get("attention"), packed)
    ordered = {name: packed[name] for name in sorted(packed, key=places.__getitem__)}
    return Recorded(SpikeTrains(ordered), levels, given)


def _train(where: str, bits: Any, shape: object) -> Packed:
    """Return a spike train whose shape fits its bits; SpikesError if it does not."""
    sizes = tuple(int(size) for size in np.ravel(np.asarray(shape))) if _sizes(shape) else ()
    size = 1
    for each in sizes:
        size *= each
    if not sizes or bits.dtype != np.uint8 or bits.ndim != 1 or len(bits) != -(-size // 8) or sizes[0] > MOST_STEPS:
        raise SpikesError(f"{where} is no spike train of its shape; record it again by a run with `record_spikes`")
    return bits, sizes


def _sizes(shape: object) -> bool:
    values = np.asarray(shape)
    return values.dtype.kind in "iu" and values.ndim == 1 and 0 < values.size <= 8 and bool((values > 0).all())


def _attentions(where: str, told: object, packed: Mapping[str, Packed]) -> tuple[Attention, ...]:
    """Return the attentions that a file names, each of them checked against its spike trains."""
    if told is None:
        return ()
    try:
        values = parsed(told) if isinstance(told, str) else None
        listed = values if isinstance(values, list) and len(values) <= MOST_ATTENTIONS else None
        given = None if listed is None else tuple(build(Attention, value) for value in listed)
    except SchemaError as error:
        raise SpikesError(f"{where} is damaged ({error}); record it again by a run with `record_spikes`") from error
    if given is None:
        raise SpikesError(f"{where} is damaged (attention is no list); record it again by a run with `record_spikes`")
    return tuple(each for each in given if _fits(each, packed))


def _fits(attention: Attention, packed: Mapping[str, Packed]) -> bool:
    if attention.heads < 1 or len(attention.name) > LONGEST_NAME or not {attention.q, attention.k} <= packed.keys():
        return False
    shapes = [packed[name][1] for name in (attention.q, attention.k)]
    tokens, at = attention.height * attention.width, 2 if attention.axis == "last" else 1
    return shapes[0] == shapes[1] and all(
        len(shape) >= 3 and _tokens(shape, at) == tokens and _channels(shape, at) % attention.heads == 0
        for shape in shapes
    )


def _tokens(shape: tuple[int, ...], at: int) -> int:
    return int(np.prod(shape[at:], dtype=np.int64)) if at == 2 else shape[1]


def _channels(shape: tuple[int, ...], at: int) -> int:
    return shape[1] if at == 2 else int(np.prod(shape[2:], dtype=np.int64))

"""A checkpoint becomes a network: one file per family. A new architecture is a new file and one line in `registry`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from evsim.converters.checkpoint import Checkpoint, check_file, is_checkpoint, read_checkpoint
from evsim.converters.facts import ConvertOptions, Facts
from evsim.converters.family import Family
from evsim.converters.nir.convert import convert as convert_graph
from evsim.converters.nir.graph import is_graph
from evsim.converters.nir.options import NirOptions
from evsim.converters.parts import Builder, Weights
from evsim.converters.registry import BUILT_IN, families_of_others, find_family, find_preset
from evsim.converters.renames import fitted, unknown
from evsim.converters.table import Match, learned_constants
from evsim.errors import CheckpointError, ModelFileError, NetworkError, OptionError, PluginError
from evsim.events import format_of
from evsim.files import check_input
from evsim.hdf5 import is_hdf5
from evsim.modelfile import ForeignFileError, is_model, load
from evsim.network import Network, Origin
from evsim.sizes import parsed_size

NEAR = 0.5
"""Share of a family's layers from which on a checkpoint is called one of this family that lacks the others."""

__all__ = ["Conversion", "ConvertOptions", "Family", "NirOptions", "build", "convert", "is_graph", "load_model"]


@dataclass(frozen=True, eq=False)
class Conversion:
    """A network made from a checkpoint, and what a person should know about it, one line each."""

    network: Network
    notes: tuple[str, ...]


def convert(path: str | Path, options: ConvertOptions | NirOptions | None = None) -> Conversion:
    """Read a checkpoint or a NIR graph and build its network.

    Parameters
    ----------
    path
        PyTorch's checkpoint, a pickle of arrays, safetensors or HDF5 (`checkpoint.READ` lists the forms); a NIR graph.
    options
        What the file cannot tell, or tells wrongly; of a NIR graph `NirOptions`.

    Raises
    ------
    CheckpointError, OptionError, NetworkError
        If the file cannot be read, a fact is unknown or two contradict each other, or the weights do not fit.
    GraphError
        If it is a NIR graph that cannot be run.
    PluginError
        If no family of evsim fits, and a package that brings another is broken.
    """
    check_file(Path(path))
    if is_model(path):
        raise CheckpointError(f"{path} is a model.h5 already; show it by: evsim info {path}")
    if is_graph(path):
        if isinstance(options, ConvertOptions):
            raise OptionError(f"{path} is a NIR graph, which takes other options: evsim.converters.NirOptions")
        return _of_graph(path, options or NirOptions())
    if isinstance(options, NirOptions):
        raise OptionError(f"{path} is no NIR graph, for which alone are NirOptions; give ConvertOptions")
    options = options or ConvertOptions()
    converted = build(read_checkpoint(path, options.weights), options)
    return replace(converted, network=replace(converted.network, file=Origin(str(path), Path(path).stat().st_size)))


def build(checkpoint: Checkpoint, options: ConvertOptions) -> Conversion:
    """Build the network of a checkpoint already read; errors as `convert`."""
    preset = None if options.preset is None else find_preset(options.preset)
    checkpoint = fitted(checkpoint, BUILT_IN, options.keys, options.weights)
    facts = Facts(options, checkpoint.args, preset, {name for family in BUILT_IN.values() for name in family.models})
    family, match = _family(checkpoint, facts)
    facts = replace(facts, models={*facts.models, *family.models})
    try:
        facts.choose_among(family.name, family.choices)
        _check_neuron(family, options, checkpoint)
        builder = Builder(checkpoint, match)
        network = family.graph(builder, facts)
    except (OptionError, NetworkError) as error:
        raise type(error)(f"{checkpoint.path}: {error}") from error
    labels = _labels(options.labels, network.classes) if options.labels else ()
    provenance = {"checkpoint": f"{checkpoint.path.name} (sha256 {checkpoint.digest})", **facts.sources}
    notes = (*checkpoint.notes, *builder.notes, *_precision(checkpoint, network))
    return Conversion(replace(network, labels=labels, provenance=provenance), notes)


def _check_neuron(family: Family, options: ConvertOptions, checkpoint: Checkpoint) -> None:
    """Refuse `neuron=lif` where keys say PLIF; families that choose between the two look at the keys themselves."""
    if family.choices.get("neuron") == ("lif",) == (options.neuron,) and learned_constants(checkpoint.shapes):
        raise OptionError(
            "`neuron=lif` contradicts the checkpoint, which has learned time constants (keys `<neuron>.w`); leave the "
            "option out"
        )


def _of_graph(path: str | Path, options: NirOptions) -> Conversion:
    network, notes = convert_graph(path, options)
    labels = _labels(options.labels, network.classes) if options.labels else ()
    return Conversion(replace(network, labels=labels), notes)


def load_model(path: str | Path, allow_memory: int | str | None = None) -> Conversion:
    """Load a ``model.h5``; a checkpoint is converted on the fly, with a note.

    Parameters
    ----------
    path
        The file.
    allow_memory
        What a run may need, in bytes or as text such as "32GB"; by default what the file justifies, see `evsim.needs`.

    Raises
    ------
    ModelFileError, CheckpointError, OptionError, NetworkError
        As `evsim.modelfile.load` and `convert`, and if `allow_memory` is no size.
    """
    if allow_memory is None:
        return _load(Path(path))
    size = parsed_size(allow_memory)
    loaded = _load(Path(path))
    origin = Origin(str(path), Path(path).stat().st_size, size)
    return replace(loaded, network=replace(loaded.network, file=origin))


def _load(path: Path) -> Conversion:
    if not is_checkpoint(path):
        try:
            return Conversion(load(path), ())
        except ForeignFileError:
            pass  # a state_dict, perhaps
        except ModelFileError as error:
            kind = format_of(path)  # none of what cannot be read
            if not kind or is_hdf5(path):
                raise
            raise ModelFileError(
                f"{path} is a recording ({kind}), not a model; give the model in its place, and this as the input"
            ) from error
    try:
        conversion = convert(path)
    except OptionError as error:
        raise OptionError(f"{error}; convert it first: evsim convert {path} model.h5 (and the option)") from error
    assumed = ", ".join(f"{k} {v}" for k, v in conversion.network.provenance.items() if "assumed" in v)
    kind = "NIR graph" if conversion.network.family == "nir" else "checkpoint"
    note = f"{path} is a {kind}: converted on the fly" + (f"; {assumed}" if assumed else "")
    return Conversion(conversion.network, (note, *conversion.notes))


def _family(checkpoint: Checkpoint, facts: Facts) -> tuple[Family, Match]:
    """Find the family: what option or preset says, if the keys allow it; the keys, if they are one family's alone."""
    chosen, source = facts.stated("family")
    if chosen is not None:
        family = find_family(str(chosen))
        match = family.match(checkpoint.shapes)
        if not match.complete:
            raise _not_of(family, match, checkpoint, source)
        facts.note("family", chosen, source)
        return family, match
    fitting = list(_fitting(checkpoint, iter(BUILT_IN.values()))) or _fitting_of_others(checkpoint)
    learned = learned_constants(checkpoint.shapes)
    certain = [pair for pair in fitting if not pair[1].form.shared or (learned and "neuron" in pair[0].choices)]
    if len(certain) == 1:
        facts.note("family", certain[0][0].name, "from the keys")
        return certain[0]
    model = facts.args.get("model")
    for family, match in fitting:
        if family.models.get(str(model).lower()):
            facts.note("family", family.name, f"from the checkpoint's args.model {model}")
            return family, match
    if not fitting:
        raise _unknown(checkpoint)
    family, match = fitting[-1]
    others = match.form.shared or " and ".join(other.title for other, _ in fitting[:-1])
    raise OptionError(f"{checkpoint.path}: its keys fit {family.title} as well as {others}; say which by `family`")


def _fitting(checkpoint: Checkpoint, families: Iterator[Family]) -> Iterator[tuple[Family, Match]]:
    """Yield the families of whose layers every weight is there."""
    for family in families:
        if family.fits(checkpoint.shapes):
            yield family, family.match(checkpoint.shapes)


def _fitting_of_others(checkpoint: Checkpoint) -> list[tuple[Family, Match]]:
    """Return the same of other packages' families; one that is broken matters only where no other fits."""
    fitting: list[tuple[Family, Match]] = []
    try:
        fitting.extend(_fitting(checkpoint, families_of_others()))
    except PluginError:
        if not fitting:
            raise
    return fitting


def _not_of(family: Family, match: Match, checkpoint: Checkpoint, source: str) -> CheckpointError | OptionError:
    """Say why a checkpoint is not of the family that an option or preset says."""
    others = [other.name for other, _ in _fitting(checkpoint, iter(BUILT_IN.values()))]
    if not others and match.share >= NEAR:
        return CheckpointError(
            f"{checkpoint.path} {match.fault()}; give the complete state_dict of a {family.title}, or another `family`"
        )
    what = f"those of {others[0]}" if others else "of no family that evsim knows"
    return OptionError(f"{checkpoint.path}: its keys are {what}, not of {family.name} ({source}); mend `family`")


def _unknown(checkpoint: Checkpoint) -> CheckpointError:
    """Say what is nearest to a checkpoint that is of no family."""
    matches = [(family, family.match(checkpoint.shapes)) for family in BUILT_IN.values()]
    nearest, match = max(matches, key=lambda pair: pair[1].share)
    if match.share >= NEAR and not match.misshapen:
        return CheckpointError(
            f"{checkpoint.path} {match.fault()}; give the complete state_dict (of a {nearest.title}, as it seems)"
        )
    return unknown(checkpoint, BUILT_IN)


def _precision(checkpoint: Checkpoint, network: Network) -> tuple[str, ...]:
    """Return a note if the weights are stored in another type than the checkpoint's; BatchNorm is folded in float64."""
    assert isinstance(network.weights, Weights)
    sources = network.weights.sources.items()
    own = {checkpoint.dtypes.get(key) for name, (key, *_) in sources if name.endswith((".weight", ".bias"))}
    exactly = "are stored as float32, which holds each exactly"
    becomes = {"float64": "were rounded to float32, in which model.h5 stores them", "float16": exactly}
    becomes["bfloat16"] = exactly
    return tuple(f"weights of {name} {fate}" for name, fate in becomes.items() if name in own)


def _labels(path: str, classes: int) -> tuple[str, ...]:
    """Read class names, one per line."""
    wanted = "a text file, one class per line"
    check_input(path, OptionError, f"{wanted}, to `labels`", f"give `labels` {wanted}")
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"`labels={path}` cannot be read ({error}); give a text file, one class per line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise OptionError(f"`labels={path}` holds no class names; give a text file, one class per line")
    if len(names) != classes:
        raise OptionError(f"`labels={path}` holds {len(names)} class names, the model has {classes} classes; mend it")
    return names

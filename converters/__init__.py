"""A checkpoint becomes a network: one file per family. A new architecture is a new file and one line here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from evsim.converters import spikformer, spikingformer
from evsim.converters.checkpoint import Checkpoint, check_file, is_checkpoint, read_checkpoint
from evsim.converters.datasets import HDF5_MAGIC
from evsim.converters.facts import ConvertOptions, Facts
from evsim.converters.parts import Weights
from evsim.converters.renames import fitted, unknown
from evsim.errors import CheckpointError, NetworkError, OptionError
from evsim.modelfile import is_model, load
from evsim.network import Network

FAMILIES: dict[str, ModuleType] = {"spikingformer": spikingformer, "spikformer": spikformer}
"""Every family by its name."""

OWN_NAMES = {"spikingformer": "spikingformer", "vitsnn": "spikingformer"}
"""What ``args.model`` decides where the keys fit two families; "spikformer" decides nothing there."""

__all__ = ["FAMILIES", "Conversion", "ConvertOptions", "build", "convert", "load_model"]


@dataclass(frozen=True, eq=False)
class Conversion:
    """A network made from a checkpoint, and what a person should know about it, one line each."""

    network: Network
    notes: tuple[str, ...]


def convert(path: str | Path, options: ConvertOptions | None = None) -> Conversion:
    """Read a checkpoint and build its network.

    Parameters
    ----------
    path
        state_dict as HDF5, ``.pth`` or ``.pth.tar``.
    options
        What the file cannot tell, or tells wrongly.

    Raises
    ------
    CheckpointError, OptionError, NetworkError
        If the file cannot be read, a fact is unknown or two contradict each other, or the weights do not fit.
    """
    check_file(Path(path))
    if is_model(path):
        raise CheckpointError(f"{path} is a model.h5 already; show it by: evsim info {path}")
    options = options or ConvertOptions()
    return build(read_checkpoint(path, options.weights), options)


def build(checkpoint: Checkpoint, options: ConvertOptions) -> Conversion:
    """Build the network of a checkpoint already read; errors as `convert`."""
    checkpoint = fitted(checkpoint, FAMILIES, options.keys, options.weights)
    facts = Facts(options, checkpoint.args)
    family = _family(checkpoint, facts)
    try:
        network: Network = FAMILIES[family].convert(checkpoint, facts)
    except (OptionError, NetworkError) as error:
        raise type(error)(f"{checkpoint.path}: {error}") from error
    labels = _labels(options.labels, network.classes) if options.labels else ()
    provenance = {"checkpoint": f"{checkpoint.path.name} (sha256 {checkpoint.digest})", **facts.sources}
    notes = (*checkpoint.notes, *_precision(checkpoint, network))
    return Conversion(replace(network, labels=labels, provenance=provenance), notes)


def load_model(path: str | Path) -> Conversion:
    """Load a ``model.h5``; a checkpoint is converted on the fly, with a note.

    Raises
    ------
    ModelFileError, CheckpointError, OptionError, NetworkError
        As `evsim.modelfile.load` and `convert`.
    """
    path = Path(path)
    if not _is_checkpoint(path):
        return Conversion(load(path), ())
    try:
        done = convert(path)
    except OptionError as error:
        raise OptionError(f"{error}; convert it first: evsim convert {path} model.h5 (and the option)") from error
    assumed = ", ".join(f"{k} {v}" for k, v in done.network.provenance.items() if "assumed" in v)
    note = f"{path} is a checkpoint: converted on the fly" + (f"; {assumed}" if assumed else "")
    return Conversion(done.network, (note, *done.notes))


def _is_checkpoint(path: Path) -> bool:
    """Whether a file is not a model.h5 but something that PyTorch or h5py wrote."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            head = file.read(8)
    except OSError:
        return False  # the reader of models says what is wrong
    return is_checkpoint(path) or (head.startswith(HDF5_MAGIC) and not is_model(path))


def _family(checkpoint: Checkpoint, facts: Facts) -> str:
    """Find the family: what option or preset says, if the keys allow it; the keys, if they are one family's alone."""
    certain = [name for name, family in FAMILIES.items() if family.recognises(checkpoint.shapes)]
    fitting = [name for name, family in FAMILIES.items() if family.fits(checkpoint.shapes)]
    chosen, source = facts.told("family")
    if chosen is not None:
        if chosen not in FAMILIES:
            raise OptionError(f"--family {chosen} is unknown; known are {', '.join(FAMILIES)}")
        if chosen not in fitting:
            what = f"those of {fitting[0]}" if fitting else "of no family that evsim knows"
            raise OptionError(f"{checkpoint.path}: its keys are {what}, not of {chosen} ({source}); mend --family")
        facts.note("family", chosen, source)
        return str(chosen)
    if len(certain) == 1:
        facts.note("family", certain[0], "from the keys")
        return certain[0]
    named = OWN_NAMES.get(str(facts.args.get("model")))
    if named in fitting:
        facts.note("family", named, f"from the checkpoint's args.model {facts.args['model']}")
        return named
    if fitting:
        raise OptionError(
            f"{checkpoint.path}: its keys fit Spikformer as well as the oldest Spikingformer checkpoints; "
            "say which by --family"
        )
    if not any(key.startswith("block.0.") for key in checkpoint.shapes) and any(
        key.startswith("patch_embed.") for key in checkpoint.shapes
    ):
        raise CheckpointError(
            f"{checkpoint.path} lacks the first block: block.0.attn.q_conv.weight, block.0.mlp.mlp1_conv.weight (fc1 "
            "for mlp1 in Spikformer) and the like; give the complete state_dict"
        )
    raise unknown(checkpoint, FAMILIES)


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
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--labels {path} cannot be read ({error}); give a text file, one class per line") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise OptionError(f"--labels {path} holds no class names; give a text file, one class per line")
    if len(names) != classes:
        raise OptionError(f"--labels {path} holds {len(names)} class names, the model has {classes} classes; mend it")
    return names

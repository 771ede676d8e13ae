"""A checkpoint becomes a network: one file per family. A new architecture is a new file and one line here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from evsim.converters import spikformer, spikingformer
from evsim.converters.checkpoint import HDF5_MAGIC, Checkpoint, read_checkpoint
from evsim.converters.facts import ConvertOptions, Facts
from evsim.converters.presets import PRESETS
from evsim.errors import CheckpointError, OptionError
from evsim.modelfile import is_model, load
from evsim.network import Network

FAMILIES: dict[str, ModuleType] = {"spikingformer": spikingformer, "spikformer": spikformer}
"""Every family by its name."""

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
    return build(read_checkpoint(path), options or ConvertOptions())


def build(checkpoint: Checkpoint, options: ConvertOptions) -> Conversion:
    """Build the network of a checkpoint already read; errors as `convert`."""
    facts = Facts(options, checkpoint.args)
    family = _family(checkpoint, facts)
    network: Network = FAMILIES[family].convert(checkpoint, facts)
    labels = _labels(options.labels) if options.labels else ()
    provenance = {**facts.sources, "checkpoint": f"{checkpoint.path.name}, sha256 {checkpoint.digest}"}
    network = replace(network, labels=labels, provenance=provenance)
    return Conversion(network, checkpoint.notes)


def load_model(path: str | Path) -> Conversion:
    """Load a ``model.h5``; a checkpoint is converted on the fly, with a note.

    Raises
    ------
    ModelFileError, CheckpointError, OptionError, NetworkError
        As `evsim.modelfile.load` and `convert`.
    """
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(8)
        if not head.startswith(HDF5_MAGIC) or not is_model(path):
            if not head.startswith(HDF5_MAGIC) and not head.startswith(b"PK") and not head.startswith(b"\x80"):
                return Conversion(load(path), ())  # neither: let the model reader say so
            done = convert(path)
            assumed = ", ".join(f"{k} {v}" for k, v in done.network.provenance.items() if "assumed" in v)
            note = f"{path} is a checkpoint: converted on the fly" + (f"; {assumed}" if assumed else "")
            return Conversion(done.network, (note, *done.notes))
    return Conversion(load(path), ())


def _family(checkpoint: Checkpoint, facts: Facts) -> str:
    chosen, preset = facts.options.family, facts.options.preset
    source = f"--preset {preset}" if chosen is None else "--family"
    if preset is not None:
        named = PRESETS[preset].family
        if chosen not in (None, named):
            raise OptionError(
                f"--family {chosen} contradicts --preset {preset}, which is a {named}; drop one of the two"
            )
        chosen = named
    if chosen is not None:
        if chosen not in FAMILIES:
            raise OptionError(f"--family {chosen} is unknown; known are {', '.join(FAMILIES)}")
        if not FAMILIES[chosen].fits(checkpoint.shapes):
            raise CheckpointError(f"{checkpoint.path}: its keys are not those of {chosen} ({source})")
        facts.note("family", chosen, f"from {source}")
        return chosen
    certain = [name for name, family in FAMILIES.items() if family.recognises(checkpoint.shapes)]
    if len(certain) == 1:
        facts.note("family", certain[0], "from the keys")
        return certain[0]
    if any(family.fits(checkpoint.shapes) for family in FAMILIES.values()):
        raise OptionError(
            f"{checkpoint.path}: its keys fit Spikformer as well as the oldest Spikingformer checkpoints; "
            "say which by --family"
        )
    some = ", ".join(list(checkpoint.shapes)[:4])
    raise CheckpointError(
        f"{checkpoint.path}: its keys ({some}, ...) are of no family that evsim knows ({', '.join(FAMILIES)})"
    )


def _labels(path: str) -> tuple[str, ...]:
    """Read class names, one per line."""
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionError(f"--labels {path} cannot be read ({error}); give a text file, one class per line") from error
    return tuple(line.strip() for line in lines if line.strip())

"""The inputs of a comparison: one file, or every file of a folder that evsim can read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evsim.api import read
from evsim.datasets.listing import readable as known
from evsim.errors import RecordingError
from evsim.events import ReadOptions
from evsim.files import exists
from evsim.network import Network


def readable(
    source: str | Path, networks: Sequence[Network], timesteps: int | None, options: ReadOptions | None = None
) -> tuple[list[Path], list[Path]]:
    """Return the inputs that all networks can read, each read once to be sure, and the files of no known format.

    A file that a person names is always an input.

    Raises
    ------
    RecordingError
        If a file of a known format cannot be read or does not suit a network, or there is no input.
    OptionError
        As `evsim.api.read`.
    """
    files = inputs_of(source)
    paths = [path for path in files if path == Path(source) or known(path)]
    if not paths:
        raise RecordingError(f"{source} holds no file of a format that evsim reads; give recordings or frames")
    specs = {network.spec: network for network in networks}
    for path in paths:
        for network in specs.values():
            _check(path, network, timesteps, options, several=len(specs) > 1)
    return paths, [path for path in files if path not in set(paths)]


def _check(path: Path, network: Network, timesteps: int | None, options: ReadOptions | None, *, several: bool) -> None:
    """Read a file as a network takes it; of several networks the error names the one that cannot."""
    try:
        read(path, network, timesteps, options)
    except RecordingError as error:
        if several:
            raise RecordingError(f"{network.name}: {error}") from error
        raise


def inputs_of(source: str | Path) -> list[Path]:
    """Return the file, or all files of the folder in order, hidden ones left out.

    Raises
    ------
    RecordingError
        If there is none.
    """
    path = Path(source)
    if exists(path) and path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        if not files:
            raise RecordingError(f"{path} holds no files; give a folder of recordings or frames")
        return files
    return [path]

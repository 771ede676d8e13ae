"""A group of an HDF5 file that reads like a file of its own: what a format stores whole can lie within another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from evsim.hdf5 import File, Member


class Group:
    """A group of an open file, which reads like a file of its own.

    Parameters
    ----------
    file
        The open file.
    group
        Path of the group within it.

    Attributes
    ----------
    members
        As `File.members`, of what lies in the group.
    """

    def __init__(self, file: File, group: str) -> None:
        self._file, self._above = file, f"{group}/"
        self.members: Mapping[str, Member] = {
            name.removeprefix(self._above): member
            for name, member in file.members.items()
            if name.startswith(self._above)
        }

    def attributes(self, name: str = "") -> dict[str, Any]:
        """As `File.attributes`."""
        return self._file.attributes(f"{self._above}{name}".rstrip("/"))

    def text(self, name: str) -> str:
        """As `File.text`."""
        return self._file.text(f"{self._above}{name}")

    def read(self, name: str) -> NDArray[Any]:
        """As `File.read`, of a whole dataset."""
        return self._file.read(f"{self._above}{name}")

    def check_claims(self, names: Iterable[str]) -> None:
        """As `File.check_claims`."""
        self._file.check_claims(f"{self._above}{name}" for name in names)

"""What the HDF5 files hold that evsim writes, so that one in the wrong place is named."""

from __future__ import annotations

from pathlib import Path

from evsim.errors import EvsimError
from evsim.hdf5 import File
from evsim.manual import page

OWN = {
    "evsim-model": "a model; evsim info lists it, evsim run runs it",
    "evsim-counts": "counts of a run; evsim energy charges them",
    "evsim-audit": "an audit of a data set; evsim energy charges it, evsim compare compares it with another by `eval`",
}
"""What the files hold that evsim writes, and which command reads them, by their attribute `format`."""


def own_kind(file: File) -> str:
    """Say what a file holds that evsim wrote, and which command reads it; "" of all others."""
    told = file.attributes().get("format")
    if isinstance(told, str) and told in OWN:
        return OWN[told]
    if {name for name in file.members if "/" not in name} == {"spikes"} and file.members["spikes"].group:
        return f"spikes that `record_spikes` wrote; evsim plot draws them; for their layout see {page('json')}"
    return ""


def is_audit(path: str | Path) -> bool:
    """Whether a file that can be read is an audit of a data set."""
    try:
        with File(path, EvsimError) as file:
            return file.attributes().get("format") == "evsim-audit"
    except EvsimError:
        return False

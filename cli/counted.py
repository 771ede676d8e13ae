"""Counts that a person names: those of a run, or of a whole evaluation."""

from __future__ import annotations

from pathlib import Path

from evsim import countsfile
from evsim.counters import Counts
from evsim.countsfile import Stored
from evsim.files import exists
from evsim.ownfiles import is_audit


def stored_of(path: str) -> Stored:
    """Return the counts of a counts.h5, or those of all samples of an audit.h5 added up, and where they came from.

    Raises
    ------
    CountsError, AuditError
        If the file cannot be read.
    """
    if not exists(path) or not Path(path).is_file() or not is_audit(path):
        return countsfile.load(path)
    from evsim.evaluation.auditfile import finished, origin_of  # runs models, too: energy alone needs no kernels
    from evsim.evaluation.layout import RAN, summed

    audit = finished(path)
    return Stored(summed(audit.layout, audit.arrays, audit.arrays["status"] == RAN), origin_of(audit))


def counts_of(path: str) -> Counts:
    """Return the counts alone; errors as `stored_of`."""
    return stored_of(path).counts

"""Counts that a person names: those of a run, or of a whole evaluation."""

from __future__ import annotations

from pathlib import Path

from evsim import countsfile
from evsim.counters import Counts
from evsim.evaluation.auditfile import finished, is_audit
from evsim.evaluation.layout import RAN, summed
from evsim.files import exists


def counts_of(path: str) -> Counts:
    """Return the counts of a counts.h5, or those of all samples of an audit.h5 added up.

    Raises
    ------
    CountsError, AuditError
        If the file cannot be read.
    """
    if not exists(path) or not Path(path).is_file() or not is_audit(path):
        return countsfile.load(path).counts
    audit = finished(path)
    return summed(audit.layout, audit.arrays, audit.arrays["status"] == RAN)

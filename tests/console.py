"""The command line as a person meets it: arguments in, exit code out."""

from __future__ import annotations

import sys

import pytest

from evsim.cli import main as cli


def evsim(monkeypatch, *arguments):
    """Run ``evsim ARGUMENTS`` in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["evsim", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return end.value.code or 0

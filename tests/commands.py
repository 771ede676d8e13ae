"""The command line as tests use it: in this process, but with the exit code and outputs that a person gets."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from unittest import mock

from evsim.cli.main import main


@dataclass(frozen=True)
class Outcome:
    """What a command left: exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def evsim(*arguments: object) -> Outcome:
    """Run ``evsim ARGUMENTS``."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    argv = ["evsim", *map(str, arguments)]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code
    return Outcome(int(code or 0), out.getvalue(), err.getvalue())


def refused(*arguments: object) -> str:
    """Run a command that must fail as every bad input does: exit code 2, nothing on stdout, one line, which returns."""
    outcome = evsim(*arguments)
    assert outcome.code == 2, outcome
    assert outcome.out == "", outcome.out
    assert outcome.err.startswith("evsim: "), outcome.err
    assert outcome.err.count("\n") == 1, outcome.err
    return outcome.err

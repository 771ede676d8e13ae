"""Rules of every session of tests: nothing is left outside, and what is left out is told once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from beside import ABSENT, SHARED
from strays import Strays

ROOT = Path(__file__).resolve().parents[1]

strays = pytest.StashKey[Strays]()
lines = pytest.StashKey[list[str]]()


def pytest_report_header() -> list[str]:
    """Say what is tested, and with what."""
    from evsim.kernels.compiling import CHECKED
    from evsim.kernels.vector import COMPRESSES

    flags = f"JIT {'off' if numba.config.DISABLE_JIT else 'on'}, bounds checked: {bool(numba.config.BOUNDSCHECK)}"
    flags += f", of intrinsics: {CHECKED}"
    data = "present" if SHARED.exists() else "absent; tests, and cases of tests, that need it are left out"
    return [
        f"numpy {np.__version__}, numba {numba.__version__} ({flags}, compress of AVX-512: {COMPRESSES})",
        f"data beside the checkout (../shared): {data}",
    ]


def pytest_sessionstart(session: pytest.Session) -> None:
    """Watch what the session leaves, from before the tests are imported."""
    for size in ("COLUMNS", "LINES"):  # of the terminal that started the tests; pytest-xdist makes one up
        os.environ.pop(size, None)
    session.config.stash[strays] = Strays(ROOT, session.config._tmp_path_factory.getbasetemp())


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session whose tests left something outside their temporary folders; one of several processes tells."""
    left = sorted({*session.config.stash.get(lines, []), *session.config.stash[strays].lines()})
    session.config.stash[lines] = left
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["strays"] = left
    if left and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear of one of several processes what its tests left."""
    stash = node.config.stash
    stash[lines] = [*stash.get(lines, []), *getattr(node, "workeroutput", {}).get("strays", [])]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was left."""
    if config.stash.get(lines, []):
        terminalreporter.section("outside the temporary folder", red=True)
        for line in config.stash[lines]:
            terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[None]:
    """Give all tests that lack the data beside the checkout one place, so that the summary has one line for them."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and report.longrepr[2].endswith(ABSENT):
        report.longrepr = (str(SHARED), None, "absent: these tests need it")
    return report

"""Data beside the checkout (../shared): tests that need it skip where it is absent, in one line of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"
ABSENT = "../shared absent"
"""The reason that all such tests give: conftest.py tells them in one line."""


def needed(path: Path) -> Path:
    """Return a path, or skip the test that needs it."""
    if SHARED in path.parents and not path.exists():
        pytest.skip(ABSENT)
    return path


def goldens(pattern: str) -> list[Path]:
    """Return the golden folders beside the checkout, for a test's parameters; one to skip by where there are none."""
    return sorted((SHARED / "golden").glob(pattern)) or [SHARED / "golden" / pattern]

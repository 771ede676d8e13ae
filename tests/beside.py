"""Data beside the checkout (../shared): tests that need it skip where it is absent, in one line of the report."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared"


def needed(path: Path) -> Path:
    """Return a path, or skip the test that needs it: at this one place, so that pytest counts them all in one line."""
    if SHARED in path.parents and not path.exists():
        pytest.skip("data beside the checkout (../shared) is absent")
    return path


def goldens(pattern: str) -> list[Path]:
    """Return the golden folders beside the checkout, for a test's parameters; one to skip by where there are none."""
    return sorted((SHARED / "golden").glob(pattern)) or [SHARED / "golden" / pattern]

"""Text in lines."""

from __future__ import annotations

WIDTH = 80
"""Columns of a terminal that nobody has widened."""

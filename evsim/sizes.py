"""Sizes of memory as a person writes them."""

from __future__ import annotations

import re

from evsim.errors import OptionError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SIZE = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,18})?)\s*([a-zA-Z]*)\s*")


def parsed_size(value: int | str | None) -> int | None:
    """Return a size in bytes: a number, or a text such as "32GB" or "500 MB" (powers of 1000).

    Raises
    ------
    OptionError
        If it is none.
    """
    if value is None or isinstance(value, int):
        size = value
    else:
        match = SIZE.fullmatch(value)
        if not match or match[2].upper() not in UNITS:
            raise OptionError(f"`allow_memory` must be a size such as 500MB or 32GB, got {value}")
        size = int(float(match[1]) * UNITS[match[2].upper()])
    if size is not None and size < 1:
        raise OptionError(f"`allow_memory` must be a size such as 500MB or 32GB, got {value}")
    return size


def shown_size(size: int) -> str:
    """Return a size, rounded up to a tenth of the unit that suits it, as `parsed_size` takes it."""
    unit = next((unit for unit in ("TB", "GB") if size >= UNITS[unit]), "MB")
    tenths = -(-size * 10 // UNITS[unit])
    return f"{tenths // 10}.{tenths % 10}{unit}" if tenths % 10 else f"{tenths // 10}{unit}"

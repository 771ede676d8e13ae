"""What the audits ask of a run, checked before any long work."""

from __future__ import annotations

from evsim.errors import OptionError


def check_options(threads: int, timesteps: int | None = None) -> None:
    """Refuse numbers that no run can have.

    Raises
    ------
    OptionError
        If one is below 1.
    """
    for option, value in (("threads", threads), ("timesteps", timesteps)):
        if value is not None and value < 1:
            raise OptionError(f"`{option}` must be at least 1, got {value}")

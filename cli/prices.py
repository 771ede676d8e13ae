"""The prices of commands that run a model: they print energies at E_AC and E_MAC."""

from __future__ import annotations

from evsim.energy import Profile, load_profile
from evsim.energy.fit import OPERATIONS, able
from evsim.energy.profile import PRICES
from evsim.errors import ProfileError


def operation_prices(name: str) -> Profile:
    """Load a profile that prices operations, before anything runs or is written in vain.

    Raises
    ------
    ProfileError
        If it cannot be read, or gives no E_AC or E_MAC: then with the commands that charge by it.
    """
    profile = load_profile(name)
    missing = [key for key in OPERATIONS if not profile.gives(key)]
    if not missing:
        return profile
    lacks = " and ".join(f"no {key} ({PRICES[key]})" for key in missing)
    methods = able(profile)
    way = f"add {', '.join(f'[{key}]' for key in missing)}, or choose another --profile"
    if methods:
        way = (
            f"leave --profile out, keep counts by evsim run --counts counts.h5, and charge them by method "
            f"{methods[0]}: evsim energy counts.h5 --profile {name}"
        )
    raise ProfileError(f"{name}: the profile gives {lacks}, which this command prints energies by; {way}")

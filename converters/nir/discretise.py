"""From continuous time to timesteps: what each equation of NIR becomes, for a step of length dt.

Throughout, x is what a node gets in a timestep: the number of spikes, or a sum of weights. An input is constant over
the step, as NIR's own simulators have it; the integrators IF and I take it as the charge of the whole step.

===========  ==========================================  =====================================================
node         equation of NIR                             timestep
===========  ==========================================  =====================================================
IF, I        ``dv/dt = r x``                             ``v += r x``
LIF, LI      ``tau dv/dt = (v_leak - v) + r x``          ``v += a ((v_leak - v) + r x)``
CubaLIF,     ``tau_syn di/dt = -i + w_in x``             ``i = (1 - s) i + s w_in x``
CubaLI       ``tau_mem dv/dt = (v_leak - v) + r i``      ``v += m ((v_leak - v) + r i)``, i that of this timestep
===========  ==========================================  =====================================================

a, s and m are ``dt / tau`` by Euler's step and ``1 - exp(-dt / tau)`` exactly.
"""

from __future__ import annotations

import numpy as np

from evsim.converters.nir.graph import Unit
from evsim.converters.nir.options import Discretisation
from evsim.converters.nir.values import Array, array, positive
from evsim.errors import GraphError, OptionError
from evsim.primitives.time import MOST_STEPS

WHOLE = 0.01
"""By how many timesteps a delay may miss a whole number: delays are stored as float32."""


def share(unit: Unit, key: str, timestep: float, rule: Discretisation) -> Array:
    """Return the share of the way to its limit that a quantity goes in a timestep.

    Parameters
    ----------
    unit, key
        The node, and which of its parameters is the time constant, in seconds.
    timestep
        In seconds.
    rule
        "euler": ``timestep / tau``; "exact": ``1 - exp(-timestep / tau)``.

    Raises
    ------
    GraphError
        If the time constant is missing or not positive.
    OptionError
        If a timestep of Euler's is longer than the time constant: it would shoot beyond the limit.
    """
    tau = positive(unit, key)
    if rule == "exact":
        with np.errstate(over="ignore"):  # of a tau next to nothing: all of the way
            return np.asarray(-np.expm1(-timestep / tau))
    if (timestep / (1.0 + 1e-6) > tau).any():
        raise OptionError(
            f"{unit}: {key} of {tau.min():g} s is shorter than a timestep of {timestep:g} s, for which Euler's step is "
            "no solution; give a shorter `timestep`, or `discretisation=exact`"
        )
    return np.minimum(timestep / tau, 1.0)


def steps(unit: Unit, timestep: float) -> int:
    """Return a delay as whole timesteps, none for a delay of nothing.

    Raises
    ------
    GraphError
        If it is missing or negative.
    OptionError
        If it is no multiple of the timestep, or is not the same for all.
    """
    delays = array(unit, "delay")
    if (delays < 0.0).any():
        raise GraphError(f"{unit}: delay must not be negative, got {delays.min():g}; no equation allows it")
    if not delays.size or not (delays == delays.flat[0]).all():
        raise GraphError(f"{unit} delays its channels differently; evsim delays all alike: make a node for each delay")
    number = float(delays.flat[0]) / timestep
    if not number <= MOST_STEPS:
        raise OptionError(
            f"{unit} delays by {float(delays.flat[0]):g} s, more than {MOST_STEPS} timesteps of {timestep:g} s; give a "
            "longer `timestep`"
        )
    if abs(number - round(number)) > WHOLE:
        raise OptionError(
            f"{unit} delays by {float(delays.flat[0]):g} s, which is no multiple of a timestep of {timestep:g} s; "
            "give a `timestep` that divides it"
        )
    return round(number)

"""How a network ends, and which timesteps meet: what no run could tell, or two orders of events would tell apart."""

from __future__ import annotations

import re

import numpy as np
import pytest

from evsim.errors import NetworkError
from evsim.inputspec import InputSpec
from evsim.network import Network
from evsim.primitives import LIF, Add, HeadSum, Input, Linear, MultiSpike, SpikingSelfAttention, TimeMean, TokenMean

T = 3


def ending(*nodes):
    """Return a network of neurons and these nodes behind them."""
    source = Input("input", (), 2, 1, 2, "real")
    parameters = {f"{n.name}.{key}": np.zeros(shape) for n in nodes for key, shape in n.parameters().items()}
    return Network("n", "f", "v", InputSpec("frames", 2, 1, 2, T), (source, LIF("x", ("input",)), *nodes), parameters)


TOKENS, TIME = TokenMean("tokens", ("x",)), TimeMean("time", ("tokens",))


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ((TOKENS,), "tokens ends the network with real [2, 1, 1] at each timestep; logits are real"),
        ((TimeMean("time", ("x",)),), "time ends the network with real [2, 1, 2] once; logits are real"),
        ((TOKENS, TIME, LIF("late", ("time",))), "late ends the network with spikes [2, 1, 1] once; logits are real"),
        ((TOKENS, TIME, TimeMean("again", ("time",))), "again is a mean over time of time, which comes once"),
        (
            (TOKENS, TIME, Linear("head", ("time",), 2, 2, False), TimeMean("again", ("head",))),
            "again is a mean over time of head, which comes once",
        ),
        ((TOKENS, TIME, Add("sum", ("time", "tokens"))), "sum reads time, which comes once, and tokens, at"),
        (
            (HeadSum("sums", ("x",), 1, (("seen", "tokens"),)), TokenMean("tokens", ("sums",)), TIME),
            "sums counts the spikes of tokens, which emits none",
        ),
        (
            (HeadSum("sums", ("x",), 1, (("seen", "input"),)), TokenMean("tokens", ("sums",)), TIME),
            "sums counts the spikes of input, which emits none",
        ),
        (
            (
                MultiSpike("q", ("x",)), MultiSpike("v", ("x",), norm=2.0),
                SpikingSelfAttention("ssa", ("q", "q", "v"), 1), TokenMean("tokens", ("ssa",)), TIME,
            ),
            "ssa wants q, k and v in one unit, but q counts in 0.25 and v in 0.5",
        ),
    ],
)  # fmt: skip
def test_what_no_run_could_tell_is_refused(nodes, says):
    """Timesteps that do not meet, two means over time, an end that is no logits: a line names the node."""
    with pytest.raises(NetworkError, match=re.escape(says)):
        ending(*nodes)

"""What a graph must be for its answer to be one: one mean over time on every way, and logits at its end."""

from __future__ import annotations

import numpy as np
import pytest

from evsim.errors import NetworkError
from evsim.inputspec import InputSpec
from evsim.network import LIF, Add, Conv2d, Input, Linear, Network, Node, TimeMean, TokenMean

INPUT = Input("input", (), 2, 4, 4, "integers")
TOKENS = TokenMean("tokens", ("input",))
TIME = TimeMean("time", ("tokens",))


def network(*nodes: Node) -> Network:
    """Make a network of T = 3 behind an input of [2, 4, 4], all its weights 1."""
    weights = {f"{n.name}.{key}": np.ones(size, np.float32) for n in nodes for key, size in n.parameters().items()}
    return Network("n", "f", "standard", InputSpec("events", 2, 4, 4, 3), (INPUT, *nodes), weights)


@pytest.mark.parametrize(
    "nodes",
    [
        (TOKENS, TIME),
        (TOKENS, TIME, Linear("head", ("time",), 2, 2)),
        (TOKENS, Linear("head", ("tokens",), 2, 2), TimeMean("time", ("head",))),
        (TimeMean("time", ("input",)), LIF("lif", ("time",)), TokenMean("end", ("lif",))),
    ],
)
def test_one_mean_over_time(nodes: tuple[Node, ...]) -> None:
    """A mean over time may stand anywhere, once on every way to the logits."""
    assert network(*nodes).classes == 2


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (LIF("end", ("input",)),),
        (TOKENS, Linear("end", ("tokens",), 2, 2)),  # each timestep's logits: which would be the answer?
        (TimeMean("end", ("input",)),),  # of 16 positions
        (TOKENS, TIME, LIF("end", ("time",))),
        (TimeMean("time", ("input",)), Conv2d("end", ("time",), 2, 2)),
    ],
)
def test_no_logits(nodes: tuple[Node, ...]) -> None:
    """A graph that ends in spikes, in a map or at each timestep gives no logits, and is refused by its last node."""
    with pytest.raises(NetworkError, match=rf"^{nodes[-1].name if nodes else 'input'} ends the network with .*logits"):
        network(*nodes)


def test_second_mean_over_time() -> None:
    """What comes once has no mean over time: it would be divided by T."""
    with pytest.raises(NetworkError, match=r"^end is a mean over time of head, which comes once"):
        network(TOKENS, TIME, Linear("head", ("time",), 2, 2), TimeMean("end", ("head",)))


def test_once_beside_timesteps() -> None:
    """What comes once is not added to what comes at each timestep."""
    with pytest.raises(NetworkError, match=r"^sum reads time, which comes once, and tokens, at each timestep"):
        network(TOKENS, TIME, Add("sum", ("tokens", "time")))

"""sinabs: networks converted from ReLUs, as its tutorials do, and its neurons in all their forms."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings(action="ignore"):  # the libraries' own
    torch = pytest.importorskip("torch")
    sinabs = pytest.importorskip("sinabs", exc_type=ImportError)
    pytest.importorskip("sinabs.layers", exc_type=ImportError)

    import sinabs.activation as fires
    import sinabs.layers as sl
    from holding import hold
    from sinabs.from_torch import from_model
    from torch import nn

    import evsim
    from evsim.errors import NetworkError

STEPS = 6


def events():
    """Return frames of events [B * T, 2, 32, 32], as Squeeze layers take them."""
    return 3.0 * (torch.rand(STEPS, 2, 32, 32, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def converted(**facts):
    """Return the tutorials' convolutional network with neurons for its ReLUs."""
    torch.manual_seed(2)
    ann = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False), nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(8, 16, 3, bias=False),
        nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16 * 7 * 7, 10, bias=False), nn.ReLU(),
    )  # fmt: skip
    return from_model(ann, input_shape=(2, 32, 32), batch_size=1, **facts)


FORMS = {
    "several spikes": {},
    "one spike": {"spike_fn": fires.SingleSpike},
    "at most two": {"spike_fn": fires.MaxSpike(2)},
    "floored": {"min_v_mem": -0.5},
    "to zero": {"reset_fn": fires.MembraneReset(), "spike_fn": fires.SingleSpike},
    "threshold": {"spike_threshold": torch.tensor(0.5)},
}


@pytest.mark.parametrize("form", FORMS)
def test_converted_networks(form):
    """IAF neurons of several spikes a timestep or one, floored or not, reset either way."""
    network, _ = hold(converted(**FORMS[form]), events(), sample=events().numpy(), firing=2)
    assert network.spec.timesteps == STEPS


class Leaking(nn.Module):
    """LIF neurons of [B, T, ...] between layers that merge both, and a leaky integrator before the readout."""

    def __init__(self, **facts):
        super().__init__()
        self.layers = nn.Sequential(
            sl.FlattenTime(), nn.Conv2d(2, 8, 3), sl.UnflattenTime(batch_size=1), sl.LIF(**facts), sl.FlattenTime(),
            sl.SumPool2d(2), nn.Conv2d(8, 4, 3), nn.Flatten(), sl.UnflattenTime(batch_size=1), sl.ExpLeak(tau_mem=30.0),
            nn.Linear(4 * 13 * 13, 10),
        )  # fmt: skip

    def forward(self, x):
        """Return values [B, T, classes]."""
        return self.layers(x)


@pytest.mark.parametrize(
    "facts",
    [
        {"tau_mem": 20.0, "spike_threshold": torch.tensor(0.05)},
        {"tau_mem": 20.0, "norm_input": False},
        {"tau_mem": 20.0, "tau_syn": 10.0, "norm_input": False},
    ],
)
def test_leaking_neurons(facts):
    """LIF with and without synaptic currents, its input weighted or not."""
    torch.manual_seed(3)
    x = events().unsqueeze(0)
    network, _ = hold(Leaking(**facts), x, names="BTCHW", sample=events().numpy())
    assert "SumPool" in {type(node).__name__ for node in network.nodes}


@pytest.mark.parametrize(
    ("neurons", "layer"),
    [
        (lambda: sl.IAFRecurrent(rec_connect=nn.Linear(12, 12)), "1.rec_connect"),
        (
            lambda: sl.LIFRecurrent(
                tau_mem=10.0, tau_syn=5.0, rec_connect=nn.Sequential(nn.Flatten(), nn.Linear(12, 12, bias=False))
            ),
            "1.rec_connect.1",
        ),
        (
            lambda: sl.LIFRecurrent(
                tau_mem=10.0, rec_connect=nn.Linear(12, 12), spike_fn=fires.SingleSpike, min_v_mem=-0.2,
                reset_fn=fires.MembraneReset(), norm_input=False,
            ),
            "1.rec_connect",
        ),
    ],
)  # fmt: skip
def test_recurrence(neurons, layer):
    """Spikes come back through a layer at the next timestep, its bias with them: not at the first."""
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(20, 12), neurons(), nn.Linear(12, 5), sl.IAF())
    x = 3.0 * (torch.rand(1, 8, 20) < 0.5).float()

    def start(own):
        own[1].rec_connect.register_forward_pre_hook(lambda _, given: (given[0].double(),))
        own(x.double())

    network, _ = hold(model, x, names="BTC", run=start, sample=x[0].numpy().reshape(8, 20, 1, 1))
    assert layer in {node.name for node in network.nodes}
    assert network.node("1.delay").inputs == (layer,)


@pytest.mark.parametrize(
    ("neurons", "reason"),
    [
        (lambda: sl.ALIF(tau_mem=10.0, tau_adapt=10.0), "ALIF"),
        (lambda: sl.IAFRecurrent(rec_connect=nn.Sequential(nn.Linear(10, 9), nn.Linear(9, 10))), "one Linear"),
        (lambda: sl.IAF(reset_fn=fires.MembraneSubtract(0.3)), "MembraneSubtract"),
    ],
)
def test_refused(neurons, reason):
    """Neurons without a primitive are refused by name."""
    model = nn.Sequential(nn.Linear(20, 10), neurons())
    with pytest.raises(NetworkError, match=reason):
        evsim.from_torch(model, torch.rand(1, 5, 20), names="BTC")

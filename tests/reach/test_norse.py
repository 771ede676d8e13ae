"""Norse: the convolutional network of its examples, sequences with and without lifting, every neuron."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings(action="ignore"):  # the libraries' own
    torch = pytest.importorskip("torch")
    norse = pytest.importorskip("norse.torch", exc_type=ImportError)

    from holding import hold
    from torch import nn

    import evsim
    from evsim.errors import NetworkError

STEPS = 6


def digit():
    """Return an image that makes neurons fire at the library's slow constants."""
    return 12.0 * torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def events():
    """Return frames of events, weighted."""
    return 9.0 * (torch.rand(STEPS, 1, 2, 32, 32, generator=torch.Generator().manual_seed(2)) < 0.3).float()


class Example(nn.Module):
    """ConvNet4 of norse/torch examples: a loop over time, states in variables, read out by an integrator."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 5), nn.Conv2d(8, 12, 5)
        self.fc1, self.out = nn.Linear(4 * 4 * 12, 50), nn.Linear(50, 10)
        self.lif0, self.lif1, self.lif2 = norse.LIFCell(), norse.LIFCell(), norse.LIFCell()
        self.li = norse.LICell()

    def forward(self, x):
        """Return potentials [T, B, classes]."""
        s0 = s1 = s2 = so = None
        voltages = []
        for _ in range(STEPS):
            z, s0 = self.lif0(self.conv1(x), s0)
            z = nn.functional.max_pool2d(z, 2, 2)
            z, s1 = self.lif1(10 * self.conv2(z), s1)
            z = nn.functional.max_pool2d(z, 2, 2).view(-1, 4 * 4 * 12)
            z, s2 = self.lif2(10 * self.fc1(z), s2)
            v, so = self.li(self.out(z), so)
            voltages.append(v)
        return torch.stack(voltages)


def layers(first):
    """Return a sequence of cells."""
    box = norse.LIFBoxParameters(tau_mem_inv=torch.tensor(300.0))
    return norse.SequentialState(
        nn.Conv2d(1, 8, 5), first, nn.MaxPool2d(2, 2), nn.Conv2d(8, 12, 5), norse.LIFBoxCell(box), nn.MaxPool2d(2, 2),
        nn.Flatten(), nn.Linear(192, 10), norse.LICell(),
    )  # fmt: skip


def test_example():
    """The library's example network equals PyTorch's in spikes, potentials and counts."""
    torch.manual_seed(3)
    network, _ = hold(Example(), digit(), firing=3)
    assert network.node("li").emits == "potential"


@pytest.mark.parametrize("first", ["LIFCell", "IAFCell", "LIFBoxCell"])
def test_state_goes_in_and_out(first):
    """A sequence of cells is run timestep by timestep, and given the state that it returned."""
    torch.manual_seed(4)

    def start(model):
        state = None
        for _ in range(STEPS):
            _, state = model(digit().double(), state)

    hold(layers(getattr(norse, first)()), digit(), run=start, timesteps=STEPS)


def test_lifted():
    """Modules that take whole sequences, and layers lifted over them."""
    torch.manual_seed(5)
    model = norse.SequentialState(
        norse.Lift(nn.Conv2d(2, 8, 5)), norse.LIF(), norse.Lift(nn.AvgPool2d(2, 2)), norse.Lift(nn.Conv2d(8, 12, 5)),
        norse.LIF(), nn.Flatten(2), nn.Linear(12 * 10 * 10, 10), norse.LI(),
    )  # fmt: skip
    network, _ = hold(model, events())
    assert network.spec.timesteps == STEPS


@pytest.mark.parametrize("name", ["ConvNet", "ConvNet4"])
def test_models_of_the_library(name):
    """Norse's own networks: an integrator with weights of its own, potentials written into zeros of float32."""
    from norse.torch.models import conv

    torch.manual_seed(6)
    x = 9.0 * (torch.rand(STEPS, 1, 1, 28, 28) < 0.5).float()
    network = evsim.from_torch(getattr(conv, name)(feature_size=28), x)
    assert "0 flips" in network.provenance["proof"]
    assert network.node("out").emits == "potential"
    assert network.node("out.input").in_channels == (500 if name == "ConvNet" else 1024)


class Decoded(Example):
    """The same as the examples decode it: the greatest potential over time, then a log-softmax."""

    def forward(self, x):
        """Return log-probabilities [B, classes]."""
        greatest, _ = torch.max(super().forward(x), 0)
        return nn.functional.log_softmax(greatest, dim=1)


def test_decoded_by_maximum():
    """A maximum over time is a readout; the log-softmax behind it changes no prediction, is left out and told."""
    torch.manual_seed(3)
    network, run = hold(Decoded(), digit(), firing=3)
    assert network.nodes[-1].reduction == "max"
    assert "softmax" in network.provenance["ending"]
    assert run.prediction == int(Decoded.forward(_as_saved(), digit().double()).argmax())


def _as_saved():
    torch.manual_seed(3)
    return Decoded().double().eval()


class Forgetful(nn.Module):
    """A loop that leaves out the state."""

    def __init__(self):
        super().__init__()
        self.fc, self.lif = nn.Linear(20, 10), norse.LIFCell()

    def forward(self, x):
        """Return spikes [T, B, classes]."""
        return torch.stack([self.lif(self.fc(x))[0] for _ in range(STEPS)])


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Forgetful, "starts anew at every call"),
        (lambda: norse.SequentialState(nn.Linear(20, 10), norse.LIFAdExCell()), "LIFAdExCell"),
        (lambda: norse.SequentialState(nn.Linear(20, 20), norse.LSNNRecurrentCell(20, 10)), "LSNNRecurrentCell"),
    ],
)
def test_refused(model, reason):
    """Neurons without a primitive, and states that are lost, are refused by name."""
    with pytest.raises(NetworkError, match=reason):
        evsim.from_torch(model(), torch.rand(1, 20), timesteps=STEPS)


class Back(nn.Module):
    """Recurrent cells, and what reads a state of neurons behind them."""

    def __init__(self, back, end, *, read="output"):
        super().__init__()
        self.back, self.fc, self.end, self.read = back, nn.Linear(16, 5), end, read

    def forward(self, x):
        """Return values [T, B, classes]."""
        state = ends = None
        kept = []
        for frame in x:
            z, state = self.back(frame, state)
            out, ends = self.end(self.fc(z), ends)
            kept.append(out if self.read == "output" else getattr(ends, self.read))
        return torch.stack(kept)


def fast():
    """Return constants that let neurons fire within few timesteps."""
    return norse.LIFParameters(tau_mem_inv=torch.tensor(500.0), tau_syn_inv=torch.tensor(300.0), v_th=torch.tensor(0.3))


def trains(features):
    """Return spikes [T, B, features]."""
    return (torch.rand(12, 1, features, generator=torch.Generator().manual_seed(3)) < 0.5).float()


def brought_back(network, x):
    """Return synaptic operations of the layer that brings spikes back, and spikes of all but the last timestep."""
    run = evsim.simulate(network, x[:, 0].double().numpy().reshape(12, -1, 1, 1), precision="float64")
    rows = {row.name: row for row in run.counts.layers}
    layer = next(name for name in rows if name.endswith("recurrent"))
    neurons = layer.removesuffix(".recurrent")
    return int(rows[layer].sops.sum()), int(rows[neurons].spikes[:-1].sum())


@pytest.mark.parametrize("autapses", [True, False])
def test_recurrent_cell(autapses):
    """A cell that has weights for its input and for its own spikes of the timestep before."""
    torch.manual_seed(4)
    cell = norse.LIFRecurrentCell(30, 16, p=fast(), autapses=autapses)
    network = evsim.from_torch(Back(cell, norse.LICell()), trains(30))
    assert "0 flips" in network.provenance["proof"]
    operations, spikes = brought_back(network, trains(30))
    assert operations == 16 * spikes > 0


def test_recurrent_sequence():
    """The same over a sequence at once."""
    torch.manual_seed(5)
    model = norse.SequentialState(nn.Linear(30, 20), norse.LIFRecurrent(20, 16, p=fast()), nn.Linear(16, 5), norse.LI())
    network = evsim.from_torch(model, trains(30))
    operations, spikes = brought_back(network, trains(30))
    assert operations == 16 * spikes > 0


def test_potential_of_a_state():
    """The potential of a state is read out, wherever it stands there; a current is refused by name."""
    torch.manual_seed(6)
    cell = norse.LIFRecurrentCell(30, 16, p=fast())
    network = evsim.from_torch(Back(cell, norse.LIFCell(fast()), read="v"), trains(30))
    assert network.nodes[-2].emits == "potential"
    with pytest.raises(NetworkError, match="a state of neurons other than their potential"):
        evsim.from_torch(Back(cell, norse.LIFCell(fast()), read="i"), trains(30))

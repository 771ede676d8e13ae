"""The networks of snnTorch's tutorials 5, 6 and 7, and its neurons in all their forms."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings(action="ignore"):  # the libraries' own
    torch = pytest.importorskip("torch")
    snn = pytest.importorskip("snntorch", exc_type=ImportError)

    from brute import counted
    from holding import hold
    from snntorch import surrogate, utils
    from torch import nn

    import evsim
    from evsim.errors import NetworkError

STEPS = 5
GRADIENT = surrogate.fast_sigmoid(slope=25)


class Five(nn.Module):
    """Tutorial 5: a loop over time in `forward`, states in variables; returns spikes and potentials."""

    def __init__(self, **facts):
        super().__init__()
        self.fc1 = nn.Linear(784, 100)
        self.lif1 = snn.Leaky(**facts)
        self.fc2 = nn.Linear(100, 10)
        self.lif2 = snn.Leaky(**facts)

    def forward(self, x):
        """Return spikes and potentials [T, B, classes]."""
        mem1, mem2 = self.lif1.init_leaky(), self.lif2.init_leaky()
        spikes, potentials = [], []
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            spikes.append(spk2)
            potentials.append(mem2)
        return torch.stack(spikes, dim=0), torch.stack(potentials, dim=0)


class Potentials(Five):
    """The same, read out by its last potentials' sum over time."""

    def forward(self, x):
        """Return potentials [T, B, classes]."""
        return super().forward(x)[1]


class Summed(Five):
    """The same, its spikes added up step by step."""

    def forward(self, x):
        """Return rates [B, classes]."""
        mem1, mem2, total = self.lif1.init_leaky(), self.lif2.init_leaky(), 0
        for _ in range(STEPS):
            spk1, mem1 = self.lif1(self.fc1(x), mem1)
            spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
            total = total + spk2
        return total / STEPS


class Last(Potentials):
    """The same, read out by its last potential."""

    def forward(self, x):
        """Return potentials [B, classes]."""
        return super().forward(x)[-1]


def features():
    """Return an image as 784 features."""
    return 3.0 * torch.rand(1, 784, generator=torch.Generator().manual_seed(1))


def digit():
    """Return an image [1, 1, 28, 28]."""
    return 4.0 * torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(2))


def six(kind, **facts):
    """Return the network of tutorial 6: hidden states, one timestep a call."""
    torch.manual_seed(3)
    facts |= {"spike_grad": GRADIENT, "init_hidden": True}
    return nn.Sequential(
        nn.Conv2d(1, 12, 5), nn.MaxPool2d(2), kind(**facts), nn.Conv2d(12, 64, 5), nn.MaxPool2d(2), kind(**facts),
        nn.Flatten(), nn.Linear(64 * 4 * 4, 10), kind(output=True, **facts),
    )  # fmt: skip


class Population(nn.Module):
    """The tutorial on population coding: groups of neurons vote for each class, spikes are added up over time."""

    def __init__(self):
        super().__init__()
        facts = {"beta": 0.9, "threshold": 0.3, "init_hidden": True}
        self.net = nn.Sequential(
            nn.Flatten(), nn.Linear(784, 64), snn.Leaky(**facts), nn.Linear(64, 50), snn.Leaky(output=True, **facts)
        )

    def forward(self, x):
        """Return votes [B, 10]."""
        utils.reset(self.net)
        return torch.stack([self.net(x)[0] for _ in range(STEPS)]).sum(0).view(-1, 10, 5).sum(-1)


def test_population_coding():
    """Sums over groups of classes' neurons and over time become means, and the provenance tells the factor."""
    torch.manual_seed(7)
    network, run = hold(Population(), digit(), firing=2)
    assert "25 times" in network.provenance["output"]
    with torch.no_grad():
        torch.manual_seed(7)
        votes = Population()(digit())[0].numpy()
    assert abs(25 * run.logits - votes).max() <= 1  # a spike, in float32


def steps(x, number=STEPS):
    """Return what runs a model of hidden states from its start."""

    def start(model):
        utils.reset(model)
        for step in range(number):
            model((x if x.ndim == 4 else x[step]).double())

    return start


def test_last_timestep():
    """What is returned of the last timestep alone is read out there."""
    torch.manual_seed(4)
    network, _ = hold(Last(beta=0.95), features())
    assert network.nodes[-1].reduction == "last"


@pytest.mark.parametrize("kind", [Five, Potentials, Summed])
def test_tutorial_5(kind):
    """A loop over time is rolled up; its first output is read out, be it spikes, potentials or a sum of steps."""
    torch.manual_seed(4)
    network, _ = hold(kind(beta=0.95), features(), firing=1)
    assert network.spec.timesteps == STEPS
    names = [node.name for node in network.nodes]
    assert names[1:4] == ["fc1", "lif1", "fc2"]
    assert type(network.nodes[-1]).__name__ == "TimeMean"


FORMS = {
    "subtract": (snn.Leaky, {"beta": 0.7}),
    "zero": (snn.Leaky, {"beta": 0.7, "reset_mechanism": "zero"}),
    "none": (snn.Leaky, {"beta": 0.7, "reset_mechanism": "none"}),
    "at once": (snn.Leaky, {"beta": 0.7, "reset_delay": False}),
    "zero at once": (snn.Leaky, {"beta": 0.7, "reset_delay": False, "reset_mechanism": "zero"}),
    "learned": (snn.Leaky, {"beta": torch.tensor(0.6), "learn_beta": True, "threshold": 0.7, "learn_threshold": True}),
    "synaptic": (snn.Synaptic, {"alpha": 0.6, "beta": 0.7}),
    "synaptic to zero": (snn.Synaptic, {"alpha": 0.6, "beta": 0.7, "reset_mechanism": "zero"}),
    "lapicque": (snn.Lapicque, {"beta": 0.7, "threshold": 0.5}),
    "lapicque to zero": (snn.Lapicque, {"R": 2.0, "C": 3.0, "threshold": 0.5, "reset_mechanism": "zero"}),
}


@pytest.mark.parametrize("form", FORMS)
def test_tutorial_6(form):
    """Every neuron and reset of the library, in the network of tutorial 6."""
    kind, facts = FORMS[form]
    hold(six(kind, **facts), digit(), run=steps(digit()), timesteps=STEPS, firing=2)


class Recurrent(nn.Module):
    """Neurons that read their own spikes of the timestep before, through a convolution and through a matrix."""

    def __init__(self, first, second, *, potentials=False):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 6, 3), nn.Linear(150, 10)
        self.first, self.second, self.potentials = first, second, potentials

    def forward(self, x):
        """Return spikes or potentials [T, B, classes]."""
        one, two, kept = self.first.reset_mem(), self.second.reset_mem(), []
        for frame in x:
            one = self.first(nn.functional.max_pool2d(self.conv(frame), 2), *one)
            two = self.second(self.fc(one[0].flatten(1)), *two)
            kept.append(two[-1] if self.potentials else two[0])
        return torch.stack(kept)


def recurrent(kind, form, **facts):
    """Return two layers of recurrent neurons: of weights between all, or of a factor of each."""
    facts |= {"beta": 0.8, "threshold": 0.3}
    if form == "all":
        return kind(conv2d_channels=6, kernel_size=3, **facts), kind(linear_features=10, **facts)
    return kind(all_to_all=False, V=torch.randn(6, 5, 5), **facts), kind(all_to_all=False, V=0.5, **facts)


@pytest.mark.parametrize("form", ["all", "one"])
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"reset_mechanism": "none"},
        {"reset_delay": False},
        {"alpha": 0.6},
        {"alpha": 0.6, "reset_mechanism": "none"},
    ],
)
def test_recurrence(form, facts):
    """RLeaky and RSynaptic: their spikes come back a timestep later, and are counted like any others."""
    torch.manual_seed(8)
    kind = snn.RSynaptic if "alpha" in facts else snn.RLeaky
    model = Recurrent(*recurrent(kind, form, **facts))
    network, _ = hold(model, 4.0 * torch.rand(STEPS, 1, 1, 12, 12), firing=2)
    assert sum(type(node).__name__ == "Delay" for node in network.nodes) == 2
    hold(Recurrent(*recurrent(kind, form, **facts), potentials=True), 4.0 * torch.rand(STEPS, 1, 1, 12, 12))


@pytest.mark.parametrize("delay", [True, False])
def test_recurrence_to_zero(delay):
    """Reset to zero, where the library runs the layer that brings spikes back twice a timestep, and evsim once."""
    torch.manual_seed(9)
    facts = {"beta": 0.8, "threshold": 0.3, "reset_mechanism": "zero", "reset_delay": delay}
    model = Recurrent(snn.RLeaky(all_to_all=False, **facts), snn.RLeaky(linear_features=10, **facts))
    with torch.no_grad():
        model.fc.bias += 0.3
    x = 4.0 * torch.rand(STEPS, 1, 1, 12, 12)
    run = evsim.simulate(evsim.from_torch(model, x), x[:, 0].double().numpy(), precision="float64")
    rows = {row.name: row for row in run.counts.layers}
    twice = counted(model.double(), lambda own: own(x.double()))["second.recurrent"]
    assert int(rows["second.recurrent"].sops.sum()) == twice // 2 > 0


def test_recurrence_of_hidden_states():
    """Neurons that keep their spikes themselves; a map that a matrix brings back is read flat."""
    torch.manual_seed(10)
    facts = {"init_hidden": True, "threshold": 0.3}
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Flatten(), snn.RLeaky(beta=0.9, linear_features=200, **facts), nn.Linear(200, 10),
        snn.RSynaptic(alpha=0.5, beta=0.9, all_to_all=False, V=torch.rand(10), output=True, **facts),
    )  # fmt: skip
    network = evsim.from_torch(model, 3.0 * torch.rand(1, 1, 12, 12), timesteps=STEPS)
    assert "0 flips" in network.provenance["proof"]


def test_features_without_space_read_trains():
    """Frames of whole numbers on features are counts of events, so that spike trains can be read."""
    torch.manual_seed(11)
    model = nn.Sequential(nn.Linear(30, 10), snn.Leaky(beta=0.5, init_hidden=True, output=True))
    assert evsim.from_torch(model, (torch.rand(STEPS, 1, 30) < 0.5).float()).spec.kind == "events"
    assert evsim.from_torch(model, torch.rand(STEPS, 1, 30)).spec.kind == "frames"


def test_recurrence_of_others():
    """Spikes of other neurons, given as its own, and a recurrence that the code keeps itself are refused."""

    class Others(Recurrent):
        def forward(self, x):
            spikes, potential = self.first.reset_mem()
            held, kept = self.second.reset_mem(), []
            for frame in x:
                spikes, potential = self.first(self.fc(frame.flatten(1)), spikes, potential)
                spikes, held = self.second(spikes, held)
                kept.append(spikes)
            return torch.stack(kept)

    model = Others(snn.RLeaky(beta=0.5, linear_features=10), snn.Leaky(beta=0.5))
    with pytest.raises(NetworkError, match="a state that is not its own"):
        evsim.from_torch(model, torch.rand(STEPS, 1, 150))
    rows = nn.Sequential(nn.Conv2d(2, 3, 1), snn.RLeaky(beta=0.5, linear_features=5, init_hidden=True))
    with pytest.raises(NetworkError, match="its recurrence takes 5 and gives 5 channels"):
        evsim.from_torch(rows, torch.rand(1, 2, 4, 5), timesteps=STEPS)


def test_constants_of_each_neuron():
    """Betas and thresholds that differ between neurons become arrays of the node."""
    torch.manual_seed(5)
    facts = {"init_hidden": True}
    model = nn.Sequential(
        nn.Linear(20, 30), snn.Leaky(beta=torch.rand(30), threshold=0.2 + torch.rand(30), **facts), nn.Linear(30, 10),
        snn.Leaky(beta=0.5, output=True, **facts),
    )  # fmt: skip
    x = 3.0 * torch.rand(6, 1, 20)

    def start(own):
        utils.reset(own)
        for frame in x.double():
            own(frame)

    network, _ = hold(model, x, run=start)
    assert set(network.node("1").by_channel) == {"leak", "v_threshold"}


def test_tutorial_7():
    """The network of tutorial 7 takes frames of events one by one."""
    torch.manual_seed(6)
    facts = {"beta": 0.5, "spike_grad": GRADIENT, "init_hidden": True}
    model = nn.Sequential(
        nn.Conv2d(2, 12, 5), snn.Leaky(**facts), nn.MaxPool2d(2), nn.Conv2d(12, 32, 5), snn.Leaky(**facts),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 5 * 5, 10), snn.Leaky(output=True, **facts),
    )  # fmt: skip
    x = 2.0 * (torch.rand(6, 1, 2, 34, 34) < 0.3).float()
    network, _ = hold(model, x, run=steps(x, 6), firing=2)
    assert network.spec.kind == "events"


@pytest.mark.parametrize(
    ("neurons", "reason"),
    [
        (lambda: snn.Leaky(beta=0.5, init_hidden=True, inhibition=True, output=True), "inhibition"),
        (lambda: snn.Leaky(beta=0.5, init_hidden=True, graded_spikes_factor=2.0, output=True), "graded spikes"),
        (lambda: snn.Alpha(alpha=0.9, beta=0.8, init_hidden=True, output=True), "Alpha"),
        (lambda: snn.RSynaptic(alpha=0.9, beta=0.5, linear_features=10, reset_delay=False), "RSynaptic without reset"),
    ],
)
def test_refused(neurons, reason):
    """Neurons without a primitive are refused by name."""
    model = nn.Sequential(nn.Linear(20, 10), neurons())
    with pytest.raises(NetworkError, match=reason):
        evsim.from_torch(model, torch.rand(1, 20), timesteps=3)

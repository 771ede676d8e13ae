"""How models are written: wrappers, loops, views, sums of steps; and every refusal, by name and line."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings(action="ignore"):  # the libraries' own
    torch = pytest.importorskip("torch")
    snn = pytest.importorskip("snntorch", exc_type=ImportError)

    from brute import settle
    from holding import hold
    from snntorch import utils
    from torch import nn

    import evsim
    from evsim.errors import NetworkError, OptionError
    from evsim.tracing.errors import ProofError, TracingError

STEPS = 4


def leaky(**facts):
    """Return neurons that keep their state."""
    return snn.Leaky(beta=0.5, threshold=0.3, init_hidden=True, **facts)


def drawn(*shape, seed=0):
    """Return values from 0 to 2, the same each time."""
    return 2.0 * torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def steps(x):
    """Return what runs a model of one timestep on each frame, or T times on an image."""

    def start(model):
        utils.reset(model)
        for step in range(STEPS):
            model((x[step] if x.ndim in (3, 5) else x).double())

    return start


class Body(nn.Module):
    """A small network whose middle is written by a subclass: `between` takes and returns [B, 6, 8, 8]."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.conv, self.bn, self.fire = nn.Conv2d(2, 6, 3, padding=1), nn.BatchNorm2d(6), leaky()
        self.mid, self.again = nn.Conv2d(6, 6, 1), leaky()
        self.fc, self.out = nn.Linear(6 * 64, 5), leaky()
        settle(self)

    def between(self, x):
        """Return what comes between."""
        return x

    def forward(self, x):
        """Return spikes [B, 5]."""
        x = self.fire(self.bn(self.conv(x)))
        x = self.again(self.mid(self.between(x)))
        return self.out(self.fc(x.flatten(1)))


def body(between):
    """Return a network with a function in its middle."""
    model = Body()
    model.between = between
    return model


def _written(x):
    out = torch.zeros_like(x)
    out[:, :3] = x[:, :3]
    out[:, 3:] = x[:, 3:]
    return out


def _attended(x):
    """Attention of one head on spikes, said by letters."""
    tokens = torch.einsum("bchw->bhwc", x).flatten(1, 2)
    weights = torch.einsum("bnc,bmc->bnm", tokens, tokens)
    return torch.einsum("bmc,bnm->bcn", tokens, 0.25 * weights).view(1, 6, 8, 8)


UNDERSTOOD = {
    "einsum of attention": _attended,
    "slices joined": lambda x: torch.cat([x[:, 3:], x[:, :3]], dim=1),
    "chunks added": lambda x: torch.cat(list(x.chunk(2, dim=1)), dim=1) + x,
    "stacked and turned back": lambda x: torch.stack([x, x], dim=0).permute(1, 0, 2, 3, 4)[:, 1],
    "reshaped": lambda x: x.reshape(1, 6, 64).transpose(1, 2).transpose(-1, -2).view(1, 6, 8, 8),
    "times a constant": lambda x: 0.5 * x,
    "constant by channel": lambda x: x * torch.arange(1.0, 7.0).view(1, 6, 1, 1) + 0.25,
    "constant by neuron": lambda x: x + torch.linspace(0, 1, 64).view(1, 1, 8, 8),
    "sum in place": lambda x: x.clone().add_(x),
    "written into zeros": _written,
    "two maps multiplied": lambda x: x * x.roll(1, dims=0),
    "not": lambda x: x * (1 - x.flip(0)),
    "padded": lambda x: nn.functional.pad(x, (1, 1, 1, 1))[:, :, 1:-1, 1:-1],
    "dropout": lambda x: nn.functional.dropout(x, 0.5, training=False),
    "max-pooling of stride 1": lambda x: nn.functional.max_pool2d(x, 3, 1, 1),
    "average": lambda x: nn.functional.avg_pool2d(x, 3, 1, 1),
    "mean of places as a mask": lambda x: x - 0.5,
    "relu of spikes": lambda x: nn.functional.max_pool2d(x.relu(), 3, 1, 1).relu(),
    "halved": lambda x: x / 2,
    "einops by hand": lambda x: x.view(1, 2, 3, 8, 8).transpose(1, 2).reshape(1, 6, 8, 8).view(1, 3, 2, 8, 8).transpose(
        1, 2
    ).reshape(1, 6, 8, 8),
}  # fmt: skip


@pytest.mark.parametrize("form", UNDERSTOOD)
def test_understood(form):
    """What moves values, adds them up or weights them by constants is understood, whatever the code calls."""
    x = drawn(STEPS, 1, 2, 8, 8)
    hold(body(UNDERSTOOD[form]), x, run=steps(x), firing=2)


REFUSED = {
    "relu": (lambda x: nn.functional.relu(x - 0.5), "relu of real values"),
    "softmax": (lambda x: x.softmax(1), "softmax"),
    "layer norm": (lambda x: nn.functional.layer_norm(x, [8, 8]), "layer_norm"),
    "threshold by hand": (lambda x: (x > 0.5).float(), "gt: a threshold written by hand"),
    "values decide": (lambda x: x if x.sum() > 3 else 2 * x, "a threshold written by hand|asks for values"),
    "item": (lambda x: x * x.max().item(), "max is no operation|asks for values"),
    "axes mixed": (lambda x: x.transpose(1, 2).reshape(1, 6, 8, 8), "mixes axes|in order"),
    "positions left out": (lambda x: x[:, :, ::2].repeat_interleave(2, 2), "no range of its channels|several times"),
    "division by computed": (lambda x: x / (1 + x), "division by computed"),
    "norm of the sample": (nn.functional.instance_norm, "instance_norm"),
    "dropout on": (lambda x: nn.functional.dropout(x, 0.5, training=True), "dropout is on"),
    "other border": (lambda x: nn.functional.pad(x, (1, 1, 1, 1), value=1.0)[:, :, 1:-1, 1:-1], "border"),
    "upsampled": (lambda x: nn.functional.interpolate(x, scale_factor=2)[:, :, ::2, ::2], "interpolate"),
    "max-pooling with dilation": (lambda x: nn.functional.max_pool2d(x, 3, 1, 2, dilation=2), "dilation"),
    "constants between": (lambda x: torch.cat([x[:, :5], torch.ones(1, 1, 8, 8)], 1), "constants"),
    "weights of the sample": (lambda x: nn.functional.conv2d(x, x.view(6, 1, 8, 8)[:, :, :1, :1], groups=6), "weight"),
    "einsum": (lambda x: torch.einsum("bchw,bdhw->bchw", x, x), "einsum"),
}


@pytest.mark.parametrize("form", REFUSED)
def test_refused(form):
    """What no primitive computes is refused, with the function's name and the line of the user's source."""
    between, reason = REFUSED[form]
    with pytest.raises(TracingError, match=reason) as caught:
        evsim.from_torch(body(between), drawn(STEPS, 1, 2, 8, 8))
    first = caught.value.faults[0]
    assert first.spot.line.startswith("test_forms.py:")
    assert "\n" not in str(caught.value)


def test_faults_are_listed_whole():
    """Two refusals in one model are told together, each with its line; what comes of them is not told again."""
    with pytest.raises(TracingError) as caught:
        evsim.from_torch(body(lambda x: x.softmax(1).tanh() + x.sigmoid()), drawn(STEPS, 1, 2, 8, 8))
    assert ["softmax" in str(caught.value.faults[0]), "sigmoid" in str(caught.value.faults[1])] == [True, True]
    assert len(caught.value.faults) == 2


@pytest.mark.parametrize("wrapped", [nn.DataParallel, torch.compile])
def test_wrappers_are_looked_through(wrapped, tmp_path, monkeypatch):
    """torch.compile and DataParallel give the same network as the module in them."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    x = drawn(STEPS, 1, 2, 8, 8)
    inner = Body()
    assert evsim.from_torch(wrapped(inner), x).nodes == evsim.from_torch(inner, x).nodes


def test_model_stays_as_it_is():
    """Tracing leaves the user's model in its mode, precision and state."""
    model = Body().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evsim.from_torch(model, drawn(STEPS, 1, 2, 8, 8))
    assert model.training
    assert all(
        (before[key] == value).all() and before[key].dtype == value.dtype for key, value in model.state_dict().items()
    )
    assert torch.get_default_dtype() == torch.float32
    assert model.fire.mem.numel() == 0


def test_batch_is_cut_to_one_sample():
    """An example of many samples gives the network of its first."""
    x = drawn(STEPS, 3, 2, 8, 8)
    assert evsim.from_torch(Body(), x).nodes == evsim.from_torch(Body(), x[:, :1]).nodes


class Weighted(Body):
    """A model that takes a number beside its input."""

    def forward(self, x, weight):
        """Return spikes [B, 5]."""
        return super().forward(weight * x)


def test_more_arguments():
    """An example that is a tuple holds all arguments; the first is the input."""
    x = drawn(STEPS, 1, 2, 8, 8)
    network = evsim.from_torch(Weighted(), (x, 2.0))
    assert network.weights["conv.weight"].dtype.kind == "f"
    assert (network.weights["conv.weight"] == 2 * evsim.from_torch(Body(), x).weights["conv.weight"]).all()


class Odd(Body):
    """A model that does something else at its first timestep."""

    def forward(self, x):
        """Return spikes [B, 5]."""
        self.count = getattr(self, "count", 0) + 1
        x = self.fire(self.bn(self.conv(x)))
        if self.count > 1:
            x = x + x
        return self.out(self.fc(self.again(self.mid(x)).flatten(1)))


def test_einsum_by_weights():
    """A sum of products with a constant is a linear layer; it reads what the letters say, in any order."""
    weights = drawn(4, 6, 3, seed=3).double() - 1.0
    model = body(lambda x: torch.einsum("bchw,dco->bdohw", x, weights).flatten(1, 2)[:, :6])
    x = drawn(STEPS, 1, 2, 8, 8)
    network = evsim.from_torch(model, x)
    assert "0 flips" in network.provenance["proof"]
    rows = {row.name: row for row in evsim.simulate(network, x[:, 0].numpy()).counts.layers}
    (layer,) = (name for name in rows if name not in ("mid", "fc") and rows[name].kind == "linear")
    assert int(rows[layer].sops.sum()) == 12 * int(rows["fire"].spikes.sum()) > 0


STILL = {
    "flatten": nn.Identity(),
    "constants": nn.BatchNorm2d(1),
    "pool": nn.AdaptiveAvgPool2d(12),
    "layer": nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.AvgPool2d(3, 1, 1)),
}


@pytest.mark.parametrize("form", STILL)
def test_layers_that_run_once_on_an_image(form):
    """What is computed of an image before the loop over time runs once, whatever stands before it."""

    class Once(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(1)
            self.before, self.fc, self.fire, self.out = STILL[form], nn.Linear(144, 20), leaky(), nn.Linear(20, 5)

        def forward(self, x):
            current = self.fc(self.before(x).flatten(1))
            return torch.stack([self.out(self.fire(current)) for _ in range(STEPS)])

    hold(settle(Once()), drawn(1, 1, 12, 12))


def test_the_way_of_running_that_came_further_is_told():
    """Where a model runs in no way, whole or step by step, the failure deepest in it is told."""
    model = body(lambda x: torch.cat([x, x[..., :3]]))
    with pytest.raises(TracingError, match=r"it does not run on the example \[1, 2, 8, 8\]: 'Sizes of tensors"):
        evsim.from_torch(model, drawn(STEPS, 1, 2, 8, 8))


def test_weights_that_are_computed_anew():
    """Weights that the code computes at each timestep are one layer's as long as they are the same."""
    model, weight = Body(), torch.nn.Parameter(drawn(6, 6, 3, 3, seed=4).double())

    def between(x):
        return nn.functional.conv2d(x, weight - weight.mean((1, 2, 3), keepdim=True), padding=1)

    model.between = between
    assert "0 flips" in evsim.from_torch(model, drawn(STEPS, 1, 2, 8, 8)).provenance["proof"]


def test_what_no_node_takes_is_named_with_its_line():
    """Nodes that do not fit together are refused with the place in the source, as all else is."""
    model = body(lambda x: (x + x - x * x) * x)
    with pytest.raises(TracingError, match=r"test_forms.py:\d+\): mul.* wants spikes"):
        evsim.from_torch(model, drawn(1, 2, 8, 8), timesteps=STEPS)


def test_steps_that_are_not_alike():
    """Timesteps whose graphs differ are no network."""
    with pytest.raises(TracingError, match=r"not all timesteps are alike|different layers"):
        evsim.from_torch(Odd(), drawn(STEPS, 1, 2, 8, 8))


class Late(Body):
    """A model whose second layer reads what the first gave a timestep before."""

    def forward(self, x):
        """Return spikes [B, 5]."""
        fired = self.fire(self.bn(self.conv(x)))
        kept, self.kept = getattr(self, "kept", torch.zeros_like(fired)), fired
        return self.out(self.fc(self.again(self.mid(kept)).flatten(1)))


def test_delays_are_refused():
    """A delay that the user's code keeps is refused: it would have to be guessed from the first timestep."""
    with pytest.raises(TracingError, match=r"delay|constants|different layers"):
        evsim.from_torch(Late(), drawn(STEPS, 1, 2, 8, 8))


def test_foreign_state_is_refused():
    """A state that is not the neuron's own of the timestep before is refused."""

    class Swapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.a, self.b = nn.Linear(8, 8), snn.Leaky(beta=0.5), snn.Leaky(beta=0.5)

        def forward(self, x):
            mem_a = torch.zeros(1, 8)
            for _ in range(STEPS):
                spikes, mem_a = self.a(self.fc(x), mem_a)
                out, _ = self.b(self.fc(spikes), mem_a)
            return out

    with pytest.raises(TracingError, match="not its own"):
        evsim.from_torch(Swapped(), drawn(1, 8))


@pytest.mark.parametrize(
    ("model", "example", "facts", "reason"),
    [
        (nn.Sequential(nn.Linear(8, 5)), drawn(1, 8), {"timesteps": 2}, "no neuron"),
        (Body(), drawn(1, 2, 8, 8), {}, "give `timesteps`"),
        (Body(), drawn(STEPS, 1, 2, 8, 8), {"timesteps": 7}, "timesteps=7"),
        (Body(), drawn(STEPS, 1, 2, 8, 8), {"names": "TBQHW"}, "does not name"),
        (Body(), drawn(STEPS, 1, 3, 8, 8), {}, "does not run on the example"),
        (Body(), drawn(1, 2, 8, 8) * float("nan"), {"timesteps": 2}, "NaN"),
        ("a text", drawn(1, 8), {}, "no torch.nn.Module"),
        (Body(), "a text", {}, "give a tensor"),
    ],
)
def test_bad_arguments(model, example, facts, reason):
    """What cannot be an example or a model is refused in one line."""
    with pytest.raises((NetworkError, OptionError), match=reason):
        evsim.from_torch(model, example, **facts)


def test_a_lie_is_found_out(monkeypatch):
    """A neuron taken for another is found by the proof: it names the first layer and shows three neurons."""
    from dataclasses import replace

    from evsim.tracing.neurons import snntorch

    true = snntorch.equation

    def wrong(module):
        known = true(module)
        return known and replace(known, node=replace(known.node, leak=0.9))

    monkeypatch.setattr(snntorch, "equation", wrong)
    with pytest.raises(ProofError, match=r"fire is the first layer that differs.*PyTorch.*PyTorch.*PyTorch"):
        evsim.from_torch(Body(), drawn(STEPS, 1, 2, 8, 8))


def test_stored_network_is_the_same(tmp_path):
    """A traced network, stored and loaded, gives the same counts and logits."""
    from evsim import modelfile

    x = drawn(STEPS, 1, 2, 8, 8)
    network, run = hold(Body(), x, run=steps(x))
    modelfile.save(network, tmp_path / "model.h5")
    again = evsim.simulate(evsim.load(tmp_path / "model.h5"), x[:, 0].numpy(), precision="float64")
    assert (again.logits == run.logits).all()
    assert again.counts.sops == run.counts.sops

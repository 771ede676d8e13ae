"""`evsim convert --from-torch`: a model in the user's own file, its weights, its example."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest

with warnings.catch_warnings(action="ignore"):  # the libraries' own
    torch = pytest.importorskip("torch")
    pytest.importorskip("snntorch", exc_type=ImportError)

    from typer.testing import CliRunner

import evsim
from evsim.converters import ConvertOptions
from evsim.errors import EvsimError
from evsim.tracing.program import from_program

OWN = """
import torch
from torch import nn
import snntorch as snn
from beside import CHANNELS

def factory():
    torch.manual_seed(0)
    facts = {"beta": 0.5, "threshold": 0.2, "init_hidden": True}
    return nn.Sequential(nn.Conv2d(CHANNELS, 4, 3), snn.Leaky(**facts), nn.Flatten(), nn.Linear(4 * 36, 10),
                         snn.Leaky(output=True, **facts))

def with_example():
    return factory(), torch.ones(3, 1, CHANNELS, 8, 8)

model = factory()
nothing = None

def fails():
    raise RuntimeError("no weights here")

def number():
    return 7
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Write a program, with a module beside it that it imports."""
    monkeypatch.delitem(__import__("sys").modules, "beside", raising=False)
    (tmp_path / "beside.py").write_text("CHANNELS = 2\n")
    (tmp_path / "own.py").write_text(OWN)
    return tmp_path / "own.py"


@pytest.mark.parametrize(
    ("shape", "steps", "kind"), [("5,2,8,8", None, "events"), ("2,8,8", 4, "image"), (None, None, "events")]
)
def test_examples(own, shape, steps, kind):
    """An example is random of a shape, or the program's own; an image wants T."""
    name = "with_example" if shape is None else "factory"
    network = from_program(f"{own}:{name}", None, shape, options=ConvertOptions(timesteps=steps))
    assert network.spec.kind == kind
    assert network.spec.timesteps == (steps or (3 if shape is None else 5))


def test_weights_and_facts(own, tmp_path):
    """Weights of a checkpoint are the model's, nested and prefixed as scripts save them; facts of the input go in."""
    network = from_program(f"{own}:model", None, "2,8,8", options=ConvertOptions(timesteps=2))
    weights = {name: torch.full_like(value, 0.125) if "weight" in name else value for name, value in _state().items()}
    torch.save({"state_dict": {f"module.{name}": value for name, value in weights.items()}}, tmp_path / "w.pth")
    (tmp_path / "labels.txt").write_text("\n".join(f"class {i}" for i in range(10)))
    options = ConvertOptions(timesteps=2, mean=(0.5, 0.5), std=(0.25, 0.25), labels=str(tmp_path / "labels.txt"))
    filled = from_program(f"{own}:model", str(tmp_path / "w.pth"), "2,8,8", options=options)
    assert (filled.weights["0.weight"] == 0.125).all()
    assert (network.weights["0.weight"] != 0.125).any()
    assert filled.spec.mean == (0.5, 0.5)
    assert filled.labels[3] == "class 3"


def _state():
    import snntorch as snn
    from torch import nn

    facts = {"beta": 0.5, "threshold": 0.2, "init_hidden": True}
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), snn.Leaky(**facts), nn.Flatten(), nn.Linear(4 * 36, 10), snn.Leaky(output=True, **facts)
    ).state_dict()


@pytest.mark.parametrize(
    ("name", "facts", "said"),
    [
        ("missing", {}, "has no missing"),
        ("nothing", {}, "has no nothing"),
        ("fails", {}, "fails: RuntimeError: no weights here"),
        ("number", {}, "gives a int, no torch.nn.Module"),
        ("factory", {}, "give `input_shape`"),
        ("factory", {"input_shape": "2,x"}, "is no shape"),
        ("factory", {"input_shape": "2,8,8"}, "give `timesteps`"),
        ("factory", {"input_shape": "5,2,8,8", "axes": "TC"}, "does not fit"),
        ("factory", {"input_shape": "5,2,8,8", "options": ConvertOptions(heads=4)}, "`heads` means nothing"),
        ("factory", {"input_shape": "5,2,8,8", "options": ConvertOptions(mean=(0.5, 0.5))}, "`mean` is for images"),
        ("factory", {"input_shape": "5,2,8,8", "checkpoint": "absent.pth"}, "absent.pth"),
    ],
)
def test_bad_programs(own, name, facts, said):
    """What is wrong with a program or an option is one line."""
    with pytest.raises(EvsimError, match=said) as caught:
        from_program(f"{own}:{name}", **facts)
    assert "\n" not in str(caught.value)


def test_bad_weights(own, tmp_path):
    """Weights of another model, and files that are none, are refused."""
    torch.save({"other": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(EvsimError, match="does not fit the model"):
        from_program(f"{own}:factory", str(tmp_path / "w.pth"), "5,2,8,8")
    (tmp_path / "no.pth").write_bytes(b"no weights")
    with pytest.raises(EvsimError, match="cannot be read"):
        from_program(f"{own}:factory", str(tmp_path / "no.pth"), "5,2,8,8")


def test_example_of_the_page(capsys):
    """The example in docs/tracing.md runs as it stands."""
    page = Path(__file__).resolve().parents[2] / "docs" / "tracing.md"
    code = page.read_text(encoding="utf-8").partition("```python torch\n")[2].partition("```")[0]
    exec(compile(code, str(page), "exec"), {"__name__": "page"})  # noqa: S102 - the page's own code
    assert "2,750 values of 2 layers of neurons equal PyTorch's" in capsys.readouterr().out


def test_from_a_shell(own, tmp_path):
    """The command says that it runs the code, what was proven, and writes a model that loads."""
    from evsim.cli.main import app

    outcome = CliRunner().invoke(
        app, ["convert", "--from-torch", f"{own}:factory", "--input-shape", "5,2,8,8", str(tmp_path / "model.h5")]
    )
    assert outcome.exit_code == 0, outcome.output
    assert f"running the code in {own}" in outcome.output
    assert "0 flips" in outcome.output
    assert evsim.load(tmp_path / "model.h5").spec.timesteps == 5

"""What `import evsim` offers: a page to start from, names that load on demand, inputs in any form."""

from __future__ import annotations

import pydoc
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import evsim
from evsim import api, converters, demo, network, tracing
from evsim.errors import EvsimError, RecordingError

RECORDING = next(iter(demo.recordings().values()))


@pytest.fixture(scope="module")
def model():
    """Load the bundled model."""
    return evsim.load(demo.model_path())


def test_names_are_those_of_the_library():
    """Each name is the one of its module, is listed for completion, and no other is promised."""
    assert evsim.__all__ == [
        "Evaluation", "Network", "Run", "convert", "evaluate", "from_torch", "load", "quantize", "read", "simulate",
    ]  # fmt: skip
    assert (evsim.load, evsim.read, evsim.simulate) == (api.load, api.read, api.simulate)
    assert (evsim.Run, evsim.Network, evsim.convert) == (api.Run, network.Network, converters.convert)
    assert evsim.from_torch is tracing.from_torch
    assert set(evsim.__all__) <= set(dir(evsim))
    assert "import_module" not in dir(evsim)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        evsim.nonsense  # noqa: B018


def test_import_costs_little():
    """`import evsim` and tab completion load neither NumPy nor Numba; asking for a name does."""
    code = (
        "import sys, evsim\n"
        "names = dir(evsim)\n"
        "assert 'simulate' in names and 'Run' in names, names\n"
        "print([m for m in ('numpy', 'numba', 'scipy', 'h5py', 'typer') if m in sys.modules])\n"
        "evsim.simulate\n"
        "print('numba' in sys.modules)"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert outcome.stdout.splitlines() == ["[]", "True"]


def test_help_is_a_page_to_start_from(tmp_path, monkeypatch, capsys):
    """help(evsim) begins with an example that runs as it stands beside the saved demo, and names all that there is."""
    page = evsim.__doc__
    assert pydoc.render_doc(evsim, renderer=pydoc.plaintext).count("simulate(") > 0
    for name in evsim.__all__:
        assert f"``{name}``" in page
    example = textwrap.dedent(page.partition("    import evsim\n")[2].partition("\n\n``")[0])
    demo.save(tmp_path)
    monkeypatch.chdir(tmp_path)
    exec(compile(f"import evsim\n{example}", "help", "exec"), {})  # noqa: S102 - the project's own page
    assert "synaptic operations" in capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 120


def test_a_file_is_read_by_simulate(model, tmp_path, monkeypatch):
    """A path in place of a sample is read as `read` does, with the timesteps of the call."""
    expected = evsim.simulate(model, evsim.read(RECORDING, model))
    for path in (RECORDING, str(RECORDING)):
        run = evsim.simulate(model, path)
        assert run.counts.sops == expected.counts.sops
        assert run.sample.path == str(RECORDING)
    assert evsim.simulate(model, RECORDING, timesteps=3).timesteps == 3
    assert api.run_on(api.Simulator(model, 5), RECORDING).timesteps == 5
    with pytest.raises(RecordingError, match="none"):
        evsim.simulate(model, tmp_path / "none.aedat")
    shutil.copy(RECORDING, tmp_path / "a.aedat")
    monkeypatch.chdir(tmp_path)
    assert evsim.simulate(model, "a.aedat").prediction == expected.prediction


class Tensor:
    """What NumPy can make an array of, as it can of PyTorch's tensors, or cannot."""

    def __init__(self, values, error=None):
        self.values, self.error = values, error

    def __array__(self, dtype=None, copy=None):
        if self.error:
            raise self.error
        return np.asarray(self.values, dtype)


def test_whatever_numpy_knows_is_an_array(model):
    """Tensors of other libraries and nested lists give what their array gives."""
    frames = evsim.read(RECORDING, model).values
    expected = evsim.simulate(model, frames).logits
    for values in (Tensor(frames), frames.tolist()):
        np.testing.assert_array_equal(evsim.simulate(model, values).logits, expected)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "a NoneType, holds values of type object"),
        ({"frames": 1}, "a dict, holds values of type object"),
        ([[1, 2], [3]], "a list, is no array for NumPy"),
        (np.zeros((8, 2, 128, 128), complex), "complex128"),
        (np.full((8, 2, 128, 128), "a"), "holds values of type <U1"),
        (b"events", "a bytes, holds values of type"),
        (Tensor(0, RuntimeError("Can't call numpy() on Tensor that requires grad.\nmore")), "requires grad"),
        (Tensor(0, TypeError("can't convert cuda:0 device type tensor to numpy.")), "cuda:0"),
        (3.0, r"has shape \[\]"),
    ],
)
def test_what_is_no_array_is_one_line(values, message, model):
    """Anything else is refused in one line that says what it is."""
    with pytest.raises(EvsimError, match=message) as error:
        evsim.simulate(model, values)
    assert "\n" not in str(error.value)


def test_a_model_fed_a_tensor_imports_no_torch(model):
    """Arrays are asked for by NumPy's protocol: PyTorch is never imported."""
    evsim.simulate(model, Tensor(np.zeros((8, 2, 128, 128), np.int64)))
    assert "torch" not in sys.modules

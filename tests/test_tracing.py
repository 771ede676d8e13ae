"""Tracing where PyTorch is not needed, or not there; tests/reach traces networks where it is."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from commands import refused

import evsim as package
from evsim import demo
from evsim.errors import OptionError

WITHOUT = pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is installed")


def test_run_imports_no_torch(tmp_path):
    """A plain `evsim run` loads neither PyTorch nor the room that traces it."""
    demo.save(tmp_path)
    code = (
        "import sys\n"
        "from evsim.cli.start import main\n"
        f"sys.argv = ['evsim', 'run', 'model.h5', '--input', '{next(iter(demo.recordings().values()))}']\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert not ended.code, ended.code\n"
        "loaded = [name for name in sys.modules if name.split('.')[0] == 'torch' or name.startswith('evsim.tracing')]\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True)


def test_torch_is_named_in_one_room():
    """Outside evsim/tracing no file of the product imports PyTorch or a library of neurons."""
    root = Path(package.__file__).parents[1]
    named = re.compile(r"^\s*(?:import|from) (?:torch|spikingjelly|snntorch|norse|sinabs)\b", re.MULTILINE)
    files = [path for room in ("evsim", "converters", "cli") for path in (root / room).rglob("*.py")]
    assert len(files) > 100
    guilty = {path.relative_to(root).as_posix() for path in files if named.search(path.read_text(encoding="utf-8"))}
    assert guilty
    assert all(path.startswith("evsim/tracing/") for path in guilty), guilty


@WITHOUT
def test_absence_of_torch_is_one_line(tmp_path):
    """Without PyTorch both ways in say what to install."""
    with pytest.raises(OptionError, match=r"tracing needs PyTorch.*pip install torch"):
        package.from_torch(None, None)
    program = tmp_path / "own.py"
    program.write_text("def factory():\n    return None\n")
    said = refused("convert", "--from-torch", f"{program}:factory", tmp_path / "model.h5")
    assert "tracing needs PyTorch" in said
    assert not (tmp_path / "model.h5").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["weights.pth", "model.h5", "--checkpoint", "other.pth"], "--checkpoint goes with --from-torch"),
        (["weights.pth", "model.h5", "--input-shape", "3,8,8"], "--input-shape goes with --from-torch"),
        (["weights.pth", "model.h5", "--axes", "BTC"], "--axes goes with --from-torch"),
        (["weights.pth"], "OUT is missing"),
        (["weights.pth", "model.h5", "--from-torch", "own.py:factory"], "leave weights.pth out"),
    ],
)
def test_options_of_a_program(tmp_path, monkeypatch, arguments, said):
    """What goes with a program alone is refused without one, and a checkpoint's place is the program's."""
    monkeypatch.chdir(tmp_path)
    assert said in refused("convert", *arguments)
    assert not list(tmp_path.glob("*.h5"))


def test_program_is_not_run_without_the_option(tmp_path):
    """A Python file in a checkpoint's place is not executed."""
    program = tmp_path / "own.py"
    program.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    refused("convert", program, tmp_path / "model.h5")
    assert not (tmp_path / "ran").exists()

"""Machine code is kept between runs, never of sources that have changed, and nothing fails where it cannot be kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import evsim.kernels
from evsim.kernels.compiling import Kept

SCRIPT = """
import numpy as np
from evsim.kernels.lists import count_segments
starts = np.empty(2, np.int64)
count_segments(0, 1, np.full((1, 1), 0b10110, np.uint64), 1, starts)
print(starts[1])
"""
UNWRITABLE = """
import shutil
from pathlib import Path
import evsim.kernels.lists
cache = Path("evsim/kernels/__pycache__")
shutil.rmtree(cache)
cache.touch()
"""


@pytest.fixture
def copy(tmp_path):
    """Copy the kernels to a folder of their own."""
    source = Path(evsim.kernels.__file__).parent
    shutil.copytree(source, tmp_path / "evsim" / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "evsim" / "__init__.py").touch()
    return tmp_path


def run(folder, script=SCRIPT, **environment):
    """Count three spikes by the kernels of a folder, in a process of its own; return what it prints, and its notes."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "XDG_"))}
    command = [sys.executable, "-W", "error", "-c", script]
    process = subprocess.run(command, cwd=folder, env=clean | environment, capture_output=True, text=True, check=True)
    return process.stdout.strip(), process.stderr.strip()


def kept(folder):
    """Return the files of machine code, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.nb[ic]")}


@pytest.mark.parametrize("apart", [False, True])
def test_an_edit_of_what_a_kernel_calls_compiles_it_again(copy, apart):
    """A kernel is compiled once, again when another file changes whose code it holds, and the old code goes."""
    environment = {"NUMBA_CACHE_DIR": str(copy / "cache")} if apart else {}
    assert run(copy, **environment) == ("3", "")
    first = kept(copy)
    assert first
    assert all(path.is_relative_to(copy / ("cache" if apart else "evsim")) for path in first)
    assert run(copy, **environment) == ("3", "")
    assert kept(copy) == first
    vector = copy / "evsim" / "kernels" / "vector.py"
    source = vector.read_text(encoding="utf-8")
    assert source.count("return builder.ctpop(word)") == 1
    vector.write_text(source.replace("return builder.ctpop(word)", "return builder.neg(builder.ctpop(word))"))
    assert run(copy, **environment) == ("-3", "")
    assert len(kept(copy)) == len(first)
    assert not first.keys() & kept(copy).keys()


def test_kernels_run_where_nothing_can_be_kept(copy):
    """An installation that cannot be written to, and no home: kernels are compiled, and one line says so."""
    (copy / "evsim" / "kernels" / "__pycache__").touch()  # a file where the folder would be: even root cannot write
    note = "compiled kernels cannot be kept: no writable folder; set NUMBA_CACHE_DIR"
    assert run(copy, HOME="/proc", PYTHONDONTWRITEBYTECODE="1") == ("3", note)


def test_kernels_run_where_keeping_them_fails(copy):
    """A folder that can no longer be written to stops no run: one line says so."""
    out, note = run(copy, UNWRITABLE + SCRIPT)
    assert out == "3"
    assert note.startswith("compiled kernels cannot be kept: ")
    assert len(note.splitlines()) == 1


def test_without_jit_kernels_are_python(copy):
    """With NUMBA_DISABLE_JIT=1 nothing is compiled or kept."""
    assert run(copy, NUMBA_DISABLE_JIT="1") == ("3", "")
    assert not kept(copy)


def test_kernels_of_two_types_never_share_a_file(tmp_path):
    """What two processes keep at the same time lies in files of its own, and a damaged or foreign one is not taken."""
    first, second = (Kept(str(tmp_path), "kernel") for _ in range(2))
    first.save(("float32",), "code of float32")
    second.save(("float64",), "code of float64")
    assert first.load(("float64",)) == "code of float64"
    assert second.load(("float32",)) == "code of float32"
    one, other = sorted(tmp_path.iterdir())
    one.write_bytes(other.read_bytes())  # as if names had met
    assert {first.load(("float32",)), first.load(("float64",))} in (
        {None, "code of float32"},
        {None, "code of float64"},
    )
    for content in (b"", other.read_bytes()[:20], b"\x80\x05.", os.urandom(64)):
        one.write_bytes(content)
        other.write_bytes(content)
        assert first.load(("float32",)) is first.load(("float64",)) is None


def test_what_killed_processes_left_is_swept(copy):
    """A file that was being written an hour ago goes with the next compilation; a younger one stays."""
    cache = copy / "cache"
    assert run(copy, NUMBA_CACHE_DIR=str(cache)) == ("3", "")
    whole = next(iter(kept(copy)))
    old, young = (whole.with_name(f"{whole.name}.{name}") for name in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    whole.unlink()
    assert run(copy, NUMBA_CACHE_DIR=str(cache)) == ("3", "")
    assert (whole.exists(), old.exists(), young.exists()) == (True, False, True)

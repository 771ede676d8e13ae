"""Runs the tests of other libraries' networks, each library in an environment of its own: `make test-reach`.

One virtual environment has PyTorch and evsim; each library lies in a folder of its own beside it, put on the path for
its tests alone, so that no two releases meet. What does not install is said and skipped: a machine without PyTorch's
release, or without a way to the registry.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / "build" / "reach"
TORCH = "torch==2.13.0"
SHARED = ["matplotlib"]
"""What the libraries import on loading, beside PyTorch and what evsim needs."""

LIBRARIES = {
    "spikingjelly-0.0.0.0.12": (["spikingjelly==0.0.0.0.12"], ["test_clock_driven.py"]),
    "spikingjelly-0.0.0.0.14": (["spikingjelly==0.0.0.0.14"], ["test_activation_based.py"]),
    "spikingjelly-2": (["spikingjelly==2.0.0", "loguru"], ["test_activation_based.py"]),
    "snntorch": (["snntorch==1.0.0"], ["test_snntorch.py", "test_forms.py", "test_program.py"]),
    "norse": (["norse==1.1.0", "nir", "nirtorch"], ["test_norse.py"]),
    "sinabs": (["sinabs==3.1.3", "pbr", "nir", "nirtorch"], ["test_sinabs.py"]),
}
"""Name to what is installed, without what it would pull in, and the tests that need it."""

SHORT = ("snntorch", "norse", "sinabs")
"""What takes a minute together; the others build networks of many layers."""


def main() -> int:
    """Run the tests of the libraries that are named, all by default; 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("libraries", nargs="*", choices=[[], *LIBRARIES], default=[])
    parser.add_argument("--short", action="store_true", help="those that take a minute together")
    asked = parser.parse_args()
    names = asked.libraries or (SHORT if asked.short else list(LIBRARIES))
    if (fault := _base()) is not None:
        print(f"test-reach: skipped, {TORCH} does not install here ({fault})")
        return 0
    failed, skipped = [], []
    for name in names:
        packages, tests = LIBRARIES[name]
        if (fault := _library(name, packages)) is not None:
            skipped.append(f"{name} ({fault})")
            continue
        print(f"test-reach: {name}", flush=True)
        if _tests(name, tests):
            failed.append(name)
    if skipped:
        print(f"test-reach: skipped, as they do not install here: {', '.join(skipped)}")
    print(f"test-reach: {len(names) - len(failed) - len(skipped)} of {len(names)} libraries passed", end="")
    print(f", FAILED: {', '.join(failed)}" if failed else "")
    return bool(failed)


def _base() -> str | None:
    """Make the environment that has PyTorch and evsim; return why it cannot be made, if so."""
    ready = HOME / "venv" / ".ready"
    if ready.exists() and ready.stat().st_mtime >= (ROOT / "pyproject.toml").stat().st_mtime:
        return None
    if not (HOME / "venv" / "bin" / "python").exists():
        venv.create(HOME / "venv", with_pip=True)
    # PyTorch first: what comes after finds it there
    for packages in (
        [TORCH],
        [*SHARED, "pytest>=8.2", "hypothesis>=6.100", "setuptools>=77"],
        ["--editable", str(ROOT)],
    ):
        if (fault := _pip(packages)) is not None:
            return fault
    ready.touch()
    return None


def _library(name: str, packages: list[str]) -> str | None:
    """Install a library in its folder, without what it would pull in; return why that failed, if so."""
    folder = HOME / name
    if (folder / ".ready").exists():
        return None
    fault = _pip(["--no-deps", "--target", str(folder), *packages])
    if fault is None:
        (folder / ".ready").touch()
    return fault


def _pip(arguments: list[str]) -> str | None:
    command = [HOME / "venv" / "bin" / "pip", "install", "--quiet", "--no-compile", *arguments]
    outcome = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR")]
    return None if outcome.returncode == 0 else (lines[-1] if lines else f"pip ended with {outcome.returncode}")


def _tests(name: str, tests: list[str]) -> int:
    variables = {
        "PYTHONPATH": str(HOME / name),
        "OMP_NUM_THREADS": "1",
        "MPLCONFIGDIR": str(HOME / "matplotlib"),
        "NUMBA_CACHE_DIR": os.environ.get("NUMBA_CACHE_DIR", str(ROOT / "build" / "cache" / "reach")),
    }
    command = [HOME / "venv" / "bin" / "python", "-m", "pytest", "-q", *(f"tests/reach/{test}" for test in tests)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

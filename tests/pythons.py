"""The Pythons of this machine that evsim supports: ``python tests/pythons.py [--versions | --newest]``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OLDEST, YOUNGEST = 11, 19
"""Minor versions that are looked for; evsim needs 3.11."""
ASK = "import ensurepip, sys, venv; print(sys.version.split()[0])"


def pythons() -> dict[str, Path]:
    """Return the first interpreter of each minor version that can make virtual environments: full version to path."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    folders = [Path(sys.base_prefix) / "bin", *map(Path, os.environ.get("PATH", "").split(os.pathsep))]
    folders += sorted(pyenv.glob("*/bin"))
    known = {}
    for minor in range(OLDEST, YOUNGEST + 1):
        candidates = (folder / f"python3.{minor}" for folder in folders)
        answers = ((_version(path), path) for path in candidates if path.is_file())
        version, path = next(((version, path) for version, path in answers if version), ("", None))
        if path:
            known[version] = path
    return known


def _version(path: Path) -> str:
    """Return what an interpreter says of itself, nothing if it does not run (pyenv's shims answer for none)."""
    answer = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=False)
    return answer.stdout.strip() if answer.returncode == 0 else ""


if __name__ == "__main__":
    at_hand = pythons()
    if "--versions" in sys.argv:
        print(", ".join(at_hand))
    elif "--newest" in sys.argv:
        print(list(at_hand.values())[-1])
    else:
        print("\n".join(f"{version} {path}" for version, path in at_hand.items()))

"""Build the wheel twice, from two copies of the source, and hold the digests against each other: ``make wheel``.

A wheel holds the time and the permissions of each file. Both are set here, so that a commit has one wheel, whoever
builds it: the time of the commit (1980 without git), and what git keeps of permissions.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ("evsim", "converters", "cli", "pyproject.toml", "README.md", "LICENSE")
EARLIEST = "315532800"
"""1980, the first year that a zip file can tell."""


def main(folder: Path) -> None:
    """Leave one wheel in a folder, and print its digest."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory(prefix="another-") as second:
        wheels = [build(Path(place)) for place in (first, second)]
        digests = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
        if digests[0] != digests[1]:
            sys.exit(f"{wheels[0].name}: two builds differ: sha256 {digests[0]} and {digests[1]}")
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(wheels[0], folder)
    print(f"{wheels[0].name}: two builds, one digest: sha256 {digests[0]}")


def build(place: Path, root: Path = ROOT) -> Path:
    """Copy the source to a folder and return the wheel that is built there."""
    source = place / "source"
    for name in SOURCE:
        if (root / name).is_dir():
            shutil.copytree(root / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(root / name, source / name)
    for path in source.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", place / "wheel", source], check=True, env=os.environ | epoch(root))
    (wheel,) = (place / "wheel").glob("*.whl")
    return wheel


def epoch(root: Path) -> dict[str, str]:
    """Return the time that the wheel's files get, as the variable that build tools read; one that is set stays."""
    own = os.environ.get("SOURCE_DATE_EPOCH")
    command = ["git", "-C", root, "log", "-1", "--format=%ct"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("git") else None
    return {"SOURCE_DATE_EPOCH": own or (commit.stdout.strip() if commit else "") or EARLIEST}


if __name__ == "__main__":
    main(Path(sys.argv[1]))

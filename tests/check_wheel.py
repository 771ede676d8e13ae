"""Use the wheel in fresh virtual environments with its core dependencies alone: ``make check-wheel``.

Once for each Python at hand, from a folder outside the repository.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from pythons import pythons

LARGEST_DATA = 3_000_000
"""Bytes that the bundled weights and recordings may take."""


def main(wheels: Path) -> None:
    """Check what the wheel carries, install it, and run the commands of README."""
    (wheel,) = wheels.glob("evsim-*.whl")
    carried = {item.filename: item.file_size for item in zipfile.ZipFile(wheel).infolist()}
    data = {name: size for name, size in carried.items() if name.startswith("evsim/data/") and not name.endswith(".py")}
    recordings = [name for name in data if name.endswith(".aedat")]
    assert "evsim/data/model.h5" in data, sorted(data)
    assert len(recordings) in (2, 3), recordings
    assert sum(data.values()) < LARGEST_DATA, data
    assert {"evsim/energy/profiles/45nm.toml", "evsim/py.typed"} <= carried.keys(), sorted(carried)
    lesson = {"page.html", "page.css", "engine.js", "main.js", "digits.json", "rates.json"}
    assert {f"evsim/lesson/{name}" for name in lesson} <= carried.keys(), sorted(carried)
    foreign = [name for name in carried if not name.startswith(("evsim/", "evsim-"))]
    assert not foreign, foreign
    for version, python in pythons().items():
        with tempfile.TemporaryDirectory() as folder:
            packages = use(wheel.resolve(), python, Path(folder))
        print(
            f"{wheel.name}: runs on Python {version} with {packages} alone, {sum(data.values()):,} bytes of demo data"
        )


def use(wheel: Path, python: Path, folder: Path) -> str:
    """Install the wheel for a Python, run the commands of README, and return what was installed with it."""
    alone = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "NUMBA_"))}

    def run(*command: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        process = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=alone)
        assert process.returncode == code, (command, process)
        return process

    run(python, "-m", "venv", folder)
    binaries = folder / ("Scripts" if sys.platform == "win32" else "bin")
    # few of its modules are imported: those are compiled then
    run(binaries / "python", "-m", "pip", "install", "--quiet", "--no-compile", wheel)
    run(binaries / "python", "-m", "pip", "check")
    freeze = run(binaries / "python", "-m", "pip", "list", "--format", "json").stdout
    packages = {package["name"].lower(): package["version"] for package in json.loads(freeze)}
    assert not packages.keys() & {"pillow", "aedat", "torch", "pytest"}, packages
    assert run(binaries / "evsim", "--version").stdout.strip() == f"evsim {wheel.name.split('-')[1]}"
    run(binaries / "evsim", "demo", "--save", "out")
    assert "patch_embed.proj_conv" in run(binaries / "evsim", "info", "out/model.h5", "--layers").stdout
    command = (binaries / "evsim", "run", "out/model.h5", "--input", "out/dvs_sample.aedat", "--json", "-")
    document = json.loads(run(*command).stdout)
    assert document["prediction"]["label"] is not None, document["prediction"]
    assert document["totals"]["sops"] > 0, document["totals"]
    run(binaries / "evsim", "lesson", "-o", "lesson.html")
    assert "</html>" in (folder / "lesson.html").read_text(encoding="utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    refused = run(binaries / "evsim", "record", "picture.png", "picture.aedat", code=2).stderr
    assert "pip install pillow" in refused, refused
    assert refused.count("\n") == 1, refused
    return ", ".join(f"{name} {packages[name]}" for name in ("numpy", "numba", "scipy", "h5py"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

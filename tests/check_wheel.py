"""Install the wheel into a fresh virtual environment and use it from another folder: ``make check-wheel``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

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
    foreign = [name for name in carried if not name.startswith(("evsim/", "evsim-"))]
    assert not foreign, foreign
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        binaries = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin")
        subprocess.run([binaries / "python", "-m", "pip", "install", "--quiet", wheel.resolve()], check=True)

        def evsim(*arguments: str) -> str:
            done = subprocess.run(
                [binaries / "evsim", *arguments], cwd=folder, check=True, capture_output=True, text=True
            )
            return done.stdout

        assert evsim("--version").strip() == f"evsim {wheel.name.split('-')[1]}"
        evsim("demo", "--save", "out")
        assert "patch_embed.proj_conv" in evsim("info", "out/model.h5")
        run = json.loads(evsim("run", "out/model.h5", "--input", "out/dvs_sample.aedat", "--json", "-"))
        assert run["prediction"]["label"] is not None, run["prediction"]
        assert run["totals"]["sops"] > 0, run["totals"]
    print(f"{wheel.name}: installs and runs alone, {sum(data.values()):,} bytes of demo data")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

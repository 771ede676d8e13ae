"""evsim on 64-bit Arm, emulated: ``python tests/aarch64.py build/wheel [TEST...]``, which is ``make test-aarch64``.

Debian's Python for arm64 and the wheels of evsim's core dependencies, the releases of this environment, are unpacked
under build/aarch64; qemu runs them (`apt-get install qemu-user-static`). Nothing is installed on this system, and apt
keeps lists and packages of its own there. The bundled model reads the bundled recordings, and models of the goldens
their inputs, in float32, float64 and int8, here and there: every spike, every count and every bit of the logits must be
the same. Then pytest runs the tests that are named, there.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PLACE = ROOT / "build" / "aarch64"
SITE, SYSTEM = PLACE / "site", PLACE / "root"
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
CORE = ("numpy", "numba", "llvmlite", "scipy", "h5py", "tqdm", "typer")
TESTERS = ("pytest", "hypothesis")
PLATFORMS = ("manylinux2014_aarch64", "manylinux_2_27_aarch64", "manylinux_2_28_aarch64")
PIP = (sys.executable, "-m", "pip", "install", "--quiet")
GOLDENS = ("spikingformer-dvs", "spikingformer-imagenet")

SCRIPT = """
import hashlib, json, platform, sys
import numpy as np
import evsim
from evsim import demo
from evsim.converters import convert
from evsim.engine import Simulator
from evsim.observers import Counter, SpikeRecorder
from evsim.quantizing import quantize

def outcome(network, values, precision):
    recorder = SpikeRecorder(network)
    simulator = Simulator(network, precision=precision)
    counter = Counter(network, simulator.timesteps)
    logits = simulator.run(values, [recorder, counter])
    trains = b"".join(packed.tobytes() for packed, _ in recorder.trains.values())
    return [logits.tobytes().hex(), hashlib.sha256(trains).hexdigest(), counter.counts().sops]

found = {}
network = evsim.load(demo.model_path())
cases = {path.name: (network, evsim.read(path, network).values) for path in demo.recordings().values()}
for folder in sys.argv[1:]:
    golden = convert(folder + "/checkpoint.pth.tar").network
    cases[folder.rpartition("/")[2]] = golden, np.load(folder + "/input.npy")
for name, (model, values) in cases.items():
    for precision in ("float32", "float64"):
        found[name + " " + precision] = outcome(model, values, precision)
    found[name + " int8"] = outcome(quantize(model, "int8").network, values, "int8")
print(json.dumps(found))
print(platform.machine())
"""


def skip(why: str) -> None:
    """End, as the night's summary knows it."""
    print(f"test-aarch64: skipped, {why}")
    raise SystemExit(0)


def run(*command: object, **more) -> subprocess.CompletedProcess[str]:
    """Run a command; show what it said if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **more)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done


def unpack_system() -> None:
    """Fetch Debian's Python for arm64 with what it needs, and unpack it under build/aarch64/root."""
    if SYSTEM.exists():
        return
    state, cache, new = PLACE / "state", PLACE / "cache", PLACE / "root.part"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    own = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": cache,
        "Acquire::Languages": "none",
        "Debug::NoLocking": 1,
    }
    if os.geteuid() == 0:
        own["APT::Sandbox::User"] = "root"
    options = [part for key, value in own.items() for part in ("-o", f"{key}={value}")]
    run("apt-get", *options, "update")
    run("apt-get", *options, "install", "--download-only", "--yes", "--no-install-recommends", *PACKAGES)
    shutil.rmtree(new, ignore_errors=True)
    for package in sorted((cache / "archives").glob("*.deb")):
        run("dpkg-deb", "--extract", package, new)
    new.rename(SYSTEM)


def install(wheel: Path, python: str) -> None:
    """Install evsim's wheel, its core dependencies and pytest for that Python, of the releases that are used here."""
    release = python.removeprefix("python")
    target = ["--python-version", release, "--implementation", "cp", "--abi", f"cp{release.replace('.', '')}"]
    target += [part for name in PLATFORMS for part in ("--platform", name)]
    pins = [f"{name}=={version(name)}" for name in (*CORE, *TESTERS)]
    mark = SITE / ".pins"
    if not mark.exists() or mark.read_text().split() != pins:
        shutil.rmtree(SITE, ignore_errors=True)
        run(*PIP, "--only-binary", ":all:", "--target", SITE, *target, *pins)
        mark.write_text("\n".join(pins))
    run(*PIP, "--no-deps", "--upgrade", "--target", SITE, wheel)


def main(wheels: Path, *tests: str) -> None:
    """Set up, run here and there, compare."""
    emulator = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
    if emulator is None:
        skip("no qemu-aarch64: apt-get install qemu-user-static")
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        skip("no apt-get: it takes Debian's Python for arm64, which apt-get and dpkg-deb bring")
    PLACE.mkdir(parents=True, exist_ok=True)
    unpack_system()
    (wheel,) = wheels.glob("evsim-*.whl")
    binary = (SYSTEM / "usr" / "bin" / "python3").resolve()
    install(wheel, binary.name)
    goldens = [ROOT / "tests" / "data" / "golden" / name for name in GOLDENS]
    arguments = ["-c", SCRIPT, *[golden for golden in goldens if golden.exists()]]
    there = os.environ | {"PYTHONPATH": str(SITE), "NUMBA_CACHE_DIR": str(PLACE / "kernels")}
    there["PYTHONDONTWRITEBYTECODE"] = "1"
    command = [emulator, "-L", SYSTEM, binary]
    emulated, machine = run(*command, *arguments, env=there, cwd=PLACE).stdout.splitlines()[-2:]
    if machine != "aarch64":
        sys.exit(f"{binary} runs on {machine}, not on aarch64")
    native, _ = run(sys.executable, *arguments, cwd=PLACE).stdout.splitlines()[-2:]
    ours, theirs = json.loads(native), json.loads(emulated)
    different = [name for name in ours if ours[name] != theirs[name]]
    if different:
        sys.exit(f"test-aarch64: logits, spikes or counts differ from this machine's in {', '.join(different)}")
    if tests:
        subprocess.run([*map(str, command), "-m", "pytest", "-q", *tests], env=there, cwd=ROOT, check=True)
    print(f"test-aarch64: {len(ours)} runs on {machine} (qemu, {binary.name}) give the same bits, spikes and counts")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

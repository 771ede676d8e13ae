"""What the project is made of and tested with: locks, wheels, bills of materials, and the nets under the tests."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from advisories import outcome_of
from build_wheel import EARLIEST, epoch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from sbom import bill_of
from strays import EXCEPTIONS, differences, tree

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NEEDED = [
    Requirement(line) for line in (*PROJECT["dependencies"], *EXTRAS["dev"], *EXTRAS["images"], *EXTRAS["aedat4"])
]


def pins(lock):
    """Return every pin of a lock: name to versions."""
    text = (ROOT / ".ci" / lock).read_text()
    versions = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE):
        versions.setdefault(canonicalize_name(name), []).append(version)
    return versions


@pytest.mark.parametrize("lock", ["dev.txt", "lowest.txt"])
def test_a_lock_pins_what_pyproject_allows(lock):
    """Every direct need has its pin in the lock, within its bounds: after a change of pyproject.toml, `make lock`."""
    pinned = pins(lock)
    missing = [str(need) for need in NEEDED if canonicalize_name(need.name) not in pinned]
    wrong = [
        f"{need}: {v}"
        for need in NEEDED
        for v in pinned.get(canonicalize_name(need.name), [])
        if v not in need.specifier
    ]
    assert missing + wrong == []


def test_the_lowest_releases_are_those_that_pyproject_names():
    """Lower bounds are true: `make test-lowest` runs with the bounds of pyproject.toml themselves."""
    pinned = pins("lowest.txt")
    core = [Requirement(line) for line in PROJECT["dependencies"]]
    bounds = {need.name: Version(next(iter(need.specifier)).version) for need in core}
    assert {name: Version(pinned[name][0]) for name in bounds} == bounds


@pytest.mark.parametrize("lock", ["dev.txt", "lowest.txt", "tools.txt"])
def test_a_lock_names_digests(lock):
    """Each pin of a lock is followed by at least one SHA-256."""
    blocks = re.split(r"^(?=[\w.-]+==)", (ROOT / ".ci" / lock).read_text(), flags=re.MULTILINE)[1:]
    assert blocks
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []


def test_a_bill_names_the_wheel_and_what_it_needs(tmp_path):
    """The bill has the wheel's digest, the closure of its needs, extras as optional, and is the same each time."""
    wheel = tmp_path / "thing-1.0-py3-none-any.whl"
    metadata = """Metadata-Version: 2.4
Name: thing
Version: 1.0
License-Expression: MIT
Requires-Dist: h5py>=3
Requires-Dist: absent-from-everywhere; python_version < "3"
Requires-Dist: pillow; extra == "images"
Requires-Dist: pytest; extra == "dev"
"""
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing-1.0.dist-info/METADATA", metadata)
    bill = bill_of(wheel, ("images",))
    scopes = {component["name"].lower(): component["scope"] for component in bill["components"]}
    assert scopes == {"h5py": "required", "numpy": "required", "pillow": "optional"}
    root = bill["metadata"]["component"]
    assert root["hashes"] == [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}]
    graph = {entry["ref"]: entry["dependsOn"] for entry in bill["dependencies"]}
    (h5py,) = (component["bom-ref"] for component in bill["components"] if component["name"] == "h5py")
    assert len(graph["pkg:pypi/thing@1.0"]) == 2
    assert graph[h5py][0].startswith("pkg:pypi/numpy@")
    assert json.dumps(bill) == json.dumps(bill_of(wheel, ("images",)))


def test_the_time_of_a_wheel_is_the_commits(tmp_path, monkeypatch):
    """A wheel's files get the time of the commit, 1980 without git, and the time that one sets oneself before both."""
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert epoch(tmp_path) == {"SOURCE_DATE_EPOCH": EARLIEST}
    git = ["git", "-C", tmp_path, "-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    when = os.environ | {"GIT_COMMITTER_DATE": "1700000000 +0000"}
    subprocess.run([*git, "commit", "--quiet", "--allow-empty", "--message", "x"], check=True, env=when)
    assert epoch(tmp_path) == {"SOURCE_DATE_EPOCH": "1700000000"}
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1600000000")
    assert epoch(tmp_path) == {"SOURCE_DATE_EPOCH": "1600000000"}


CLEAN = {"name": "a", "version": "1", "vulns": []}
FAULTY = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "outcome"),
    [
        ([CLEAN, CLEAN], (0, "nothing known about 2 packages")),
        ([CLEAN, UNKNOWN], (0, "nothing known about 1 packages, 1 not audited")),
        ([CLEAN, FAULTY], (1, "audit: b 2: CVE-1, repaired in 3")),
        ([UNKNOWN, UNKNOWN], None),
    ],
)
def test_an_audit_passes_only_what_was_audited(packages, outcome):
    """A known fault fails; packages that the service does not know, which pip-audit passes in silence, are no pass."""
    assert outcome_of(json.dumps({"dependencies": packages}), "") == outcome


def test_an_audit_without_an_answer_is_none():
    """Where the network fails there was no answer; where pip-audit fails otherwise, the audit does."""
    assert outcome_of("", "requests.exceptions.ConnectionError: no route") is None
    assert outcome_of("", "usage\nunknown option --disable-pip") == (
        1,
        "audit: pip-audit says unknown option --disable-pip",
    )


def test_differences_of_trees(tmp_path):
    """What came, went or changed is named; exceptions and sources that change are not."""
    for name in ("same", "gone", "changed.h5", "code.py", "script"):
        (tmp_path / name).write_text("1")
    before = tree(tmp_path)
    (tmp_path / "gone").unlink()
    for name in ("changed.h5", "new", "code.py", "script"):
        (tmp_path / name).write_text("12")
    for name in EXCEPTIONS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("1")
    assert differences(before, tree(tmp_path)) == ["changed.h5 has changed", "gone is gone", "new is new"]


OUTSIDE = """
import os, subprocess, sys, tempfile
from pathlib import Path
import pytest

def test_inside(tmp_path):
    (tmp_path / "x").write_text("x")
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"x")

def test_elsewhere():
    Path(os.environ["ELSEWHERE"], "elsewhere").write_text("x")

def test_left_by_a_child():
    subprocess.run([sys.executable, "-c", "import tempfile; tempfile.mkstemp('.left')"], check=True)

def test_in_the_checkout():
    subprocess.run([sys.executable, "-c", "open('in-checkout', 'w').close()"], check=True)

def test_at_home():
    Path.home().joinpath("at-home").write_text("x")

@pytest.mark.skipif(True, reason="../shared absent")
@pytest.mark.parametrize("case", range(3))
def test_absent(case):
    pass

@pytest.mark.skipif(True, reason="../shared absent")
def test_absent_too():
    pass
"""


def session(tmp_path, *arguments):
    """Run a session of its own on a file of tests that leave things; return exit code and output."""
    folder = tmp_path / "checkout" / "tests"
    folder.mkdir(parents=True)
    for name in ("conftest.py", "beside.py", "strays.py"):
        (folder / name).write_text((ROOT / "tests" / name).read_text())
    (folder / "test_outside.py").write_text(OUTSIDE)
    (tmp_path / "elsewhere").mkdir()
    temporary = tmp_path / "pytest"
    command = [sys.executable, "-m", "pytest", "-ra", "-p", "no:cacheprovider", "--basetemp", temporary, *arguments]
    environment = os.environ | {"ELSEWHERE": str(tmp_path / "elsewhere")}
    environment.pop("PYTEST_ADDOPTS", None)
    process = subprocess.run(
        [*command, folder], cwd=folder.parent, capture_output=True, text=True, check=False, env=environment
    )
    return process.returncode, process.stdout


@pytest.mark.parametrize("processes", [0, 2])
def test_a_session_that_leaves_something_fails(processes, tmp_path):
    """Files left elsewhere, at home or by a child process fail the session by name; the tests themselves pass."""
    code, out = session(tmp_path, "-n", str(processes))
    assert code == 1, out
    assert "5 passed, 4 skipped" in out
    named = out.split("outside the temporary folder")[1].split("short test summary")[0]
    assert re.search(r"/elsewhere/elsewhere is touched by \S*test_outside.py::test_elsewhere\n", named), out
    assert re.search(r"/checkout/in-checkout is new\n", named), out
    assert re.search(r"/home/at-home is new, left behind\n", named), out
    assert re.search(r"/session/tmp/\S+\.left is new, left behind\n", named), out
    assert "test_inside" not in named


@pytest.mark.parametrize("processes", [0, 2])
def test_a_session_that_leaves_nothing_passes(processes, tmp_path):
    """What lies in the temporary folders, or was removed from them, is no stray."""
    code, out = session(tmp_path, "-k", "inside", "-n", str(processes))
    assert code == 0, out
    assert "outside the temporary folder" not in out


def test_tests_without_their_data_are_told_in_one_line(tmp_path):
    """Whatever number of tests lacks the data beside the checkout: one line."""
    _, out = session(tmp_path, "-k", "absent")
    assert [line for line in out.splitlines() if line.startswith("SKIPPED")] == [
        "SKIPPED [4] ../shared: absent: these tests need it"
    ]


WRONG = """
import numpy as np
from evsim.kernels.counting import spikes_per_position
words, counts = np.ones((6, 1), np.uint64), np.zeros(8, np.int64)
try:
    spikes_per_position(0, 6, words, counts[:4])
except IndexError:
    print("caught")
else:
    print("silent")
"""


@pytest.mark.parametrize(("checked", "outcome"), [("1", "caught"), ("0", "silent")])
def test_a_wrong_index_fails_under_boundscheck(checked, outcome, tmp_path):
    """Of counts for two positions a kernel writes the third: seen by `make test-boundscheck`, and by nothing else."""
    environment = os.environ | {
        "NUMBA_BOUNDSCHECK": checked,
        "NUMBA_CACHE_DIR": str(tmp_path),
        "NUMBA_DISABLE_JIT": "0",
    }
    process = subprocess.run([sys.executable, "-c", WRONG], capture_output=True, text=True, check=True, env=environment)
    assert process.stdout.strip() == outcome

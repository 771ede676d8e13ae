"""Fuzzing guided by coverage, by atheris (libFuzzer): for readers that are plain Python, into which it can see.

``python tests/fuzz.py --guided`` calls it. Inputs that reach new code are kept in build/fuzz/corpus and gone on from.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import tempfile
from pathlib import Path
from types import FunctionType

SEEN = (
    "evsim.events.", "evsim.converters.", "evsim.energy.profile", "evsim.schema.", "evsim.toml.", "tomllib.", "csv.",
    "zipfile.",
)  # fmt: skip
"""Beginnings of the names of modules whose branches count."""

LARGEST = 1 << 16
"""Bytes of an input."""


def fuzz(names, number, seconds):
    """Let atheris try each guided reader; return how many faults were found."""
    import atheris
    from fuzz import AT_FAULT, note
    from fuzz_judge import FATES, Progress, judged, tried
    from fuzz_readers import READERS

    total = 0
    for name in names or READERS:
        reader = READERS[name]
        if not reader.guided:
            continue
        with tempfile.TemporaryDirectory() as folder:
            tried(reader, Path(folder), 0, 1)  # loads what it needs
            _instrument(atheris)
            progress = Progress(0)
            code = _apart(lambda: _guided(atheris, reader, Path(folder), progress, judged, number, seconds))  # noqa: B023
        fates = progress.fates()
        fates["fault"] += code not in (0, None)
        note(name, +fates, guided=sum(fates.values()))
        print(f"{name}, guided: { {fate: fates[fate] for fate in FATES if fates[fate]} }, faults in {AT_FAULT / name}")
        total += fates["fault"]
    return total


def _instrument(atheris):
    """Let atheris see the branches of all functions, once each; what Numba compiles is no function of Python's."""
    for module in [module for name, module in sys.modules.items() if f"{name}.".startswith(SEEN)]:
        holders = [module, *(item for item in vars(module).values() if isinstance(item, type))]
        for holder in holders:
            for item in vars(holder).values():
                function = getattr(item, "__func__", item)
                own = isinstance(function, FunctionType) and function.__module__ == module.__name__
                if own and function.__code__ not in INSTRUMENTED:
                    atheris.instrument_func(function)
                    INSTRUMENTED.add(function.__code__)


INSTRUMENTED = set()


def _apart(work):
    """Run in a process of its own, which libFuzzer ends; return its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        work()
    finally:
        os._exit(1)


def _guided(atheris, reader, folder, progress, judged, number, seconds):
    import fuzz_mutate
    from fuzz import AT_FAULT
    from fuzz_judge import FATES

    path, seeds = folder / reader.name, reader.whole()
    kept, faults = AT_FAULT / "corpus" / reader.name, AT_FAULT / reader.name
    for place in (kept, faults):
        place.mkdir(parents=True, exist_ok=True)
    for content in seeds:
        (kept / hashlib.sha256(content).hexdigest()).write_bytes(content)

    def one(content):
        path.write_bytes(content or b"\0")
        fate, said = judged(reader, path, len(content))
        progress.values[1 + FATES.index(fate)] += 1
        if fate == "fault":
            (faults / hashlib.sha256(content).hexdigest()).write_bytes(content)
            print(f"  {reader.name}: {said}", flush=True)

    def change(content, most, seed):
        rng = random.Random(seed)
        if rng.random() < 0.5:
            return atheris.Mutate(content, most)
        if reader.changes and rng.random() < 0.3:
            return rng.choice(reader.changes)(rng.choice(seeds), rng)[:most]
        return fuzz_mutate.damaged(content, rng, reader.tokens, seeds)[:most]

    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)  # libFuzzer talks a lot
    options = [f"-runs={number}", f"-max_total_time={int(seconds)}", f"-max_len={LARGEST}", "-timeout=10"]
    arguments = ["fuzz", *options, "-rss_limit_mb=3000", f"-artifact_prefix={faults}/", str(kept)]
    atheris.Setup(arguments, one, custom_mutator=change)
    atheris.Fuzz()

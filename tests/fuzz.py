"""Fuzzes evsim's readers: ``python tests/fuzz.py [READER ...] --number N --seconds S``; ``--figures`` prints the state.

Each run goes on where the last one stopped (tests/data/fuzz/figures.json), and writes the table in docs/security.md.
Files that are at fault lie in build/fuzz afterwards, and the exit code is 1; once mended, such a file belongs into
tests/data/fuzz/READER/, where tests/test_fuzz.py reads it for ever. ``--guided`` lets atheris choose the files, guided
by coverage, for the readers that are plain Python.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
CORPUS = TESTS / "data" / "fuzz"
FIGURES = CORPUS / "figures.json"
DOCUMENT = TESTS.parent / "docs" / "security.md"
AT_FAULT = TESTS.parent / "build" / "fuzz"
COLUMNS = ("read", "refused", "library", "fault")
HEADS = ("reader", "files", "read", "refused", "broke the library", "of them guided", "faults")


def state():
    """Return what was tried so far: reader to counts of fates, "next" seed and "guided" files."""
    return json.loads(FIGURES.read_text()) if FIGURES.exists() else {}


def table():
    """Return the state as a table of Markdown."""
    rows = [HEADS, ("---", *["---:"] * (len(HEADS) - 1))]
    total = Counter()
    for name, entry in sorted(state().items()):
        total.update(entry)
        rows.append((f"`{name}`", *_cells(entry)))
    rows.append(("all", *_cells(total)))
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _cells(entry):
    files = sum(entry.get(key, 0) for key in COLUMNS)
    figures = (files, *(entry.get(key, 0) for key in ("read", "refused", "library", "guided", "fault")))
    return [f"{figure:,}" for figure in figures]


def note(name, fates, **more):
    """Add to the state; what another fuzzer wrote meanwhile stays."""
    known = state()
    entry = known.setdefault(name, {})
    for key, number in (fates | more).items():
        entry[key] = entry.get(key, 0) + number
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    FIGURES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    before, found, after = DOCUMENT.read_text().partition("| " + " | ".join(HEADS))
    if found:
        DOCUMENT.write_text(f"{before}{table()}\n\n{after.partition(chr(10) * 2)[2]}")


def fuzz(names, number, seconds, *, fresh=False):
    """Try each reader on files of new seeds; return how many faults were found.

    A `fresh` run begins at the first seed, and leaves the state as it is.
    """
    from fuzz_judge import tried
    from fuzz_readers import READERS

    total = 0
    for name in names or READERS:
        reader, since = READERS[name], time.monotonic()
        begin = 0 if fresh else state().get(name, {}).get("next", 0)
        with tempfile.TemporaryDirectory() as folder:
            fates, faults = tried(reader, Path(folder), begin, number, seconds)
        if not fresh:
            note(name, fates, next=sum(fates.values()))
        print(f"{name}: {json.dumps(fates)}, {time.monotonic() - since:.0f} s", flush=True)
        for seed, said in faults:
            place = AT_FAULT / name / str(seed)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(reader.input(seed))
            print(f"  {place}: {said}", flush=True)
        total += len(faults)
    return total


def main():
    """Fuzz, or print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("readers", nargs="*", help="all by default")
    parser.add_argument("--number", type=int, default=1000, help="files of each reader at most")
    parser.add_argument("--seconds", type=float, default=30.0, help="seconds for each reader at most")
    parser.add_argument("--fresh", action="store_true", help="from the first seed on, and note nothing")
    parser.add_argument("--guided", action="store_true", help="by coverage")
    parser.add_argument("--figures", action="store_true", help="print the table of docs/security.md")
    chosen = parser.parse_args()
    if chosen.figures:
        print(table())
        return 0
    if chosen.guided:
        import fuzz_guided

        return bool(fuzz_guided.fuzz(chosen.readers, chosen.number, chosen.seconds))
    return bool(fuzz(chosen.readers, chosen.number, chosen.seconds, fresh=chosen.fresh))


if __name__ == "__main__":
    sys.exit(main())

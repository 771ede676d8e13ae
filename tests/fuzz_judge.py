"""What becomes of a stranger's file: read, or refused in one line; anything else is a fault.

A fault is an error that is not evsim's own, a line that does not name the file or is none, a word more on standard
error, memory past the bound, or more than five seconds of computing.
"""

from __future__ import annotations

import json
import mmap
import os
import random
import resource
import signal
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

from evsim import hdf5_child
from evsim.errors import EvsimError

SECONDS = 5
"""Of computing that one file may take."""

PATIENCE = 90.0
"""Seconds after which a file that computes nothing is given up: something waits for ever."""

ROOM = 500 << 20
"""Bytes of memory that a file may take beside four times its own size."""

GUARD = 3 << 30
"""Bytes at which the kernel says no, so that a fault does not take the machine."""

FATES = ("read", "refused", "fault")


def judged(reader, path, seed):
    """Read a file and return its fate, and what is to be said of a fault."""
    growth = _Growth()
    try:
        reader.read(path, random.Random(seed))
        fate, said = "read", ""
    except EvsimError as error:
        fate, said = "refused", _unfit(str(error), path)
    except Exception as error:  # noqa: BLE001 - whatever comes is what is looked for
        place = error.__traceback__
        while place.tb_next:
            place = place.tb_next
        where = f"{Path(place.tb_frame.f_code.co_filename).name}:{place.tb_lineno}"
        fate, said = "fault", f"{type(error).__name__} at {where}: {error}"[:300]
    said = said or growth.beyond(path.stat().st_size)
    return ("fault" if said else fate), said


def _unfit(message, path):
    """Say what is wrong with an error's message."""
    if not message.isprintable():
        return f"the message is not one line of printable letters: {message!r}"[:300]
    if path.name not in message:
        return f"the message does not name the file: {message}"[:300]
    return "memory ran out" if "not enough memory" in message else ""


class _Growth:
    """How far the peak of memory rises, of this process or of a child."""

    def __init__(self):
        self.before = self._peaks()

    def _peaks(self):
        return [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]

    def beyond(self, size):
        """Say by how much the bound was passed."""
        grown = (self._peaks()[0] - self.before[0]) << 10
        return f"memory grew by {grown >> 20} MB" if grown > ROOM + 4 * size else ""


class Progress:
    """Memory that worker and parent share: the seed at work, and how many files had each fate."""

    def __init__(self, begin):
        self.values = np.frombuffer(mmap.mmap(-1, 4096), np.int64)[: 1 + len(FATES)]
        self.values[0] = begin

    @property
    def seed(self):
        """The seed at work."""
        return int(self.values[0])

    def fates(self):
        """Return how many files had each fate."""
        return Counter(dict(zip(FATES, map(int, self.values[1:]), strict=True)))


def worker(reader, folder, progress, end, deadline, faults, *, here):
    """Read the files of seeds up to `end` in this process, which they may break; note faults in a file of lines."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (GUARD, resource.RLIM_INFINITY))
    if here:
        reader.library()
    warnings.simplefilter("error")  # a warning is a second line
    said_by_libraries = os.open(folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said_by_libraries, 2)
    path = folder / reader.name
    while progress.seed < end and time.monotonic() < deadline:
        seed = progress.seed
        content = reader.input(seed)
        path.write_bytes(content)
        _limit_time()
        if here:
            hdf5_child.limit_memory(len(content))
        fate, said = judged(reader, path, seed)
        if not here and os.fstat(2).st_size:
            fate, said = "fault", said or "something was written on standard error"
            os.truncate(folder / "stderr", 0)
            os.lseek(2, 0, os.SEEK_SET)
        if fate == "fault":
            with faults.open("a") as file:
                file.write(json.dumps([seed, said]) + "\n")
        progress.values[1 + FATES.index(fate)] += 1
        progress.values[0] += 1


def _limit_time():
    spent = resource.getrusage(resource.RUSAGE_SELF)
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent.ru_utime + spent.ru_stime) + 1 + SECONDS, -1))


def _forked(reader, folder, progress, end, deadline, faults, *, here):
    """Run a worker to its end and return its exit code, negative for a signal."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            worker(reader, folder, progress, end, deadline, faults, here=here)
            code = 0
        finally:
            os._exit(code)
    seed, since = progress.seed, time.monotonic()
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if progress.seed != seed:
            seed, since = progress.seed, time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def tried(reader, folder, begin, number, seconds=1e9):
    """Read the files of so many seeds in an empty folder, or as many as there is time for.

    Returns
    -------
    fates
        How many had each fate; "library" are files that broke the library in the fuzzer's own process, and that evsim,
        which calls it in a child process, read or refused as it should.
    faults
        Seed and description of each fault.
    """
    for place, content in enumerate(reader.whole()):  # what workers need is loaded before they are forked
        path = folder / reader.name
        path.write_bytes(content)
        fate, said = judged(reader, path, place)
        assert fate != "fault", said
    fates, found = Counter(), []
    deadline = time.monotonic() + seconds
    while begin < (end := begin + number) and time.monotonic() < deadline:
        part, more, begin, broken = _run(reader, folder, begin, end, deadline, here=reader.library is not None)
        number = end - begin
        for seed, said in [*more, *broken]:
            part["fault"] -= (seed, said) in more
            if reader.library:
                again, still, _, dead = _run(reader, folder, seed, seed + 1, deadline + PATIENCE, here=False)
                if not still and not dead:
                    part["library"] += sum(again.values())
                    continue
                said = (still or dead)[0][1]  # noqa: PLW2901 - as evsim reads it
            part["fault"] += 1
            found.append((seed, said))
        fates.update(part)
    return +fates, found


def _run(reader, folder, begin, end, deadline, *, here):
    """Run one worker; return fates, faults, the next seed, and the fault that ended the worker, if one did."""
    progress, faults = Progress(begin), folder / "faults"
    faults.write_text("")
    code = _forked(reader, folder, progress, end, deadline, faults, here=here)
    noted = [tuple(json.loads(line)) for line in faults.read_text().splitlines()]
    if not code:
        return progress.fates(), noted, progress.seed, []
    known = {-signal.SIGXCPU: f"more than {SECONDS} s", -signal.SIGKILL: "waits for ever"}
    said = known.get(code, f"ended the process, code {code}")
    return progress.fates(), noted, progress.seed + 1, [(progress.seed, said)]

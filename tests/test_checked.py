"""A checked build sees what Numba's bounds check cannot: what intrinsics load and store past the ends of an array."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core.errors import TypingError

import evsim.kernels
from evsim.kernels.compiling import kernel
from evsim.kernels.vector import add_maps

ROOT = Path(__file__).resolve().parents[1]


def run(script, folder, checked="1", path=None):
    """Run a script with kernels of a cache of its own; return what it prints."""
    environment = os.environ | {
        "EVSIM_CHECKED": checked, "NUMBA_BOUNDSCHECK": "0", "NUMBA_DISABLE_JIT": "0", "NUMBA_CACHE_DIR": str(folder),
    }  # fmt: skip
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=path or folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


INTRINSICS = """
import numpy as np
from evsim.kernels.compiling import kernel
from evsim.kernels.lists import OCTETS
from evsim.kernels.vector import *
from evsim.kernels.windows import *
from evsim.kernels.word_rows import *

def reals(size): return np.ones(size, np.float32)
index, quiet = np.zeros(8, np.uint16), np.zeros(14, np.uint64)
first, second = quiet.copy(), quiet.copy()
first[0], second[0] = 1, 2
word, counts, words = np.uint64(1), np.zeros(64, np.uint16), np.ones(64, np.uint64)
half = np.float32(0.5)

@kernel
def rows(sums, at, weights, base, index, stop):
    add_rows(sums, at, False, weights, base, index, None, 0, stop, 64)
@kernel
def quad(sums, at, weights, base, words, s):
    add_quad(sums, at, 0, 4, True, weights, base, words, s, 64)
@kernel
def quads(sums, at, weights, base, words, s, both):
    add_quads(sums, at, 2, False, weights, base, words, s, 14, both, 64, 100_000, 3)
@kernel
def places(sums, at, weights, base, words, p, both):
    add_positions(sums, at, 2, False, weights, base, words, p, 2, both, 64, 100_000, 1)
@kernel
def neighbours(sums, at, weights, base, words, p, before, behind):
    add_window(sums, at, True, weights, base, words, p, 1, before, behind, 64)
@kernel
def side(sums, at, weights, base, words, p):
    add_windows(sums, at, 2, False, weights, base, words, p, 1, 64)
@kernel
def times(sums, at, weights, base, values, i):
    add_scaled(sums, at, weights, base, values, i, 64)
@kernel
def others(values, at):
    return nonzero_at(values, at)
@kernel
def bits(sums, at, weights, base, word):
    add_rows_of_bits(sums, at, weights, base, word, 64)
@kernel
def put(sums, at, weights, base, word):
    put_rows_of_bits(sums, at, weights, base, word, half, 64)
@kernel
def numbers(sums, at, counts, begin):
    write_counts(sums, at, counts, begin)
@kernel
def tally(counts, at, words, base):
    tally_bits(counts, at, words, base, word)
@kernel
def turned(words, columns):
    transpose_words(words, columns)
@kernel
def scaled(sums, at, weights, base, values, start, stop):
    add_scaled_run(sums, at, weights, base, values, start, stop, 64)
@kernel
def lif(current, at, shift, by, potential, own, words, to):
    lif_steps(current, at, 64, shift, by, potential, own, 64, False, half, False, half, words, to, 2, 2, 64)
@kernel
def maps(out, out_at, sums, at, shift, shift_at, stream, stream_at, added):
    add_maps(out, out_at, sums, at, shift, shift_at, stream, stream_at, added, 64)
@kernel
def some(index, at):
    put_bits(index, at, OCTETS, word, 0)
@kernel
def few(index, at):
    put_few_bits(index, at, word, 0)
@kernel
def ahead(weights, at):
    prefetch(weights, at)
@kernel
def window(out, at, source, source_at, weights, weight_at, shift, shift_at):
    gather_window(out, at, 16, 8, source, source_at, 0, 1, weights, weight_at, 16, shift, shift_at, 0, 1, 3)
@kernel
def runs(sums, at, weights, base, values, start):
    add_scaled_runs(sums, at, weights, base, values, start, start + 1, 1, 64)
@kernel
def taken(values, at):
    return bits_at(values, at, 3)
@kernel
def given(values, at):
    add_bits(values, at, word)

a, b = reals(256), reals(256)
out, masks, taps, whole = reals(128), np.ones(10, np.uint16), reals(48), np.zeros(64, np.int32)
room, halves = np.zeros(64, np.uint16), np.zeros(4, np.uint32)
RIGHT = [
    (rows, a, 192, b, 192, index, 8), (quad, a, 0, b, 192, first, 0),
    (quads, reals(512), 0, b, 192, np.tile(first, 2), 0, True), (bits, a, 192, b, 192, word),
    (put, a, 192, b, 192, word), (numbers, a, 224, counts, 32), (tally, counts, 0, words, 63),
    (turned, words, words.copy()),
    (scaled, a, 192, b, 192, reals(8), 7, 8), (lif, a, 128, reals(64), 0, reals(128), 0, halves, 0),
    (maps, a, 192, b, 192, reals(64), 0, reals(64), 0, True), (maps, a, 192, b, 192, reals(64), 0, reals(0), 0, False),
    (some, room, 0), (few, room, 59), (ahead, a, 100_000),
    (window, out, 0, masks, 0, taps, 0, reals(16), 0), (window, out, 0, reals(25), 0, taps, 0, reals(16), 0),
    (runs, a, 0, b, 192, reals(8), 4), (taken, whole, 0), (given, whole, 0), (others, whole, 0),
    (neighbours, a, 192, b, 128, first, 0, False, True), (neighbours, a, 0, b, 64, first[:2], 1, True, False),
    (side, a, 128, b, 64, first[:4], 1), (places, a, 128, b, 192, first[:4], 0, True),
    (places, a, 128, b, 192, first[:3], 0, False), (times, a, 192, b, 192, whole, 63),
]
WRONG = [
    (rows, a, 193, b, 192, index, 8), (rows, a, 192, b, 193, index, 8), (rows, a, -1, b, 0, index, 8),
    (rows, a, 192, b, 192, index, 9), (rows, a, 0, b, 0, np.full(8, 4, np.uint16), 8),
    (quad, a, 1, b, 0, quiet, 0), (quad, a, 0, b, 0, quiet, 1), (quad, a, 0, b, 193, first, 0),
    (quad, a, 0, b, 192, second, 0), (quads, reals(511), 0, b, 0, np.tile(quiet, 2), 0, True),
    (quads, reals(512), 0, b, 0, np.tile(quiet, 2)[:-1], 0, False),
    (quads, reals(512), 0, b, 192, np.tile(second, 2), 0, False),
    (bits, a, 193, b, 192, word), (bits, a, 192, b, 193, word), (bits, a, 0, b, 0, np.uint64(16)),
    (put, a, 193, b, 192, word), (put, a, 192, b, 193, word), (numbers, a, 225, counts, 0), (numbers, a, 0, counts, 33),
    (tally, counts, 1, words, 0),
    (turned, words[:63].copy(), words.copy()), (turned, words, words[1:].copy()), (tally, counts, 0, words, 64),
    (scaled, a, 193, b, 0, reals(8), 0, 1),
    (scaled, a, 0, b, 193, reals(8), 0, 1), (scaled, a, 0, b, 0, reals(8), 8, 9),
    (lif, a, 129, reals(64), 0, reals(128), 0, halves, 0), (lif, a, 0, reals(64), 1, reals(128), 0, halves, 0),
    (lif, a, 0, reals(64), 0, reals(128), 1, halves, 0), (lif, a, 0, reals(64), 0, reals(128), 0, halves, 1),
    (maps, a, 193, b, 0, reals(64), 0, reals(64), 0, True),
    (maps, a, 0, b, 193, reals(64), 0, reals(64), 0, True), (maps, a, 0, b, 0, reals(64), 1, reals(64), 0, True),
    (maps, a, 0, b, 0, reals(64), 0, reals(64), 1, True), (some, room, 33 if COMPRESSES else 57), (few, room, 60),
    (window, out, 1, masks, 0, taps, 0, reals(16), 0), (window, out, 0, masks, 1, taps, 0, reals(16), 0),
    (window, out, 0, masks, 0, taps, 1, reals(16), 0), (window, out, 0, masks, 0, taps, 0, reals(16), 1),
    (window, out, 0, reals(25), 1, taps, 0, reals(16), 0), (runs, a, 1, b, 0, reals(8), 4),
    (runs, a, 0, b, 193, reals(8), 4), (runs, a, 0, b, 0, reals(8), 5), (taken, whole, 1), (given, whole, -1),
    (others, whole, 1), (neighbours, a, 193, b, 0, first, 0, False, True),
    (neighbours, a, 0, b, 193, first, 0, False, True),
    (neighbours, a, 0, b, 0, first, 0, True, True), (neighbours, a, 0, b, 0, first[:2], 1, True, True),
    (neighbours, a, 0, b, 192, second, 1, True, False), (side, a, 129, b, 0, first, 1),
    (side, a, 0, b, 0, first[:3], 1),
    (side, a, 0, b, 256, first, 1), (times, a, 193, b, 0, whole, 0), (times, a, 0, b, 193, whole, 0),
    (times, a, 0, b, 0, whole, 64), (places, a, 129, b, 0, first, 0, True), (places, a, 0, b, 193, first, 0, True),
    (places, a, 0, b, 192, second, 0, True), (places, a, 0, b, 0, first[:3], 0, True),
    (places, a, 0, b, 0, first[:2], 0, False),
]
for function, *arguments in RIGHT:
    function(*arguments)
print(len(WRONG))
for function, *arguments in WRONG:
    try:
        function(*arguments)
    except IndexError:
        continue
    print("silent:", function.__name__, [x if isinstance(x, int | bool) else "..." for x in arguments])
"""


def test_every_intrinsic_is_checked(tmp_path):
    """At the last place of its arrays each intrinsic works; one element further, or before, it raises."""
    assert run(INTRINSICS, tmp_path) == ["63"]


FIRING = """
import numpy as np
from evsim.kernels.neuron import Neurons, fire_map
f = np.float32
words, current, shift = np.zeros(2 * 4, np.uint32), np.full(4 * 64, 9, f), np.zeros(64, f)
none = np.empty(0, f)
neurons = Neurons(words, np.zeros(4 * 64, f), True, f(0.5), False, f(1), False, none, none, False)
try:
    fire_map(0, 4, 0, neurons, current, True, shift, 64, 64, 1, 4)
except IndexError as error:
    print("caught")
print(bin(int(words[0])).count("1"))
"""
OFFSET = "current.load(here, piece, LONG(j))"


@pytest.mark.parametrize(("wrong", "outcome"), [(False, ["32"]), (True, ["caught", "32"])])
def test_an_offset_made_wrong_on_purpose_is_caught(wrong, outcome, tmp_path):
    """A step of neurons that reads its current one vector too far is seen where it leaves the array."""
    source = Path(evsim.kernels.__file__).parent
    shutil.copytree(source, tmp_path / "evsim" / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(source.parent / "errors.py", tmp_path / "evsim")
    (tmp_path / "evsim" / "__init__.py").touch()
    vector = tmp_path / "evsim" / "kernels" / "vector.py"
    text = vector.read_text(encoding="utf-8")
    assert text.count(OFFSET) == 1
    if wrong:
        vector.write_text(text.replace(OFFSET, OFFSET.replace("LONG(j)", "LONG(j + 1)")), encoding="utf-8")
    assert run(FIRING, tmp_path / "evsim", path=tmp_path) == outcome


PLAIN = """
import numpy as np
from evsim.kernels.compiling import DIGEST, kernel
from evsim.kernels.vector import add_maps
@kernel
def maps(a):
    add_maps(a, 0, a, 0, a, 0, a, 0, True, 64)
maps.compile("(float32[::1],)")
(code,) = maps.inspect_llvm().values()
print(DIGEST.endswith("-checked"), "picklebuf" in code, code.count("icmp sgt") > 0)
"""


@pytest.mark.parametrize("checked", ["0", "1"])
def test_the_usual_build_has_no_check(checked, tmp_path):
    """Without the switch no comparison and no exception is emitted; with it, kept code has a name of its own."""
    text = " ".join(map(str, [checked == "1"] * 2))
    (line,) = run(PLAIN, tmp_path, checked)
    assert line.startswith(text)
    assert line.endswith("False") or checked == "1"


@pytest.mark.skipif(os.environ.get("NUMBA_DISABLE_JIT") == "1", reason="nothing is compiled without the JIT")
def test_arrays_with_gaps_are_refused_at_compile_time():
    """Places count elements that follow each other: an array with strides is no argument for an intrinsic, ever."""

    @kernel
    def maps(a):
        add_maps(a, 0, a, 0, a, 0, a, 0, True, 64)

    for wrong in (np.zeros(128, np.float32)[::2], np.zeros((2, 64), np.float32)):
        with pytest.raises(TypingError, match="contiguous array of one axis"):
            maps(wrong)


def test_make_checks_both():
    """The target of the Makefile switches on both checks, with a cache of its own."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    rule = text.split("\ntest-boundscheck:")[1].split("\n\n")[0]
    assert "EVSIM_CHECKED=1 NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=build/cache/boundscheck" in rule

"""MATLAB 5 files: what SciPy writes is read as SciPy wrote it; what is damaged is refused by name."""

from __future__ import annotations

import io

import numpy as np
import pytest
from scipy.io import savemat

from evsim.events.mat5 import DamageError, unpacked

MOST = 1 << 20
TYPES = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


def written(compressed, **variables):
    """Return a file as SciPy writes it."""
    buffer = io.BytesIO()
    savemat(buffer, variables, do_compression=compressed, long_field_names=True)
    return buffer.getvalue()


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", TYPES)
def test_numbers_are_read_as_written(dtype, compressed):
    """Arrays of every type and size, also those that lie within their tag, keep values, type and shape."""
    for shape in [(1, 1), (1, 2), (1, 5), (7, 1), (3, 4)]:
        values = (np.arange(np.prod(shape)).reshape(shape) * 11).astype(dtype)
        got = unpacked(written(compressed, a=values, b=values + 1), MOST)
        assert got.keys() == {"a", "b"}
        assert got["a"].dtype == np.dtype(dtype)
        np.testing.assert_array_equal(got["a"], values)
        np.testing.assert_array_equal(got["b"], values + 1)


def test_numbers_stored_in_fewer_bytes_become_their_class():
    """MATLAB stores whole doubles as bytes; they are doubles again."""
    content = written(False, a=np.arange(8, dtype="f8"))
    body = np.arange(8, dtype="u1").tobytes()
    place = content.index(np.arange(8, dtype="f8").tobytes()) - 8
    size = int.from_bytes(content[132:136], "little")
    short = content[:132] + (size - 56).to_bytes(4, "little") + content[136:place] + b"\2\0\0\0\x08\0\0\0" + body
    got = unpacked(short, MOST)["a"]
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, [np.arange(8)])


def test_structs_are_dicts_and_the_rest_is_passed_over():
    """A struct gives its fields; truth values are bytes; texts, complex numbers and cells of several are None."""
    content = written(
        True, s={"ts": np.arange(5), "pol": np.array([True, False])}, word="text", z=np.array([1j]),
        cell=np.array([np.arange(2), np.arange(3)], object),
    )  # fmt: skip
    got = unpacked(content, MOST)
    np.testing.assert_array_equal(got["s"]["ts"], [np.arange(5)])
    np.testing.assert_array_equal(got["s"]["pol"], [[1, 0]])
    assert [got[name] for name in ("word", "z", "cell")] == [None, None, None]


def test_damage_is_told():
    """No order of bytes, an element beyond the file, values that do not fit their shape, damaged compression."""
    plain, packed = written(False, a=np.arange(4.0)), written(True, a=np.arange(4.0))
    with pytest.raises(DamageError, match="order of bytes"):
        unpacked(plain[:126] + b"xx" + plain[128:], MOST)
    with pytest.raises(DamageError, match="does not lie in the file"):
        unpacked(plain[:-9], MOST)
    place = plain.index((1).to_bytes(4, "little") + (4).to_bytes(4, "little"))
    with pytest.raises(DamageError, match=r"shape \[1, 5\] holds 4 values"):
        unpacked(plain[:place] + (1).to_bytes(4, "little") + (5).to_bytes(4, "little") + plain[place + 8 :], MOST)
    with pytest.raises(DamageError, match="decompressing"):
        unpacked(packed[:150] + b"\xff\xff\xff" + packed[153:], MOST)


def test_compressed_files_unpack_within_bounds():
    """A file of some hundred bytes that unpacks to 8 MB is left at the bound."""
    with pytest.raises(OverflowError):
        unpacked(written(True, a=np.zeros(1 << 20)), MOST)


def test_structs_within_structs_have_an_end():
    """Structs within each other are followed eight deep."""
    value = np.arange(3)
    for _ in range(30):
        value = {"f": value}
    with pytest.raises(DamageError, match="8 structs"):
        unpacked(written(False, s=value), MOST)

"""The one opener of HDF5 files: what it reads is what h5py reads; what crashes, hangs or leads out is one line."""

from __future__ import annotations

import fcntl
import gc
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import evsim, refused

from evsim import child, hdf5, hdf5_child
from evsim.errors import CheckpointError, ModelFileError, RecordingError
from evsim.hdf5 import File

HOSTILE = Path(__file__).resolve().parents[2] / "shared" / "cases" / "hostile"
DATA = {
    "plain": np.arange(60_000, dtype=np.float32).reshape(3, 20_000),
    "big endian": np.arange(5, dtype=">i4"),
    "compressed": np.arange(200_000, dtype=np.int64),
    "flags": np.array([True, False]),
    "scalar": np.float64(2.5),
    "empty": np.zeros((0, 4), np.uint8),
    "group/inner/deep": np.arange(6, dtype=np.uint16).reshape(2, 3),
    "rows": np.zeros(40_000, [("x", "<u2"), ("t", "<i8"), ("v", "<f4", (2,))]),
}


@pytest.fixture
def stored(tmp_path):
    """Write a file of many kinds of datasets."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        for name, values in DATA.items():
            file.create_dataset(name, data=values, compression="gzip" if name == "compressed" else None)
        file["words"] = "a text"
        file.attrs["number"], file.attrs["name"], file["group"].attrs["list"] = 3, "n", [1, 2]
        file["soft"] = h5py.SoftLink("/group/inner/deep")
        file["dangling"] = h5py.SoftLink("/nowhere")
        file["group/inner/loop"] = file["group"]
        file["reference"] = file["plain"].ref
    return path


@pytest.fixture(params=["forked", "started", "in a thread"])
def way(request, monkeypatch):
    """Run the child in each way."""
    if request.param == "started":
        monkeypatch.setattr(child, "may_fork", lambda: False)
    if request.param == "in a thread":
        monkeypatch.setattr(child, "in_thread", lambda: True)
    return request.param


@pytest.fixture
def forked():
    """Fork the child, which then has what a test changed, though another test left a thread, such as tqdm's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "may_fork", lambda: True)
        yield


def test_what_is_read_is_what_h5py_reads(stored, way):  # noqa: ARG001
    """Every dataset of numbers, whole and in part, compressed or not, nested or linked within the file."""
    with File(stored, RecordingError) as file:
        for name, values in DATA.items():
            got = file.read(name)
            assert got.dtype == np.asarray(values).dtype
            np.testing.assert_array_equal(got, values)
        for name in ("plain", "compressed", "rows"):
            for begin, end in ((0, 2), (1, None), (1, 10**9), (5, 5)):
                np.testing.assert_array_equal(file.read(name, begin, end), DATA[name][begin:end])
        np.testing.assert_array_equal(file.read("soft"), DATA["group/inner/deep"])
        assert file.text("words") == "a text"
        assert file.attributes() == {"number": 3, "name": "n"}
        assert file.attributes("group") == {"list": [1, 2]}
        assert "dangling" not in file.members
        assert file.members["reference"].dtype is None
        assert (file.members["plain"].offset is None, file.members["compressed"].offset is None) == (False, True)


def test_arrays_can_be_changed_and_outlive_the_file(stored):
    """What is read belongs to the reader alone, however it came, also once the file is closed."""
    with File(stored, RecordingError) as file:
        first = {name: file.read(name) for name in ("plain", "compressed", "big endian")}
    for values in first.values():
        values[...] = 7
    with File(stored, RecordingError) as file:
        for name, values in first.items():
            assert (values == 7).all()
            np.testing.assert_array_equal(file.read(name), DATA[name])


def test_a_child_that_rests_starts_again(stored):
    """After `rest`, plain datasets are read without a child, compressed ones by a new one."""
    file = File(stored, RecordingError)
    file.rest()
    np.testing.assert_array_equal(file.read("plain"), DATA["plain"])
    assert file._child is None
    np.testing.assert_array_equal(file.read("compressed"), DATA["compressed"])
    file.close()


def children():
    """Return process numbers of all children of this process."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.skipif(sys.platform != "linux", reason="looks at Linux's list of processes")
def test_no_child_and_no_open_file_is_left(stored, way):
    """Closing, forgetting and failing end the child and close what it needed."""
    before, handles = children(), len(list(Path("/proc/self/fd").iterdir()))
    with File(stored, RecordingError):
        assert len(children() - before) == (0 if way == "in a thread" else 1)
    forgotten = File(stored, RecordingError)
    del forgotten
    with pytest.raises(RecordingError, match="holds no nothing"), File(stored, RecordingError) as file:
        file.read("nothing")
    cut = stored.with_name("cut.h5")
    cut.write_bytes(stored.read_bytes()[:3000])
    with pytest.raises(RecordingError, match="damaged"):
        File(cut, RecordingError)
    gc.collect()
    for thread in set(threading.enumerate()) - {threading.current_thread()}:
        thread.join(10)
    assert children() == before
    assert len(list(Path("/proc/self/fd").iterdir())) == handles


def test_threads_start_a_process_anew(stored):
    """With a second thread about, nothing is forked, and threads may share a file."""
    results = []

    def read_all():
        assert not child.may_fork()
        with File(stored, RecordingError) as file:
            results.append(file.read("compressed").sum() + shared.read("compressed").sum())

    with File(stored, RecordingError) as shared:
        threads = [threading.Thread(target=read_all) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert results == [2 * DATA["compressed"].sum()] * 3


def test_a_process_without_standard_streams_reads(stored):
    """Where standard streams are closed, their numbers go to files and sockets, which the child must not lose."""
    code = (
        "import os; [os.close(i) for i in range(3)]\n"
        "from evsim.hdf5 import File; from evsim.errors import RecordingError\n"
        f"file = File({str(stored)!r}, RecordingError); total = int(file.read('compressed').sum())\n"
        f"os._exit(7 if total == {DATA['compressed'].sum()} else 1)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7


def links(tmp_path, what):
    """Write an event file that shows another file of this machine."""
    secret = tmp_path / "secret"
    secret.write_bytes(np.arange(64, dtype=np.uint16).tobytes())
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(16, dtype=np.uint16)
    with h5py.File(tmp_path / "e.h5", "w") as file:
        for key in "typ":
            file[f"events/{key}"] = np.zeros(16, np.uint16)
        if what == "external storage":
            file.create_dataset("events/x", (16,), "u2", external=[(str(secret), 0, 32)])
        elif what == "an external link":
            file["events/x"] = h5py.ExternalLink("other.h5", "/x")
        elif what == "a soft link through an external one":
            file["away"] = h5py.ExternalLink("other.h5", "/")
            file["events/x"] = h5py.SoftLink("/away/x")
        else:
            layout = h5py.VirtualLayout((16,), "u2")
            layout[:] = h5py.VirtualSource("other.h5", "x", (16,))
            file.create_virtual_dataset("events/x", layout)
    return tmp_path / "e.h5"


WAYS_OUT = ["external storage", "an external link", "a soft link through an external one", "a virtual dataset"]


@pytest.mark.parametrize("what", WAYS_OUT)
def test_no_other_file_is_read_through_one(what, tmp_path):
    """External storage, links out of the file and virtual datasets are refused by every reader, whoever they show."""
    path = links(tmp_path, what)
    text = refused("events", path)
    assert "another file" in text or "other files" in text
    for command in (("info", path), ("energy", path), ("convert", path, tmp_path / "m.h5"), ("check", path)):
        assert "is refused" in refused(*command)
    outcome = evsim("events", path, "--to", tmp_path / "o.csv")
    assert outcome.code == 2
    assert not (tmp_path / "o.csv").exists()


def test_a_locked_file_is_called_in_use(stored):
    """A file that another program writes is neither damaged nor unreadable."""
    with stored.open("rb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(ModelFileError, match="is in use by another program; close it, or set HDF5_USE_FILE_LOCK"):
            File(stored, ModelFileError)
        for command in (("info", stored), ("energy", stored), ("events", stored)):
            assert "is in use by another program" in refused(*command)
    File(stored, ModelFileError).close()


def test_what_is_no_hdf5(tmp_path):
    """A file without HDF5's signature is called so; one behind a block of the user's is read."""
    (tmp_path / "text").write_text("no HDF5 at all\n" * 1000)
    with pytest.raises(CheckpointError, match="is no HDF5 file"):
        File(tmp_path / "text", CheckpointError)
    with h5py.File(tmp_path / "x.h5", "w", userblock_size=1024) as file:
        file["x"] = np.arange(3)
    with File(tmp_path / "x.h5", CheckpointError) as file:
        np.testing.assert_array_equal(file.read("x"), np.arange(3))


@pytest.mark.usefixtures("forked")
def test_a_crash_of_the_library_is_one_line(stored, monkeypatch):
    """Whatever signal or end the child meets, the message names the file and the signal, and no process is left."""
    for action, said in (
        (lambda *_: os.kill(os.getpid(), 11), r"x\.h5 is damaged: the HDF5 library crashed \(SIGSEGV\); copy it again"),
        (lambda *_: os.abort(), r"crashed \(SIGABRT\)"),
        (lambda *_: os._exit(5), r"crashed \(code 5\)"),
    ):
        monkeypatch.setattr(hdf5_child, "_members", action)
        with pytest.raises(RecordingError, match=said):
            File(stored, RecordingError)
    monkeypatch.undo()
    monkeypatch.setattr(hdf5_child, "_text", lambda *_: os.kill(os.getpid(), 11))
    with File(stored, RecordingError) as file, pytest.raises(RecordingError, match="SIGSEGV"):
        file.text("words")


@pytest.mark.usefixtures("forked")
def test_an_endless_loop_of_the_library_is_one_line(stored, monkeypatch):
    """A child that computes for longer than the file justifies is ended, one that waits for ever too."""

    def compute(*_):
        while True:
            pass

    monkeypatch.setattr(hdf5_child, "_members", compute)
    with pytest.raises(RecordingError, match="does not come to an end"):
        File(stored, RecordingError)
    monkeypatch.setattr(hdf5_child, "_members", lambda *_: time.sleep(1000))
    monkeypatch.setattr(hdf5, "PATIENCE", 0.2)
    with pytest.raises(RecordingError, match="does not come to an end"):
        File(stored, RecordingError)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on memory is Linux's")
@pytest.mark.usefixtures("forked")
def test_memory_of_the_child_is_limited(stored, monkeypatch):
    """A child that asks for more memory than the file justifies gets none, and evsim says so."""
    monkeypatch.setattr(hdf5_child, "_members", lambda *_: np.ones(1 << 30))
    with pytest.raises(RecordingError, match="damaged"):
        File(stored, RecordingError)


def test_claims_beyond_the_file(tmp_path):
    """Datasets that were never written, blocks without end and a dataset linked a thousand times are refused."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("never", (1 << 40,), "f4", chunks=(1 << 16,))
        file.create_dataset("block", (4,), "f4", chunks=(1 << 29,), maxshape=(None,))
        file["small"] = np.zeros(1 << 20, np.float32)
        for i in range(100):
            file[f"again{i}"] = file["small"]
    with File(tmp_path / "x.h5", RecordingError) as file:
        for name in ("never", "block"):
            with pytest.raises(RecordingError, match=rf"x\.h5: {name} claims \d+ bytes, more than the file can hold"):
                file.read(name)
        assert not file.read("small").any()
        with pytest.raises(RecordingError, match="claims"):
            file.check_claims(f"again{i}" for i in range(100))
    assert "claims" in refused("convert", tmp_path / "x.h5", tmp_path / "m.h5")


def test_names_that_a_terminal_would_obey_are_escaped(tmp_path):
    """What a file calls its members stands in a message in printable letters."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["\x1b[31mred"] = h5py.ExternalLink("other.h5", "/x")
    text = refused("events", tmp_path / "x.h5")
    assert "\\x1b[31mred" in text
    assert text.strip().isprintable()


@pytest.mark.usefixtures("forked")
def test_too_many_members_are_refused(tmp_path, monkeypatch):
    """A file of more members than any has is refused before all are looked at."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        for i in range(50):
            file.create_group(f"g{i}")
    monkeypatch.setattr(hdf5_child, "MOST_MEMBERS", 49)
    with pytest.raises(RecordingError, match="more than 49 members"):
        File(tmp_path / "x.h5", RecordingError)


def test_an_unknown_compression_is_named(tmp_path):
    """Data compressed by a filter that is not installed says by which, and what to install."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((4,))
        settings.set_filter(31999, h5py.h5z.FLAG_OPTIONAL, ())
        for key in "txyp":
            space = h5py.h5s.create_simple((4,))
            dataset = h5py.h5d.create(file.id, key.encode(), h5py.h5t.NATIVE_INT32, space, settings)
            dataset.write_direct_chunk((0,), bytes(7))
    said = r"x\.h5 is refused: it is compressed by .*filter 31999.* hdf5plugin"
    with File(tmp_path / "x.h5", RecordingError) as file, pytest.raises(RecordingError, match=said):
        file.read("t")


@pytest.mark.skipif(not HOSTILE.is_dir(), reason="the collected hostile files are not here")
@pytest.mark.parametrize("path", sorted(HOSTILE.glob("*.h5")), ids=lambda path: path.name)
def test_hostile_files_are_one_line(path, tmp_path):
    """Each collected file is read or refused in one line by every reader, and none reads another file."""
    for command in (("info", path), ("energy", path), ("events", path), ("convert", path, tmp_path / "m.h5")):
        outcome = evsim(*command)
        assert outcome.code in (0, 2)
        assert outcome.code == 0 or (outcome.err.startswith("evsim: ") and outcome.err.count("\n") == 1), outcome
        assert (outcome.out + outcome.err).replace("\n", "").isprintable()


def test_texts_are_read_as_a_list(tmp_path):
    """Texts of any axes come row by row; numbers, and more of them than any file needs, are refused."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        pairs = np.array([["a", "b"], ["c", "\u00e4"]], dtype=object)
        file.create_dataset("pairs", data=pairs, dtype=h5py.string_dtype())
        file["fixed"] = np.array([b"x", b"yz"])
        file["numbers"] = np.arange(3)
        file.create_dataset("many", (200_001,), h5py.string_dtype())
    with File(tmp_path / "a.h5", ModelFileError) as file:
        assert file.texts("pairs") == ["a", "b", "c", "\u00e4"]
        assert file.texts("fixed") == ["x", "yz"]
        with pytest.raises(ModelFileError, match="holds no texts"):
            file.texts("numbers")
        with pytest.raises(ModelFileError, match="more than 200000 texts"):
            file.texts("many")

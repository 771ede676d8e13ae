"""Data sets of strangers: claims that would cost memory or time, and names that are none."""

from __future__ import annotations

import os

import event_files
import h5py
import numpy as np
import pytest

from evsim.datasets import open_dataset
from evsim.datasets.labels import resolve
from evsim.errors import RecordingError


def _trials(path, *, names="a.aedat\n", rows=2):
    (path / "a.aedat").write_bytes(b"#!AER-DAT3.1\r\n#End Of ASCII Header\r\n")
    (path / "a_labels.csv").write_text("class,startTime_usec,endTime_usec\n" + "1,0,10\n" * rows)
    (path / "trials_to_test.txt").write_text(names)
    return path


def test_recording_that_a_list_names_twice_is_taken_once(tmp_path):
    """Recording that a list names twice is taken once."""
    assert len(open_dataset(_trials(tmp_path, names="a.aedat\n" * 100_000), classes=2).samples) == 2


def test_trials_without_number_are_refused_before_they_are_listed(tmp_path, monkeypatch):
    """Trials without number are refused before they are listed."""
    monkeypatch.setattr("evsim.datasets.trials.MOST_SAMPLES", 5)
    with pytest.raises(RecordingError, match=f"{tmp_path.name} holds over 5 trials"):
        open_dataset(_trials(tmp_path, rows=6), classes=2)


def test_number_of_a_gesture_that_no_integer_is_names_none(tmp_path):
    """Number of a gesture that no integer is names none."""
    (tmp_path / "gesture_mapping.csv").write_text(f"action,label\nwave,{'9' * 5000}\n")
    assert open_dataset(_trials(tmp_path), classes=2).classes == ("0", "1")


@pytest.mark.parametrize("place", [os.mkfifo, lambda path: path.symlink_to("/nowhere")])
def test_batch_of_cifar_that_is_no_regular_file_is_refused(tmp_path, place):
    """Batch of CIFAR that is no regular file is refused."""
    place(tmp_path / "test_batch")
    with pytest.raises(RecordingError, match=f"{tmp_path.name} holds no batch of CIFAR that is a regular file"):
        open_dataset(tmp_path, classes=10)


def test_names_of_classes_take_time_in_proportion_to_their_number(tmp_path):
    """Two hundred thousand names would be 4 * 10^10 comparisons if each were held against each."""
    names = [f"n{i}" for i in range(100_000)]
    assert resolve(tmp_path, names, ()).indices[:3] == [0, 1, 11112]


@pytest.mark.parametrize("shape", [(4_000_000, 0), (4_000_000, 1)])
def test_array_that_claims_more_samples_than_bytes_is_refused(tmp_path, shape):
    """Array that claims more samples than bytes is refused."""
    np.savez_compressed(tmp_path / "a.npz", x=np.zeros(shape, np.uint8))
    with pytest.raises(RecordingError, match=r"a\.npz: 'x' claims 4000000 samples, more than the file has bytes"):
        open_dataset(tmp_path / "a.npz", classes=2)


def test_lists_of_spikes_that_are_nowhere_in_the_file_are_refused(tmp_path):
    """Lists of spikes that are nowhere in the file are refused."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in ("times", "units"):
            file.create_dataset(f"spikes/{name}", (4_000_000,), h5py.vlen_dtype(np.float32), chunks=True)
    with pytest.raises(RecordingError, match=r"a\.h5"):
        open_dataset(tmp_path / "a.h5", classes=2)


def test_rows_of_a_table_are_counted_before_they_are_parted(tmp_path, monkeypatch):
    """Rows of a table are counted before they are parted."""
    monkeypatch.setattr("evsim.datasets.tables.MOST_SAMPLES", 5)
    monkeypatch.setattr("evsim.datasets.tables._rows", lambda _: pytest.fail("parted"))
    (tmp_path / "a.csv").write_text("file,label\n" + "a,1\n" * 6)
    with pytest.raises(RecordingError, match=r"a\.csv has over 5 rows"):
        open_dataset(tmp_path / "a.csv", classes=2)


def test_name_without_end_is_told_with_the_table(tmp_path):
    """Name without end is told with the table."""
    (tmp_path / "a.bin").write_bytes(event_files.atis([1], [4], [1], [0]))
    (tmp_path / "a.csv").write_text(f"file,label\na.bin,1\n{'x' * 50_000},1\n")
    with pytest.raises(RecordingError, match=r"a\.csv names a sample by 50000 letters"):
        open_dataset(tmp_path / "a.csv", classes=2)


def test_names_of_more_classes_than_any_data_set_has_are_refused(tmp_path):
    """A list of names alone would fill memory with classes."""
    with pytest.raises(RecordingError, match=f"{tmp_path.name} names 200000 classes"):
        resolve(tmp_path, [1], (), known=["x"] * 200_000)


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="no /proc")  # noqa: PTH110
def test_file_that_the_system_does_not_read_is_told_by_name():
    """It is an input that cannot be read, no output that cannot be written."""
    with pytest.raises(RecordingError, match="/proc/self/mem cannot be read: Input/output error"):
        open_dataset("/proc/self/mem", classes=2)

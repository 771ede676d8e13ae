"""Frames equal SpikingJelly's, count for count; sensors of another size follow a stated policy."""

from __future__ import annotations

import event_files as files
import numpy as np
import pytest
from beside import needed
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import event_lists

from evsim.errors import OptionError, RecordingError
from evsim.events import read
from evsim.events.frames import to_frames
from evsim.events.types import GREATEST_INDEX, Recording

GOLDEN = {"dvs128_jaer_scissors.aedat": 128, "nmnist_tonic_sample.bin": 34}


def recording(events, width=6, height=5, size_from="the test"):
    """Return a recording of lists."""
    t, x, y, p = events
    if size_from == GREATEST_INDEX:
        width, height = max(x) + 1, max(y) + 1
    return Recording(
        np.array(t, np.int64), np.array(x, np.uint16), np.array(y, np.uint16), np.array(p, np.uint8),
        width, height, size_from, "test",
    )  # fmt: skip


def counted(events, edges, height, width):
    """Return frames of given edges, event by event."""
    _, x, y, p = events
    frames = np.zeros((len(edges), 2, height, width), int)
    for frame, (begin, end) in zip(frames, edges, strict=True):
        for i in range(begin, end):
            frame[p[i], y[i], x[i]] += 1
    return frames


def edges_by_number(t, steps):
    """SpikingJelly's cal_fixed_frames_number_segment_index, split by number."""
    size = len(t) // steps
    return [(i * size, len(t) if i == steps - 1 else (i + 1) * size) for i in range(steps)]


def edges_by_time(t, steps):
    """SpikingJelly's cal_fixed_frames_number_segment_index, split by time; an empty window gives an empty frame."""
    span = (t[-1] - t[0]) // steps
    edges = []
    for i in range(steps):
        begin = t[0] + i * span
        inside = [j for j, time in enumerate(t) if begin <= time < begin + span]
        if not inside:
            edges.append((0, 0))
        else:
            edges.append((inside[0], len(t) if i == steps - 1 else inside[-1] + 1))
    return edges


def edges_by_duration(t, duration):
    """SpikingJelly's integrate_events_by_fixed_duration: the last frame takes the remainder."""
    number = max(1, -(-(t[-1] - t[0]) // duration))
    places = [sum(time - t[0] < duration * i for time in t) for i in range(1, number)]
    return list(zip([0, *places], [*places, len(t)], strict=True))


@settings(max_examples=60, deadline=None)
@given(events=event_lists(6, 5, 50, least=1), steps=st.integers(1, 8))
def test_number_and_time(events, steps):
    """Both splits into T frames equal SpikingJelly's."""
    for split, edges in (("number", edges_by_number), ("time", edges_by_time)):
        if split == "time" and events[0][-1] - events[0][0] < steps:
            with pytest.raises(RecordingError, match="no event would be in any frame"):
                to_frames(recording(events), steps, split, 5, 6)
            continue
        made = to_frames(recording(events), steps, split, 5, 6)
        np.testing.assert_array_equal(made.counts, counted(events, edges(events[0], steps), 5, 6))


@settings(max_examples=60, deadline=None)
@given(events=event_lists(6, 5, 50, least=1), duration=st.integers(1, 60))
def test_duration(events, duration):
    """Frames of a duration are as many as the recording gives, and equal SpikingJelly's."""
    made = to_frames(recording(events), 1, "duration", 5, 6, duration_us=duration)
    np.testing.assert_array_equal(made.counts, counted(events, edges_by_duration(events[0], duration), 5, 6))
    assert made.counts.sum() == len(events[0])


@settings(max_examples=60, deadline=None)
@given(events=event_lists(6, 5, 50, least=2), seed=st.integers(0, 99), length=st.integers(1, 60))
def test_shuffled_events_fall_into_the_frames_of_their_times(events, seed, length):
    """Where time runs backward, frames by time or duration are those of the events in order, and a note says so."""
    order = np.random.default_rng(seed).permutation(len(events[0]))
    shuffled = tuple([column[i] for i in order] for column in events)
    for split, steps in (("time", 2), ("duration", 1), ("duration-0.0.0.0.12", 1)):
        if split == "time" and events[0][-1] - events[0][0] < steps:
            continue
        duration = None if split == "time" else length
        wanted = to_frames(recording(events), steps, split, 5, 6, duration_us=duration)
        frames = to_frames(recording(shuffled), steps, split, 5, 6, duration_us=duration)
        np.testing.assert_array_equal(frames.counts, wanted.counts)
        backward = sum(a > b for a, b in zip(shuffled[0], shuffled[0][1:], strict=False))
        said = [note for note in frames.notes if f"time runs backward {backward} times" in note]
        assert len(said) == (backward > 0)


def edges_by_duration_of_version_12(t, duration):
    """SpikingJelly 0.0.0.0.12's integrate_events_by_fixed_duration."""
    edges, left, right = [], 0, 0
    while right < len(t):
        while right < len(t) and t[right] - t[left] <= duration:
            right += 1
        edges.append((left, right))
        left = right
    return edges


@settings(max_examples=60, deadline=None)
@given(events=event_lists(6, 5, 50, least=1), duration=st.integers(1, 60))
def test_duration_versions(events, duration):
    """The split named after SpikingJelly 0.0.0.0.12 gives that version's frames."""
    frames = to_frames(recording(events), 1, "duration-0.0.0.0.12", 5, 6, duration_us=duration)
    edges = edges_by_duration_of_version_12(events[0], duration)
    np.testing.assert_array_equal(frames.counts, counted(events, edges, 5, 6))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_frames(name):
    """Frames of real recordings equal those that SpikingJelly 2.0.0 made of them, bit for bit."""
    size, events = GOLDEN[name], read(needed(files.SHARED / name))
    stem = f"frames_{name.rsplit('.', 1)[0]}.npz"
    compared = 0
    with np.load(files.SHARED / stem) as golden:
        for key in golden:
            if key.endswith(("_jl", "_jr")):
                continue
            if key.startswith("duration"):
                made = to_frames(events, 1, "duration", size, size, duration_us=100_000)
            else:
                split, steps = key.split("_T")
                made = to_frames(events, int(steps), split, size, size)
            np.testing.assert_array_equal(made.counts, golden[key])
            assert made.counts.astype(np.float32).tobytes() == golden[key].tobytes()
            compared += 1
    assert compared == 5


def test_empty_windows_are_said():
    """A window of time without events gives an empty frame and a note; so do fewer events than frames."""
    made = to_frames(recording(([0, 1, 99, 101], [0] * 4, [0] * 4, [0] * 4)), 4, "time", 5, 6)
    assert made.counts.sum(axis=(1, 2, 3)).tolist() == [2, 0, 0, 2]
    assert any("2 of 4 frames (frame 1, 2)" in note for note in made.notes)
    behind = to_frames(recording(([0, 1, 100, 101], [0] * 4, [0] * 4, [0] * 4)), 4, "time", 5, 6)
    assert behind.counts.sum() == 2
    assert any("the last 2 events" in note and "in no frame" in note for note in behind.notes)
    few = to_frames(recording(([0, 1], [0, 1], [0, 1], [0, 1])), 3, "number", 5, 6)
    assert few.counts.sum(axis=(1, 2, 3)).tolist() == [0, 0, 2]
    assert any("fewer than 3 frames" in note for note in few.notes)


def test_errors_of_framing():
    """No events, time that ends before it begins, and frames beyond reason are errors."""
    with pytest.raises(RecordingError, match="holds no events"):
        to_frames(recording(([], [], [], [])), 4, "number", 5, 6)
    with pytest.raises(RecordingError, match="no event would be in any frame"):
        to_frames(recording(([7, 7], [0, 0], [0, 0], [0, 0])), 2, "time", 5, 6)
    with pytest.raises(RecordingError, match="over 256 MB"):
        to_frames(recording(([0, 10**12], [0, 0], [0, 0], [0, 0])), 1, "duration", 5, 6, duration_us=1)
    with pytest.raises(OptionError, match="give `duration`"):
        to_frames(recording(([0], [0], [0], [0])), 1, "duration", 5, 6)


@settings(max_examples=40, deadline=None)
@given(events=event_lists(11, 7, 50, least=1))
def test_fit(events):
    """A larger sensor is an error by default; its middle is cropped; square blocks are summed."""
    large = recording(events, 11, 7)
    with pytest.raises(RecordingError, match="`fit=crop`"):
        to_frames(large, 1, "number", 4, 4)
    frame = counted(events, [(0, len(events[0]))], 7, 11)[0]
    left, top = (11 - 4) // 2, (7 - 4) // 2
    middle = frame[:, top : top + 4, left : left + 4]
    if middle.any():
        np.testing.assert_array_equal(to_frames(large, 1, "number", 4, 4, fit="crop").counts[0], middle)
    else:
        with pytest.raises(RecordingError, match="no event lies in its middle"):
            to_frames(large, 1, "number", 4, 4, fit="crop")
    padded = np.pad(frame, ((0, 0), (0, 5), (0, 1)))  # to 12 x 12: blocks of 3 x 3 in 4 x 4
    blocks = padded.reshape(2, 4, 3, 4, 3).sum(axis=(2, 4))
    np.testing.assert_array_equal(to_frames(large, 1, "number", 4, 4, fit="bin").counts[0], blocks)


def test_sensor_that_no_file_names():
    """Framing takes the model's size if every event lies inside, else refuses, whatever the fit."""
    inside = recording(([0, 1], [3, 0], [2, 1], [0, 1]), size_from=GREATEST_INDEX)
    assert to_frames(inside, 1, "number", 3, 4).counts.sum() == 2
    for fit in ("error", "crop", "bin"):
        with pytest.raises(RecordingError, match="`sensor=WxH`"):
            to_frames(inside, 1, "number", 3, 3, fit=fit)


def test_smaller_sensor_is_said():
    """A sensor smaller than the model's input fills its upper left, and a note says so."""
    made = to_frames(recording(([0], [5], [4], [1])), 1, "number", 10, 12)
    assert made.counts[0, 1, 4, 5] == 1
    assert any("upper left" in note for note in made.notes)

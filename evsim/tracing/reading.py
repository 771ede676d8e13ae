"""How an operation reads its operands: codes become whole maps of one draft, or a refusal that says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evsim.tracing.coordinates import (
    LOST,
    STATIC,
    ZERO,
    Codes,
    common,
    encode,
    locals_of,
    nodes_of,
    times_of,
)
from evsim.tracing.drafts import Draft

if TYPE_CHECKING:
    from evsim.tracing.recorder import Recorder


class Refusal(Exception):  # noqa: N818 - it becomes a fault of a list, not an error of its own
    """An operation that no primitive stands for; its text is the reason."""


class LostError(Exception):
    """An operand comes of an operation that was refused before."""


def expect_known(codes: Codes) -> None:
    """Refuse values that no node emitted."""
    least = codes.min(initial=0)
    if least < 0:
        if least == LOST:
            raise LostError
        raise Refusal(
            "it joins computed values with constants, or with what a function gave that cannot be seen, which no "
            "primitive does; a recurrence or a delay that the code keeps itself begins so"
        )


def row_times(codes: Codes) -> Codes:
    """Return the timestep of each row; what is static goes with any."""
    times = times_of(codes)
    latest: Codes = times.max(axis=1)
    if not ((times == latest[:, np.newaxis]) | (times == STATIC)).all():
        raise Refusal("it joins values of several timesteps: a delay or a sum over part of the time")
    return latest


def stepped(times: Codes) -> Codes:
    """Return the times of rows that follow each other in time: static ones, repeated, take their row's number."""
    if len(times) == 1 or not (times == STATIC).any():
        return times
    if not (times == STATIC).all():
        raise Refusal("some of its timesteps are static and others not")
    return np.arange(len(times))


def rows(rec: Recorder, codes: Codes) -> tuple[Draft, Codes, Codes]:
    """Return the draft that each row of codes [R, K] holds a whole map of, the rows' times [R] and places [R, K].

    Values of several drafts become a concatenation of their channels, a part of the channels a slice.
    """
    expect_known(codes)
    nodes = nodes_of(codes)
    first = nodes[0]
    if not (nodes == first).all():
        raise Refusal("its timesteps come from different layers")
    numbers, where = np.unique(first, return_index=True)
    if len(numbers) == 1:
        times = row_times(codes)
        draft, places = _whole(rec, rec.drafts[int(numbers[0])], locals_of(codes), times)
        return draft, times, places
    parts: list[Draft] = []
    places = np.empty_like(codes)
    times = np.full(len(codes), STATIC)
    offset = 0
    for number in numbers[np.argsort(where)]:
        columns = np.flatnonzero(first == number)
        draft, own, local = rows(rec, codes[:, columns])
        if parts and draft.size[1:] != parts[0].size[1:]:
            raise Refusal(f"it joins maps of different size, {parts[0].size} and {draft.size}")
        places[:, columns] = local + offset
        offset += draft.values
        parts.append(draft)
        times = _together(times, own)
    size = (sum(part.size[0] for part in parts), *parts[0].size[1:])
    joined = rec.enter("concat", [part.number for part in parts], size, times, suffix="cat")
    return joined, times, places


def _together(left: Codes, right: Codes) -> Codes:
    times = np.maximum(left, right)
    if not ((left == times) | (left == STATIC)).all() or not ((right == times) | (right == STATIC)).all():
        raise Refusal("it joins values of several timesteps: a delay or a sum over part of the time")
    return times


def _whole(rec: Recorder, draft: Draft, places: Codes, times: Codes) -> tuple[Draft, Codes]:
    """Return a draft and places of rows that hold each value of it, or of some of its channels, exactly once."""
    count = places.shape[1]
    ordered = np.sort(places, axis=1)
    if count == draft.values:
        if (ordered == np.arange(count)).all():
            return draft, places
        raise Refusal(f"it takes some values of {draft.name} several times and others not at all")
    first = int(ordered[0, 0])
    one_range = (ordered == first + np.arange(count)).all()
    if one_range and first % draft.positions == 0 and count % draft.positions == 0:
        start, channels = first // draft.positions, count // draft.positions
        size = (channels, *draft.size[1:])
        facts = {"start": start, "stop": start + channels}
        part = rec.enter(
            "slice", [draft.number], size, times, suffix="slice", key=tuple(facts.items()), facts=facts,
            name=f"{draft.name}.{start}-{start + channels}",
        )  # fmt: skip
        return part, places - first
    raise Refusal(f"it takes {count} of the {draft.values} values of {draft.name}, which are no range of its channels")


def maps(rec: Recorder, codes: Codes) -> tuple[Draft, Codes]:
    """Return the draft of which each sample of codes [N, C, H, W] is the whole map in order, and the samples' times."""
    draft, times, order = ordered_maps(rec, codes)
    if not (order == np.arange(len(order))).all():
        raise Refusal(f"it reads the channels of {draft.name} in another order")
    return draft, times


def ordered_maps(rec: Recorder, codes: Codes) -> tuple[Draft, Codes, NDArray[np.int64]]:
    """Return the same for channels in any order, and that order: channel j of a sample is `order[j]` of the draft."""
    draft, times, places = rows(rec, codes.reshape(len(codes), -1))
    order = np.arange(codes.shape[1])
    if not (places == np.arange(places.shape[1])).all():
        first = places[0].reshape(codes.shape[1], -1)
        order = first[:, 0] // draft.positions
        in_order = draft.size[0] == len(order) and (first == order[:, np.newaxis] * draft.positions + np.arange(
            draft.positions)).all() and (places == places[0]).all()  # fmt: skip
        if not in_order:
            raise Refusal(f"its channels, rows and columns are not those of {draft.name}: it mixes axes")
    if draft.size != codes.shape[1:]:
        reshaped = codes.shape[1:]
        if draft.size[0] != reshaped[0]:
            raise Refusal(f"it reads {draft.name}, a map {list(draft.size)}, as {list(reshaped)}")
        draft = rec.enter(
            "reshape", [draft.number], reshaped, times, suffix="reshape", key=reshaped, name=f"{draft.name}.reshape"
        )
    return draft, stepped(times), order


def unpadded(codes: Codes) -> tuple[Codes, tuple[int, int]]:
    """Return maps [N, C, H, W] without a border of zeros around them, and its height and width."""
    zero = codes == ZERO
    if not zero.any():
        return codes, (0, 0)
    kept = [np.flatnonzero(~zero.all(axis=tuple(a for a in range(4) if a != axis))) for axis in (2, 3)]
    if any(len(each) == 0 for each in kept):
        raise LostError
    border = [(int(each[0]), size - 1 - int(each[-1])) for each, size in zip(kept, codes.shape[2:], strict=True)]
    if any(before != after for before, after in border):
        raise Refusal(f"its border of zeros is not the same on both sides: {border}")
    (top, _), (left, _) = border
    inner = codes[:, :, top : codes.shape[2] - top, left : codes.shape[3] - left]
    return inner, (top, left)


def single(rec: Recorder, codes: Codes) -> tuple[Draft, Codes]:
    """Return the one draft that all values come from, and their codes, some perhaps several times.

    Values of several drafts become a concatenation first, those of some channels of a draft a slice.
    """
    expect_known(codes)
    nodes = nodes_of(codes)
    least = int(nodes.min())
    flat = codes.reshape(-1)
    if least == nodes.max():
        draft = rec.drafts[least]
        times = times_of(flat)
        if codes.size == draft.values and times.min() == times.max():
            return draft, codes
        own, inverse = np.unique(flat, return_inverse=True)
        steps = len(np.unique(times_of(own)))
        if len(own) == steps * draft.values:
            return draft, codes
        return _renewed(rec, own, inverse, codes.shape)
    own, inverse = np.unique(flat, return_inverse=True)
    first = np.full(len(own), len(flat))
    np.minimum.at(first, inverse, np.arange(len(flat)))
    order = np.lexsort((first, times_of(own)))
    rank = np.empty(len(own), np.int64)
    rank[order] = np.arange(len(own))
    return _renewed(rec, own[order], rank[inverse], codes.shape)


def _renewed(rec: Recorder, own: Codes, inverse: Codes, shape: tuple[int, ...]) -> tuple[Draft, Codes]:
    """Return the draft that all of these values, ordered by time, make up, and the codes of each place."""
    steps = np.unique(times_of(own))
    if len(steps) > 1 and STATIC in steps:
        raise Refusal("it joins static values with others")
    if len(own) % len(steps):
        raise Refusal("it takes more values of one timestep than of another")
    draft, times, places = rows(rec, own.reshape(len(steps), -1))
    return draft, encode(draft.number, times[:, np.newaxis], places).reshape(-1)[inverse].reshape(shape)


def channels(draft: Draft, codes: Codes) -> Codes:
    """Return the channel of each value."""
    return locals_of(codes) // draft.positions


def tokens(draft: Draft, codes: Codes) -> Codes:
    """Return the position of each value."""
    return locals_of(codes) % draft.positions


def per_channel(draft: Draft, codes: Codes, values: NDArray[np.floating]) -> NDArray[np.floating] | None:
    """Return the constant of each channel [C] (one for all: []), None where it differs within a channel."""
    least, most = float(values.min()), float(values.max())
    if least == most:
        return np.float64(least) * np.ones(())
    channel = channels(draft, codes).reshape(-1)
    flat = np.broadcast_to(values, codes.shape).reshape(-1)
    found = np.zeros(draft.size[0])
    found[channel] = flat
    return found if (found[channel] == flat).all() else None


def features(rec: Recorder, codes: Codes) -> tuple[Draft, Codes, Codes, NDArray[np.int64]]:
    """Return what a linear layer reads in rows of codes [M, F]: draft, times and positions [M], order of inputs [F].

    Rows hold the channels of one position each, all positions at every timestep; or each a whole map, which becomes a
    `flatten`. Feature j is input ``order[j]`` of the draft.
    """
    expect_known(codes)
    nodes = nodes_of(codes)
    times = row_times(codes)
    draft = rec.drafts[int(nodes[0, 0])]
    if (nodes == draft.number).all() and draft.positions > 1 and codes.shape[1] == draft.size[0]:
        channel, token = channels(draft, codes), tokens(draft, codes)
        position = common(token, 1)
        if position is not None and (channel == channel[0]).all() and len(set(channel[0].tolist())) == len(channel[0]):
            times = _all_positions(draft, times, position)
            return draft, times, position, channel[0]
    draft, times, places = rows(rec, codes)
    if not (places == places[0]).all():
        raise Refusal(f"it reads the values of {draft.name} in another order at each timestep")
    if draft.positions > 1:
        size = (draft.values, 1, 1)
        draft = rec.enter("flatten", [draft.number], size, times, suffix="flatten", name=f"{draft.name}.flatten")
    return draft, stepped(times), np.zeros(len(codes), np.int64), places[0]


def _all_positions(draft: Draft, times: Codes, position: Codes) -> Codes:
    """Return the rows' times; refuse rows that are not all positions of each timestep, once."""
    if (times == STATIC).all() and len(times) > draft.positions:
        count = np.zeros(draft.positions, np.int64)
        times = times.copy()
        for row, place in enumerate(position):
            times[row] = count[place]
            count[place] += 1
    pairs = np.unique(np.stack([times, position]), axis=1)
    if pairs.shape[1] != len(times) or len(times) != len(np.unique(times)) * draft.positions:
        raise Refusal(f"it reads some of the {draft.positions} positions of {draft.name} alone, or several times")
    return times

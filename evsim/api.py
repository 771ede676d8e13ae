"""The short Python API: load a model, read an input, simulate; a `Run` ties prediction, counts and energy together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evsim import countsfile
from evsim.anytime import Answers, Anytime
from evsim.converters import load_model
from evsim.counters import Counts
from evsim.energy import Energy, Options, Profile, charge
from evsim.energy.paper import NonSpike
from evsim.engine import Schedule, Simulator
from evsim.errors import NetworkError, OptionError, RecordingError
from evsim.events import ReadOptions, arrays, head_of, images, npz, open_stream, ready, trains
from evsim.events import read as read_recording
from evsim.events.framing import counted, framed, split_of, steps_of, with_defaults
from evsim.events.options import BY_DURATION
from evsim.events.reading import collect
from evsim.intake import check_timesteps
from evsim.kernels.threads import check_threads
from evsim.needs import check_needs
from evsim.network import Network
from evsim.observers import Counter, Observer, SpikeRecorder
from evsim.quantized import Precision
from evsim.sample import Sample
from evsim.sharing import SharingMeter
from evsim.spiketrains import SpikeTrains
from evsim.timeline import Timeline
from evsim.traffic import TrafficMeter

if TYPE_CHECKING:
    from evsim.charts.plots import Plots

__all__ = ["Run", "Sample", "check_run", "load", "read", "run_on", "simulate"]


@dataclass(frozen=True, eq=False, repr=False)
class Run:
    """Outcome of a simulation.

    Attributes
    ----------
    network, sample
        What ran on what.
    timesteps, precision
        T and the precision of the run.
    logits
        [classes].
    counts
        Every operation, exactly.
    spikes
        LIF name to its spikes, booleans [T, ...], if recorded.
    answers
        What would have been answered after each timestep, and for how many operations, if asked for.
    threads
        Threads that shared the work.
    """

    network: Network
    sample: Sample
    timesteps: int
    precision: str
    logits: NDArray[np.floating]
    counts: Counts
    spikes: SpikeTrains = field(default_factory=SpikeTrains)
    answers: Answers | None = None
    threads: int = 1

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> list[str]:
        """Return what ran on what, what it answered, and what that took."""
        answer, name = self.prediction, self.label(self.prediction)
        given = "" if name is None else f" ({name})"
        source = self.sample.path or f"{self.sample.kind} {list(self.sample.values.shape)}"
        energies = f"{self.exact().energy_mj:.3g} mJ exact, {self.paper().energy_mj:.3g} mJ by the paper"
        return [
            f"{self.network.name} on {source}, T = {self.timesteps}, {self.precision}",
            f"prediction: class {answer}{given}",
            f"{self.counts.sops:,} SOPs, {self.counts.macs:,} MACs; {energies}",
        ]

    def _repr_html_(self) -> str:
        """Return a short card for a notebook."""
        from evsim.charts.card import card

        return card(self)

    def to_dict(self, profile: Profile | None = None, nonspike: NonSpike = "binary-only") -> dict[str, Any]:
        """Return the run as plain data, as ``evsim run --json`` writes it; see docs: The JSON of a run."""
        from evsim.document import document

        return document(self, profile, nonspike)

    @property
    def plot(self) -> Plots:
        """Charts of the run, such as ``run.plot.energy().save("energy.pdf")``; see docs: Pages and figures."""
        from evsim.charts.plots import Plots

        return Plots(self)

    @property
    def prediction(self) -> int:
        """Class of the greatest logit."""
        return int(self.logits.argmax())

    def label(self, number: int) -> str | None:
        """Return the name of a class, None where it is not known."""
        return self.network.labels[number] if self.network.labels else None

    def paper(self, profile: Profile | None = None, nonspike: NonSpike = "binary-only") -> Energy:
        """Return the paper's estimate of the energy; `evsim.energy.paper.estimate` has its operations and rates."""
        return self.energy("paper", profile, Options(nonspike=nonspike))

    def exact(self, profile: Profile | None = None) -> Energy:
        """Return the energy of the counted operations."""
        return self.energy("exact", profile)

    def energy(
        self, method: str = "exact", profile: str | Profile | None = None, options: Options | None = None
    ) -> Energy:
        """Return the energy by any method of `evsim.energy.METHODS`, e.g. ``run.energy("lemaire").by("layer")``.

        Parameters
        ----------
        method
            Name of the method; "counted-memory" needs ``simulate(..., detail=True)``, "sharing" ``sharing=True``.
        profile
            Bundled name, TOML file or `Profile`; by default one that the method can use.
        options
            What the method leaves open.

        Raises
        ------
        OptionError, ProfileError
            If there is no such method, option or profile, or the method cannot answer for this run.
        """
        return charge(self.counts, method, profile, options)

    def save_counts(self, path: str | Path) -> None:
        """Write the counts as counts.h5, see docs: counts.h5; OutputError if that place cannot be written to."""
        countsfile.save(path, self.counts, self.origin())

    def origin(self) -> countsfile.Origin:
        """Return digests of model and input, for a counts file; reads every weight once."""
        return countsfile.origin(self.network, self.sample.values, self.sample.path, self.precision)


def load(path: str | Path, *, allow_memory: int | str | None = None) -> Network:
    """Load a model.h5, or convert a checkpoint on the fly.

    Parameters
    ----------
    path
        The file.
    allow_memory
        Bytes that a run may need, also as text such as "32GB"; by default what the file justifies, see `evsim.needs`.

    Raises
    ------
    OptionError, ModelFileError, CheckpointError, NetworkError
        As `evsim.converters.load_model`, and if `allow_memory` is no size.
    """
    return load_model(path, allow_memory).network


def read(
    path: str | Path, network: Network, timesteps: int | None = None, options: ReadOptions | None = None
) -> Sample:
    """Read a recording, frames or an image as the network takes it.

    Parameters
    ----------
    path
        A recording of any format (`evsim.events.FORMATS`), a picture for image models, or frames [T, C, H, W] or an
        image [C, H, W] in ``.npy``, or in ``.npz`` under the name ``frames``.
    network
        Tells size, timesteps, orientation, normalisation and how events become frames.
    timesteps
        T, if not the model's own.
    options
        How recordings are read and become frames; orientation and split are the model's unless given.

    Raises
    ------
    RecordingError
        If the file cannot be read or does not fit the network.
    OptionError
        If the options contradict each other or mean nothing for such a file, or there can be no such `timesteps`.
    NetworkError
        If a run would need more memory than it may, see `evsim.needs`.
    """
    spec, options = network.spec, options or ReadOptions()
    if timesteps is not None:
        check_timesteps(timesteps)
    check_needs(network, timesteps)
    prepared = _ready(path, network, timesteps or (None if spec.open_time else spec.timesteps), options)
    if prepared is not None:
        return prepared if timesteps is None else replace(prepared, timesteps=timesteps)
    if spec.flat and spec.kind == "events" and trains.holds_trains(path, head_of(path)):
        return _of_trains(path, network, timesteps, options)
    if spec.kind == "frames" and not spec.reads_recordings:
        raise RecordingError(f"{path} is no array; the model takes frames of real values {spec.size}, as .npy")
    if spec.kind == "image":
        kind = open_stream(path, options).format
        raise RecordingError(f"{path} is a recording of events ({kind}), but the model takes images; give a picture")
    split = split_of(spec, options)
    if split in BY_DURATION and timesteps is not None:
        raise OptionError(f"`timesteps` and `split={split}` both decide T; give one of them")
    recording = read_recording(path, with_defaults(options, spec))
    values, notes, left_out = framed(recording, timesteps, split, spec, options)
    steps, said = steps_of(values, timesteps, split, spec, options)
    return Sample.of_events(values, recording, left_out, (*recording.notes, *notes, *said), steps or timesteps, path)


def simulate(
    network: Network,
    sample: Sample | ArrayLike | str | Path,
    *,
    timesteps: int | None = None,
    precision: Precision | None = None,
    schedule: Schedule = "layer",
    threads: int | None = None,
    record_spikes: bool = False,
    detail: bool = False,
    sharing: bool = False,
    anytime: bool = False,
    observers: Sequence[Observer] = (),
) -> Run:
    """Run one sample through a network and count every operation.

    Parameters
    ----------
    network
        What runs.
    sample
        From `read`; a file, which is read; or array-like, such as a tensor of another library: frames [T, C, H, W] of
        events, whole numbers, or an image [C, H, W] of real numbers, as `Simulator.run` takes them.
    timesteps
        T; by default the sample's, where `read` was told or the file decides, else the model's own.
    precision, schedule, threads
        As `Simulator` takes them.
    record_spikes
        Whether to keep the spikes of every LIF layer.
    detail
        Whether to measure what moves in every layer too, for the energy method "counted-memory".
    sharing
        Whether to count additions under shared sums and operations on nonzero weights too, for the method "sharing".
    anytime
        Whether to find out too what would have been answered after each timestep.
    observers
        Further observers.

    Raises
    ------
    RecordingError, OptionError, NetworkError
        As `read`, `Simulator` and its `run`.
    """
    taken = _sample(sample, network, timesteps)
    simulator = Simulator(network, taken.timesteps if timesteps is None else timesteps, precision, schedule, threads)
    return run_on(
        simulator,
        taken,
        record_spikes=record_spikes,
        detail=detail,
        sharing=sharing,
        anytime=anytime,
        observers=observers,
    )


def run_on(
    simulator: Simulator,
    sample: Sample | ArrayLike | str | Path,
    *,
    record_spikes: bool = False,
    detail: bool = False,
    sharing: bool = False,
    anytime: bool = False,
    observers: Sequence[Observer] = (),
    timeline: Timeline | None = None,
) -> Run:
    """Run one sample on a simulator, which serves any number of samples; parameters and errors as `simulate`.

    A `timeline` takes the time of every step.
    """
    network = simulator.network
    taken = _sample(sample, network, simulator.timesteps)
    counter, recorder = Counter(network, simulator.timesteps), SpikeRecorder(network)
    meters = [Meter(network, simulator.timesteps) for Meter in (TrafficMeter,) * detail + (SharingMeter,) * sharing]
    earlier = Anytime(simulator) if anytime else None
    watching: list[Observer] = [
        counter,
        *([recorder] if record_spikes else []),
        *meters,
        *([earlier] if earlier else []),
        *observers,
    ]
    try:
        logits = simulator.run(taken.values, watching, timeline)
    except (RecordingError, NetworkError) as error:
        raise type(error)(f"{taken.path}: {error}" if taken.path else str(error)) from error
    spikes = SpikeTrains(recorder.trains if record_spikes else {})
    if closing := next(iter(network.closing), ""):
        taken = replace(taken, notes=(*taken.notes, f"the network has cycles ({closing}): run timestep by timestep"))
    counts = counter.counts()
    for meter in meters:
        counts = meter.attached(counts)
    answers = earlier.answers(logits, counts) if earlier else None
    precision = simulator.precision
    return Run(network, taken, simulator.timesteps, precision, logits, counts, spikes, answers, simulator.threads)


def check_run(threads: int | None, timesteps: int | None = None) -> None:
    """Refuse numbers that no run can have, for those who do long work before they run.

    Raises
    ------
    OptionError
        If one is too small or too great.
    """
    check_threads(threads)
    if timesteps is not None:
        check_timesteps(timesteps)


def _sample(source: Sample | ArrayLike | str | Path, network: Network, timesteps: int | None) -> Sample:
    """Return whatever stands for an input as a sample."""
    if isinstance(source, Sample):
        return source
    open_time = network.spec.open_time and timesteps is None
    if isinstance(source, str | Path):
        return read(source, network, timesteps)
    name = type(source).__name__
    try:
        values = np.asarray(source)
    except (TypeError, ValueError, RuntimeError) as error:  # what libraries raise for tensors that NumPy cannot see
        raise RecordingError(f"the input, a {name}, is no array for NumPy ({_line(error)}); give one") from error
    if values.dtype.kind not in "biuf":
        raise RecordingError(
            f"the input, a {name}, holds values of type {values.dtype}; give an array of real numbers, or a file's path"
        )
    return Sample(values, timesteps=len(values) if open_time and values.ndim == 4 else None)


def _line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _of_trains(path: str | Path, network: Network, timesteps: int | None, options: ReadOptions) -> Sample:
    """Read spike trains, for a network without space, as counts per timestep and channel."""
    spec, split = network.spec, split_of(network.spec, options)
    if split in BY_DURATION and timesteps is not None:
        raise OptionError(f"`timesteps` and `split={split}` both decide T; give one of them")
    recording = collect(trains.stream(path, head_of(path), spec.channels, options), options)
    frames = counted(recording, timesteps, split, spec, options, (1, spec.channels))
    values = np.ascontiguousarray(frames.counts[:, 0, 0, :, np.newaxis, np.newaxis])
    steps, said = steps_of(values, timesteps, split, spec, options)
    notes = (*recording.notes, *frames.notes, *said)
    return Sample.of_events(values, recording, frames.left_out, notes, steps or timesteps, path)


def _ready(path: str | Path, network: Network, timesteps: int | None, options: ReadOptions) -> Sample | None:
    """Read a picture or an array as the network takes it; None for what is to be read as a recording of events."""
    head, spec = head_of(path), network.spec
    frames = None
    if head.startswith(arrays.MAGIC):
        if spec.reads_recordings and arrays.holds_events(Path(path)):
            return None
        frames, kind = arrays.read_array(Path(path)), "npy"
    elif head.startswith(npz.MAGIC) and npz.holds_frames(Path(path)):
        frames, kind = npz.read_frames(Path(path)), "npz frames"
    elif not images.recognises(head) or spec.kind != "image":
        return None
    ready.refuse_options(path, options, pictures=frames is None)
    if frames is None:
        values, notes = images.read_picture(path, spec)
        return Sample(values, str(path), "picture", notes=notes)
    values, notes = ready.fitted(path, frames, network, timesteps, options, stated=kind == "npz frames")
    return Sample(values, str(path), kind, notes=notes, timesteps=len(values) if timesteps is None else None)

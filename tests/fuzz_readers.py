"""Every reader of strangers' files, for the fuzzer: whole files, and how they are read. A new reader is one entry."""

from __future__ import annotations

import gzip
import io
import random
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

import event_files as files
import fuzz_audits as audits
import fuzz_checkpoints as checkpoints
import fuzz_data_sets as data_sets
import fuzz_graphs
import fuzz_mutate as mutate
import h5py
import numpy as np
from fuzz_models import MODELS, run, saved

from evsim import api, child, converters, countsfile, modelfile
from evsim.converters.checkpoint import read_checkpoint
from evsim.counters import merged
from evsim.energy import charge, load_profile
from evsim.energy.methods import METHODS
from evsim.engine import Simulator
from evsim.errors import EvsimError, NetworkError
from evsim.events import ReadOptions, aedat4, arrays, decode_aedat4, open_stream
from evsim.events.frames import to_frames
from evsim.events.images import read_grey, read_picture
from evsim.events.reading import collect
from evsim.inputspec import InputSpec

TESTS = Path(__file__).parent
PROFILES = TESTS.parent / "evsim" / "energy" / "profiles"
MOST_STEPS = 64

Change = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Reader:
    """One reader.

    Attributes
    ----------
    name
        Of the file, too: some readers go by suffixes.
    seeds
        Returns whole files, each of which is read.
    read
        Reads a file in full; asserts what must hold of anything that was read.
    changes
        Changes that keep a format's frame whole (checksums, JSON, compression); half of the files get one of them, the
        others bytes changed anywhere.
    tokens
        Words of the format.
    library
        Of a library that may crash, and that evsim therefore calls in a child process: lets the child's own function
        run in the fuzzer's process. What breaks that is read anew, by the child.
    guided
        Whether it is plain Python, which a fuzzer guided by coverage (atheris) can see into.
    """

    name: str
    seeds: Callable[[], list[bytes]]
    read: Callable[[Path, random.Random], None]
    changes: tuple[Change, ...] = ()
    tokens: tuple[bytes, ...] = ()
    library: Callable[[], None] | None = None
    guided: bool = False
    kept: list[bytes] = field(default_factory=list, compare=False)

    def whole(self) -> list[bytes]:
        """Return the whole files, made once."""
        if not self.kept:
            self.kept.extend(self.seeds())
        return self.kept

    def input(self, seed: int) -> bytes:
        """Return the damaged file of a seed."""
        rng, seeds = random.Random(f"{self.name} {seed}"), self.whole()
        content = rng.choice(seeds)
        if self.changes and rng.random() < 0.5:
            return rng.choice(self.changes)(content, rng) or b"\0"
        if rng.random() < 0.02:  # noise behind a format's mark
            return content[: rng.choice((4, 14, 32))] + rng.randbytes(rng.randint(1, 300))
        marks = _marks(content) if content.startswith(b"\x89HDF") else ()
        return mutate.damaged(content, rng, self.tokens, seeds, marks) or b"\0"


@cache
def _marks(content: bytes) -> list[int]:
    return mutate.hdf5_marks(content)


def hdf5_here():
    """Let libhdf5 read in a thread of this process."""
    child.in_thread = lambda: True


def aedat4_here():
    """Let the library aedat decode in this process."""

    def messages(path, camera):
        pipe = io.TextIOWrapper(io.BytesIO())
        with redirect_stdout(pipe):
            decode_aedat4.main(str(path), *([camera] if camera else []))
        pipe.flush()
        pipe.buffer.seek(0)
        yield from aedat4._facts(path, pipe.buffer)

    aedat4._messages = messages


# Recordings

RNG = np.random.default_rng(7)
NUMBER = 60
EVENTS = (
    np.sort(RNG.integers(0, 2**22, NUMBER)).tolist(),
    *(RNG.integers(0, high, NUMBER).tolist() for high in (100, 100, 2)),
)
COLUMNS = dict(zip("txyp", map(np.array, EVENTS), strict=True))
OPTIONS = {
    "orientation": ("jaer", "raw"),
    "allow_truncated": (True,),
    "honour_validity": (True,),
    "layout": ("dvs128", "davis"),
    "time_unit": ("ns", "s"),
    "sensor": ((100, 100), (128, 128)),
}
LIKELY = dict.fromkeys(("layout", "time_unit", "sensor"), 0.1)
"""Options that most files contradict."""

EVENTS_PER_BYTE = 6
"""A vector of EVT3 holds twelve events in two bytes; compressed formats hold more, and are bounded by their claims."""

TABLES = (".npy", ".npz")
PACKED = (".npz", ".h5", ".zip", ".gz", ".mat", ".aedat4")


def read_recording(path, rng):
    """Read all events, and make frames of them."""
    chosen = {name: rng.choice(values) for name, values in OPTIONS.items() if rng.random() < LIKELY.get(name, 0.5)}
    if path.suffix in TABLES:
        chosen["columns"] = "txyp"
    options = ReadOptions(**chosen)
    recording = collect(open_stream(path, options), options)
    if not len(recording):
        return
    assert recording.x.max() < recording.width, "an event outside the sensor"
    assert recording.y.max() < recording.height, "an event outside the sensor"
    assert recording.p.max() <= 1, "an event of a third polarity"
    assert path.suffix in PACKED or len(recording) <= EVENTS_PER_BYTE * path.stat().st_size, "events out of nothing"
    frames = to_frames(recording, 4, rng.choice(("number", "time")), 128, 128, fit="bin")
    assert frames.counts.sum() <= len(recording), "frames hold more than there is"


def _hdf5_events():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for key, dtype in zip("txyp", ("i8", "u2", "u2", "u1"), strict=True):
            values = np.arange(500) % 2 if key == "p" else np.arange(500)
            compression = "gzip" if key in "tx" else None
            file.create_dataset(f"events/{key}", data=values.astype(dtype), compression=compression)
        file["t_offset"] = 12
    return buffer.getvalue()


def _own(*names):
    return [(files.OWN / name).read_bytes() for name in names]


def _uncompressed_mat():
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, {"TD": COLUMNS})
    return buffer.getvalue()


def _tables():
    return [
        files.npz(*EVENTS),
        files.npz_of(events=np.stack([np.array(column) for column in EVENTS], axis=1)),
        *_own("numpy.npz"),
    ]


AEDAT = (b"#!AER-DAT", b"\r\n", b"#End Of ASCII Header\r\n", b"#!END-HEADER\r\n", b"# AEChip: ", b"#Source 1: DVS128")
PROPHESEE = (b"% ", b"% end\n", b"% evt 3.0\n", b"% geometry 8191x8191\n", b"% Width 1\n", b"% Height 99999\n")
TEXT = (b"\n", b"\r", b",", b" ", b"#", b"t,x,y,p\n", b"\xef\xbb\xbf", b"-", b"e9", b"\0")

# Pictures and arrays

SPEC = InputSpec("image", 3, 8, 8, 4, (0.5,) * 3, (0.5,) * 3)
KINDS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")


def _pictures(*kinds):
    from PIL import Image

    values = np.random.default_rng(0).integers(0, 256, (20, 30, 3)).astype(np.uint8)
    pictures = []
    for kind in kinds:
        for picture in (Image.fromarray(values), Image.fromarray(values).convert("P"), Image.fromarray(values[..., 0])):
            buffer = io.BytesIO()
            (picture.convert("RGB") if kind == "JPEG" else picture).save(buffer, kind)
            pictures.append(buffer.getvalue())
    return pictures


def read_a_picture(path, rng):
    """Read a picture as a model takes it, or as the recorder does."""
    values = read_picture(path, SPEC).values if rng.random() < 0.5 else read_grey(path).values
    assert values.size, "a picture of nothing"


def read_an_array(path, rng):
    """Read an array of frames, or what it holds as events."""
    if rng.random() < 0.5:
        read_recording(path, rng)
    else:
        assert arrays.read_array(path).size <= path.stat().st_size, "values out of nothing"


def _arrays():
    return [
        files.npy(np.ones((2, 3, 4, 5), np.float32)),
        files.structured(*EVENTS),
        files.npy(np.asfortranarray(np.arange(12, dtype=">i2").reshape(3, 4))),
    ]


# Models, counts, checkpoints


def read_model(path, rng):
    """Load a network, fetch every weight, and run it where that is small."""
    network = modelfile.load(path)
    for key in network.weights:
        assert np.isfinite(network.weights[key]).all(), "weights that are no numbers"
    values = sum(shape.positions * shape.channels for shape in network.shapes.values())
    steps = min(network.spec.timesteps, 3)
    if values < 1 << 16:
        node = network.input
        events = network.spec.kind == "events"
        shape = ((steps,) if events else ()) + (node.channels, node.height, node.width)
        try:
            run = api.simulate(network, np.ones(shape), timesteps=steps, schedule=rng.choice(("layer", "time")))
        except NetworkError as error:
            raise NetworkError(f"{path}: {error}") from error  # who gave the network as an object knows its file
        assert run.logits.shape == (network.classes,), "logits of another number"
    else:
        Simulator(network, steps)


def read_counts(path, rng):
    """Load counts, add them up and charge them by some methods."""
    counts = countsfile.load(path).counts
    total = merged([counts, counts])
    _charge(total, rng)


def _charge(counts, rng, profile=None):
    """Charge counts by two methods; one that has no price or rule for them may say so."""
    for method in rng.sample(sorted(METHODS), 2):
        with suppress(EvsimError):
            assert charge(counts, method, profile).pj >= 0.0, "negative energy"


def _state():
    rng = np.random.default_rng(3)
    return {f"{m}.{p}": rng.normal(size=(2, 3)).astype(np.float32) for m in "ab" for p in ("weight", "bias")}


def _state_h5():
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for key, value in _state().items():
            file.create_dataset(key, data=value, compression="gzip" if key.startswith("b.") else None)
        file.attrs["heads"] = 2
    return [buffer.getvalue()]


def _checkpoints(kind):
    with tempfile.TemporaryDirectory() as folder:
        return checkpoints.seeds(Path(folder))[kind]


def read_weights(path, rng):  # noqa: ARG001 - all readers take the same
    """Read every tensor of a checkpoint."""
    checkpoint = read_checkpoint(path)
    for key in checkpoint.shapes:
        assert checkpoint.tensors[key].shape == checkpoint.shapes[key], "a tensor of another shape"


# Texts


def read_profile(path, rng):
    """Load a profile and charge by it."""
    profile = load_profile(str(path))
    _charge(run(rng.choice(MODELS)).counts, rng, profile)


def read_trials(path, rng):
    """Read a recording's trial that a label csv tells of."""
    recording = path.with_name("trials.aedat")
    if not recording.exists():
        recording.write_bytes(files.aedat2_dvs128(*EVENTS))
    options = ReadOptions(trial=rng.choice((1, 2, 3)), trials=str(path))
    collect(open_stream(recording, options), options)


def read_labels(path, rng):  # noqa: ARG001
    """Read names of classes."""
    assert len(converters._labels(str(path), 3)) == 3, "names of another number"


def _trials():
    return [b"class,startTime_usec,endTime_usec\n1,0,2000000\n2,2000000,3000000\n3,3000000,4000000\n", b"1,0,100000\n"]


def _events(name, *contents, **more):
    return Reader(name, lambda: [make() for make in contents], read_recording, **more)


READERS = {
    reader.name: reader
    for reader in (
        _events("one.aedat", lambda: files.aedat1(*EVENTS), tokens=AEDAT),
        _events(
            "two.aedat",
            lambda: files.aedat2_dvs128(*EVENTS, special=[3]),
            lambda: files.aedat2_davis(*EVENTS, others=[4]),
            tokens=AEDAT,
        ),
        _events("three.aedat", lambda: files.aedat3(*EVENTS, per_packet=7), tokens=AEDAT),
        Reader("four.aedat4", lambda: _own("faery_none.aedat4", "faery_lz4.aedat4", "faery_zstd.aedat4"),
               read_recording, library=aedat4_here),
        _events("evt2.raw", lambda: files.evt2(*EVENTS), lambda: _own("faery_evt2.raw")[0], tokens=PROPHESEE),
        _events("evt3.raw", lambda: files.evt3(*EVENTS), lambda: _own("faery_evt3.raw")[0], tokens=PROPHESEE),
        _events("cd.dat", lambda: files.dat(*EVENTS), lambda: _own("evio.dat")[0], tokens=PROPHESEE),
        _events("atis.bin", lambda: files.atis(*EVENTS)),
        _events("stream.es", lambda: files.event_stream(*EVENTS, width=100, height=100)),
        _events("lines.txt", lambda: files.text(*EVENTS, head="100 100\n"), tokens=TEXT, guided=True),
        _events("lines.csv", lambda: files.text(*EVENTS, head="t,x,y,p\n", separator=","), tokens=TEXT, guided=True),
        _events("lines.mat", lambda: files.mat(TD=COLUMNS), _uncompressed_mat),
        Reader("columns.npz", _tables, read_recording, (mutate.within_zip,)),
        _events("packed.zip", lambda: files.zipped("a.aedat", files.aedat2_dvs128(*EVENTS)),
                changes=(mutate.within_zip,)),
        _events("packed.gz", lambda: gzip.compress(files.evt2(*EVENTS), 1), changes=(mutate.within_gzip,)),
        Reader("events.h5", lambda: [_hdf5_events(), files.hdf5(*EVENTS)], read_recording, library=hdf5_here),
        Reader("array.npy", _arrays, read_an_array, tokens=(b"True", b"'descr': '|O'", b"(", b")", b"<f8", b"|V99")),
        Reader("picture.png", lambda: _pictures("PNG"), read_a_picture, (mutate.within_png,)),
        Reader("picture.jpg", lambda: _pictures("JPEG"), read_a_picture),
        Reader("picture.tif", lambda: _pictures("GIF", "BMP", "TIFF", "WEBP"), read_a_picture),
        Reader("model.h5", lambda: saved(*(partial(modelfile.save, model()) for model in MODELS)), read_model,
               (mutate.within_json(("@network", "@input", "nodes", "labels", "provenance")),), library=hdf5_here),
        Reader("counts.h5", lambda: saved(*(run(model).save_counts for model in MODELS)), read_counts,
               (mutate.within_json(("layers", "origin")),), library=hdf5_here),
        Reader("audit.h5", audits.audits, audits.read_an_audit,
               (mutate.within_json(("header", "first/layers")), audits.values), library=hdf5_here),
        Reader("graph.nir", fuzz_graphs.graphs, fuzz_graphs.read_a_graph, library=hdf5_here),
        Reader("trains.h5", fuzz_graphs.trains, fuzz_graphs.read_trains, library=hdf5_here),
        Reader("state_dict.h5", _state_h5, read_weights, library=hdf5_here),
        Reader("checkpoint.pth", lambda: _checkpoints("zip"), read_weights,
               (mutate.within_zip, checkpoints.within_its_pickle), guided=True),
        Reader("state.pkl", lambda: _checkpoints("pickle"), read_weights,
               (checkpoints.opcodes, checkpoints.in_a_zip), guided=True),
        Reader("weights.safetensors", lambda: _checkpoints("safetensors"), read_weights, (checkpoints.entries,),
               guided=True),
        Reader("profile.toml", lambda: [path.read_bytes() for path in sorted(PROFILES.glob("*.toml"))], read_profile,
               tokens=(b"[", b"]", b"{", b"}", b"[[", b"=", b'"""', b"1e308", b"inf", b"nan", b"verified", b"[sram]"),
               guided=True),
        Reader("trials.csv", _trials, read_trials, tokens=TEXT, guided=True),
        Reader("labels.txt", lambda: [b"cat\ndog\nhen\n"], read_labels, tokens=TEXT),
        Reader("table.csv", data_sets.tables, data_sets.reads("events"), tokens=TEXT),
        Reader("samples.npz", data_sets.arrays, data_sets.reads("images"), (mutate.within_zip,)),
        Reader("test_batch", data_sets.batches, data_sets.reads("images"), (checkpoints.opcodes,)),
        Reader("spikes.h5", data_sets.spikes, data_sets.reads("spikes"), library=hdf5_here),
    )
}  # fmt: skip

"""A variation with renamed modules: a map of keys, and what the message of an unknown family says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from commands import evsim, refused
from torch_files import as_tensors, write_checkpoint

from evsim.converters import ConvertOptions, convert
from evsim.converters.checkpoint import read_checkpoint
from evsim.converters.registry import BUILT_IN
from evsim.converters.renames import nearest
from evsim.errors import CheckpointError, OptionError

GOLDEN = Path(__file__).parent / "data" / "golden"
NUMBERS = {"heads": 2, "timesteps": 3, "image_size": 48}
MAP = r"""
[keys]
'^encoder\.layers\.(\d+)\.' = 'block.\1.'
'\.mixer\.' = '.attn.'
'^stem\.' = 'patch_embed.'
'^aux\..*' = ''
'^never' = 'x'
"""


@pytest.fixture(scope="module")
def state():
    """Return a golden's state_dict as arrays."""
    checkpoint = read_checkpoint(GOLDEN / "spikingformer-dvs" / "checkpoint.pth.tar")
    return {key: np.array(checkpoint.tensors[key]) for key in checkpoint.shapes}


@pytest.fixture
def variation(state, tmp_path):
    """Write the golden under other names, with a module more."""
    names = {
        key: key.replace("block.", "encoder.layers.").replace(".attn.", ".mixer.").replace("patch_embed.", "stem.")
        for key in state
    }
    renamed = {names[key]: value for key, value in state.items()} | {"aux.weight": np.zeros((2, 2), np.float32)}
    return write_checkpoint(tmp_path / "own.pth", as_tensors(renamed))


def written(path, text):
    """Write a map and return its path."""
    path.write_text(text)
    return str(path)


def test_a_map_renames_keys(variation, state, tmp_path):
    """Rules apply in their order; each key that changes is reported, so is a rule that matches none."""
    converted = convert(variation, ConvertOptions(**NUMBERS, keys=written(tmp_path / "map.toml", MAP)))
    np.testing.assert_array_equal(converted.network.weights["head.weight"].T, state["head.weight"])
    np.testing.assert_array_equal(
        converted.network.weights["block.0.attn.q_conv.weight"][0, 0], state["block.0.attn.q_conv.weight"][:, :, 0].T
    )
    notes = "\n".join(converted.notes)
    changed = [key for key in state if not key.startswith("head.")]
    assert notes.count(" -> ") == len(changed)
    assert "encoder.layers.0.mixer.q_conv.weight -> block.0.attn.q_conv.weight" in notes
    assert "aux.weight is left out" in notes
    assert "the rule ^never matches no key" in notes


def test_the_command_takes_a_map(variation, tmp_path):
    """`evsim convert --keys` converts, and never writes over the map."""
    source = written(tmp_path / "map.toml", MAP)
    facts = ("--heads", 2, "--timesteps", 3, "--keys", source)
    assert " -> block.0." in evsim("convert", variation, tmp_path / "m.h5", *facts).out
    assert "map.toml" in refused("convert", variation, source, *facts)


def test_an_unknown_family_shows_the_nearest_and_the_way_out(variation, tmp_path):
    """The message says what to do; then, where enough of a family is there, what of it is and what is not."""
    text = refused("convert", variation, tmp_path / "m.h5", "--heads", 2, "--timesteps", 3)
    assert "nearest is spikingformer" in text
    assert "head.weight" in text
    assert "are missing (patch_embed.proj_conv.weight" in text
    assert "are not its own (stem.proj_conv.weight" in text
    ways = text.index("evsim convert --from-torch own.py:factory OUT.h5"), text.index("--keys map.toml")
    assert max(ways) < text.index("nearest is"), "what to do comes before what was seen"
    foreign = write_checkpoint(tmp_path / "f.pth", as_tensors({"fc.kernel": np.zeros((2, 2), np.float32)}))
    text = refused("convert", foreign, tmp_path / "m.h5")
    assert "--from-torch own.py:factory" in text
    assert "nearest" not in text
    assert len(text.replace(str(foreign), "")) < 330


@pytest.mark.parametrize("folder", sorted(GOLDEN.iterdir()), ids=lambda path: path.name)
def test_kinds_of_keys_of_a_family_are_those_of_its_models(folder):
    """Of a golden the nearest family is one that fits: no kind of key is missing, others are those never read."""
    shapes = read_checkpoint(folder / "checkpoint.pth.tar").shapes
    name, there, missing, other = nearest(shapes, BUILT_IN)
    assert BUILT_IN[name].fits(shapes)  # some keys are those of two families
    assert missing == []
    assert there
    assert [kind for kind in other if "norm" not in kind and kind != "pos_embed"] == []


BAD = {
    "no TOML": ("[keys\n", "is no valid TOML"),
    "no table": ("a = 1\n", "is no map of keys"),
    "empty": ("[keys]\n", "is no map of keys"),
    "another table": ("[keys]\n'a' = 'b'\n[more]\n", "is no map of keys"),
    "no text": ("[keys]\n'a' = 1\n", "must become a text"),
    "no expression": ("[keys]\n'(' = 'b'\n", "is no regular expression"),
    "no such group": ("[keys]\n'^head' = '\\2'\n", "cannot replace"),
    "deep dots": ("a" + ".a" * 20_000 + " = 1\n", "quote the regular expression"),
    "everything left out": ("[keys]\n'.*' = ''\n", "leaves out every key"),
    "many digits": ("[keys]\n'a' = 1" + "0" * 5000, "number of too many digits"),
    "long": ("#" * 70_000, "is longer than"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_maps_are_refused(name, variation, tmp_path):
    """A map that is none is named with what is wrong."""
    text, message = BAD[name]
    source = written(tmp_path / "map.toml", text)
    with pytest.raises(OptionError, match=r"map\.toml.*" + message):
        convert(variation, ConvertOptions(**NUMBERS, keys=source))
    with pytest.raises(OptionError, match="is a folder; give a TOML file; `keys` takes"):
        convert(variation, ConvertOptions(**NUMBERS, keys=str(tmp_path)))


def test_two_keys_of_one_name_are_refused(variation, tmp_path):
    """A rule that gives two keys one name is an error that names both."""
    source = written(tmp_path / "map.toml", "[keys]\n'conv1' = 'conv'\n'1_conv' = '_conv'\n")
    with pytest.raises(CheckpointError, match="would both be named"):
        convert(variation, ConvertOptions(**NUMBERS, keys=source))


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (r"'(\w+\w*)*!$' = 'x'", "take more than 0.5 s; mend those that repeat a repetition"),
        ("'e' = '" + "e" * 900 + "'", "makes a key of more than 4096 letters"),
        ("'(' = 'x'", "is no regular expression"),
        (r"'head' = '\7'", "cannot replace head"),
    ],
)
def test_rules_that_cannot_be_applied(rule, words, variation, tmp_path, monkeypatch):
    """A rule that takes for ever or grows without end is stopped; one that is wrong is named with the reason."""
    monkeypatch.setattr("evsim.converters.keymap.SECONDS", 0.5 if "0.5 s" in words else 60.0)
    path = written(tmp_path / "map.toml", f"[keys]\n{rule}\n")
    with pytest.raises(OptionError) as error:
        convert(variation, ConvertOptions(**NUMBERS, keys=path))
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)
